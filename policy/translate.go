package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// Limits on what a rule may unfold to for one subject.
const (
	maxDepth  = 16   // of generated rules
	maxBodies = 1024 // alternatives, over all generated rules
)

// translator turns what partial evaluation left of one function call into SQL.
// It is strict: every shape it does not list is an error, never a guess.
type translator struct {
	tables map[string]table // "record" and "fact"
	entity string
	fields row   // of the entity
	pool   *pool // parameters of the filter so far
	having func(field string) (entities []string)

	standsFor func(path string) any // the value of a handle; nil where there are none
	turns     turns                 // when the fact that is known begins and ends

	rules  map[string][]*ast.Rule
	bodies int
}

type table struct {
	alias string
	row   row
}

// newTranslator translates rules over a record of an entity and, if f is not
// nil, one row of facts.
func newTranslator(f *facts, entity string, fields row, p *pool) *translator {
	t := &translator{tables: map[string]table{"record": {"r", recordRow}}, entity: entity, fields: fields, pool: p}
	if f != nil {
		t.tables["fact"] = table{"f", f.row}
	}
	return t
}

// translate is the SQL of the residual of one function call.
func (t *translator) translate(pq *rego.PartialQueries) (expr, error) {
	t.bodies = 0
	t.rules = map[string][]*ast.Rule{}
	for _, m := range pq.Support {
		for _, r := range m.Rules {
			path := r.Ref().String() // of a generated rule: with its package
			t.rules[path] = append(t.rules[path], r)
		}
	}
	return t.disjunction(pq.Queries, nil, 0)
}

// scope maps the parameters of a generated rule to what they stand for.
type scope map[ast.Var]*ast.Term

func (t *translator) disjunction(bodies []ast.Body, s scope, depth int) (expr, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("the rules call one another too deep: say it with fewer functions")
	}
	var terms []expr
	for i, b := range bodies {
		if t.bodies++; t.bodies > maxBodies {
			return nil, fmt.Errorf("the rule unfolds to more than %d alternatives: use `in` with a list", maxBodies)
		}
		if slices.ContainsFunc(bodies[:i], b.Equal) {
			continue
		}
		e, err := t.conjunction(b, s, depth)
		if err != nil {
			return nil, err
		}
		terms = append(terms, e)
	}
	return or(terms...), nil
}

func (t *translator) conjunction(b ast.Body, s scope, depth int) (expr, error) {
	var terms []expr
	for _, x := range b {
		e, err := t.literal(x, s, depth)
		if err != nil {
			return nil, untranslated(x, err)
		}
		terms = append(terms, e)
	}
	return and(terms...), nil
}

func (t *translator) literal(x *ast.Expr, s scope, depth int) (e expr, err error) {
	if len(x.With) > 0 {
		return nil, fmt.Errorf("`with` is for tests")
	}
	switch terms := x.Terms.(type) {
	case *ast.Term:
		e, err = t.naked(terms, s, x.Negated, depth)
	case []*ast.Term:
		e, err = t.call(x, s, depth)
	default: // every, some
		return nil, fmt.Errorf("a rule cannot go through a list of the record one by one; ask whether a value is in it, as \"core\" in record.withheld")
	}
	if err != nil {
		return nil, err
	}
	if x.Negated {
		return not(e), nil
	}
	return e, nil
}

// naked is a term that stands alone: it holds if it is defined and not false.
func (t *translator) naked(term *ast.Term, s scope, negated bool, depth int) (expr, error) {
	switch v := term.Value.(type) {
	case ast.Boolean:
		return constant(v), nil
	case ast.Var, ast.Ref:
		if ref, ok := v.(ast.Ref); ok && ref.HasPrefix(ast.DefaultRootRef) {
			return t.generated(term, nil, s, depth)
		}
		ref, err := t.resolve(term, s)
		if err != nil {
			return nil, err
		}
		if t.whole(ref) {
			if negated {
				return nil, fmt.Errorf("a record is always there: ask about one of its fields")
			}
			return constant(true), nil
		}
		// OPA 1.22.2 reduces both `x` and `x == x` to this, so a boolean column
		// that is false would deny by the one and, under `not`, allow by the other.
		return nil, fmt.Errorf("a field may not stand alone; compare it: %s == true", spoken(ref))
	}
	return nil, fmt.Errorf("this is no condition; compare a field with a known value")
}

