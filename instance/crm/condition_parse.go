package crm

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of the filter language: a filter is typed by a person or built by a
// view, and must not become a way to occupy the database.
const (
	maxConditionText   = 16 << 10
	maxConditionDepth  = 64
	maxConditionValues = 1000
	maxSortKeys        = 8
)

// governanceFields are the governance columns a filter or a sort may name.
var governanceFields = []Field{
	{Name: "id", Type: TypeReference}, {Name: "home", Type: TypeString}, {Name: "territory", Type: TypeString},
	{Name: "segment", Type: TypeString}, {Name: "department", Type: TypeString}, {Name: "owner", Type: TypeString},
	{Name: "account", Type: TypeReference}, {Name: "sensitivity", Type: TypeInteger}, {Name: "jurisdiction", Type: TypeString},
	{Name: "version", Type: TypeInteger}, {Name: "pinned", Type: TypeBoolean},
	{Name: "created", Type: TypeTimestamp}, {Name: "updated", Type: TypeTimestamp},
}

// GovernanceField describes a governance column that a condition or a sort may
// name like a field. It has no group: who sees a record sees its governance.
func GovernanceField(name string) (Field, bool) {
	for _, f := range governanceFields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// ParseCondition reads the filter language against the entity's definition:
//
//	country = 'US' and (annual_revenue >= 1000000 or name contains "bank")
//	state in ('CA', 'NY') and not website is null
//
// Comparisons are = != < <= > >= in contains, "is null" and "is not null";
// text stands in single or double quotes, doubled to escape. As in SQL, a
// comparison with an absent value is neither true nor false, and so is its
// negation. Empty text is a nil Condition. Errors are Invalid, name the field
// and say what to write instead.
func ParseCondition(d Definition, text string) (Condition, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > maxConditionText {
		return nil, Errorf(Invalid, "the filter has %d bytes; at most %d are read", len(text), maxConditionText)
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil, Errorf(Invalid, "the filter is not valid UTF-8 text")
	}
	tokens, err := scanCondition(text)
	if err != nil {
		return nil, err
	}
	p := &conditionParser{def: d, tokens: tokens}
	c, err := p.or()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, Errorf(Invalid, "the filter goes on with %s after a complete condition; join conditions with and / or", t)
	}
	return c, nil
}

// ParseSort reads sort keys: "-annual_revenue,name", "-" for descending.
func ParseSort(d Definition, text string) ([]SortKey, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var keys []SortKey
	for part := range strings.SplitSeq(text, ",") {
		name, desc := strings.CutPrefix(strings.TrimSpace(part), "-")
		f, err := fieldNamed(d, name)
		if err != nil {
			return nil, err
		}
		switch {
		case f.Type == TypeList:
			return nil, FieldErrorf(name, "a list has no order; sort by another field")
		case slices.ContainsFunc(keys, func(k SortKey) bool { return k.Field == name }):
			return nil, FieldErrorf(name, "the sort names the field twice")
		case len(keys) == maxSortKeys:
			return nil, FieldErrorf(name, "a sort has at most %d fields", maxSortKeys)
		}
		keys = append(keys, SortKey{Field: name, Desc: desc})
	}
	return keys, nil
}

// fieldNamed finds a field of the entity or a governance column.
func fieldNamed(d Definition, name string) (Field, error) {
	if f, ok := d.Field(name); ok {
		return f, nil
	}
	if f, ok := GovernanceField(name); ok {
		return f, nil
	}
	if name == "" {
		return Field{}, Errorf(Invalid, "a field name is missing; %s has %s", d.Entity, fieldNames(d))
	}
	return Field{}, FieldErrorf(name, "%s has no such field; it has %s", d.Entity, fieldNames(d))
}

