package policy_test

import (
	"maps"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/policy"
)

// TestPromisesHoldForGroundsToCome: what a new ground opens breaks the shipped
// promises, though none of them names it.
func TestPromisesHoldForGroundsToCome(t *testing.T) {
	for name, c := range map[string]struct{ ground, rules, broken string }{
		"officers read": {
			`"extra": {"effect": "opens", "text": "t"},`,
			"extra(ask, _, _) if \"officer\" in ask.subject.roles\n\nextra_reveals(_, _, _, _) := true\n",
			"test_keepers_read_no_customer",
		},
		"everybody reads": {
			`"extra": {"effect": "opens", "text": "t"},`,
			"extra(ask, _, _) if ask.action == \"read\"\n\nextra_reveals(_, _, _, _) := true\n",
			"test_who_has_no_role_reaches_nothing",
		},
		"all groups leave": {
			`"extra": {"effect": "opens", "text": "t"},`,
			"extra(ask, _, _) if ask.subject.kind == \"instance\"\n\nextra_reveals(_, _, _, _) := true\n",
			"test_contracts_bound_what_leaves",
		},
		"by a fact": {
			`"extra": {"effect": "opens", "fact": "agreement", "text": "t"},`,
			"extra(ask, _, fact, _) if {\n\t\"ops\" in ask.subject.roles\n\tfact.effect == \"open\"\n}\n\nextra_reveals(_, _, _, _, _) := true\n",
			"test_keepers_read_no_customer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(policy.Embedded().Modules())
			files["grounds.rego"] = strings.Replace(files["grounds.rego"], "grounds := {", "grounds := {\n\t"+c.ground, 1)
			files["extra.rego"] = "package meridian.rules\n\n" + c.rules
			b, err := policy.NewBundle(files)
			if err != nil {
				t.Fatal(err)
			}
			results, err := policy.Test(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if strings.HasSuffix(r.Name, c.broken) && !r.Passed {
					return
				}
			}
			t.Errorf("%s passes", c.broken)
		})
	}
}

// TestDecisionIsMadeNotWritten: a bundle cannot say itself what its promises
// are about.
func TestDecisionIsMadeNotWritten(t *testing.T) {
	for _, pkg := range []string{"meridian.decision", "meridian.decision.more"} {
		files := maps.Clone(policy.Embedded().Modules())
		files["mine_test.rego"] = "package " + pkg + "\n\nallowed(_, _, _, _) if false\n"
		if _, err := policy.NewBundle(files); crm.KindOf(err) != crm.Invalid || !strings.Contains(err.Error(), "is made of the grounds") {
			t.Errorf("%s: %v", pkg, err)
		}
	}
}
