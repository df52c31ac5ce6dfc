package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/policy"
)

// limited is the shipped policy with its limits edited.
func limited(t *testing.T, edits ...string) *policy.Engine {
	t.Helper()
	modules := policy.Embedded().Modules()
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(modules["limits.rego"], edits[i]) {
			t.Fatalf("no %q in limits.rego", edits[i])
		}
		modules["limits.rego"] = strings.Replace(modules["limits.rego"], edits[i], edits[i+1], 1)
	}
	b, err := policy.NewBundle(modules)
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.New(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestLimitsAskedAtOnce: what MayWithin answers for many is what MayJudge,
// MayEdit and MayBreak answer one by one, under random limits.
func TestLimitsAskedAtOnce(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	first := limited(t)
	people := []crm.Subject{
		{ID: "rep@amer", Kind: crm.KindPerson, Roles: []string{"rep"}}, {ID: "loader@amer", Kind: crm.KindService, Roles: []string{"loader"}},
		{ID: "manager@amer", Kind: crm.KindPerson, Roles: []string{"manager"}},
	}
	for range 4 {
		e := limited(t, "longest_days\": 365", fmt.Sprintf("longest_days\": %d", 30+r.IntN(4000)), "longest_minutes\": 60", fmt.Sprintf("longest_minutes\": %d", 1+r.IntN(9000)),
			"\"reason\": 10", fmt.Sprintf("\"reason\": %d", r.IntN(40)), "judgement_beyond(limit, giver, _) if {\n\tlimit == \"person\"", "judgement_beyond(limit, giver, grant) if {\n\tlimit == \"person\"\n\tgrant.days > 2")
		if r.IntN(2) == 0 {
			e = limited(t, "\"officer\" in grant.roles", fmt.Sprintf("%q in grant.roles\n\t%q in giver.roles", []string{"rep", "manager"}[r.IntN(2)], []string{"rep", "manager"}[r.IntN(2)]), "judgement_beyond(limit, _, grant) if {\n\tlimit == \"officer\"", "judgement_beyond(limit, giver, grant) if {\n\tlimit == \"officer\"")
		}
		cases := policy.LimitCases(first, e, []string{"core", "personal"}, []string{"rep", "manager", "officer"})
		for _, s := range people {
			answers, err := e.MayWithin(t.Context(), s, cases)
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range cases {
				for j, at := range c.At {
					if r.IntN(25) > 0 { // one by one it takes long
						continue
					}
					if one := alone(t, e, s, c, at); one != answers[i][j] {
						t.Errorf("%s, %s at %v %s: at once %v, alone %v", s.ID, c.Name, at, c.Unit, answers[i][j], one)
					}
				}
			}
		}
	}
}

// alone asks for one value of a case as the product does.
func alone(t *testing.T, e *policy.Engine, s crm.Subject, c policy.LimitCase, at float64) bool {
	t.Helper()
	words := strings.Fields(c.Name)
	last := words[len(words)-1]
	switch words[0] {
	case "share", "withhold":
		j := policy.Judgement{Kind: crm.GrantKind(words[0]), Lasts: time.Duration(at * float64(24*time.Hour)), Own: last == "oneself"}
		if j.Kind == crm.GrantShare {
			j.Groups = []string{"core"}
		}
		switch {
		case strings.Contains(c.Name, "group"):
			j.Groups = []string{last}
		case strings.Contains(c.Name, " role "):
			j.Roles = []string{last}
		}
		return e.MayJudge(t.Context(), s, j) == nil
	case "edit":
		about := crm.SubjectID("")
		switch last {
		case "oneself":
			about = s.ID
		case "else":
			about = "somebody@else"
		}
		return e.MayEdit(t.Context(), s, words[4], about) == nil
	}
	o := policy.Opening{Lasts: time.Minute, Reason: strings.Repeat("x", 2000)}
	switch c.Unit {
	case "minutes":
		o.Lasts = time.Duration(at * float64(time.Minute))
	case "characters":
		o.Reason = strings.Repeat("x", int(at))
	case "held open already":
		o.Open = int(at)
	default:
		o.Day = int(at)
	}
	return e.MayBreak(t.Context(), s, o) == nil
}

// TestLimitsAreSaid puts the shipped limits in words, and says nothing of a
// policy that has none but that it refuses.
func TestLimitsAreSaid(t *testing.T) {
	t.Parallel()
	e := limited(t)
	cases := policy.LimitCases(e, e, []string{"core", "personal"}, []string{"rep", "officer"})
	said := func(e *policy.Engine, s crm.Subject) map[string]string {
		answers, err := e.MayWithin(t.Context(), s, cases)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for i, c := range cases {
			out[c.Name+c.Unit] = c.Say(answers[i])
		}
		return out
	}
	rep := said(e, crm.Subject{ID: "rep@amer", Kind: crm.KindPerson, Roles: []string{"rep"}})
	for name, want := range map[string]string{
		"sharedays": "up to 365 days", "withhold from role repdays": "up to 365 days", "withhold from role officerdays": "refused", "share with oneselfdays": "refused",
		"edit facts of kind subject about oneself": "refused", "edit facts of kind subject about somebody else": "allowed", "edit facts of kind territory": "allowed",
		"broken glassminutes": "up to 60 minutes", "reason of a broken glasscharacters": "from 10 characters", "another broken glassheld open already": "up to 4 held open already",
		"another broken glassopened that day already": "up to 19 opened that day already",
	} {
		if rep[name] != want {
			t.Errorf("%s: %q, want %q", name, rep[name], want)
		}
	}
	modules := policy.Embedded().Modules()
	delete(modules, "limits.rego")
	delete(modules, "limits_test.rego")
	b, err := policy.NewBundle(modules)
	if err != nil {
		t.Fatal(err)
	}
	none, err := policy.New(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range said(none, crm.Subject{ID: "rep@amer", Kind: crm.KindPerson, Roles: []string{"rep"}}) {
		if got != "refused" {
			t.Errorf("without limits, %s: %s", name, got)
		}
	}
}
