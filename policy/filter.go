package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meridian/instance/crm"
)

// Filter is what a subject's action may reach in one entity, as SQL over the
// record alias r. Only this package can make one; the zero value shows nothing.
type Filter struct {
	digest  string
	stamp   int64
	opens   expr // must hold; nil in the zero value
	closes  expr // and must not
	lasting expr // the part of closes that neither a fact nor a denial makes,
	passing expr // and the part that they make: they end
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
// and unclosed. Without include nothing is reached. In unclosed every closing
// fact is sought by itself, so that the database can join those facts away
// instead of asking for each row.
func (f Filter) Branches(a *Args) (include []string, unclosed string) {
	if f.where() == constant(false) {
		return nil, "false"
	}
	for _, x := range f.alternatives() {
		include = append(include, x.sql(a))
	}
	closes := []expr{f.closes}
	if j, ok := f.closes.(junction); ok && j.op == "or" {
		closes = j.terms
	}
	parts := make([]string, len(closes))
	for i, c := range closes {
		if e, ok := c.(exists); ok { // never null
			parts[i] = "not " + e.sql(a)
		} else {
			parts[i] = not(c).sql(a)
		}
	}
	return include, strings.Join(parts, " and ")
}

// Lasting is the filter were it not for walls, withholdings and denials, which
// all end.
func (f Filter) Lasting() Filter {
	if f.opens != nil && f.lasting != nil {
		f.closes, f.passing = f.lasting, constant(false)
	}
	return f
}

// Behind are the rows that Lasting shows and the filter does not, as conditions
// of which one holds: each looks for one kind of wall, withholding or denial.
func (f Filter) Behind(a *Args) (conditions []string) {
	if f.opens == nil || f.passing == nil {
		return nil
	}
	for _, x := range alternatives(f.passing) {
		if behind := and(x, f.opens, not(f.lasting)); behind != constant(false) {
			conditions = append(conditions, behind.sql(a))
		}
	}
	return conditions
}

// Branch is the filter on the rows that alternative i of Branches reaches: what
// it opens with is known there, and need not be asked again to say which field
// groups are shown.
func (f Filter) Branch(i int) Filter {
	known := []expr{f.alternatives()[i]}
	if j, ok := known[0].(junction); ok && j.op == "and" {
		known = append(known, j.terms...)
	}
	given := func(shown map[string]expr) map[string]expr {
		out := make(map[string]expr, len(shown))
		for group, x := range shown {
			out[group] = assuming(x, known)
		}
		return out
	}
	f.reveals, f.masks = given(f.reveals), given(f.masks)
	return f
}

func (f Filter) alternatives() []expr {
	if j, ok := f.opens.(junction); ok && j.op == "or" {
		return j.terms
	}
	return []expr{f.opens}
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
	p, q := e.people.person(s), questionOf(a, entity, groups)
	f, ok := p.filter(q)
	if !ok {
		var err error
		if f, err = e.filter(ctx, p.subject, a, entity, groups); err != nil {
			return Filter{}, e.failed(ctx, a, entity, err)
		}
		p.keep(q, f)
	}
	f.stamp = s.Stamp
	return f, nil
}

func (e *Engine) filter(ctx context.Context, s crm.Subject, a crm.Action, entity string, groups []string) (Filter, error) {
	return e.asked(s, a, entity).bounded(ctx, groups)
}

// bounded makes the filter within the limits of every evaluation.
func (q *asked) bounded(ctx context.Context, groups []string) (f Filter, err error) {
	defer func() {
		if p := recover(); p != nil { // a panic in OPA is no approval
			f, err = Filter{}, fmt.Errorf("panic: %v", p)
		}
	}()
	if err := context.Cause(ctx); err != nil {
		return Filter{}, err
	}
	ctx, done := context.WithTimeout(ctx, evaluateAtMost)
	defer done()
	return q.filter(ctx, groups)
}

func (q *asked) filter(ctx context.Context, groups []string) (f Filter, err error) {
	var openings []opening
	var opens, lasting, passing []expr
	for _, g := range q.engine.grounds {
		for _, fact := range q.facts(g) {
			cond, err := q.residual(ctx, g, g.says, fact, "")
			if err != nil {
				return Filter{}, err
			}
			over := q.over(g, fact, cond)
			switch {
			case cond == constant(false): // never for this subject
			case g.opens:
				openings, opens = append(openings, opening{g, fact, cond, over}), append(opens, over)
			default:
				if g.facts == nil && !g.areas {
					lasting = append(lasting, over)
				} else {
					passing = append(passing, over)
				}
			}
		}
	}
	passing = append(passing, denied(q.who.Denials, q.pool)...)
	lasting = append(lasting, beyond(q.who, q.pool)...)
	f = Filter{digest: q.engine.Digest(), stamp: q.who.Stamp, opens: or(opens...), closes: or(slices.Concat(passing, lasting)...), lasting: or(lasting...), passing: or(passing...),
		reveals: map[string]expr{}, masks: map[string]expr{}}
	for _, group := range groups {
		if !q.grants(group) { // I16: whatever the rules show
			f.reveals[group] = constant(false)
			continue
		}
		withheld := test{q.pool.add(group, string(kindText)), " = any(r.withheld)"} // the origin did not send the group
		shown, err := q.shown(ctx, openings, group, func(g ground) *function { return g.reveals })
		if err != nil {
			return Filter{}, err
		}
		f.reveals[group] = and(shown, not(withheld))
		if !q.masking() {
			continue
		}
		if shown, err = q.shown(ctx, openings, group, func(g ground) *function { return g.masks }); err != nil {
			return Filter{}, err
		}
		f.masks[group] = and(shown, not(withheld))
	}
	return f, nil
}
