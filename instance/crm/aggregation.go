package crm

import (
	"slices"
	"strings"
)

// maxBy bounds the fields of an aggregation, maxMeasures what it measures.
const (
	maxBy       = 3
	maxMeasures = 8
)

// Cut shortens a date or a timestamp to the day its period begins with.
type Cut string

// The periods there are.
const (
	CutNone    Cut = ""
	CutYear    Cut = "year"
	CutQuarter Cut = "quarter"
	CutMonth   Cut = "month"
	CutDay     Cut = "day"
)

// By is a field that records are grouped by.
type By struct {
	Field string
	Cut   Cut
}

// Measure is what is worked out of each group: count, or sum, avg, min, max or
// distinct of a field.
type Measure struct{ Op, Field string }

// Aggregation is what to work out of records: a row per group, in the order of
// one of its columns (By first, then Measures).
type Aggregation struct {
	By       []By
	Measures []Measure
	Order    int
	Desc     bool
}

// Tally is one row of an answer: the values a group has in common, and its
// measures.
type Tally struct{ Keys, Values []Value }

// ParseAggregation reads what to group by ("country", "created:month"), what to
// measure ("count", "sum(annual_revenue)") and the order ("-count"). Without
// measures it counts; without an order the largest first measure comes first.
func ParseAggregation(d Definition, by, measures []string, order string) (Aggregation, error) {
	a := Aggregation{}
	if len(by) > maxBy {
		return a, FieldErrorf("by", "groups by at most %d fields", maxBy)
	}
	if len(measures) == 0 {
		measures = []string{"count"}
	}
	if len(measures) > maxMeasures {
		return a, FieldErrorf("measures", "has at most %d measures", maxMeasures)
	}
	var names []string
	for _, text := range by {
		b, err := parseBy(d, strings.TrimSpace(text))
		if err != nil {
			return a, err
		}
		a.By, names = append(a.By, b), append(names, b.String())
	}
	for _, text := range measures {
		m, err := parseMeasure(d, strings.TrimSpace(text))
		if err != nil {
			return a, err
		}
		a.Measures, names = append(a.Measures, m), append(names, m.String())
	}
	a.Order, a.Desc = len(a.By), true
	if order = strings.TrimSpace(order); order == "" {
		return a, nil
	}
	order, a.Desc = strings.CutPrefix(order, "-")
	if a.Order = slices.Index(names, strings.ReplaceAll(order, " ", "")); a.Order < 0 {
		return a, FieldErrorf("order", "is one of %s, - first for descending", strings.Join(names, ", "))
	}
	return a, nil
}

// String is how a caller writes it.
func (b By) String() string {
	if b.Cut == CutNone {
		return b.Field
	}
	return b.Field + ":" + string(b.Cut)
}

// String is how a caller writes it.
func (m Measure) String() string {
	if m.Op == "count" {
		return "count"
	}
	return m.Op + "(" + m.Field + ")"
}

func parseBy(d Definition, text string) (By, error) {
	name, cut, cuts := strings.Cut(text, ":")
	b := By{name, Cut(cut)}
	f, err := fieldNamed(d, name)
	switch dated := f.Type == TypeDate || f.Type == TypeTimestamp; {
	case err != nil:
		return b, err
	case f.Type == TypeList:
		return b, FieldErrorf(name, "a list cannot be grouped by; choose another field")
	case cuts && !dated:
		return b, FieldErrorf(name, "only dates and timestamps are cut to a period; write %s", name)
	case cuts && !slices.Contains([]Cut{CutYear, CutQuarter, CutMonth, CutDay}, b.Cut):
		return b, FieldErrorf(name, "is cut to year, quarter, month or day, as in %s:month", name)
	}
	return b, nil
}

func parseMeasure(d Definition, text string) (Measure, error) {
	op, rest, of := strings.Cut(text, "(")
	name, after, closed := strings.Cut(rest, ")")
	m := Measure{strings.TrimSpace(op), strings.TrimSpace(name)}
	switch {
	case !of && m.Op == "count":
		return m, nil
	case m.Op == "count":
		return m, FieldErrorf("measures", "count takes no field; write count, or distinct(%s) for how many values there are", m.Field)
	case !slices.Contains([]string{"sum", "avg", "min", "max", "distinct"}, m.Op) || !closed || after != "":
		return m, FieldErrorf("measures", "a measure is count, or sum, avg, min, max or distinct of a field, as in sum(annual_revenue)")
	}
	f, err := fieldNamed(d, m.Field)
	switch number := f.Type == TypeInteger || f.Type == TypeDecimal; {
	case err != nil:
		return m, err
	case f.Type == TypeList:
		return m, FieldErrorf(m.Field, "a list cannot be measured; count the records that have it")
	case (m.Op == "sum" || m.Op == "avg") && !number:
		return m, FieldErrorf(m.Field, "%s is of numbers, the field is a %s; use min, max or distinct", m.Op, f.Type)
	case (m.Op == "min" || m.Op == "max") && (f.Type == TypeBoolean || f.Type == TypeReference):
		return m, FieldErrorf(m.Field, "a %s has no order; use distinct", f.Type)
	}
	return m, nil
}
