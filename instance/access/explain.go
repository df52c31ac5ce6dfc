package access

import (
	"context"
	"fmt"
	"strings"

	"meridian/instance/crm"
	"meridian/policy"
)

// absentToBreak is what is absent in the words of who may break the glass: the
// same whether the record is hidden or not there.
const absentToBreak = "not found; if there is such a record and reading it cannot wait, break the glass: meridian breakglass open; an officer reviews it"

// Explain says why subject (the caller if empty) may or may not do action
// (read if empty) on a record. Only who may explain anybody may ask about
// another subject or about a record they cannot read.
func (d *Door) Explain(ctx context.Context, c crm.Caller, entity string, id crm.RecordID, action crm.Action, subject crm.SubjectID) (Explanation, error) {
	def, err := d.definition(entity)
	if err != nil {
		return Explanation{}, err
	}
	if action == "" {
		action = crm.ActionRead
	}
	if subject == "" {
		subject = c.Subject
	}
	var answer policy.Decision
	var steps []Reason
	mayBreak := false
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		var err error
		if mayBreak, err = a.engine.Permit(ctx, a.subject, breakGlass); err != nil {
			return 0, err
		}
		about, rec, err := d.explicable(ctx, a, def, id, subject)
		if err != nil {
			return 0, err
		}
		facts, err := d.store.FactsAbout(ctx, id, rec.Account)
		if err != nil {
			return 0, err
		}
		stamp, now, err := d.store.Stamp(ctx)
		if err != nil {
			return 0, err
		}
		q := question{engine: a.engine, subject: about, action: action, def: def, rec: rec, facts: facts, now: now}
		if answer, err = q.decide(ctx); err != nil {
			return 0, err
		}
		steps, err = q.nextSteps(ctx, answer)
		return stamp, err
	})
	decision := a.decision("explain", def.Entity)
	if kind := crm.KindOf(err); err != nil && kind != crm.NotFound && kind != crm.Denied {
		return Explanation{}, err
	}
	if err != nil {
		decision.Allowed, decision.Refused = false, []crm.RecordID{id}
		if logErr := d.journal.add(ctx, decision); logErr != nil {
			return Explanation{}, logErr
		}
		if mayBreak && action == crm.ActionRead && subject == c.Subject && crm.KindOf(err) == crm.NotFound {
			err = crm.Errorf(crm.NotFound, "%s", absentToBreak)
		}
		return Explanation{}, err
	}
	e := Explanation{
		Allowed: answer.Allowed, Action: action, Subject: subject, Opens: reasons(answer.Opens), Closes: reasons(answer.Closes),
		Steps: steps, Revealed: answer.Revealed, Masked: answer.Masked, Withheld: answer.Withheld, Bundle: answer.Digest,
	}
	decision.Records = []crm.RecordID{id}
	for _, r := range append(e.Opens, e.Closes...) {
		decision.Reasons = append(decision.Reasons, r.Ground)
		if r.Fact != "" {
			decision.Facts = append(decision.Facts, r.Fact)
		}
	}
	return e, d.journal.add(ctx, decision)
}

// explicable is the subject an explanation is about and the governance of the
// record, if the asking caller may be told.
func (d *Door) explicable(ctx context.Context, a asking, def crm.Definition, id crm.RecordID, about crm.SubjectID) (crm.Subject, crm.Record, error) {
	everybody, err := a.engine.Permit(ctx, a.subject, "explain.any")
	if err != nil {
		return crm.Subject{}, crm.Record{}, err
	}
	subject := a.subject
	if about != a.subject.ID {
		if !everybody {
			return subject, crm.Record{}, &crm.Error{Kind: crm.Denied, Msg: "you may ask about yourself only; explain.any is for officers"}
		}
		known := false
		if subject, known, err = d.store.Subject(ctx, about); err != nil {
			return subject, crm.Record{}, err
		}
		if !known {
			return subject, crm.Record{}, crm.FieldErrorf("subject", "this instance knows no subject %q", about)
		}
	}
	rec, err := d.about(ctx, a, def, id, "explain.any")
	return subject, rec, err
}

func reasons(rs []policy.Reason) []Reason {
	out := make([]Reason, len(rs))
	for i, r := range rs {
		out[i] = Reason(r)
	}
	return out
}

// Eval is the SQL that a subject's action on an entity compiles to, with its
// bound values as text and the bundle's digest. The subject is the caller if
// empty; another one is for who may explain anybody.
func (d *Door) Eval(ctx context.Context, c crm.Caller, subject crm.SubjectID, action crm.Action, entity string) (sql string, args []string, digest string, err error) {
	def, err := d.definition(entity)
	if err != nil {
		return "", nil, "", err
	}
	permission := "schema.read"
	if subject == "" {
		subject = c.Subject
	}
	if subject != c.Subject {
		permission = "explain.any"
	}
	a, err := d.permit(ctx, c, permission)
	if err != nil {
		return "", nil, "", err
	}
	if action == "" {
		action = crm.ActionRead
	}
	q := enquiry{Subject: a.subject, action: action}
	if subject != c.Subject {
		if q, err = d.enquire(ctx, subject, action, entity, nil); err != nil {
			return "", nil, "", err
		}
	}
	f, err := a.engine.Filter(ctx, q.Subject, q.action, def.Entity, def.Groups())
	if err != nil {
		return "", nil, "", err
	}
	var bound policy.Args
	text := &strings.Builder{}
	if text.WriteString("where "); q.home != "" {
		fmt.Fprintf(text, "r.home = %s and ", bound.Add(q.home, "text"))
	}
	text.WriteString(f.Where(&bound))
	for _, g := range def.Groups() {
		fmt.Fprintf(text, "\n-- group %s is shown where %s", g, f.Reveals(g, &bound))
	}
	for _, v := range bound.Values() {
		args = append(args, fmt.Sprint(v))
	}
	return text.String(), args, f.Digest(), nil
}
