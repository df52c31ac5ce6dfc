package store_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// How far a record shows a field group.
const (
	hidden = iota
	masked
	shown
)

func levelOf(r crm.Record, group string) int {
	switch {
	case slices.Contains(r.Withheld, group):
		return hidden
	case slices.Contains(r.Masked, group):
		return masked
	}
	return shown
}

// shifts is the difference of what two subjects list, record by record.
func (w *world) shifts(before, after crm.Subject, entity string) store.Difference {
	out := store.Difference{Groups: map[string]store.GroupShift{}, Territories: map[string]store.Shift{}, Segments: map[string]store.Shift{}}
	was, is := map[crm.RecordID]crm.Record{}, map[crm.RecordID]crm.Record{}
	for _, r := range w.list(w.read(before, entity)) {
		was[r.ID] = r
	}
	for _, r := range w.list(w.read(after, entity)) {
		is[r.ID] = r
	}
	all := maps.Clone(was)
	maps.Copy(all, is)
	for id, r := range all {
		b, before := was[id]
		a, after := is[id]
		var n store.Shift
		for _, g := range thing.Groups() {
			x, was, is := out.Groups[g], hidden, hidden
			if before {
				was = levelOf(b, g)
			}
			if after {
				is = levelOf(a, g)
			}
			switch {
			case was == is:
				continue
			case is == shown:
				x.Gained++
			case is == masked:
				x.Masked++
			default:
				x.Lost++
			}
			out.Groups[g], n.Changed = x, 1
		}
		switch {
		case !before:
			n = store.Shift{Gained: 1}
		case !after:
			n = store.Shift{Lost: 1}
		}
		if n == (store.Shift{}) {
			continue
		}
		sum := func(a, b store.Shift) store.Shift {
			return store.Shift{Gained: a.Gained + b.Gained, Lost: a.Lost + b.Lost, Changed: a.Changed + b.Changed}
		}
		out.Shift = sum(out.Shift, n)
		out.Territories[r.Territory], out.Segments[r.Segment] = sum(out.Territories[r.Territory], n), sum(out.Segments[r.Segment], n)
	}
	return out
}

// TestDiffIsWhatTwoReadersSeeApart compares the statement with two lists, for
// random pairs of readers over the same records and facts.
func TestDiffIsWhatTwoReadersSeeApart(t *testing.T) {
	w := newWorld(t)
	territories, segments := []string{"US-CA", "US-NY", "DE"}, []string{"Energy", "Financials", crm.Unassigned}
	departments := []string{"d0", "d1", "d2", "d3"}
	var recs []crm.Record
	for i := range 60 {
		recs = append(recs, w.create("thing", territories[i%3], fields{"code": crm.String(fmt.Sprint(i))}))
		w.exec(`update record.thing set segment = $2, department = $3, sensitivity = $4, withheld = $5 where id = $1`, string(recs[i].ID),
			segments[i/3%3], departments[i%4], i%5, [][]string{{}, {}, {"commercial"}}[i%3])
	}
	for i, r := range recs[:40] {
		w.exec(`insert into fact."grant" (id, entity, record, kind, key, groups, reason, given_by, recorded_by, valid_from, valid_to)
			values (gen_random_uuid(), 'thing', $1, $2, $3, $4, 'why', 'x', 'x', now() - interval '1 day', now() + interval '1 day')`,
			string(r.ID), []string{"share", "share", "withhold"}[i%3], "d:"+departments[i*7%4], [][]string{{}, {"personal"}, {"core", "commercial"}}[i%5%3])
	}
	reader := rapid.Custom(func(t *rapid.T) crm.Subject {
		s := crm.Subject{
			ID: "x@amer", Kind: crm.KindPerson, Instance: "amer", Roles: rapid.SampledFrom([][]string{{"rep"}, {"reader"}, nil}).Draw(t, "roles"),
			Territories: subset(t, "territories", territories), Segments: subset(t, "segments", segments[:2]), Departments: subset(t, "departments", departments[:3]),
			AllSegments: rapid.Bool().Draw(t, "all"), Clearance: rapid.IntRange(0, 4).Draw(t, "clearance"),
		}
		for _, d := range s.Departments {
			s.Keys = append(s.Keys, "d:"+d)
		}
		for _, d := range subset(t, "related", departments[3:]) {
			s.Relationships = append(s.Relationships, crm.Relationship{Department: d, Actions: []string{"read"}})
		}
		return s
	})
	differed := 0
	rapid.Check(t, func(rt *rapid.T) {
		before := reader.Draw(rt, "before")
		after := before
		switch rapid.IntRange(0, 3).Draw(rt, "change") {
		case 0:
			after = reader.Draw(rt, "after")
		case 1:
			after.Clearance = 4
		case 2:
			after.Keys = append(slices.Clone(after.Keys), "d:d0")
		case 3:
			after.Relationships = append(slices.Clone(after.Relationships), crm.Relationship{Department: "d1", Actions: []string{"read"}})
		}
		view := func(s crm.Subject) store.View { return store.View{Filter: w.filter(s, crm.ActionRead, "thing")} }
		got, err := w.Diff(t.Context(), "thing", view(before), view(after))
		if err != nil {
			rt.Fatal(err)
		}
		want := w.shifts(before, after, "thing")
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(store.Difference{}, "Sample", "Stamp")); diff != "" {
			rt.Fatalf("two lists (-) and Diff (+):\n%s", diff)
		}
		if !want.Empty() {
			differed++
		}
		for kind, n := range map[string][2]int64{
			"gained": {got.Gained, int64(len(got.Sample.Gained))}, "lost": {got.Lost, int64(len(got.Sample.Lost))}, "changed": {got.Changed, int64(len(got.Sample.Changed))},
		} {
			if n[1] > n[0] || n[1] > 20 || (n[0] > 0) != (n[1] > 0) {
				rt.Fatalf("%s: %d records, %d in the sample", kind, n[0], n[1])
			}
		}
	})
	if differed == 0 {
		t.Error("no two readers differed")
	}
}

