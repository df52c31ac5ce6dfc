package policy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/policy"
)

// TestShippedBundlePassesItsGates: what officers are held to, the product's own
// bundle keeps.
func TestShippedBundlePassesItsGates(t *testing.T) {
	b := policy.Embedded()
	if paths, err := policy.Unformatted(b); err != nil || len(paths) > 0 {
		t.Errorf("not formatted: %v, %v", paths, err)
	}
	results, unseen, err := policy.Cover(t.Context(), b)
	if err != nil || len(unseen) > 0 {
		t.Errorf("no test makes hold: %v, %v", unseen, err)
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s: %s", r.Name, r.Message)
		}
	}
	if len(b.Personas()) < 5 || len(b.Invariants()) < 4 {
		t.Errorf("%d personas, %d invariants", len(b.Personas()), len(b.Invariants()))
	}
}

// TestCoverNamesRulesThatNoTestMakesHold: lines that are read do not count, and
// neither does a rule beside another of its name.
func TestCoverNamesRulesThatNoTestMakesHold(t *testing.T) {
	files := policy.Embedded().Modules()
	files["territory.rego"] += `
territory(ask, record, _) if {
	permitted(ask)
	record.owner == "the owner"
	record.owner == ask.subject.id
}
`
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	_, unseen, err := policy.Cover(t.Context(), b)
	if err != nil || len(unseen) != 1 || !strings.HasPrefix(unseen[0], "territory.rego:") || !strings.HasSuffix(unseen[0], " territory") {
		t.Errorf("%v, %v", unseen, err)
	}
}

// TestBundleHoldsWhatItShould: other files, odd paths and sizes are refused,
// and every file is in the digest.
func TestBundleHoldsWhatItShould(t *testing.T) {
	whole := policy.Embedded()
	for name, spoil := range map[string]func(map[string]string){
		"a program":       func(f map[string]string) { f["run.sh"] = "true" },
		"a way out":       func(f map[string]string) { f["../rules.rego"] = "package meridian.rules" },
		"other data":      func(f map[string]string) { f["data.json"] = "{}" },
		"not text":        func(f map[string]string) { f["more.rego"] = "package meridian.rules # \x00" },
		"ten megabytes":   func(f map[string]string) { f["more.rego"] = "package meridian.rules\n#" + strings.Repeat("x", 10<<20) },
		"bad persona":     func(f map[string]string) { f["personas.json"] = `{"x": {"kind": "ghost"}}` },
		"misspelt":        func(f map[string]string) { f["personas.json"] = `{"x": {"kind": "person", "clearence": 3}}` },
		"network":         func(f map[string]string) { f["more.rego"] = "package meridian.rules\nx := http.send({})" },
		"a thousand more": func(f map[string]string) { maps.Copy(f, thousand()) },
	} {
		files := whole.Modules()
		spoil(files)
		b, err := policy.NewBundle(files)
		if err == nil {
			if problems := policy.Check(t.Context(), b); len(problems) == 0 {
				t.Errorf("%s: let in", name)
			}
			continue
		}
		if crm.KindOf(err) != crm.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(whole.Modules())) {
		files := whole.Modules()
		files[path] += "\n"
		if b, err := policy.NewBundle(files); err != nil || b.Digest() == whole.Digest() {
			t.Errorf("a byte more in %s: %v, and the digest is the same", path, err)
		}
	}
}

func thousand() map[string]string {
	out := map[string]string{}
	for i := range 1000 {
		out[strings.Repeat("x", i+1)+".rego"] = "package meridian.rules"
	}
	return out
}
