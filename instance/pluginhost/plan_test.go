package pluginhost_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/pluginhost"
	"meridian/plugins"
	dataquality "meridian/plugins/data-quality"
	territoryassignment "meridian/plugins/territory-assignment"
)

func both(t *testing.T) *pluginhost.Host {
	t.Helper()
	h, err := builtin(t, dataquality.New(), territoryassignment.New())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func steps(ss []crm.Step) (out []string) {
	for _, s := range ss {
		line := s.Plugin + "/" + s.Step + " " + s.Verdict
		if len(s.Set) > 0 {
			line += " " + strings.Join(s.Set, ",")
		}
		out = append(out, line)
	}
	return out
}

func TestCreatePassesEveryStepInOrder(t *testing.T) {
	d := create("name", "Acme", "country", "Germany", "sector", "Financials", "phone", "089 1234567", "website", "http://Acme.example/X")
	run(t, both(t), d)
	if d.Err != nil {
		t.Fatal(d.Err)
	}
	want := []string{
		"data-quality/normalise-account allow country,phone",
		"territory-assignment/assign-account allow jurisdiction,segment,territory",
		"data-quality/check-account allow",
	}
	if diff := cmp.Diff(want, steps(d.Steps)); diff != "" {
		t.Error(diff)
	}
	if s := d.Steps[0]; s.Version != "1.0.0" || s.Digest != "builtin" {
		t.Errorf("step %+v names no build", s)
	}
	if d.Fields["phone"].Text() != "+49891234567" || d.Fields["website"].Text() != "http://Acme.example/X" {
		t.Errorf("fields %v", d.Fields)
	}
	if g := d.Governed; g.Territory != "DE" || g.Segment != "Financials" || g.Jurisdiction != "DE" {
		t.Errorf("governed %+v", g)
	}
}

func TestVetoNamesFieldAndRemedy(t *testing.T) {
	d := create("email", "broken", "country", "Atlantis")
	good := create("email", "jo@example.com")
	run(t, both(t), d, good)
	e, ok := errors.AsType[*crm.Error](d.Err)
	if !ok || e.Kind != crm.Invalid || e.Field != "country" || len(e.Reasons) != 2 {
		t.Fatalf("error %+v", d.Err)
	}
	if !strings.Contains(e.Reasons[1], "email") || strings.Contains(e.Error(), "Atlantis") {
		t.Errorf("reasons %q: want the e-mail named and no value repeated", e.Reasons)
	}
	if good.Err != nil {
		t.Errorf("the next record of the batch: %v", good.Err)
	}
}

func TestUpdateWakesOnlyStepsItConcerns(t *testing.T) {
	h := both(t)
	stored := create("name", "Acme", "country", "US", "state", "CA", "sector", "Financials")
	run(t, h, stored)
	for _, c := range []struct {
		pairs []string
		want  []string
	}{
		{[]string{"name", "Acme Inc."}, nil},
		{[]string{"phone", "(415) 555-0123"}, []string{"data-quality/normalise-account allow phone", "data-quality/check-account allow"}},
		{[]string{"sector", "Energy"}, []string{"territory-assignment/assign-account allow segment"}},
		{[]string{"state", "new york"}, []string{
			"data-quality/normalise-account allow state", "territory-assignment/assign-account allow territory", "data-quality/check-account no_opinion",
		}},
		// What is normalised back to what is stored changes nothing, and wakes nobody after.
		{[]string{"state", "california"}, []string{"data-quality/normalise-account allow state"}},
	} {
		d := update(stored, c.pairs...)
		run(t, h, d)
		if d.Err != nil {
			t.Fatal(d.Err)
		}
		if diff := cmp.Diff(c.want, steps(d.Steps)); diff != "" {
			t.Errorf("%v:\n%s", c.pairs, diff)
		}
	}
}

func TestPinHoldsPlacementButNotTheLaw(t *testing.T) {
	h := both(t)
	stored := create("country", "US", "state", "CA", "sector", "Financials")
	run(t, h, stored)
	stored.Governed.Pinned, stored.Governed.Territory = true, "US-W"
	d := update(stored, "country", "CH", "sector", "Energy")
	run(t, h, d)
	if g := d.Governed; g.Territory != "US-W" || g.Segment != "Financials" || g.Jurisdiction != "CH" {
		t.Errorf("pinned: %+v", g)
	}
	d.Governed.Pinned = false // the pin is taken off, and nothing else changes
	off := update(d)
	off.Reassign = true
	run(t, h, off)
	if g := off.Governed; g.Territory != "CH" || g.Segment != "Energy" {
		t.Errorf("pin taken off: %+v", g)
	}
	half := create("country", "CH", "sector", "Energy") // only the territory was named
	half.Governed.Pinned, half.Governed.Territory = true, "DE"
	run(t, h, half)
	if g := half.Governed; g.Territory != "DE" || g.Segment != "Energy" {
		t.Errorf("half pinned: %+v", g)
	}
}

// fake is a plugin of hooks whose every step gives the same opinion.
func fake(name string, o plugins.Opinion, hooks ...plugins.Hook) plugins.Plugin {
	m := plugins.Manifest{Name: name, Version: "1.0.0", Hooks: hooks}
	fs := map[string]plugins.Func{}
	for i, h := range hooks {
		if h.Entity == "" {
			hooks[i].Entity = "account"
		}
		if h.Operations == nil {
			hooks[i].Operations = []crm.Op{crm.OpCreate}
		}
		if h.Stage == "" {
			hooks[i].Stage = plugins.Transform
		}
		if len(h.Governs) > 0 {
			m.Slots = []string{plugins.SlotAssignment}
		}
		fs[h.Step] = func(context.Context, plugins.Record, crm.Op) plugins.Opinion { return o }
	}
	return plugins.New(m, fs)
}

var allow = plugins.Opinion{Verdict: plugins.Allow}

func TestInstallationIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		ps   []plugins.Plugin
		want []string // all in the message
	}{
		{"unknown entity", []plugins.Plugin{fake("a", allow, plugins.Hook{Step: "s", Entity: "spaceship"})}, []string{"a/s", "spaceship"}},
		{"unknown field", []plugins.Plugin{fake("a", allow, plugins.Hook{Step: "s", Reads: []string{"warp"}})}, []string{"a/s", "warp"}},
		{"unknown step in an order", []plugins.Plugin{
			fake("a", allow, plugins.Hook{Step: "s", After: []string{"b/none"}}), fake("b", allow, plugins.Hook{Step: "s"}),
		}, []string{"a/s", "b/none"}},
		{"cycle", []plugins.Plugin{
			fake("a", allow, plugins.Hook{Step: "s", After: []string{"b/s"}}), fake("b", allow, plugins.Hook{Step: "s", After: []string{"c/s"}}),
			fake("c", allow, plugins.Hook{Step: "s", After: []string{"a/s"}}),
		}, []string{"a/s", "b/s", "c/s"}},
		{"one field, two owners, no order", []plugins.Plugin{
			fake("a", allow, plugins.Hook{Step: "s", Sets: []string{"city"}}), fake("b", allow, plugins.Hook{Step: "s", Sets: []string{"city"}}),
		}, []string{"a/s", "b/s", "city"}},
		{"one slot, two plugins", []plugins.Plugin{
			fake("a", allow, plugins.Hook{Step: "s", Governs: []string{"territory"}}), fake("b", allow, plugins.Hook{Step: "s", Governs: []string{"territory"}}),
		}, []string{"a", "b", plugins.SlotAssignment}},
		{"a transform that fails open", []plugins.Plugin{fake("a", allow, plugins.Hook{Step: "s", FailureOpen: true})}, []string{"open"}},
		{"a validator that sets", []plugins.Plugin{fake("a", allow, plugins.Hook{Step: "s", Stage: plugins.Validate, Sets: []string{"city"}})}, []string{"validator"}},
		{"a column nobody may set", []plugins.Plugin{fake("a", allow, plugins.Hook{Step: "s", Governs: []string{"owner"}})}, []string{"owner"}},
		{"the same plugin twice", []plugins.Plugin{fake("a", allow, plugins.Hook{Step: "s"}), fake("a", allow, plugins.Hook{Step: "s"})}, []string{"a", "twice"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := builtin(t, c.ps...)
			if crm.KindOf(err) != crm.Invalid {
				t.Fatalf("installed: %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not name %s", err, w)
				}
			}
		})
	}
}

