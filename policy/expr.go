package policy

import (
	"slices"
	"strings"
)

// expr is a boolean SQL expression before its parameters are numbered. The
// constructors fold constants, so that what cannot hold for a subject costs the
// database nothing.
type expr interface{ sql(a *Args) string }

// constant is true or false.
type constant bool

func (c constant) sql(*Args) string {
	if c {
		return "true"
	}
	return "false"
}

// param is a value bound when a statement is put together. Values never become
// SQL text.
type param struct {
	value any
	cast  string
}

// pool holds the parameters of one filter, so that a list of two thousand
// territories that three grounds look at is bound once.
type pool struct{ params []*param }

func (p *pool) add(value any, cast string) *param {
	for _, old := range p.params {
		if old.cast == cast && sameValue(old.value, value) {
			return old
		}
	}
	n := &param{value, cast}
	p.params = append(p.params, n)
	return n
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case []string:
		b, ok := b.([]string)
		return ok && slices.Equal(a, b)
	case []int64:
		b, ok := b.([]int64)
		return ok && slices.Equal(a, b)
	}
	return a == b
}

// clock is the place of the time in a test.
type clock struct{}

// test is one comparison: SQL text around parameters and the time.
type test []any // string, *param, among or clock

func (t test) sql(a *Args) string {
	var b strings.Builder
	for _, part := range t {
		switch p := part.(type) {
		case string:
			b.WriteString(p)
		case *param:
			b.WriteString(a.param(p))
		case among:
			b.WriteString(p.sql(a))
		case clock:
			b.WriteString(a.now())
		}
	}
	return b.String()
}

// junction joins terms by "and" or "or".
type junction struct {
	op    string
	terms []expr
}

func (j junction) sql(a *Args) string { return a.once(j.render) }

func (j junction) render(a *Args) string {
	parts := make([]string, len(j.terms))
	for i, t := range j.terms {
		parts[i] = t.sql(a)
	}
	return "(" + strings.Join(parts, " "+j.op+" ") + ")"
}

// negation holds unless its term does; what SQL cannot tell counts as not held.
type negation struct{ term expr }

func (n negation) sql(a *Args) string {
	s := n.term.sql(a)
	if _, ok := n.term.(junction); !ok {
		s = "(" + s + ")"
	}
	return "(" + s + " is not true)"
}

// exists holds if a recorded fact about the row satisfies cond. There is exactly
// one fact row in cond: this is the only place that quantifies facts.
type exists struct {
	facts *facts
	on    string // correlation of a fact with the row
	cond  expr
}

func (e exists) sql(a *Args) string { return a.once(e.render) }

func (e exists) render(a *Args) string {
	from := e.facts.from
	if a.flips != nil && e.facts == factTables["grant"] {
		from = a.flips.from(e.facts, a)
	}
	return "exists (select from " + from + " where " + e.on + " and " + a.recording() + " and " + e.cond.sql(a) + ")"
}

func and(terms ...expr) expr { return join("and", constant(true), terms) }

// maxFactored bounds the alternatives that or compares with each other.
const maxFactored = 12

// or also factors out what a few alternatives share, (a and b) or (a and c) to
// a and (b or c): the database estimates a list of two thousand territories
// once, and one branch of a UNION does for both.
func or(terms ...expr) expr {
	e := join("or", constant(false), terms)
	j, ok := e.(junction)
	if !ok || j.op != "or" || len(j.terms) > maxFactored {
		return e
	}
	for i, a := range j.terms {
		for k, b := range j.terms[:i] {
			shared, restA, restB := common(a, b)
			if len(shared) == 0 {
				continue
			}
			rest := slices.Delete(slices.Clone(j.terms), i, i+1)
			rest[k] = and(append(shared, or(and(restB...), and(restA...)))...)
			return or(rest...)
		}
	}
	return e
}

// common splits two conjunctions into what they share and what they do not.
func common(a, b expr) (shared, restA, restB []expr) {
	x, ok1 := a.(junction)
	y, ok2 := b.(junction)
	if !ok1 || !ok2 || x.op != "and" || y.op != "and" {
		return nil, nil, nil
	}
	for _, t := range x.terms {
		if slices.ContainsFunc(y.terms, func(o expr) bool { return same(o, t) }) {
			shared = append(shared, t)
		} else {
			restA = append(restA, t)
		}
	}
	for _, t := range y.terms {
		if !slices.ContainsFunc(shared, func(o expr) bool { return same(o, t) }) {
			restB = append(restB, t)
		}
	}
	return shared, restA, restB
}

// join folds terms: neutral and repeated ones disappear, and the opposite of
// neutral decides alone.
func join(op string, neutral constant, terms []expr) expr {
	var kept []expr
	keep := func(t expr) {
		if !slices.ContainsFunc(kept, func(k expr) bool { return same(k, t) }) {
			kept = append(kept, t)
		}
	}
	for _, t := range terms {
		switch t := t.(type) {
		case constant:
			if t != neutral {
				return t
			}
		case junction:
			if t.op != op {
				keep(t)
				continue
			}
			for _, inner := range t.terms {
				keep(inner)
			}
		default:
			keep(t)
		}
	}
	switch len(kept) {
	case 0:
		return neutral
	case 1:
		return kept[0]
	}
	return junction{op, kept}
}

// same reports whether two expressions of one filter are the same SQL; its
// parameters are shared, so comparing their addresses is enough.
func same(a, b expr) bool {
	switch a := a.(type) {
	case test:
		b, ok := b.(test)
		return ok && slices.Equal(a, b)
	case junction:
		b, ok := b.(junction)
		return ok && a.op == b.op && slices.EqualFunc(a.terms, b.terms, same)
	case negation:
		b, ok := b.(negation)
		return ok && same(a.term, b.term)
	case exists:
		b, ok := b.(exists)
		return ok && a.facts == b.facts && a.on == b.on && same(a.cond, b.cond)
	}
	return a == b
}

func not(t expr) expr {
	if c, ok := t.(constant); ok {
		return !c
	}
	return negation{t}
}

// assuming is x on rows on which everything known holds.
func assuming(x expr, known []expr) expr {
	if slices.ContainsFunc(known, func(k expr) bool { return same(k, x) }) {
		return constant(true)
	}
	switch x := x.(type) {
	case negation:
		return not(assuming(x.term, known))
	case junction:
		terms := make([]expr, len(x.terms))
		for i, t := range x.terms {
			terms[i] = assuming(t, known)
		}
		return join(x.op, constant(x.op == "and"), terms)
	}
	return x
}

// anyFact holds if one recorded fact about the row satisfies cond. A fact may
// name the row by several keys; each has an exists of its own, so that the
// database can use an index or a hash for each.
func anyFact(f *facts, entity string, cond expr) expr {
	if cond == constant(false) {
		return cond
	}
	var terms []expr
	for _, on := range f.on(entity) {
		terms = append(terms, exists{f, on, cond})
	}
	return or(terms...)
}
