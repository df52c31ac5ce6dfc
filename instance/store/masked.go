package store

import (
	"strings"

	"meridian/instance/crm"
)

// maskedSQL is crm.Mask.Of in SQL: what is left of the column in the text
// column, which may stand several times in it. It is exact, so no powers and
// logarithms, which round.
func (c column) maskedSQL(column string) string {
	put := func(sql string) string { return strings.ReplaceAll(sql, "@", column) }
	switch {
	case c.field.Mask == crm.MaskLastFour:
		return put("case when length(@) < 8 then '••••' else '••••' || right(@, 4) end")
	case c.field.Mask == crm.MaskYear && c.field.Type == crm.TypeDate:
		return put("date_trunc('year', @::timestamp)::date")
	case c.field.Mask == crm.MaskYear:
		return put("date_trunc('year', @, 'UTC')")
	case c.field.Mask == crm.MaskBand:
		return put("(case when @ = 0 then 0 when abs(@::numeric) >= 1 then sign(@::numeric) * ('1' || repeat('0', length(trunc(abs(@::numeric))::text) - 1))::numeric" +
			" else sign(@::numeric) * (substring(abs(@::numeric)::text from '^0\\.0*') || '1')::numeric end)::" + c.pg)
	}
	return ""
}

// sight is what is shown of a column: its own value where reveal holds, what
// its mask leaves where mask does, and nothing elsewhere. Mask is "false" for a
// column of which nothing would be left.
type sight struct {
	col          column
	reveal, mask string
}

// sql is the projected value.
func (s sight) sql() string {
	plain := "r." + s.col.sql
	switch {
	case s.reveal == "true":
		return plain
	case s.mask == "false":
		return "(case when " + s.reveal + " then " + plain + " end)"
	}
	return "(case when " + s.reveal + " then " + plain + " when " + s.mask + " then " + s.col.maskedSQL(plain) + " end)"
}

// where is a test of the projected value that is not true where nothing is
// shown. On the revealed values it stays a test of the bare column, which an
// index can answer.
func (s sight) where(test func(value string) string) string {
	plain := "r." + s.col.sql
	if s.reveal == "true" {
		return "(" + test(plain) + ")"
	}
	open := "(" + test(plain) + " and " + s.reveal + ")"
	if s.mask == "false" {
		return open
	}
	return "(" + open + " or (" + test(s.col.maskedSQL(plain)) + " and " + s.mask + " and (" + s.reveal + ") is not true))"
}

// showing says how a row shows its groups, scanned anew for each row.
type showing struct {
	groups       []string
	reveal, mask []bool
	masks        []bool // of groups that are masked on some rows
}

// targets are scan targets for what shown selects.
func (s *showing) targets() []any {
	ts := pointers(s.reveal)
	for i := range s.mask {
		if s.masks[i] {
			ts = append(ts, &s.mask[i])
		}
	}
	return ts
}

// of says how a row shows a group.
func (s *showing) of(group string) (reveal, mask bool) {
	if s == nil {
		return true, false
	}
	for i, g := range s.groups {
		if g == group {
			return s.reveal[i], s.mask[i] && !s.reveal[i]
		}
	}
	return false, false
}

// shown selects, for every group in order, whether the row reveals it, and
// then, for those that are masked on some rows, whether it masks it.
func (p *projection) shown() (string, *showing) {
	var reveals, masks strings.Builder
	s := p.showing()
	for i, g := range p.t.groups {
		reveals.WriteString(", (" + p.reveal(g) + ") is true")
		if s.masks[i] {
			masks.WriteString(", (" + p.mask(g) + ") is true")
		}
	}
	return reveals.String() + masks.String(), s
}

func (p *projection) showing() *showing {
	n := len(p.t.groups)
	s := &showing{groups: p.t.groups, reveal: make([]bool, n), mask: make([]bool, n), masks: make([]bool, n)}
	for i, g := range p.t.groups {
		s.masks[i] = p.mask(g) != "false"
	}
	return s
}

// selected is the table's columns as a row scans them. What is withheld is read
// too, and left out by row.record; what is masked leaves the database masked.
func (p *projection) selected() string {
	return p.t.selectedAs(func(c column) string {
		if s := p.sight(c); s.mask != "false" {
			return s.sql()
		}
		return "r." + c.sql
	})
}

// sight is how the projection shows a column.
func (p *projection) sight(c column) sight {
	if c.field.Group == "" {
		return sight{col: c, reveal: "true", mask: "false"}
	}
	s := sight{col: c, reveal: p.reveal(c.field.Group), mask: "false"}
	if c.field.Mask != crm.MaskHide && s.reveal != "true" {
		s.mask = p.mask(c.field.Group)
	}
	return s
}