func TestOrderOfTransforms(t *testing.T) {
	set := func(city string) plugins.Opinion {
		return plugins.Opinion{Verdict: plugins.Allow, Set: map[string]crm.Value{"city": crm.String(city)}}
	}
	h, err := builtin(t,
		fake("c", set("c"), plugins.Hook{Step: "s", Sets: []string{"city"}}),
		fake("a", set("a"), plugins.Hook{Step: "s", Sets: []string{"city"}, After: []string{"b/s", "absent/s"}}),
		fake("b", set("b"), plugins.Hook{Step: "s", Sets: []string{"city"}, After: []string{"c/s"}}),
		fake("d", allow, plugins.Hook{Step: "one", Before: []string{"c/s"}}, plugins.Hook{Step: "two"}),
	)
	if err != nil {
		t.Fatal(err)
	}
	d := create()
	run(t, h, d)
	want := []string{"d/one allow", "d/two allow", "c/s allow city", "b/s allow city", "a/s allow city"}
	if diff := cmp.Diff(want, steps(d.Steps)); diff != "" || d.Fields["city"].Text() != "a" {
		t.Errorf("city %q:\n%s", d.Fields["city"].Text(), diff)
	}
}

// What a step sets beyond its declaration is a failure: the write that it
// meant is not the one that would be stored.
func TestBrokenStepsRefuseTheWrite(t *testing.T) {
	city := plugins.Hook{Step: "s", Reads: []string{"city"}, Sets: []string{"city", "x__size"}}
	for _, c := range []struct {
		name string
		hook plugins.Hook
		o    plugins.Opinion
	}{
		{"no verdict", city, plugins.Opinion{}},
		{"a verdict that is none", city, plugins.Opinion{Verdict: 99}},
		{"failed", city, plugins.Opinion{Verdict: plugins.Failed}},
		{"a field undeclared", city, plugins.Opinion{Verdict: plugins.Allow, Set: map[string]crm.Value{"name": crm.String("x")}}},
		{"another type", city, plugins.Opinion{Verdict: plugins.Allow, Set: map[string]crm.Value{"x__size": crm.String("7")}}},
		{"set without allowing", city, plugins.Opinion{Verdict: plugins.NoOpinion, Set: map[string]crm.Value{"city": crm.String("x")}}},
		{"governance undeclared", city, plugins.Opinion{Verdict: plugins.Allow, Govern: map[string]string{"territory": "DE"}}},
		{"a sensitivity that is none", plugins.Hook{Step: "s", Governs: []string{"sensitivity"}}, plugins.Opinion{Verdict: plugins.Allow, Govern: map[string]string{"sensitivity": "10"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := builtin(t, fake("a", c.o, c.hook))
			if err != nil {
				t.Fatal(err)
			}
			d := create("city", "Bern")
			run(t, h, d)
			wantUnavailable(t, d)
			if d.Fields["city"].Text() != "Bern" || d.Governed.Territory != crm.Unassigned || status(t, h, "a").LastError == "" {
				t.Errorf("fields %v, governed %+v, status %+v", d.Fields, d.Governed, status(t, h, "a"))
			}
		})
	}
}

func TestObserverFailsOpen(t *testing.T) {
	hook := plugins.Hook{Step: "watch", Stage: plugins.Validate, Reads: []string{"city"}, FailureOpen: true}
	h, err := builtin(t, fake("a", plugins.Opinion{Verdict: plugins.Failed}, hook))
	if err != nil {
		t.Fatal(err)
	}
	d := create("city", "Bern")
	run(t, h, d)
	if diff := cmp.Diff([]string{"a/watch failed"}, steps(d.Steps)); d.Err != nil || diff != "" {
		t.Errorf("error %v\n%s", d.Err, diff)
	}
	h, err = builtin(t, fake("a", plugins.Refuse(), hook)) // to fail is one thing, to refuse another
	if err != nil {
		t.Fatal(err)
	}
	d = create("city", "Bern")
	run(t, h, d)
	if crm.KindOf(d.Err) != crm.Invalid {
		t.Errorf("a refusing observer: %v", d.Err)
	}
}

func TestOnlyTheBoundPluginPlaces(t *testing.T) {
	place := func(name, territory string) pluginhost.Ref {
		return pluginhost.Ref{Name: name, Builtin: func() plugins.Plugin {
			return fake(name, plugins.Opinion{Verdict: plugins.Allow, Govern: map[string]string{"territory": territory}},
				plugins.Hook{Step: "place", Governs: []string{"territory"}})
		}}
	}
	cfg := pluginhost.Config{
		Definitions: definitions(), Plugins: []pluginhost.Ref{place("a", "AA"), place("b", "BB")},
		Slots: map[string]string{plugins.SlotAssignment: "b"},
	}
	h := start(t, cfg)
	d := create()
	run(t, h, d)
	if diff := cmp.Diff([]string{"b/place allow territory"}, steps(d.Steps)); diff != "" || d.Governed.Territory != "BB" {
		t.Errorf("territory %s\n%s", d.Governed.Territory, diff)
	}
	cfg.Slots[plugins.SlotAssignment] = "c"
	h, err := pluginhost.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); crm.KindOf(err) != crm.Invalid {
		t.Errorf("bound to a plugin that is not installed: %v", err)
	}
}

