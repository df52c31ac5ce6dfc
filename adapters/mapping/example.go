package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// CheckExamples runs the mapping's own examples and says which do not hold.
// An example's row lists every field that has a value.
func (m *Mapping) CheckExamples() []error {
	header := m.Columns()
	b, err := m.Bind(header)
	if err != nil {
		return []error{err}
	}
	var problems []error
	for _, e := range m.Examples {
		columns := make([]string, len(header))
		for i, c := range header {
			columns[i] = e.Columns[c]
		}
		if msg := e.check(b, columns); msg != "" {
			problems = append(problems, &Error{File: m.file, Line: e.Line, Key: e.Name, Msg: msg})
		}
	}
	return problems
}

// check says what is not as the example wants it, "" if all is.
func (e Example) check(b *Bound, columns []string) string {
	row, rej := b.Map(1, columns)
	switch {
	case rej != nil:
		if e.Reject != rej.GetCode() || (e.Field != "" && e.Field != rej.GetField()) {
			return fmt.Sprintf("rejected as %s at %s", rej.GetCode(), rej.GetField())
		}
		return ""
	case row == nil && !e.Filtered:
		return "filtered"
	case row == nil:
		return ""
	case e.Row == nil:
		return "made a row"
	}
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(row.GetFields())) {
		got, has := text(row.GetFields()[name])
		want := e.Row[name]
		if has != (want != nil) || (has && got != *want) {
			wrong = append(wrong, fmt.Sprintf("%s is %q", name, got))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Row)) {
		if _, ok := row.GetFields()[name]; !ok {
			wrong = append(wrong, name+" is not made")
		}
	}
	if !maps.Equal(row.GetReferences(), e.References) {
		wrong = append(wrong, fmt.Sprintf("references are %v", row.GetReferences()))
	}
	return strings.Join(wrong, "; ")
}

// text is a wire value as an example writes it.
func text(v *recordv1.Value) (string, bool) {
	switch k := v.GetKind().(type) {
	case *recordv1.Value_String_:
		return k.String_, true
	case *recordv1.Value_Integer:
		return crm.Integer(k.Integer).Text(), true
	case *recordv1.Value_Decimal:
		return k.Decimal, true
	case *recordv1.Value_Boolean:
		return crm.Boolean(k.Boolean).Text(), true
	case *recordv1.Value_Date:
		return k.Date, true
	case *recordv1.Value_Timestamp:
		return crm.Timestamp(k.Timestamp.AsTime()).Text(), true
	}
	return "", false
}
