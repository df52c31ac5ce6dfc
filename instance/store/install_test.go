package store_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
	"meridian/instance/store/schema"
)

func TestReplicasStartTogether(t *testing.T) {
	w := &world{t: t, url: embeddedtest.Database(t)}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := store.Open(t.Context(), store.Config{URL: embeddedtest.App(w.url), OwnerURL: w.url, Instance: "amer", MaxConns: 2})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.Install(t.Context(), schema.Common()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := w.open("amer") // finds what the others installed
	if diff := cmp.Diff(schema.Common(), s.Definitions(), cmp.Comparer(func(a, b []string) bool { return slices.Equal(a, b) })); diff != "" {
		t.Error(diff)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDefinitionsGrow(t *testing.T) {
	w := newWorld(t)
	rec := w.create("thing", "US-CA", fields{"name": crm.String("before")})
	more := thing
	more.Fields = append(slices.Clone(thing.Fields), crm.Field{Name: "x__colour", Type: crm.TypeString, Indexed: true, Group: "core"})
	if err := w.Install(t.Context(), []crm.Definition{more}); err != nil {
		t.Fatal(err)
	}
	got := w.list(w.read(everywhere, "thing"))[0]
	if v, ok := got.Fields["x__colour"]; !ok || !v.IsNull() {
		t.Errorf("an older record has x__colour %v, %v", v, ok)
	}
	rec = w.must("thing", w.change(everywhere, rec, fields{"x__colour": crm.String("red")}))[0]
	if rec.Fields["x__colour"].Text() != "red" || rec.Fields["name"].Text() != "before" {
		t.Errorf("after the change the record is %+v", rec.Fields)
	}
	if err := w.Install(t.Context(), []crm.Definition{thing}); err != nil { // the field is gone, its column stays
		t.Fatal(err)
	}
	w.must("thing", w.change(everywhere, rec, fields{"name": crm.String("after")}))
	if n := w.number("select count(*) from record.thing where x__colour = 'red'"); n != 1 {
		t.Error("removing a field from its definition lost values")
	}
}

func TestDefinitionsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	with := func(f crm.Field) crm.Definition {
		d := thing
		d.Fields = append(slices.Clone(thing.Fields), f)
		return d
	}
	retyped := thing
	retyped.Fields = slices.Clone(thing.Fields)
	retyped.Fields[1].Type = crm.TypeInteger
	for field, d := range map[string]crm.Definition{
		"name":  retyped,
		"actor": with(crm.Field{Name: "actor", Type: crm.TypeString, Group: "core"}),
		"owner": with(crm.Field{Name: "owner", Type: crm.TypeString, Group: "core"}),
		"loose": with(crm.Field{Name: "loose", Type: crm.TypeString}),
	} {
		err := w.Install(t.Context(), []crm.Definition{d})
		wantError(t, err, crm.Invalid, field)
	}
	if d, _ := w.Definition("thing"); len(d.Fields) != len(thing.Fields) {
		t.Error("a refused definition took effect")
	}
}

func TestLongNamesStillHaveTheirRules(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 59)
	d := crm.Definition{Entity: strings.Repeat("e", 40), Governed: crm.GovernedOwn, Fields: []crm.Field{{Name: long, Type: crm.TypeString, Unique: true, Indexed: true, Group: "core"}}}
	if err := w.Install(t.Context(), []crm.Definition{d}); err != nil {
		t.Fatal(err)
	}
	w.create(d.Entity, "US-CA", fields{long: crm.String("a")})
	out := w.write(d.Entity, false, w.creation(everywhere, d.Entity, "US-CA", fields{long: crm.String("a")}))
	wantError(t, out[0].Err, crm.Conflict, long)
}
