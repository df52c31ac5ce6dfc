package policy

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Apart lists conditions on a row, as SQL: on every row that the two filters
// might treat differently one of them holds. Without any the filters show the
// same rows and groups. b and a are the arguments of one statement, at the
// moments that before and after are asked about.
func Apart(before, after Filter, b, a *Args) []string {
	d := &apart{b: b, a: a}
	d.terms(alternatives(before.opened()), alternatives(after.opened()))
	d.terms(alternatives(before.closed()), alternatives(after.closed()))
	for _, shown := range [][2]map[string]expr{{before.reveals, after.reveals}, {before.masks, after.masks}} {
		groups := map[string]expr{}
		maps.Copy(groups, shown[0])
		maps.Copy(groups, shown[1])
		for _, group := range slices.Sorted(maps.Keys(groups)) {
			d.groups(after, orNothing(shown[0][group]), orNothing(shown[1][group]))
		}
	}
	var found []string
	for _, c := range d.found {
		if sql := c.sql(c.at); !slices.Contains(found, sql) {
			found = append(found, sql)
		}
	}
	if b.flips != a.flips { // what both sides say of judgements is compared without them
		for _, at := range []*Args{b, a} {
			if at.flips != nil && (before.judged() || after.judged()) {
				found = append(found, at.flips.about(at)...)
			}
		}
	}
	// What looks at no fact comes first: it is cheap, and often decides alone.
	slices.SortStableFunc(found, func(a, b string) int { return cmp.Compare(strings.Count(a, "exists ("), strings.Count(b, "exists (")) })
	return found
}

// opened and closed are the filter's parts, for the zero Filter those of one
// that shows nothing.
func (f Filter) opened() expr { return orNothing(f.opens) }
func (f Filter) closed() expr { return orNothing(f.closes) }

// judged reports whether judgements have a say in the filter.
func (f Filter) judged() bool {
	all := append(slices.Collect(maps.Values(f.reveals)), slices.Collect(maps.Values(f.masks))...)
	return slices.ContainsFunc(append(all, f.where()), func(x expr) bool {
		return strings.Contains(x.sql(&Args{}), factTables["grant"].from)
	})
}

func orNothing(x expr) expr {
	if x == nil {
		return constant(false)
	}
	return x
}

type apart struct {
	b, a  *Args
	found []condition
}

// condition is an expression at its moment.
type condition struct {
	expr
	at *Args
}

// terms adds the alternatives that only one side has. Where none of them
// holds, both sides say what those they share say.
func (d *apart) terms(before, after []expr) {
	for _, x := range before {
		if !slices.ContainsFunc(after, func(y expr) bool { return d.equal(x, y) }) {
			d.add(condition{x, d.b})
		}
	}
	for _, y := range after {
		if !slices.ContainsFunc(before, func(x expr) bool { return d.equal(x, y) }) {
			d.add(condition{y, d.a})
		}
	}
}

// groups compares on which rows that both show a field group is shown.
func (d *apart) groups(after Filter, x, y expr) {
	xs, ys := conjuncts(x), conjuncts(y)
	restX := slices.DeleteFunc(slices.Clone(xs), func(x expr) bool { return slices.ContainsFunc(ys, func(y expr) bool { return d.equal(x, y) }) })
	restY := slices.DeleteFunc(slices.Clone(ys), func(y expr) bool { return slices.ContainsFunc(xs, func(x expr) bool { return d.equal(x, y) }) })
	switch {
	case len(restX) == 0 && len(restY) == 0:
	case len(restX) == 0 || len(restY) == 0:
		// One shows the group wherever the record is seen: what the other keeps
		// back has no condition of its own. Whatever both see is looked at.
		d.terms(nil, alternatives(after.opened()))
	default:
		d.terms(alternatives(and(restX...)), alternatives(and(restY...)))
	}
}

// add takes a condition, unless it holds only where one of those found does:
// what a fact reveals is looked for where it opens.
func (d *apart) add(c condition) {
	if c.expr != constant(false) && !slices.ContainsFunc(d.found, c.implies) {
		d.found = append(d.found, c)
	}
}

// implies reports whether it is plain from their form that o holds wherever c
// does.
func (c condition) implies(o condition) bool {
	of := func(x expr) condition { return condition{x, c.at} }
	if c.equal(o) {
		return true
	}
	if y, ok := o.expr.(junction); ok {
		each := func(x expr) bool { return c.implies(condition{x, o.at}) }
		if y.op == "or" && slices.ContainsFunc(y.terms, each) || y.op == "and" && !slices.ContainsFunc(y.terms, func(x expr) bool { return !each(x) }) {
			return true
		}
	}
	switch x := c.expr.(type) {
	case junction:
		each := func(x expr) bool { return of(x).implies(o) }
		if x.op == "or" {
			return !slices.ContainsFunc(x.terms, func(x expr) bool { return !each(x) })
		}
		return slices.ContainsFunc(x.terms, each)
	case exists: // one fact row that satisfies more satisfies less
		y, ok := o.expr.(exists)
		anyX, anyY := x, y
		anyX.cond, anyY.cond = constant(true), constant(true)
		return ok && of(anyX).equal(condition{anyY, o.at}) && of(x.cond).implies(condition{y.cond, o.at})
	}
	return false
}

// equal reports whether two expressions, each at its moment, are the same SQL
// with the same values.
func (c condition) equal(o condition) bool {
	b, a := c.at.afresh(), o.at.afresh()
	return c.sql(b) == o.sql(a) && reflect.DeepEqual(b.Values(), a.Values())
}

func (d *apart) equal(x, y expr) bool { return condition{x, d.b}.equal(condition{y, d.a}) }

func alternatives(x expr) []expr {
	if j, ok := x.(junction); ok && j.op == "or" {
		return j.terms
	}
	return []expr{x}
}

func conjuncts(x expr) []expr {
	switch x := x.(type) {
	case junction:
		if x.op == "and" {
			return x.terms
		}
	case constant:
		if x {
			return nil
		}
	}
	return []expr{x}
}
