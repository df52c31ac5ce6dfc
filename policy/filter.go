package policy

import (
	"context"
	"fmt"
	"slices"
	"strconv"

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

// opening is a ground that may open a record, with the condition on the record
// and, if the ground has facts, on one fact row.
type opening struct {
	ground
	cond expr
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
		cond, err := g.residual(ctx, g.says, shared, ask, nil)
		if err != nil {
			return Filter{}, err
		}
		switch o := (opening{g, cond}); {
		case cond == constant(false): // never for this subject
		case g.opens:
			openings = append(openings, o)
		default:
			closes = append(closes, o.over(entity, cond))
		}
	}
	var opens []expr
	for _, o := range openings {
		opens = append(opens, o.over(entity, o.cond))
	}
	f = Filter{digest: e.Digest(), stamp: s.Stamp, opens: or(opens...), closes: or(closes...), reveals: map[string]expr{}}
	for _, group := range groups {
		shown, err := e.revealed(ctx, openings, opens, entity, ask, group, shared)
		if err != nil {
			return Filter{}, err
		}
		withheld := test{shared.add(group, string(kindText)), " = any(r.withheld)"}
		f.reveals[group] = and(shown, not(withheld)) // the origin did not send the group
	}
	return f, nil
}

// revealed says on which rows one of the openings shows the group. The fact
// that opens and the fact that reveals are the same row.
func (e *Engine) revealed(ctx context.Context, openings []opening, opens []expr, entity string, ask *ast.Term, group string, shared *pool) (expr, error) {
	everywhere := len(openings) > 0
	var shown []expr
	for i, o := range openings {
		cond, err := o.residual(ctx, o.reveals, shared, ask, ast.StringTerm(group))
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

// residual is what a function of the ground says of a row that only the
// database knows.
func (g ground) residual(ctx context.Context, f function, shared *pool, ask, group *ast.Term) (expr, error) {
	in := [][2]*ast.Term{{ast.StringTerm("ask"), ask}}
	if group != nil {
		in = append(in, [2]*ast.Term{ast.StringTerm("group"), group})
	}
	pq, err := f.partial.Partial(ctx, rego.EvalParsedInput(ast.NewObject(in...)))
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

// askTerm is who asks and for what, as rules see it.
func askTerm(s crm.Subject, a crm.Action, entity string) *ast.Term {
	return object("subject", subjectTerm(s), "action", ast.StringTerm(string(a)), "entity", ast.StringTerm(entity))
}

// subjectTerm is the subject as rules see it. The reserved id of an absent
// territory, segment or department is no membership, whatever the facts say.
func subjectTerm(s crm.Subject) *ast.Term {
	relationships := make([]*ast.Term, 0, len(s.Relationships))
	for _, r := range s.Relationships {
		if r.Department != crm.Unassigned {
			relationships = append(relationships, object("department", ast.StringTerm(r.Department), "actions", texts(r.Actions)))
		}
	}
	return object(
		"id", ast.StringTerm(string(s.ID)),
		"kind", ast.StringTerm(string(s.Kind)),
		"instance", ast.StringTerm(s.Instance),
		"roles", texts(s.Roles),
		"clearance", number(s.Clearance),
		"territories", texts(assigned(s.Territories)),
		"segments", texts(assigned(s.Segments)),
		"all_segments", ast.BooleanTerm(s.AllSegments),
		"departments", texts(assigned(s.Departments)),
		"relationships", ast.ArrayTerm(relationships...),
		"keys", texts(s.Keys),
		"groups", texts(s.Groups),
		"jurisdictions", texts(s.Jurisdictions),
		"purpose", ast.StringTerm(s.Purpose),
	)
}

func assigned(ids []string) []string {
	if !slices.Contains(ids, crm.Unassigned) {
		return ids
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == crm.Unassigned })
}

func texts(ss []string) *ast.Term {
	terms := make([]*ast.Term, len(ss))
	for i, s := range ss {
		terms[i] = ast.StringTerm(s)
	}
	return ast.ArrayTerm(terms...)
}

// number is n as rules see it. ast.IntNumberTerm gives out one shared term, and
// partial evaluation writes into the terms of its input: two callers would race.
func number(n int) *ast.Term { return ast.NewTerm(ast.Number(strconv.Itoa(n))) }

// object makes an object of names and terms in turn.
func object(pairs ...any) *ast.Term {
	kvs := make([][2]*ast.Term, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		kvs = append(kvs, [2]*ast.Term{ast.StringTerm(pairs[i].(string)), pairs[i+1].(*ast.Term)})
	}
	return ast.ObjectTerm(kvs...)
}
