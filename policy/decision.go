package policy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// Facts are the facts about one record that are recorded now (not superseded),
// as known values. Whether one is in force rules read from its dates; those
// about other records are ignored.
type Facts struct {
	Agreements []crm.Agreement
	Grants     []crm.Grant
}

// Reason is one ground that applied, with the fact behind it.
type Reason struct{ Ground, Fact, Text string }

// Decision is the answer about one known record.
type Decision struct {
	Allowed                    bool
	Opens, Closes              []Reason
	Revealed, Masked, Withheld []string // each field group is in one of them; all are withheld unless Allowed
	Bounds                     []Reason // which groups rules show and a contract does not grant
	Digest                     string   // of the bundle that decided
}

// Explain decides about one known record, with reasons, by the same functions
// that filters are made of. All of the record's field values are needed,
// whoever may see them.
func (e *Engine) Explain(ctx context.Context, s crm.Subject, a crm.Action, rec crm.Record, f Facts, now time.Time, groups []string) (d Decision, err error) {
	err = e.inquire(ctx, s, a, rec, f, now, func(ctx context.Context, q *inquiry) (err error) {
		d, err = q.explain(ctx, groups)
		return err
	})
	if err != nil {
		return Decision{}, err
	}
	return d, nil
}

// Allows is whether Explain would allow it. It stops at the first ground that
// opens and at the first that closes.
func (e *Engine) Allows(ctx context.Context, s crm.Subject, a crm.Action, rec crm.Record, f Facts, now time.Time) (allowed bool, err error) {
	err = e.inquire(ctx, s, a, rec, f, now, func(ctx context.Context, q *inquiry) (err error) {
		allowed, err = q.allows(ctx)
		return err
	})
	return allowed && err == nil, err
}

// inquiry is one question about one known record.
type inquiry struct {
	*asked
	in    input
	now   time.Time
	about map[*facts][]fact
	rec   crm.Record
	stops []Reason // what closes it whatever the rules say
}

// inquire asks a question within the limits of every evaluation: a panic or an
// interruption is no answer, and an alarm.
func (e *Engine) inquire(ctx context.Context, s crm.Subject, a crm.Action, rec crm.Record, f Facts, now time.Time, answer func(context.Context, *inquiry) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			err = e.failed(ctx, a, rec.Entity, err)
		}
	}()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	within, done := context.WithTimeout(ctx, evaluateAtMost)
	defer done()
	record, err := e.recordTerm(rec)
	if err != nil {
		return err
	}
	p := e.people.person(s)
	q := &inquiry{now: now, asked: e.asked(p.subject, a, rec.Entity), about: f.about(rec), rec: rec, stops: anyhowReasons(p.subject, rec, now)}
	q.in = input{ask: q.askTerm(p.term()), record: record, now: instant(now)}
	return answer(within, q)
}

func (q *inquiry) explain(ctx context.Context, groups []string) (Decision, error) {
	d := Decision{Digest: q.engine.Digest()}
	shown := map[string]bool{} // by group; false for masked
	for _, g := range q.engine.grounds {
		for _, row := range q.rows(g) {
			applies, err := q.holds(ctx, g.says, row, "")
			if err != nil {
				return Decision{}, &groundError{g.name, err}
			}
			if !applies {
				continue
			}
			reason := Reason{Ground: g.name, Fact: row.id, Text: g.text}
			if !g.opens {
				d.Closes = append(d.Closes, reason)
				continue
			}
			d.Opens = append(d.Opens, reason)
			if err := q.show(ctx, g, row, groups, shown); err != nil {
				return Decision{}, &groundError{g.name, err}
			}
		}
	}
	d.Closes = append(d.Closes, q.stops...)
	d.Allowed = len(d.Opens) > 0 && len(d.Closes) == 0
	for _, group := range groups { // in the entity's order
		whole, some := shown[group]
		if d.Allowed && some && !q.grants(group) { // I16
			d.Bounds = append(d.Bounds, notGranted(group))
			some = false
		}
		switch {
		case !d.Allowed || !some || slices.Contains(q.rec.Governed.Withheld, group):
			d.Withheld = append(d.Withheld, group)
		case whole:
			d.Revealed = append(d.Revealed, group)
		default:
			d.Masked = append(d.Masked, group)
		}
	}
	return d, nil
}

func (q *inquiry) allows(ctx context.Context) (bool, error) {
	if len(q.stops) > 0 {
		return false, nil
	}
	opened := false
	for _, g := range q.engine.grounds { // those that open come first
		switch {
		case g.opens && opened:
			continue
		case !g.opens && !opened:
			return false, nil
		}
		for _, row := range q.rows(g) {
			applies, err := q.holds(ctx, g.says, row, "")
			if err != nil {
				return false, &groundError{g.name, err}
			}
			if applies && !g.opens {
				return false, nil
			}
			if opened = opened || applies; applies {
				break
			}
		}
	}
	return opened, nil
}

// rows are the facts that a ground is asked about, one by one.
func (q *inquiry) rows(g ground) []fact {
	if g.facts != nil {
		return q.about[g.facts]
	}
	var rows []fact
	for _, k := range q.facts(g) {
		if to, dated := k.values["valid_to"].(time.Time); dated && !q.now.Before(to) {
			continue
		}
		rows = append(rows, fact{id: k.id, known: k})
	}
	return rows
}

// show notes which groups an applying ground shows, whole or masked.
func (q *inquiry) show(ctx context.Context, g ground, row fact, groups []string, shown map[string]bool) error {
	for _, group := range groups {
		if shown[group] {
			continue
		}
		whole, err := q.holds(ctx, g.reveals, row, group)
		if err != nil {
			return err
		}
		if whole {
			shown[group] = true
			continue
		}
		if _, masked := shown[group]; masked || !q.masking() || g.masks == nil {
			continue
		}
		masked, err := q.holds(ctx, g.masks, row, group)
		if err != nil {
			return err
		}
		if masked {
			shown[group] = false
		}
	}
	return nil
}

// holds evaluates a function on known rows, unless it says the same of every
// row.
func (q *inquiry) holds(ctx context.Context, f *function, row fact, group string) (bool, error) {
	if pq, err := q.partial(ctx, f, row.known, group); err == nil {
		if always, never := outcome(pq); always || never {
			return always, nil
		}
	}
	in := q.in
	if group != "" {
		in.group = ast.StringTerm(group)
	}
	if in.fact = row.row; row.known.values != nil {
		in.fact = objectTerm(row.known.values)
	}
	rs, err := f.eval.Eval(ctx, rego.EvalParsedInput(in.object()))
	if err = interrupted(ctx, err); err != nil {
		return false, fmt.Errorf("evaluate: %w", err)
	}
	return yes(rs), nil
}

// Permit says whether s holds a service-level permission, one that is not about
// a record.
func (e *Engine) Permit(ctx context.Context, s crm.Subject, permission string) (ok bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			ok, err = false, e.failed(ctx, "permit", "", err)
		}
	}()
	within, done := context.WithTimeout(ctx, evaluateAtMost)
	defer done()
	in := object("subject", subjectTerm(s), "permission", ast.StringTerm(permission))
	rs, err := e.permit.Eval(within, rego.EvalParsedInput(in.Value))
	if err = interrupted(within, err); err != nil {
		return false, err
	}
	return yes(rs), nil
}

func yes(rs rego.ResultSet) bool {
	return len(rs) == 1 && len(rs[0].Expressions) == 1 && rs[0].Expressions[0].Value == true
}
