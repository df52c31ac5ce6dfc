package store

import (
	"strings"

	"meridian/instance/crm"
	"meridian/policy"
)

// projection is a table as a filter's owner sees it: conditions and orders are
// built on what would be shown, so that nobody learns a withheld value by
// asking about it. All SQL is over the alias r.
type projection struct {
	t       *table
	f       policy.Filter
	args    *policy.Args
	reveals map[string]string // group -> boolean SQL
	masks   map[string]string
	whole   *projection // in one branch of a union: the whole it is of
}

func newProjection(t *table, f policy.Filter, args *policy.Args) *projection {
	return &projection{t: t, f: f, args: args, reveals: map[string]string{}, masks: map[string]string{}}
}

// reveal is the boolean SQL that says whether a row shows the group.
func (p *projection) reveal(group string) string {
	sql, ok := p.reveals[group]
	if !ok {
		sql = p.f.Reveals(group, p.args)
		p.reveals[group] = sql
	}
	return sql
}

// mask is the boolean SQL that says whether a row shows the group masked, where
// it does not reveal it.
func (p *projection) mask(group string) string {
	sql, ok := p.masks[group]
	if !ok {
		sql = "false"
		if p.reveal(group) != "true" {
			sql = p.f.Masks(group, p.args)
		}
		p.masks[group] = sql
	}
	return sql
}

// field finds a field or governance column by name, and how it is shown.
func (p *projection) field(name string) (sight, error) {
	for i, c := range p.t.columns {
		if c.name != name {
			continue
		}
		if i < len(governance) {
			f, ok := crm.GovernanceField(name)
			if !ok {
				break
			}
			c.field = f
		}
		s := p.sight(c)
		if p.whole != nil { // one answer, whatever a branch knows
			if _, err := p.whole.field(name); err != nil {
				return s, err
			}
		} else if s.reveal == "false" && s.mask == "false" {
			e := crm.Errorf(crm.Denied, "is withheld from you on every record; leave it out")
			e.Field = name
			return s, e
		}
		return s, nil
	}
	return sight{}, crm.FieldErrorf(name, "%s has no such field", p.t.def.Entity)
}

// condition is c as SQL that is true or not; negations sit at the leaves, where
// a withheld value is treated like an absent one.
func (p *projection) condition(c crm.Condition, negated bool) (string, error) {
	switch c := c.(type) {
	case crm.And:
		return p.join(c, negated, !negated)
	case crm.Or:
		return p.join(c, negated, negated)
	case crm.Not:
		return p.condition(c.Of, !negated)
	case crm.IsNull:
		of, err := p.field(c.Field)
		if err != nil {
			return "", err
		}
		there := of.where(func(v string) string { return v + " is not null" })
		if negated {
			return there, nil
		}
		return "((" + there + ") is not true)", nil
	case crm.In:
		return p.in(c, negated)
	case crm.Compare:
		return p.compare(c, negated)
	}
	return "", crm.Errorf(crm.Invalid, "the filter has a condition of an unknown form")
}

// join is the conditions under and, or under or.
func (p *projection) join(cs []crm.Condition, negated, and bool) (string, error) {
	if len(cs) == 0 {
		if and {
			return "true", nil
		}
		return "false", nil
	}
	parts := make([]string, len(cs))
	for i, c := range cs {
		sql, err := p.condition(c, negated)
		if err != nil {
			return "", err
		}
		parts[i] = sql
	}
	if and {
		return "(" + strings.Join(parts, " and ") + ")", nil
	}
	return "(" + strings.Join(parts, " or ") + ")", nil
}

func (p *projection) in(c crm.In, negated bool) (string, error) {
	of, err := p.field(c.Field)
	if err != nil {
		return "", err
	}
	texts := make([]string, 0, len(c.Values))
	for _, v := range c.Values {
		s, err := operand(of.col, v)
		if err != nil {
			return "", err
		}
		texts = append(texts, s)
	}
	list := p.args.Add(texts, "text[]") + "::" + of.col.pg + "[]"
	return of.where(func(v string) string {
		if negated {
			return "not " + v + " = any(" + list + ")"
		}
		return v + " = any(" + list + ")"
	}), nil
}

// operators are the comparisons and what becomes of them under not.
var operators = map[string]string{"=": "<>", "!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}

func (p *projection) compare(c crm.Compare, negated bool) (string, error) {
	of, err := p.field(c.Field)
	if err != nil {
		return "", err
	}
	if c.Op == "contains" {
		return p.contains(of, c.Value, negated)
	}
	op, ok := operators[c.Op]
	if !ok || of.col.field.Type == crm.TypeList {
		return "", crm.FieldErrorf(c.Field, "cannot be compared with %s", c.Op)
	}
	if !negated {
		op = c.Op
	}
	if op == "!=" {
		op = "<>"
	}
	s, err := operand(of.col, c.Value)
	if err != nil {
		return "", err
	}
	with := " " + op + " " + p.args.Add(s, of.col.pg)
	return of.where(func(v string) string { return v + with }), nil
}

func (p *projection) contains(of sight, v crm.Value, negated bool) (string, error) {
	if v.Type() != crm.TypeString {
		return "", crm.FieldErrorf(of.col.name, "contains takes a text")
	}
	before, after := "", ""
	switch of.col.field.Type {
	case crm.TypeString:
		before, after = "strpos(lower(", "), lower("+p.args.Add(v.Text(), "text")+")) > 0"
	case crm.TypeList:
		after = " @> " + p.args.Add([]string{v.Text()}, "text[]")
	default:
		return "", crm.FieldErrorf(of.col.name, "contains is for text, the field is a %s", of.col.field.Type)
	}
	if negated {
		before = "not " + before
	}
	return of.where(func(v string) string { return before + v + after }), nil
}

// operand is a value to compare with col, as text.
func operand(col column, v crm.Value) (string, error) {
	col.field.Indexed, col.field.Unique = false, false // its length matters only where it is stored
	s, err := col.text(v)
	if err != nil {
		return "", err
	}
	if s == nil {
		return "", crm.FieldErrorf(col.name, "is compared with null; ask whether it is null")
	}
	return *s, nil
}
