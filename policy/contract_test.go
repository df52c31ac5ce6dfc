package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store/schema"
	"meridian/policy"
)

// leaking is the shipped bundle with a ground that opens and reveals everything
// to other instances, and without the rule of residency.
func leaking(t *testing.T) *policy.Engine {
	t.Helper()
	files := policy.Embedded().Modules()
	files["grounds.rego"] = strings.Replace(files["grounds.rego"], "grounds := {\n", "grounds := {\n\t\"leak\": {\"effect\": \"opens\", \"text\": \"t\"},\n", 1)
	files["leak.rego"] = "package meridian.rules\n\nleak(ask, _, _) if {\n\tpermitted(ask)\n\task.subject.kind == \"instance\"\n}\n\nleak_reveals(_, _, _, _) := true\n\nleak_masks(_, _, _, _) := true\n"
	files["residency.rego"] = "package meridian.rules\n\nresidency(ask, _, _) if {\n\task.action == \"publish\"\n\task.entity == \"nothing\"\n}\n"
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.New(t.Context(), b, schema.Common()...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// I16: no bundle lets more leave than the contract names.
func TestNoPolicyLiftsAContract(t *testing.T) {
	t.Parallel()
	e := leaking(t)
	now := noon
	const id crm.RecordID = "018f0000-0000-7000-8000-000000000001"
	american := crm.Governed{Home: "amer", Territory: "US-NY", Segment: "Energy", Department: crm.Unassigned, Owner: crm.Unassigned, Account: id, Jurisdiction: "US"}
	japanese := american
	japanese.Jurisdiction = "JP"
	signed := emea
	signed.From, signed.To = now.Add(-time.Hour), now.Add(time.Hour)
	all := signed
	all.Jurisdictions, all.Groups = []string{"*"}, groupNames
	nothing := signed
	nothing.Jurisdictions, nothing.Groups = nil, nil
	over, ahead := signed, signed
	over.To, ahead.From = now, now.Add(time.Microsecond)
	reading := rep
	reading.Groups, reading.Jurisdictions, reading.To = nil, nil, time.Time{} // a person has no contract

	for _, c := range []struct {
		name     string
		s        crm.Subject
		a        crm.Action
		of       crm.Governed
		revealed []string // nil for not allowed at all
		says     []string
	}{
		{"groups of the contract", signed, crm.ActionPublish, american, []string{"core"}, []string{"the contract does not grant the group commercial", "the contract does not grant the group personal"}},
		{"a contract of everything", all, crm.ActionPublish, japanese, groupNames, nil},
		{"another jurisdiction", signed, crm.ActionPublish, japanese, nil, []string{"the contract does not grant data of the record's jurisdiction"}},
		{"no jurisdiction", nothing, crm.ActionPublish, american, nil, []string{"the contract does not grant data of the record's jurisdiction"}},
		{"a contract that is over", over, crm.ActionPublish, american, nil, []string{"the contract is not in force"}},
		{"a contract to come", ahead, crm.ActionPublish, american, nil, []string{"the contract is not in force"}},
		{"a contract without dates", emea, crm.ActionPublish, american, nil, []string{"the contract is not in force"}},
		{"a person", reading, crm.ActionRead, func() crm.Governed { g := american; g.Territory, g.Segment = "US-CA", "Financials"; return g }(), groupNames, nil},
	} {
		rec := crm.Record{Entity: "contact", ID: id, Governed: c.of}
		d, err := e.Explain(t.Context(), c.s, c.a, rec, policy.Facts{}, now, groupNames)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var said []string
		for _, r := range append(d.Closes, d.Bounds...) {
			if r.Ground == "contract" {
				said = append(said, r.Text)
			}
		}
		if d.Allowed != (c.revealed != nil) || !slices.Equal(d.Revealed, c.revealed) || len(d.Masked) > 0 || !slices.Equal(said, c.says) {
			t.Errorf("%s: %+v, said %q", c.name, d, said)
		}
		if allowed, err := e.Allows(t.Context(), c.s, c.a, rec, policy.Facts{}, now); err != nil || allowed != d.Allowed {
			t.Errorf("%s: allows says %v, %v", c.name, allowed, err)
		}
		f, err := e.Filter(t.Context(), c.s, c.a, "contact", groupNames)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, g := range groupNames {
			granted := c.s.Kind != crm.KindInstance || slices.Contains(c.s.Groups, g)
			if reveals := f.Reveals(g, &policy.Args{}); (reveals == "false") == granted || f.Masks(g, &policy.Args{}) != "false" {
				t.Errorf("%s: group %s is shown where %s, masked where %s", c.name, g, reveals, f.Masks(g, &policy.Args{}))
			}
		}
		if c.s.Kind != crm.KindInstance {
			continue
		}
		grounds, err := e.ByGround(t.Context(), c.s, c.a, "contact")
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, g := range append(grounds, policy.GroundFilter{Filter: f}) {
			where := g.Filter.Where(&policy.Args{})
			bounded := strings.Contains(where, "statement_timestamp() <") && (slices.Contains(c.s.Jurisdictions, "*") || strings.Contains(where, "r.jurisdiction"))
			if where != "false" && !bounded {
				t.Errorf("%s: ground %q alone opens %s", c.name, g.Ground, where)
			}
		}
	}
}
