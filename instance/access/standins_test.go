package access_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/policy"
)

// opening is the shipped bundle with one ground more.
func opening(t *testing.T, condition string) *policy.Bundle {
	t.Helper()
	files := maps.Clone(policy.Embedded().Modules())
	files["grounds.rego"] = strings.Replace(files["grounds.rego"], "grounds := {", "grounds := {\n\t\"extra\": {\"effect\": \"opens\", \"text\": \"t\"},", 1)
	files["extra.rego"] = "package meridian.rules\n\nextra(ask, _, _) if {\n\task.action == \"read\"\n\t" + condition + "\n}\n\nextra_reveals(_, _, _, _) := true\n"
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ofAccounts(p access.PersonaImpact) access.EntityImpact {
	for _, e := range p.Entities {
		if e.Entity == "account" {
			return e
		}
	}
	return access.EntityImpact{}
}

// TestImpactShowsWhatNobodyHasYet: what a rule opens to a role that nobody has
// is shown, and so is what it opens to a persona of the bundle.
func TestImpactShowsWhatNobodyHasYet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd()
	for role, condition := range map[string]string{
		"auditor": `"auditor" in ask.subject.roles`,
		"publish": `"publish" in ask.subject.roles`, // a word that the shipped rules speak of too
		"closes":  `some r in ask.subject.roles; r == "closes"`,
	} {
		condition = strings.ReplaceAll(condition, "; ", "\n\t")
		personas, sum := w.impact(opening(t, condition).Modules())
		if e := ofAccounts(personas[crm.SubjectID("word:"+role)]); e.Gained != 9 || sum.Largest != 1 {
			t.Errorf("the role %s opens 9 accounts, and the impact says %d for who has it; the largest share %v", role, e.Gained, sum.Largest)
		}
	}
	for condition, name := range map[string]crm.SubjectID{
		"\"ghosts\" in ask.subject.departments":                                 "word:ghosts",
		"ask.subject.id == \"ghost@amer\"":                                      "word:ghost@amer",
		"ask.subject.kind == \"service\"\n\t\"sweeper\" in ask.subject.roles":   "word:all of them, a service",
		"\"auditor\" in ask.subject.roles\n\t\"regional\" in ask.subject.roles": "word:all of them",
	} {
		if personas, _ := w.impact(opening(t, condition).Modules()); ofAccounts(personas[name]).Gained != 9 {
			t.Errorf("%s: %s is not said to gain 9 accounts", condition, name)
		}
	}
	hidden := amended(t, "territory.rego", "territory_reveals(ask", "territory(ask, _, _) if {\n\tsome action in [\"update\", \"delete\"]\n\taction == ask.action\n\t\"auditor\" in ask.subject.roles\n}\n\nterritory_reveals(ask")
	if p := func() access.PersonaImpact { all, _ := w.impact(hidden.Modules()); return all["word:auditor"] }(); !slices.Contains(p.OtherActions, crm.ActionUpdate) {
		t.Errorf("that an auditor could update is not said: %+v", p)
	}
	personas, _ := w.impact(opening(t, "ask.subject.clearance == 5").Modules())
	if e := ofAccounts(personas["persona:manager"]); e.Gained == 0 {
		t.Error("the shipped persona manager has the clearance, and the impact does not show what opens to it")
	}
}

// TestImpactSeesBehindDenials: what closes everything for a minute hides nothing
// of what a rule opens after it.
func TestImpactSeesBehindDenials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	recs := w.crowd()
	b := opening(t, `"rep" in ask.subject.roles`)
	open, _ := w.impact(b.Modules(), "rep.west@amer")
	gains := ofAccounts(open["rep.west@amer"])
	if gains.Gained == 0 || gains.Later == 0 {
		t.Fatalf("%+v", gains)
	}
	for _, r := range recs {
		w.agree(crm.Agreement{Account: r.ID, Department: "west-sales", Effect: crm.EffectWall, Reason: "r"})
	}
	shut, sum := w.impact(b.Modules(), "rep.west@amer")
	if e := ofAccounts(shut["rep.west@amer"]); e.Gained != 0 || e.Later < gains.Gained+gains.Later || sum.Largest == 0 {
		t.Errorf("behind walls: gained %d, later %d; without: %d and %d; largest share %v", e.Gained, e.Later, gains.Gained, gains.Later, sum.Largest)
	}
}

// TestImpactNamesActionsWhoseGroupsChange: a rule that changes only which fields
// may be written is no rule that changes nothing.
func TestImpactNamesActionsWhoseGroupsChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd()
	b := amended(t, "territory.rego", "territory_reveals(ask, _, _, group) if within_contract(ask, group)",
		"territory_reveals(ask, _, _, group) if {\n\twithin_contract(ask, group)\n\tnarrow(ask, group)\n}\n\nnarrow(ask, _) if ask.action != \"update\"\n\nnarrow(_, \"core\")")
	personas, _ := w.impact(b.Modules(), "rep.west@amer")
	p, differs := personas["rep.west@amer"]
	if !differs || len(p.Entities) > 0 || len(p.OtherActions) != 1 || p.OtherActions[0] != crm.ActionUpdate {
		t.Errorf("%+v", p)
	}
}