func subset[T any](t *rapid.T, name string, of []T) []T {
	var out []T
	for i, x := range of {
		if rapid.Bool().Draw(t, fmt.Sprint(name, i)) {
			out = append(out, x)
		}
	}
	return out
}

// TestDiffComparesMoments: the same filter at two moments shows what facts
// that begin and end in between open and close.
func TestDiffComparesMoments(t *testing.T) {
	w := newWorld(t)
	ends, begins, stays := w.create("account", "DE", account("a")), w.create("account", "DE", account("b")), w.create("account", "DE", account("c"))
	add := func(r crm.Record, from, to string) {
		w.exec(`insert into fact.agreement (id, account, department, effect, actions, groups, document, reason, given_by, recorded_by, valid_from, valid_to)
			values (gen_random_uuid(), $1, 'legal', 'open', '{read}', '{core}', '', '', 'x', 'x', $2::timestamptz, $3::timestamptz)`, string(r.ID), from, to)
	}
	add(ends, "2026-01-01", "2026-06-01")
	add(begins, "2026-06-01", "2027-01-01")
	add(stays, "2026-01-01", "infinity")
	lawyer := crm.Subject{ID: "l@amer", Kind: crm.KindPerson, Instance: "amer", Roles: []string{"reader"}, Departments: []string{"legal"}, Keys: []string{"d:legal"}}
	f := w.filter(lawyer, crm.ActionRead, "account")
	recorded := time.Now().Add(time.Hour)
	view := func(day string) store.View {
		return store.View{Filter: f, At: &policy.Moment{Valid: at(day + "T00:00:00Z"), Recorded: recorded}}
	}
	got, err := w.Diff(t.Context(), "account", view("2026-05-31"), view("2026-06-01"))
	if err != nil {
		t.Fatal(err)
	}
	want := store.Difference{
		Shift: store.Shift{Gained: 1, Lost: 1}, Sample: store.DifferenceSample{Gained: []crm.RecordID{begins.ID}, Lost: []crm.RecordID{ends.ID}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(store.Difference{}, "Groups", "Territories", "Segments", "Stamp"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	same, err := w.Diff(t.Context(), "account", view("2026-02-01"), view("2026-02-01"))
	if err != nil || !same.Empty() {
		t.Errorf("the same view twice: %+v, %v", same, err)
	}
	// Before the facts were recorded nobody saw anything by them.
	unknown := store.View{Filter: f, At: &policy.Moment{Valid: at("2026-02-01T00:00:00Z"), Recorded: at("2020-01-01T00:00:00Z")}}
	got, err = w.Diff(t.Context(), "account", unknown, view("2026-02-01"))
	if err != nil || got.Gained != 2 || got.Lost != 0 {
		t.Errorf("before and after it was recorded: %+v, %v", got, err)
	}
}

func account(key string) fields {
	return fields{"source_id": crm.String(key), "name": crm.String("Company " + key), "country": crm.String("US")}
}
