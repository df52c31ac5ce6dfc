package policy

import (
	"context"
	"time"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
)

// asked is one question that a filter answers: what may a subject's action
// reach in an entity.
type asked struct {
	engine  *Engine
	entity  string
	action  crm.Action
	who     crm.Subject
	subject map[string]any // by the names that rules use
	areas   []known
	pool    *pool
}

// known is a fact that is known when a filter is made, by the names that rules
// use; its values are nil for no fact.
type known struct {
	id     string
	values map[string]any
}

func (e *Engine) asked(s crm.Subject, a crm.Action, entity string) *asked {
	return &asked{engine: e, entity: entity, action: a, who: s, subject: subjectValues(s), areas: areaValues(s), pool: &pool{}}
}

// masking reports whether groups may be shown masked at all. What is written,
// and what leaves for another instance, is whole or absent.
func (q *asked) masking() bool {
	return q.action == crm.ActionRead && q.who.Kind != crm.KindInstance
}

// facts are those that a ground is asked about one by one; a ground whose facts
// only the database knows, or that has none, is asked once without.
func (q *asked) facts(g ground) []known {
	if g.areas {
		return q.areas
	}
	return []known{{}}
}

// opening is a ground that may open a record, for one fact where facts are
// known.
type opening struct {
	ground
	fact known
	cond expr // on the record and, if only the database knows the ground's facts, on one fact row
	over expr // cond over all such rows
}

// over quantifies the facts of a condition that only the database knows. A fact
// that came with the subject counts until it ends, whoever keeps the subject.
func (q *asked) over(g ground, fact known, cond expr) expr {
	if to, dated := fact.values["valid_to"].(time.Time); dated {
		return and(cond, test{clock{}, " < ", q.pool.add(to.UTC().Truncate(time.Microsecond), string(kindTime))})
	}
	if g.facts == nil {
		return cond
	}
	return anyFact(g.facts, q.entity, cond)
}

// shown says on which rows one of the openings shows a group, by the function
// that which picks. The fact that opens and the fact that shows are the same.
func (q *asked) shown(ctx context.Context, openings []opening, group string, which func(ground) *function) (expr, error) {
	everywhere := len(openings) > 0
	var shown []expr
	for _, o := range openings {
		f := which(o.ground)
		if f == nil {
			everywhere = false
			continue
		}
		cond, err := q.residual(ctx, o.ground, f, o.fact, group)
		switch {
		case err != nil:
			return nil, err
		case cond == constant(true):
			shown = append(shown, o.over)
		default:
			everywhere = false
			shown = append(shown, q.over(o.ground, o.fact, and(o.cond, cond)))
		}
	}
	if everywhere { // whatever opens the row shows the group
		return constant(true), nil
	}
	return or(shown...), nil
}

// residual is what a function of the ground says of a row that only the
// database knows.
func (q *asked) residual(ctx context.Context, g ground, f *function, fact known, group string) (expr, error) {
	pq, err := q.partial(ctx, f, fact, group)
	if err != nil {
		return nil, &groundError{g.name, err}
	}
	t := newTranslator(g.facts, q.entity, q.engine.fields[q.entity], q.pool)
	t.having = q.engine.having
	t.standsFor = func(path string) any { return q.value(path, fact, group) }
	t.turns = fact.turns()
	x, err := t.translate(pq)
	if err != nil {
		return nil, &groundError{g.name, err}
	}
	return x, nil
}

// interrupted is err, or that the evaluation was cut short. OPA drops errors
// under `not`, cancellation among them: half an evaluation could say more than
// the whole.
func interrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// input is what a ground's functions are called with, as far as it is known.
type input struct{ ask, record, fact, now, group *ast.Term }

func (in input) object() ast.Object {
	pairs := make([][2]*ast.Term, 0, 5)
	for _, part := range []struct {
		name  string
		value *ast.Term
	}{{"ask", in.ask}, {"record", in.record}, {"fact", in.fact}, {"now", in.now}, {"group", in.group}} {
		if part.value != nil {
			pairs = append(pairs, [2]*ast.Term{ast.StringTerm(part.name), part.value})
		}
	}
	return ast.NewObject(pairs...)
}

// askTerm is who asks and for what.
func (q *asked) askTerm(subject *ast.Term) *ast.Term {
	return object("subject", subject, "action", ast.StringTerm(string(q.action)), "entity", ast.StringTerm(q.entity))
}
