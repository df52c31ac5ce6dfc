package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/policy"
)

// question is one that Explain answers: may subject do action on rec, given
// facts.
type question struct {
	engine  *policy.Engine
	subject crm.Subject
	action  crm.Action
	def     crm.Definition
	rec     crm.Record
	facts   policy.Facts
	now     time.Time
}

func (q question) decide(ctx context.Context) (policy.Decision, error) {
	return q.engine.Explain(ctx, q.subject, q.action, q.rec, q.facts, q.now, q.def.Groups())
}

func (q question) allowed(ctx context.Context) (bool, error) {
	return q.engine.Allows(ctx, q.subject, q.action, q.rec, q.facts, q.now)
}

// nextSteps says what would lawfully let the subject do it. Nothing here knows
// the rules: every step is put to the policy as if it were taken, and named
// only if policy then says yes. What closes the record is listed first; the
// steps that open it are tried as if that were gone.
func (q question) nextSteps(ctx context.Context, d policy.Decision) (steps []Reason, err error) {
	if d.Allowed {
		return nil, nil
	}
	for _, c := range d.Closes {
		steps = append(steps, Reason{Ground: c.Ground, Fact: c.Fact, Text: q.lifted(c)})
	}
	lifted := q.without(d.Closes)
	if len(d.Opens) > 0 {
		return steps, nil
	}
	for _, try := range []func(question) (question, Reason, bool){
		question.reinstated, question.placed, question.agreed, question.shared,
	} {
		asIf, step, sensible := try(lifted)
		if !sensible {
			continue
		}
		allowed, err := asIf.allowed(ctx)
		if err != nil {
			return nil, err
		}
		if allowed {
			steps = append(steps, step)
		}
	}
	if len(steps) == len(d.Closes) {
		steps = append(steps, Reason{Ground: "role", Text: fmt.Sprintf("nothing opens this to the roles %s for %s; ask the operator for another role",
			orNobody(q.subject.Roles), q.action)})
	}
	if len(d.Closes) > 0 { // an emergency is the weaker
		return steps, nil
	}
	asIf, step := q.broken()
	opened, err := asIf.allowed(ctx)
	if opened {
		steps = append(steps, step)
	}
	return steps, err
}

// lifted is how what closes a record could end.
func (q question) lifted(c policy.Reason) string {
	for _, g := range q.facts.Grants {
		if g.ID == c.Fact {
			return fmt.Sprintf("ask %s or an officer to end the judgement", g.By)
		}
	}
	for _, a := range q.facts.Agreements {
		if a.ID == c.Fact {
			return fmt.Sprintf("ask an officer to end the wall on department %s", a.Department)
		}
	}
	for _, a := range q.subject.Areas {
		if a.ID == c.Fact {
			return fmt.Sprintf("ask an officer to end the wall of an area on department %s", a.Department)
		}
	}
	return "no person can lift this: " + c.Text
}

// without is the question as if the facts that close were gone.
func (q question) without(closes []policy.Reason) question {
	closing := func(id string) bool {
		return slices.ContainsFunc(closes, func(c policy.Reason) bool { return c.Fact == id })
	}
	q.subject.Areas = slices.DeleteFunc(slices.Clone(q.subject.Areas), func(a crm.Area) bool { return closing(a.ID) })
	q.facts = policy.Facts{
		Agreements: slices.DeleteFunc(slices.Clone(q.facts.Agreements), func(a crm.Agreement) bool { return closing(a.ID) }),
		Grants:     slices.DeleteFunc(slices.Clone(q.facts.Grants), func(g crm.Grant) bool { return closing(g.ID) }),
	}
	return q
}

// reinstated: a share that reaches the subject waits for review.
func (q question) reinstated() (question, Reason, bool) {
	q.facts.Grants = slices.Clone(q.facts.Grants)
	for i, g := range q.facts.Grants {
		if g.Suspended && g.Kind == crm.GrantShare && slices.Contains(q.subject.Keys, g.Key) {
			q.facts.Grants[i].Suspended = false
			return q, Reason{Ground: "share", Fact: g.ID, Text: fmt.Sprintf("the share by %s is suspended; ask an officer to review it", g.By)}, true
		}
	}
	return q, Reason{}, false
}

// placed: the subject lacks the territory, the segment or the clearance.
func (q question) placed() (question, Reason, bool) {
	var lacks []string
	s, g := q.subject, q.rec.Governed
	if g.Territory == crm.Unassigned {
		return q, Reason{}, false // a place first: nobody is assigned to none
	}
	if !slices.Contains(s.Territories, g.Territory) {
		s.Territories = append(slices.Clone(s.Territories), g.Territory)
		lacks = append(lacks, "territory "+g.Territory+" is not assigned")
	}
	switch {
	case g.Segment == crm.Unassigned && !s.AllSegments:
		s.AllSegments = true
		lacks = append(lacks, "the record has no segment yet; only who is assigned to all segments sees it")
	case g.Segment != crm.Unassigned && !slices.Contains(s.Segments, g.Segment):
		s.Segments = append(slices.Clone(s.Segments), g.Segment)
		lacks = append(lacks, "segment "+g.Segment+" is not assigned")
	}
	if s.Clearance < g.Sensitivity {
		s.Clearance = g.Sensitivity
		lacks = append(lacks, fmt.Sprintf("clearance %d is needed", g.Sensitivity))
	}
	q.subject = s
	return q, Reason{Ground: "territory", Text: strings.Join(lacks, "; ") + ": ask an officer for the assignment"}, len(lacks) > 0
}

// agreed: an agreement could open the account to the subject's department.
func (q question) agreed() (question, Reason, bool) {
	if len(q.subject.Departments) == 0 {
		return q, Reason{}, false
	}
	department := q.subject.Departments[0]
	q.facts.Agreements = append(slices.Clone(q.facts.Agreements), crm.Agreement{
		ID: "as-if", Account: q.rec.Account, Department: department, Effect: crm.EffectOpen,
		Actions: agreedActions, From: q.now, To: crm.Forever,
	})
	return q, Reason{Ground: "agreement", Text: fmt.Sprintf("an agreement that opens the account to department %s for %s: ask an officer", department, q.action)}, true
}

// shared: somebody who sees the record could share it.
func (q question) shared() (question, Reason, bool) {
	q.facts.Grants = append(slices.Clone(q.facts.Grants), crm.Grant{
		ID: "as-if", Entity: q.def.Entity, Record: q.rec.ID, Kind: crm.GrantShare, Key: "s:" + string(q.subject.ID), From: q.now, To: crm.Forever,
	})
	giver := "a colleague who sees it"
	if owner := q.rec.Owner; owner != "" && owner != crm.Unassigned && owner != string(q.subject.ID) {
		giver = "its owner " + owner
	}
	return q, Reason{Ground: "share", Text: "ask " + giver + " for a share"}, true
}

// broken: the subject could break the glass.
func (q question) broken() (question, Reason) {
	q.facts.Grants = append(slices.Clone(q.facts.Grants), crm.Grant{
		ID: "as-if", Entity: q.def.Entity, Record: q.rec.ID, Kind: crm.GrantEmergency, Key: "s:" + string(q.subject.ID), By: q.subject.ID,
		From: q.now, To: q.now.Add(time.Minute),
	})
	return q, Reason{Ground: "emergency", Text: "if it cannot wait, break the glass: meridian breakglass open; an officer reviews it"}
}

func orNobody(roles []string) string {
	if len(roles) == 0 {
		return "(none)"
	}
	return strings.Join(roles, ", ")
}