func fieldNames(d Definition) string {
	names := make([]string, len(d.Fields))
	for i, f := range d.Fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// conditionParser is a recursive descent over the tokens: or, and, not, test.
type conditionParser struct {
	def    Definition
	tokens []token
	at     int
	depth  int
}

func (p *conditionParser) peek() token { return p.tokens[p.at] }

func (p *conditionParser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

// word consumes the keyword w if it is next.
func (p *conditionParser) word(w string) bool {
	if t := p.peek(); t.kind == tokenWord && strings.EqualFold(t.text, w) {
		p.at++
		return true
	}
	return false
}

func (p *conditionParser) or() (Condition, error) {
	c, err := p.and()
	if err != nil {
		return nil, err
	}
	all := Or{c}
	for p.word("or") {
		if c, err = p.and(); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (p *conditionParser) and() (Condition, error) {
	c, err := p.not()
	if err != nil {
		return nil, err
	}
	all := And{c}
	for p.word("and") {
		if c, err = p.not(); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (p *conditionParser) not() (Condition, error) {
	if p.depth++; p.depth > maxConditionDepth {
		return nil, Errorf(Invalid, "the filter is nested more than %d deep; write it flatter", maxConditionDepth)
	}
	defer func() { p.depth-- }()
	if p.word("not") {
		c, err := p.not()
		if err != nil {
			return nil, err
		}
		return Not{c}, nil
	}
	if p.peek().kind != tokenOpen {
		return p.test()
	}
	p.next()
	c, err := p.or()
	if err != nil {
		return nil, err
	}
	if t := p.next(); t.kind != tokenClose {
		return nil, Errorf(Invalid, "the filter has %s where ) closes a group", t)
	}
	return c, nil
}

// test is one field's comparison.
func (p *conditionParser) test() (Condition, error) {
	t := p.next()
	if t.kind != tokenWord {
		return nil, Errorf(Invalid, "the filter has %s where a field name belongs; write for example name contains 'bank'", t)
	}
	f, err := fieldNamed(p.def, t.text)
	if err != nil {
		return nil, err
	}
	if p.word("is") {
		negated := p.word("not")
		if !p.word("null") {
			return nil, FieldErrorf(f.Name, "after is comes null or not null, the filter has %s", p.peek())
		}
		if negated {
			return Not{IsNull{f.Name}}, nil
		}
		return IsNull{f.Name}, nil
	}
	if p.word("not") {
		c, err := p.membership(f)
		if err != nil {
			return nil, err
		}
		return Not{c}, nil
	}
	if op := p.peek(); op.kind == tokenOp {
		p.next()
		return p.compare(f, op.text)
	}
	return p.membership(f)
}

// membership is "in (...)" or "contains '...'": the tests a not may precede.
func (p *conditionParser) membership(f Field) (Condition, error) {
	switch {
	case p.word("contains"):
		return p.compare(f, "contains")
	case p.word("in"):
		return p.in(f)
	}
	return nil, FieldErrorf(f.Name, "after the field comes = != < <= > >= in contains or is null, the filter has %s", p.peek())
}

func (p *conditionParser) compare(f Field, op string) (Condition, error) {
	if f.Type == TypeList && op != "contains" {
		return nil, FieldErrorf(f.Name, "a list is tested with contains '...' or is null")
	}
	if op == "contains" && f.Type != TypeString && f.Type != TypeList {
		return nil, FieldErrorf(f.Name, "contains is for text; a %s is compared with = < >", f.Type)
	}
	if (f.Type == TypeBoolean || f.Type == TypeReference) && op != "=" && op != "!=" {
		return nil, FieldErrorf(f.Name, "a %s has no order; compare it with = or !=", f.Type)
	}
	v, err := p.value(f)
	if err != nil {
		return nil, err
	}
	return Compare{Field: f.Name, Op: op, Value: v}, nil
}

func (p *conditionParser) in(f Field) (Condition, error) {
	if f.Type == TypeList {
		return nil, FieldErrorf(f.Name, "a list is tested with contains '...' or is null")
	}
	if t := p.next(); t.kind != tokenOpen {
		return nil, FieldErrorf(f.Name, "after in comes a list such as ('a', 'b'), the filter has %s", t)
	}
	in := In{Field: f.Name}
	for {
		v, err := p.value(f)
		if err != nil {
			return nil, err
		}
		if in.Values = append(in.Values, v); len(in.Values) > maxConditionValues {
			return nil, FieldErrorf(f.Name, "the list after in has more than %d values", maxConditionValues)
		}
		switch t := p.next(); t.kind {
		case tokenClose:
			return in, nil
		case tokenComma:
		default:
			return nil, FieldErrorf(f.Name, "the list after in goes on with %s; separate values by commas and close with )", t)
		}
	}
}

// value reads a literal as f's type.
func (p *conditionParser) value(f Field) (Value, error) {
	t := p.next()
	switch {
	case t.kind == tokenWord && strings.EqualFold(t.text, "null"):
		return Value{}, FieldErrorf(f.Name, "to find absent values write %s is null", f.Name)
	case t.kind == tokenWord && f.Type != TypeBoolean, t.kind == tokenNumber && f.Type != TypeInteger && f.Type != TypeDecimal:
		return Value{}, FieldErrorf(f.Name, "write the %s in quotes: '%s'", f.Type, t.text)
	case t.kind != tokenText && t.kind != tokenNumber && t.kind != tokenWord:
		return Value{}, FieldErrorf(f.Name, "the filter has %s where a value belongs", t)
	}
	typ, text := f.Type, t.text
	switch typ {
	case TypeList: // its elements are strings
		typ = TypeString
	case TypeBoolean:
		text = strings.ToLower(text)
	case TypeTimestamp: // a day stands for its first moment
		if day, err := time.Parse(time.DateOnly, text); err == nil {
			return Timestamp(day), nil
		}
	}
	v, err := ParseValue(typ, text)
	if err != nil {
		return Value{}, FieldErrorf(f.Name, "%s", err.Error())
	}
	return v, nil
}
