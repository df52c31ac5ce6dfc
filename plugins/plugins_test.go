package plugins_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
	"meridian/plugins"
)

func manifest(hooks ...plugins.Hook) plugins.Manifest {
	for i := range hooks {
		if hooks[i].Entity == "" {
			hooks[i].Entity = "account"
		}
		if hooks[i].Operations == nil {
			hooks[i].Operations = []crm.Op{crm.OpCreate}
		}
		if hooks[i].Stage == "" {
			hooks[i].Stage = plugins.Transform
		}
	}
	return plugins.Manifest{Name: "test", Version: "1.0.0", Hooks: hooks}
}

func TestManifestValidate(t *testing.T) {
	ok := plugins.Hook{Step: "s"}
	with := func(change func(*plugins.Manifest)) plugins.Manifest {
		m := manifest(ok)
		change(&m)
		return m
	}
	for name, c := range map[string]struct {
		m    plugins.Manifest
		want string // in the message, "" for valid
	}{
		"valid":             {manifest(ok), ""},
		"pre-release":       {with(func(m *plugins.Manifest) { m.Version = "1.0.0-rc.1+build" }), ""},
		"name":              {with(func(m *plugins.Manifest) { m.Name = "Not_A_Name" }), "lower-case"},
		"version":           {with(func(m *plugins.Manifest) { m.Version = "1" }), "semantic"},
		"no hook":           {with(func(m *plugins.Manifest) { m.Hooks = nil }), "no hook"},
		"no entity":         {with(func(m *plugins.Manifest) { m.Hooks[0].Entity = "" }), "entity"},
		"no operation":      {with(func(m *plugins.Manifest) { m.Hooks[0].Operations = []crm.Op{} }), "operation"},
		"operation":         {manifest(plugins.Hook{Step: "s", Operations: []crm.Op{crm.OpErase}}), "erase"},
		"stage":             {manifest(plugins.Hook{Step: "s", Stage: "later"}), "stage"},
		"step":              {manifest(plugins.Hook{Step: "S"}), "lower-case"},
		"step twice":        {manifest(ok, ok), "twice"},
		"order":             {manifest(plugins.Hook{Step: "s", After: []string{"other"}}), "plugin/step"},
		"after itself":      {manifest(plugins.Hook{Step: "s", After: []string{"test/s"}}), "itself"},
		"validator sets":    {manifest(plugins.Hook{Step: "s", Stage: plugins.Validate, Sets: []string{"f"}}), "transform"},
		"validator ordered": {manifest(plugins.Hook{Step: "s", Stage: plugins.Validate, After: []string{"a/b"}}), "parallel"},
		"transform open":    {manifest(plugins.Hook{Step: "s", FailureOpen: true}), "open"},
		"governs the owner": {manifest(plugins.Hook{Step: "s", Governs: []string{"owner"}}), "owner"},
		"governs, no slot":  {manifest(plugins.Hook{Step: "s", Governs: []string{"territory"}}), "slot"},
		"deadline":          {manifest(plugins.Hook{Step: "s", Deadline: time.Hour}), "deadline"},
	} {
		err := c.m.Validate()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (crm.KindOf(err) != crm.Invalid || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want it to say %s", name, err, c.want)
		}
	}
}

func invoke(t *testing.T, p plugins.Plugin, steps []string, records ...plugins.Record) []plugins.Result {
	t.Helper()
	out, err := p.Invoke(t.Context(), plugins.Batch{Entity: "account", Op: crm.OpCreate, Stage: plugins.Transform, Steps: steps, Records: records})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLaterStepSeesWhatAnEarlierOneSet(t *testing.T) {
	var seen plugins.Record
	p := plugins.New(manifest(plugins.Hook{Step: "a", Sets: []string{"f"}}, plugins.Hook{Step: "b", Reads: []string{"f"}}), map[string]plugins.Func{
		"a": func(context.Context, plugins.Record, crm.Op) plugins.Opinion {
			return plugins.Opinion{Verdict: plugins.Allow, Set: map[string]crm.Value{"f": crm.String("set")}}
		},
		"b": func(_ context.Context, r plugins.Record, _ crm.Op) plugins.Opinion {
			seen = r
			return plugins.Opinion{Verdict: plugins.Allow}
		},
	})
	given := plugins.Record{Fields: map[string]crm.Value{"f": crm.String("given"), "secret": crm.String("s")}}
	invoke(t, p, []string{"a", "b"}, given)
	if seen.Text("f") != "set" || !seen.Changes("f") || len(seen.Fields) != 1 {
		t.Errorf("the later step saw %+v", seen)
	}
	if given.Fields["f"].Text() != "given" {
		t.Error("the caller's record was changed")
	}
}

// One record's panic, forgotten verdict or veto is its own.
func TestOneRecordNeverFailsAnother(t *testing.T) {
	p := plugins.New(manifest(plugins.Hook{Step: "a", Reads: []string{"f"}}, plugins.Hook{Step: "b"}), map[string]plugins.Func{
		"a": func(_ context.Context, r plugins.Record, _ crm.Op) plugins.Opinion {
			switch r.Text("f") {
			case "panic":
				panic("a secret value")
			case "forget":
				return plugins.Opinion{}
			case "veto":
				return plugins.Refuse(plugins.Finding{Field: "f", Message: "no"})
			}
			return plugins.Opinion{Verdict: plugins.Allow}
		},
		"b": func(context.Context, plugins.Record, crm.Op) plugins.Opinion {
			return plugins.Opinion{Verdict: plugins.Allow}
		},
	})
	var records []plugins.Record
	for _, f := range []string{"panic", "forget", "veto", "fine"} {
		records = append(records, plugins.Record{Fields: map[string]crm.Value{"f": crm.String(f)}})
	}
	var got [][]string
	for _, r := range invoke(t, p, []string{"a", "b"}, records...) {
		var vs []string
		for _, v := range r.Verdicts {
			vs = append(vs, v.Verdict.String())
			for _, f := range v.Findings {
				if strings.Contains(f.Message, "secret") {
					t.Errorf("a finding repeats a value: %q", f.Message)
				}
			}
		}
		got = append(got, vs)
	}
	want := [][]string{{"failed", "no_opinion"}, {"failed", "no_opinion"}, {"veto", "no_opinion"}, {"allow", "allow"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestStepWithoutFunctionPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a manifest that promises more than the code was taken")
		}
	}()
	plugins.New(manifest(plugins.Hook{Step: "a"}), nil)
}

func TestVerdictWords(t *testing.T) {
	for v, want := range map[plugins.Verdict]string{
		0: "unset", plugins.Allow: "allow", plugins.Veto: "veto", plugins.NoOpinion: "no_opinion", plugins.Failed: "failed", 7: "unset", -1: "unset",
	} {
		if v.String() != want {
			t.Errorf("verdict %d is %q, want %q", int(v), v, want)
		}
	}
}
