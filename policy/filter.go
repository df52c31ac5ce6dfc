package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// Filter is what a subject's action may reach in one entity, as SQL over the
// record alias r. Only this package can make one; the zero value shows nothing.
type Filter struct {
	digest  string
	stamp   int64
	opens   expr // must hold; nil in the zero value
	closes  expr // and must not
	reveals map[string]expr
	masks   map[string]expr // nil but for reading by people and services
}

// Stamp is the access stamp the filter was made under.
func (f Filter) Stamp() int64 { return f.stamp }

// Digest names the bundle the filter was made from.
func (f Filter) Digest() string { return f.digest }

// Where is the boolean SQL that a row must satisfy.
func (f Filter) Where(a *Args) string { return f.where().sql(a) }

func (f Filter) where() expr {
	if f.opens == nil || f.closes == nil {
		return constant(false)
	}
	return and(f.opens, not(f.closes))
}

// Reveals is the boolean SQL that says whether a field group may be shown on a
// row that satisfies Where; it means nothing on other rows. It is "false" for
// an unknown group.
func (f Filter) Reveals(group string, a *Args) string {
	e, ok := f.reveals[group]
	if !ok {
		return constant(false).sql(a)
	}
	return e.sql(a)
}

// Masks is the boolean SQL that says whether a field group may be shown masked
// on a row that satisfies Where and does not satisfy Reveals of the group; it
// means nothing on other rows. It is "false" for an unknown group.
func (f Filter) Masks(group string, a *Args) string {
	e, ok := f.masks[group]
	if !ok {
		return constant(false).sql(a)
	}
	return e.sql(a)
}

// Branches are the alternatives of Where one by one, for a UNION in which each
// can use an index of its own: a row is reached if it satisfies one of include
// and (exclude) is not true. Without include nothing is reached.
func (f Filter) Branches(a *Args) (include []string, exclude string) {
	if f.where() == constant(false) {
		return nil, "true"
	}
	alternatives := []expr{f.opens}
	if j, ok := alternatives[0].(junction); ok && j.op == "or" {
		alternatives = j.terms
	}
	for _, x := range alternatives {
		include = append(include, x.sql(a))
	}
	return include, f.closes.sql(a)
}

// Same reports whether two filters are the same SQL with the same values: they
// show the same rows, groups and masks, whatever the records and facts are.
func (f Filter) Same(o Filter) bool {
	text := func(f Filter) (sql []string, values []any) {
		var a Args
		sql = append(sql, f.Where(&a))
		for _, shown := range []map[string]expr{f.reveals, f.masks} {
			for _, g := range slices.Sorted(maps.Keys(shown)) {
				sql = append(sql, g, shown[g].sql(&a))
			}
		}
		return sql, a.Values()
	}
	sql, values := text(f)
	otherSQL, otherValues := text(o)
	return slices.Equal(sql, otherSQL) && slices.EqualFunc(values, otherValues, sameValue)
}

// Filter is what s may do a to in entity; groups are the entity's field
// groups. It is cached by bundle, subject, action, entity and groups.
// An error means no access: nothing may be shown.
func (e *Engine) Filter(ctx context.Context, s crm.Subject, a crm.Action, entity string, groups []string) (Filter, error) {
	key := keyOf(s, a, entity, groups)
	if f, ok := e.cache.get(key); ok {
		f.stamp = s.Stamp
		return f, nil
	}
	f, err := e.filter(ctx, s, a, entity, groups)
	if err != nil {
		return Filter{}, crm.Errorf(crm.Internal, "policy %.12s, %s %s: %w", e.Digest(), a, entity, err)
	}
	e.cache.put(key, f)
	return f, nil
}

// opening is a ground that may open a record, for one fact where facts are
// known, with the condition on the record and, if only the database knows the
// ground's facts, on one fact row.
type opening struct {
	ground
	fact *ast.Term // nil unless the ground's facts are known
	cond expr
}

// known are the facts that a ground is asked about one by one; a ground whose
// facts only the database knows, or that has none, is asked once without.
func (g ground) known(s crm.Subject) []fact {
	if !g.areas {
		return []fact{{}}
	}
	return areaFacts(s)
}

