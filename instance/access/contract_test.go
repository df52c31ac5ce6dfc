package access_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// leaking is the shipped bundle with a ground that shows other instances
// everything, and a test for it.
func leaking(t testing.TB) *policy.Bundle {
	t.Helper()
	files := policy.Embedded().Modules()
	files["grounds.rego"] = strings.Replace(files["grounds.rego"], "grounds := {\n", "grounds := {\n\t\"leak\": {\"effect\": \"opens\", \"text\": \"t\"},\n", 1)
	files["leak.rego"] = "package meridian.rules\n\nleak(ask, _, _) if {\n\tpermitted(ask)\n\task.subject.kind == \"instance\"\n}\n\nleak_reveals(_, _, _, _) := true\n"
	files["leak_test.rego"] = "package meridian.leak_test\n\nimport data.meridian.rules\nimport data.meridian.rules_test as cases\n\n" +
		"test_leak if {\n\trules.leak(cases.ask(cases.emea, \"publish\"), cases.record, cases.now)\n\trules.leak_reveals(cases.ask(cases.emea, \"publish\"), cases.record, cases.now, \"personal\")\n}\n"
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestContractBoundsWhatPolicyShows: what leaves, and what officers are told of
// it, ends where the contract does (I16), and whoever proposes rules that would
// show more is told.
func TestContractBoundsWhatPolicyShows(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	bank := o.account("CA", "Financials")
	contract := crm.SubjectID("contract:amer-finserv-account")
	report, err := o.door.Examine(t.Context(), o.called("a"), leaking(t).Modules())
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{string(contract), "persona another instance"} {
		want := "the rules would show " + who + " the groups commercial, personal, which its contract does not grant"
		if !slices.ContainsFunc(report.Warnings, func(w string) bool { return strings.HasPrefix(w, want) }) {
			t.Errorf("warnings %q, want one of %s", report.Warnings, who)
		}
	}
	if plain, err := o.door.Examine(t.Context(), o.called("a"), amended(t, "residency.rego", "package", "# Of residency.\npackage").Modules()); err != nil ||
		slices.ContainsFunc(plain.Warnings, func(w string) bool { return strings.Contains(w, "contract") }) {
		t.Errorf("the shipped rules exceed a contract: %q, %v", plain.Warnings, err)
	}

	o.put(leaking(t))
	var out []access.Projection
	err = o.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		out, err = o.door.Project(ctx, tx, crm.Contract{ID: "amer-finserv-account", Entity: "account"}, []crm.RecordID{bank.ID})
		return err
	})
	if err != nil || !out[0].InScope || !slices.Equal(out[0].Record.Withheld, []string{"commercial", "personal"}) || len(out[0].Record.Masked) > 0 {
		t.Errorf("published as %+v, %v", out, err)
	}
	viewers, err := o.door.WhoSees(t.Context(), o.called("a"), "account", string(bank.ID))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(viewers, func(v access.Viewer) bool { return v.Subject == contract })
	if at < 0 || !slices.Equal(viewers[at].Revealed, []string{"core"}) || len(viewers[at].Bounds) != 2 || viewers[at].Bounds[1].Text != "the contract does not grant the group personal" {
		t.Errorf("viewers %+v", viewers)
	}
}
