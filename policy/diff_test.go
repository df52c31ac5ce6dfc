package policy_test

import (
	"strings"
	"testing"

	"meridian/policy"
)

// TestChanges: what a rule says is what counts, not where it stands or what a
// comment says.
func TestChanges(t *testing.T) {
	with := func(edit func(map[string]string)) *policy.Bundle {
		files := policy.Embedded().Modules()
		edit(files)
		b, err := policy.NewBundle(files)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	same := func(map[string]string) {}
	for name, c := range map[string]struct {
		edit func(map[string]string)
		want string
	}{
		"nothing":   {same, ""},
		"a comment": {func(f map[string]string) { f["residency.rego"] = "# Another word.\n" + f["residency.rego"] }, ""},
		"a rule": {func(f map[string]string) {
			f["residency.rego"] = strings.Replace(f["residency.rego"], `"publish"`, `"read"`, 1)
		}, "changed residency.rego residency"},
		"one more of a name": {func(f map[string]string) {
			f["residency.rego"] += "\nresidency(ask, record, _) if {\n\task.action == \"publish\"\n\trecord.pinned\n}\n"
		}, "changed residency.rego residency"},
		"a new rule":     {func(f map[string]string) { f["more_test.rego"] = "package more_test\n\ntest_x if 1 == 1\n" }, "added more_test.rego test_x"},
		"a rule is gone": {func(f map[string]string) { f["invariants_test.rego"] = "package meridian.invariants_test\n" }, "removed invariants_test.rego actions"},
		"a persona":      {func(f map[string]string) { f["personas.json"] = "{}" }, "changed personas.json "},
	} {
		changes := policy.Changes(with(same), with(c.edit))
		got := ""
		if len(changes) > 0 {
			got = changes[0].Kind + " " + changes[0].Path + " " + changes[0].Rule
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
