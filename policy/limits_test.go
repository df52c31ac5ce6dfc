package policy_test

import (
	"errors"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/policy"
)

// TestLimits: what the shipped limits refuse and let pass, and that a bundle
// without limits refuses everything.
func TestLimits(t *testing.T) {
	e, err := policy.New(t.Context(), policy.Embedded())
	if err != nil {
		t.Fatal(err)
	}
	usual, longest, err := e.Judgements(t.Context())
	if err != nil || usual != 30*24*time.Hour || longest != 365*24*time.Hour {
		t.Fatal(usual, longest, err)
	}
	rep := crm.Subject{ID: "rep@amer", Kind: crm.KindPerson, Roles: []string{"rep"}}
	share := policy.Judgement{Kind: crm.GrantShare, Lasts: usual, Groups: []string{"core"}, Roles: []string{"reader", "officer"}}
	change := func(f func(*policy.Judgement)) policy.Judgement { j := share; f(&j); return j }
	for name, tc := range map[string]struct {
		giver crm.Subject
		j     policy.Judgement
		field string
		ok    bool
	}{
		"share":                       {rep, share, "", true},
		"for as long as may be":       {rep, change(func(j *policy.Judgement) { j.Lasts = longest }), "", true},
		"a moment too long":           {rep, change(func(j *policy.Judgement) { j.Lasts = longest + time.Minute }), "to", false},
		"withhold from an officer":    {rep, change(func(j *policy.Judgement) { j.Kind = crm.GrantWithhold }), "with", false},
		"withhold from colleagues":    {rep, change(func(j *policy.Judgement) { j.Kind, j.Roles = crm.GrantWithhold, []string{"reader"} }), "", true},
		"share with oneself":          {rep, change(func(j *policy.Judgement) { j.Own = true }), "with", false},
		"a service":                   {crm.Subject{ID: "loader@amer", Kind: crm.KindService, Roles: []string{"rep"}}, share, "", false},
		"whoever has no roles at all": {rep, change(func(j *policy.Judgement) { j.Roles = nil }), "", true},
	} {
		err := e.MayJudge(t.Context(), tc.giver, tc.j)
		if tc.ok {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		refused, ok := errors.AsType[*crm.Error](err)
		if !ok || refused.Kind != crm.Denied || refused.Field != tc.field || len(refused.Reasons) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	officer := crm.Subject{ID: "officer.a@amer", Kind: crm.KindPerson, Roles: []string{"officer"}}
	if err := e.MayEdit(t.Context(), officer, "assignment", "rep@amer"); err != nil {
		t.Error(err)
	}
	if err := e.MayEdit(t.Context(), officer, "territory", ""); err != nil {
		t.Error(err)
	}
	if err := e.MayEdit(t.Context(), officer, "subject", officer.ID); crm.KindOf(err) != crm.Denied {
		t.Errorf("about oneself: %v", err)
	}

	modules := policy.Embedded().Modules()
	delete(modules, "limits.rego")
	delete(modules, "limits_test.rego")
	b, err := policy.NewBundle(modules)
	if err != nil {
		t.Fatal(err)
	}
	silent, err := policy.New(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := silent.Judgements(t.Context()); crm.KindOf(err) != crm.Denied {
		t.Errorf("without limits: %v", err)
	}
	if err := silent.MayJudge(t.Context(), rep, share); crm.KindOf(err) != crm.Denied {
		t.Errorf("without limits: %v", err)
	}
	if err := silent.MayEdit(t.Context(), officer, "territory", ""); crm.KindOf(err) != crm.Denied {
		t.Errorf("without limits: %v", err)
	}
}