func (o opening) over(entity string, cond expr) expr {
	if o.facts == nil {
		return cond
	}
	return anyFact(o.facts, entity, cond)
}

func (e *Engine) filter(ctx context.Context, s crm.Subject, a crm.Action, entity string, groups []string) (f Filter, err error) {
	defer func() {
		if p := recover(); p != nil { // a panic in OPA is no approval
			f, err = Filter{}, fmt.Errorf("panic: %v", p)
		}
	}()
	ask := askTerm(s, a, entity)
	var openings []opening
	var closes []expr
	shared := &pool{}
	for _, g := range e.grounds {
		for _, known := range g.known(s) {
			cond, err := g.residual(ctx, g.says, shared, input{ask: ask, fact: known.row})
			if err != nil {
				return Filter{}, err
			}
			switch o := (opening{g, known.row, cond}); {
			case cond == constant(false): // never for this subject
			case g.opens:
				openings = append(openings, o)
			default:
				closes = append(closes, o.over(entity, cond))
			}
		}
	}
	var opens []expr
	for _, o := range openings {
		opens = append(opens, o.over(entity, o.cond))
	}
	f = Filter{digest: e.Digest(), stamp: s.Stamp, opens: or(opens...), closes: or(closes...), reveals: map[string]expr{}, masks: map[string]expr{}}
	for _, group := range groups {
		withheld := test{shared.add(group, string(kindText)), " = any(r.withheld)"} // the origin did not send the group
		in := input{ask: ask, group: ast.StringTerm(group)}
		shown, err := showing(ctx, openings, opens, entity, in, func(g ground) *function { return g.reveals }, shared)
		if err != nil {
			return Filter{}, err
		}
		f.reveals[group] = and(shown, not(withheld))
		if !masking(s, a) {
			continue
		}
		if shown, err = showing(ctx, openings, opens, entity, in, func(g ground) *function { return g.masks }, shared); err != nil {
			return Filter{}, err
		}
		f.masks[group] = and(shown, not(withheld))
	}
	return f, nil
}

// masking reports whether groups may be shown masked at all. What is written,
// and what leaves for another instance, is whole or absent.
func masking(s crm.Subject, a crm.Action) bool {
	return a == crm.ActionRead && s.Kind != crm.KindInstance
}

// showing says on which rows one of the openings shows a group, by the function
// that which picks. The fact that opens and the fact that shows are the same.
func showing(ctx context.Context, openings []opening, opens []expr, entity string, in input, which func(ground) *function, shared *pool) (expr, error) {
	everywhere := len(openings) > 0
	var shown []expr
	for i, o := range openings {
		f := which(o.ground)
		if f == nil {
			everywhere = false
			continue
		}
		in.fact = o.fact
		cond, err := o.residual(ctx, f, shared, in)
		switch {
		case err != nil:
			return nil, err
		case cond == constant(true):
			shown = append(shown, opens[i])
		default:
			everywhere = false
			shown = append(shown, o.over(entity, and(o.cond, cond)))
		}
	}
	if everywhere { // whatever opens the row shows the group
		return constant(true), nil
	}
	return or(shown...), nil
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

// residual is what a function of the ground says of a row that only the
// database knows.
func (g ground) residual(ctx context.Context, f *function, shared *pool, in input) (expr, error) {
	pq, err := f.partial.Partial(ctx, rego.EvalParsedInput(in.object()))
	if err = interrupted(ctx, err); err != nil {
		return nil, fmt.Errorf("ground %s: %w", g.name, err)
	}
	x, err := newTranslator(g.facts, shared).translate(pq)
	if err != nil {
		return nil, fmt.Errorf("ground %s does not translate: %w", g.name, err)
	}
	return x, nil
}

// interrupted is err, or that the evaluation was cut short. OPA drops errors
// under `not`, cancellation among them: half an evaluation could say more than
// the whole.
func interrupted(ctx context.Context, err error) error {
	if err == nil {
		return context.Cause(ctx)
	}
	return err
}