func TestProjectionIsTheDeclaration(t *testing.T) {
	var seen []plugins.Record
	p := &recorder{Plugin: fake("a", allow, plugins.Hook{Step: "s", Operations: []crm.Op{crm.OpUpdate, crm.OpDelete}, Reads: []string{"city", "email"}}), seen: &seen}
	h, err := builtin(t, p)
	if err != nil {
		t.Fatal(err)
	}
	stored := create("city", "Bern", "email", "a@b.example", "phone", "1")
	run(t, h, update(stored, "city", "Basel", "phone", "2"))
	gone := &access.Draft{Entity: "account", Op: crm.OpDelete, Before: stored.Fields}
	run(t, h, gone)
	want := []plugins.Record{
		{Execution: "0123456789abcdef0123456789abcdef", Fields: map[string]crm.Value{"city": crm.String("Basel"), "email": crm.String("a@b.example")}, Changed: []string{"city"}},
		{Execution: "0123456789abcdef0123456789abcdef", Fields: map[string]crm.Value{"city": crm.String("Bern"), "email": crm.String("a@b.example")}},
	}
	if diff := cmp.Diff(want, seen, cmp.Comparer(crm.Value.Equal)); diff != "" {
		t.Error(diff)
	}
}

func TestTextThatIsNoUTF8IsRefusedAlone(t *testing.T) {
	h := start(t, install(t, dataquality.Name))
	bad, good := create("email", "jo\xff@example.com"), create("email", "jo@example.com")
	run(t, h, bad, good)
	if e, ok := errors.AsType[*crm.Error](bad.Err); !ok || e.Kind != crm.Invalid || e.Field != "email" {
		t.Errorf("error %v", bad.Err)
	}
	if good.Err != nil {
		t.Error(good.Err)
	}
}
