package mapping

import (
	"fmt"
	"slices"
	"strings"

	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/values"
)

// Codes of rejects that a mapping makes; delimited has those of the format.
const (
	CodeRequired = "required"
	CodeLookup   = "lookup"
	CodeNumber   = "number"
	CodeDate     = "date"
	CodeBoolean  = "boolean"
)

// What a lookup does with a value its table has not.
const (
	missRejects = "reject"
	missNull    = "null"
	missKeeps   = "keep"
)

type lookup struct {
	find func(string) (string, bool)
	miss string
}

// rule keeps a record or filters it.
type rule struct {
	column    string
	lookup    *lookup
	countries map[string]bool // nil: any
	in, notIn []string
}

// field makes one field, or one reference.
type field struct {
	to, from  string
	constant  *string
	do        []func(string) string
	lookup    *lookup
	as        crm.Type
	required  bool
	keepEmpty bool // an empty value leaves the field as it is
}

// Bound is a mapping bound to the columns of one file.
type Bound struct {
	m      *Mapping
	place  map[string]int
	width  int
	keep   []boundRule
	fields []boundField
	refs   []boundField
}

type boundRule struct {
	rule
	at int
}

type boundField struct {
	field
	at int // -1: the file has no such column
}

// Bind binds the mapping to the columns a file has. A column that the mapping
// does not know, or one that is missing, is an error: the source has changed.
func (m *Mapping) Bind(header []string) (*Bound, error) {
	b := &Bound{m: m, place: map[string]int{}, width: len(header)}
	for i, c := range header {
		if _, twice := b.place[c]; twice {
			return nil, fmt.Errorf("column %d repeats the name of another", i+1)
		}
		if !slices.Contains(m.Source.Columns, c) && !slices.Contains(m.Source.Optional, c) {
			return nil, fmt.Errorf("column %d is one that mapping %s does not know; it expects %s", i+1, m.Name, strings.Join(m.Columns(), ", "))
		}
		b.place[c] = i
	}
	for _, c := range m.Source.Columns {
		if _, ok := b.place[c]; !ok {
			return nil, fmt.Errorf("column %s is missing", c)
		}
	}
	at := func(c string) int {
		if i, ok := b.place[c]; ok {
			return i
		}
		return -1
	}
	for _, r := range m.keep {
		b.keep = append(b.keep, boundRule{r, at(r.column)})
	}
	for _, f := range m.fields {
		b.fields = append(b.fields, boundField{f, at(f.from)})
	}
	for _, f := range m.references {
		b.refs = append(b.refs, boundField{f, at(f.from)})
	}
	return b, nil
}

// Width is how many columns a record must have.
func (b *Bound) Width() int { return b.width }

// Map makes a row of a record, or a reject of it; neither means the mapping
// leaves it out. The reject's Original is for the caller to fill.
func (b *Bound) Map(number int64, columns []string) (*facadev1.Row, *facadev1.Reject) {
	for _, r := range b.keep {
		kept, rej := r.keeps(columns)
		if rej != nil {
			rej.Number = number
			return nil, rej
		}
		if !kept {
			return nil, nil
		}
	}
	row := &facadev1.Row{Number: number, Entity: b.m.Entity, Fields: make(map[string]*recordv1.Value, len(b.fields))}
	for _, f := range b.fields {
		v, given, rej := f.make(columns, b.m.Source.locale)
		if rej != nil {
			rej.Number = number
			return nil, rej
		}
		if given {
			row.Fields[f.to] = values.ToProto(v)
		}
	}
	for _, f := range b.refs {
		v, given, rej := f.make(columns, b.m.Source.locale)
		if rej != nil {
			rej.Number = number
			return nil, rej
		}
		if given && !v.IsNull() {
			if row.References == nil {
				row.References = make(map[string]string, len(b.refs))
			}
			row.References[f.to] = v.Text()
		}
	}
	return row, nil
}

func (r boundRule) keeps(columns []string) (bool, *facadev1.Reject) {
	text := ""
	if r.at >= 0 {
		text = strings.TrimSpace(columns[r.at])
	}
	if r.lookup != nil {
		found, ok := r.lookup.find(text)
		switch {
		case ok:
			text = found
		case r.lookup.miss == missRejects:
			// Whose record it is cannot be said, so nobody may drop it silently.
			return false, &facadev1.Reject{Code: CodeLookup, Field: r.column, Message: "the table does not have the value"}
		case r.lookup.miss == missNull:
			return false, nil
		}
	}
	switch {
	case r.countries != nil && !r.countries[text]:
		return false, nil
	case len(r.in) > 0 && !slices.Contains(r.in, text):
		return false, nil
	}
	return !slices.Contains(r.notIn, text), nil
}

// make gives the field's value; given is false when the field is left alone.
func (f boundField) make(columns []string, l locale) (v crm.Value, given bool, rej *facadev1.Reject) {
	reject := func(code, msg string) (crm.Value, bool, *facadev1.Reject) {
		return crm.Value{}, false, &facadev1.Reject{Code: code, Field: f.to, Message: msg}
	}
	var text string
	switch {
	case f.constant != nil:
		text = *f.constant
	case f.at < 0:
		return crm.Value{}, false, nil
	default:
		text = columns[f.at]
	}
	for _, do := range f.do {
		text = do(text)
	}
	null := f.constant == nil && slices.Contains(l.nulls, text)
	if !null && f.lookup != nil {
		found, ok := f.lookup.find(text)
		switch {
		case ok:
			text = found
		case f.lookup.miss == missRejects:
			return reject(CodeLookup, "the table does not have the value")
		case f.lookup.miss == missNull:
			null = true
		}
	}
	switch {
	case null && f.required:
		return reject(CodeRequired, "a value is required")
	case null:
		return crm.Value{}, !f.keepEmpty, nil
	}
	v, code, err := l.value(f.as, text)
	if err != nil {
		return reject(code, err.Error())
	}
	return v, true, nil
}