// whole reports whether v is a row or the time as such: partial evaluation leaves an argument standing to say that it must be
// there, and it always is.
func (t *translator) whole(v ast.Value) bool {
	ref, ok := v.(ast.Ref)
	if !ok || len(ref) != 2 || !ref.HasPrefix(ast.InputRootRef) {
		return false
	}
	name, _ := ref[1].Value.(ast.String)
	_, isTable := t.tables[string(name)]
	return isTable || name == "now"
}

// generated is a rule that partial evaluation made, applied to args.
func (t *translator) generated(name *ast.Term, args []*ast.Term, s scope, depth int) (expr, error) {
	rules := t.rules[name.String()]
	if len(rules) == 0 {
		return nil, fmt.Errorf("the rule it calls is no condition on a record; say it with comparisons, `in` and `not`")
	}
	var alternatives []expr
	for _, r := range rules {
		if r.Else != nil || r.Head.Value == nil || len(r.Head.Args) != len(args) || r.Head.Key != nil {
			return nil, fmt.Errorf("the rule it calls has an else, or other arguments; a rule says yes or nothing")
		}
		if r.Default && ast.Boolean(false).Equal(r.Head.Value.Value) {
			continue // no other alternative held: nothing
		}
		if r.Default || !ast.Boolean(true).Equal(r.Head.Value.Value) {
			return nil, fmt.Errorf("the rule it calls says something else than yes; a rule says yes or nothing")
		}
		inner := scope{}
		for i, p := range r.Head.Args {
			v, ok := p.Value.(ast.Var)
			if _, twice := inner[v]; !ok || twice {
				return nil, fmt.Errorf("the rule it calls has a value where an argument stands; write an argument, and compare it")
			}
			arg, err := t.resolve(args[i], s)
			if err != nil {
				return nil, err
			}
			inner[v] = ast.NewTerm(arg)
		}
		e, err := t.disjunction([]ast.Body{r.Body}, inner, depth+1)
		if err != nil {
			return nil, err
		}
		alternatives = append(alternatives, e)
	}
	return or(alternatives...), nil
}

// resolve replaces the parameter of a generated rule by what it stands for.
func (t *translator) resolve(term *ast.Term, s scope) (ast.Value, error) {
	switch v := term.Value.(type) {
	case ast.Var:
		if r, ok := s[v]; ok {
			return r.Value, nil
		}
		return nil, fmt.Errorf("a value made of the record's fields cannot be used; write the comparisons one by one, each of a field with a known value")
	case ast.Ref:
		head, ok := v[0].Value.(ast.Var)
		if !ok {
			return nil, fmt.Errorf("a part of a value cannot be picked out; compare a field with a known value")
		}
		if r, ok := s[head]; ok {
			base, ok := r.Value.(ast.Ref)
			if !ok {
				return nil, fmt.Errorf("a part of a value cannot be picked out; compare a field with a known value")
			}
			return base.Concat(v[1:]), nil
		}
	}
	return term.Value, nil
}

// operand is one side of a comparison: a column (or the time) or a constant.
type operand struct {
	column
	part any       // of a test, if not a constant: a column's SQL or the clock
	val  ast.Value // the constant
	list []string  // a known list that is only sought in; val is not nil then, and means nothing
	turn bool      // when a fact begins or ends
}

func (o operand) isColumn() bool { return o.val == nil }

func (o operand) isTime() bool { return o.part == any(clock{}) }

// handleOf is the path of a handle.
func handleOf(v ast.Value) (path string, ok bool) {
	if a, isList := v.(*ast.Array); isList && a.Len() == 1 {
		v = a.Elem(0).Value
	}
	s, ok := v.(ast.String)
	if !ok {
		return "", false
	}
	return strings.CutPrefix(string(s), handle)
}

// given is the value that a handle stands for.
func (t *translator) given(path string) (operand, error) {
	if t.standsFor == nil {
		return operand{}, fmt.Errorf("the text holds a character that no field can hold")
	}
	switch v := t.standsFor(path).(type) {
	case nil:
		return operand{}, fmt.Errorf("the text holds a character that no field can hold")
	case []string:
		if v == nil {
			v = []string{}
		}
		return operand{val: ast.Null{}, list: v}, nil
	default:
		val := term(v).Value
		return operand{val: val, turn: t.turns.has(val)}, nil
	}
}

func (t *translator) operandOf(term *ast.Term, s scope) (operand, error) {
	v, err := t.resolve(term, s)
	if err != nil {
		return operand{}, err
	}
	return t.operand(v)
}

