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
}

func newProjection(t *table, f policy.Filter, args *policy.Args) *projection {
	return &projection{t: t, f: f, args: args, reveals: map[string]string{}}
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

// revealed selects, for every group in order, whether the row shows it.
func (p *projection) revealed() string {
	var b strings.Builder
	for _, g := range p.t.groups {
		b.WriteString(", (" + p.reveal(g) + ") is true")
	}
	return b.String()
}

// field finds a field or governance column by name: its column, and the reveal
// predicate of its group.
func (p *projection) field(name string) (column, string, error) {
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
			return c, "true", nil
		}
		reveal := p.reveal(c.field.Group)
		if reveal == "false" {
			e := crm.Errorf(crm.Denied, "is withheld from you on every record; leave it out of filter and sort")
			e.Field = name
			return c, "", e
		}
		return c, reveal, nil
	}
	return column{}, "", crm.FieldErrorf(name, "%s has no such field", p.t.def.Entity)
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
		col, reveal, err := p.field(c.Field)
		if err != nil {
			return "", err
		}
		there := shown(reveal, "r."+col.sql+" is not null")
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
	col, reveal, err := p.field(c.Field)
	if err != nil {
		return "", err
	}
	texts := make([]string, 0, len(c.Values))
	for _, v := range c.Values {
		s, err := operand(col, v)
		if err != nil {
			return "", err
		}
		texts = append(texts, s)
	}
	test := "r." + col.sql + " = any(" + p.args.Add(texts, "text[]") + "::" + col.pg + "[])"
	if negated {
		test = "not " + test
	}
	return shown(reveal, test), nil
}

// operators are the comparisons and what becomes of them under not.
var operators = map[string]string{"=": "<>", "!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}

func (p *projection) compare(c crm.Compare, negated bool) (string, error) {
	col, reveal, err := p.field(c.Field)
	if err != nil {
		return "", err
	}
	if c.Op == "contains" {
		return p.contains(col, reveal, c.Value, negated)
	}
	op, ok := operators[c.Op]
	if !ok || col.field.Type == crm.TypeList {
		return "", crm.FieldErrorf(c.Field, "cannot be compared with %s", c.Op)
	}
	if !negated {
		op = c.Op
	}
	if op == "!=" {
		op = "<>"
	}
	s, err := operand(col, c.Value)
	if err != nil {
		return "", err
	}
	return shown(reveal, "r."+col.sql+" "+op+" "+p.args.Add(s, col.pg)), nil
}

func (p *projection) contains(col column, reveal string, v crm.Value, negated bool) (string, error) {
	if v.Type() != crm.TypeString {
		return "", crm.FieldErrorf(col.name, "contains takes a text")
	}
	var test string
	switch col.field.Type {
	case crm.TypeString:
		test = "strpos(lower(r." + col.sql + "), lower(" + p.args.Add(v.Text(), "text") + ")) > 0"
	case crm.TypeList:
		test = "r." + col.sql + " @> " + p.args.Add([]string{v.Text()}, "text[]")
	default:
		return "", crm.FieldErrorf(col.name, "contains is for text, the field is a %s", col.field.Type)
	}
	if negated {
		test = "not " + test
	}
	return shown(reveal, test), nil
}

// shown is test where the row reveals the field.
func shown(reveal, test string) string {
	if reveal == "true" {
		return "(" + test + ")"
	}
	return "(" + test + " and " + reveal + ")"
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