func (t *translator) operand(v ast.Value) (operand, error) {
	ref, ok := v.(ast.Ref)
	if !ok {
		switch v.(type) {
		case ast.Null, ast.Boolean, ast.Number, ast.String, *ast.Array, ast.Set:
			if !v.IsGround() || holdsReference(v) {
				return operand{}, fmt.Errorf("a field in a list of values cannot be sought; write the comparisons one by one")
			}
			if path, ok := handleOf(v); ok {
				return t.given(path)
			}
			return operand{val: v, turn: t.turns.has(v)}, nil
		}
		return operand{}, fmt.Errorf("nothing can be calculated from a field; compare the field itself with a known value")
	}
	if !ref.HasPrefix(ast.InputRootRef) {
		return operand{}, fmt.Errorf("%s is not a field", spoken(ref))
	}
	names := make([]string, 0, 3)
	for _, p := range ref[1:] {
		n, ok := p.Value.(ast.String)
		if !ok {
			return operand{}, fmt.Errorf("an element of a list cannot be picked out; ask whether a value is in it, as \"core\" in record.withheld")
		}
		names = append(names, string(n))
	}
	switch len(names) {
	case 1:
		if names[0] == "now" {
			return operand{column: column{name: "now", kind: kindTime}, part: clock{}}, nil
		}
	case 2:
		if tb, ok := t.tables[names[0]]; ok {
			if c, ok := tb.row[names[1]]; ok {
				return operand{column: c, part: tb.alias + "." + c.sql, turn: names[0] == "fact" && isTurn(ast.String(names[1]))}, nil
			}
		}
	case 3:
		if names[0] == "record" && names[1] == "fields" {
			c, ok := t.fields[names[2]]
			if !ok {
				return operand{}, t.elsewhere(names[2])
			}
			return operand{column: c, part: "r." + c.sql}, nil
		}
	}
	return operand{}, fmt.Errorf("%s is not a field; known are %s", spoken(ref), t.known())
}

// known lists the columns for messages.
func (t *translator) known() string {
	var names []string
	for n, tb := range t.tables {
		for c := range tb.row {
			names = append(names, n+"."+c)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func holdsReference(v ast.Value) bool {
	found := false
	ast.WalkTerms(ast.NewTerm(v), func(x *ast.Term) bool {
		switch x.Value.(type) {
		case ast.Ref, ast.Var, ast.Call, *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
			found = true
		}
		return found
	})
	return found
}

// constantOf converts a constant to the kind of the column it is compared with.
// Rego orders and compares values of different types; SQL does not, so a
// mismatch is an error.
func constantOf(v ast.Value, k kind) (any, error) {
	switch x := v.(type) {
	case ast.String:
		s := string(x)
		switch k {
		case kindText:
			return s, storable(s)
		case kindUUID:
			if id, err := crm.ParseRecordID(s); err == nil && string(id) == s {
				return s, nil
			}
			return nil, fmt.Errorf("%q is not a record id in its canonical form; meridian policy past --record tells the id of a customer", s)
		case kindDate:
			if at, err := time.Parse(time.DateOnly, s); err == nil && at.Format(time.DateOnly) == s {
				return s, nil
			}
			return nil, fmt.Errorf("%q is not a date as \"2026-03-01\"", s)
		case kindTime:
			at, err := time.Parse(timeLayout, s)
			if err != nil || at.Format(timeLayout) != s {
				return nil, fmt.Errorf("%q is not an instant as \"2026-03-01T12:00:00.000000Z\"", s)
			}
			return at, nil
		}
	case ast.Number:
		if n, err := json.Number(x).Int64(); err == nil && k == kindInt {
			return n, nil
		}
		if k == kindReal && exact(string(x)) {
			return string(x), nil
		}
	case ast.Boolean:
		if k == kindBool {
			return bool(x), nil
		}
	}
	return nil, mismatch(v, k)
}

// storable is nil for a text that a column can hold.
func storable(s string) error {
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return fmt.Errorf("the text holds a character that no field can hold")
	}
	return nil
}

// maxDigits is how many digits of a decimal Rego tells apart for certain: it
// compares with 64 bits, PostgreSQL with all.
const maxDigits = 18

// exact reports whether a decimal means the same to Rego and to PostgreSQL.
func exact(s string) bool {
	digits := 0
	for i, c := range s {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == '-' && i == 0, c == '.' && digits > 0:
		default: // an exponent
			return false
		}
	}
	return digits > 0 && digits <= maxDigits
}
