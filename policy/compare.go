package policy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// comparisons are the SQL operators of Rego's.
var comparisons = map[string]string{
	"eq": "=", "equal": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=",
}

// mirrored is the operator with its sides exchanged.
var mirrored = map[string]string{"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// call is an expression with an operator.
func (t *translator) call(x *ast.Expr, s scope, depth int) (expr, error) {
	if x.Operator().HasPrefix(ast.DefaultRootRef) {
		return t.generated(x.OperatorTerm(), x.Operands(), s, depth)
	}
	name := x.Operator().String()
	if len(x.Operands()) != 2 {
		return nil, uncallable(name)
	}
	l, err := t.operandOf(x.Operand(0), s)
	if err != nil {
		return nil, err
	}
	r, err := t.operandOf(x.Operand(1), s)
	if err != nil {
		return nil, err
	}
	if op, ok := comparisons[name]; ok {
		return t.compare(l, op, r)
	}
	switch name {
	case ast.Member.Name:
		return t.member(l, r)
	case ast.StartsWith.Name:
		return t.prefix(l, r)
	}
	return nil, uncallable(name)
}

func (t *translator) compare(l operand, op string, r operand) (expr, error) {
	switch {
	case l.list != nil || r.list != nil:
		return nil, fmt.Errorf("a list is compared with [] only; seek a value in it, as \"core\" in record.withheld")
	case l.isTime() && !r.turn || r.isTime() && !l.turn: // whatever the gate let through
		return nil, errors.New(mistimed)
	case !l.isColumn() && !r.isColumn():
		return constant(holds(ast.Compare(l.val, r.val), op)), nil
	case !l.isColumn():
		l, op, r = r, mirrored[op], l
	}
	ordered := op != "=" && op != "<>"
	switch {
	case l.array && r.val != nil && ast.Compare(r.val, ast.Null{}) == 0:
		return nullness(l, op)
	case l.array:
		return t.emptiness(l, op, r)
	case ordered && (l.kind == kindBool || l.kind == kindUUID):
		return nil, fmt.Errorf("%s has no order; compare it by == or !=", l.name)
	}
	left, right := []any{l.part}, []any(nil)
	if _, null := r.val.(ast.Null); null {
		return nullness(l, op)
	}
	if r.isColumn() {
		right = []any{r.part}
		switch {
		case r.array:
			return nil, fmt.Errorf("%s is a list; seek a value in it, as \"core\" in record.withheld", r.name)
		case l.kind == r.kind:
		case !ordered && l.kind == kindUUID && r.kind == kindText:
			left = append(left, "::text")
		case !ordered && l.kind == kindText && r.kind == kindUUID:
			right = append(right, "::text")
		default:
			return nil, fmt.Errorf("%s is %s and %s is %s: they cannot be compared", l.name, l.kind.words(), r.name, r.kind.words())
		}
	} else {
		v, err := constantOf(r.val, l.kind)
		if err != nil {
			return nil, err
		}
		right = []any{t.pool.add(v, l.kind.cast())}
	}
	if ordered && l.kind == kindText { // Rego orders text by its bytes
		left = append(left, ` collate "C"`)
	}
	return nulls(l, op, r, func(op string) expr {
		return test(slices.Concat(left, []any{" " + op + " "}, right))
	}), nil
}

// nulls adds to a comparison what it says of null: Rego's null equals itself
// and comes before every value.
func nulls(l operand, op string, r operand, compare func(op string) expr) expr {
	absent := func(o operand) expr {
		if !o.nullable {
			return constant(false)
		}
		return test{o.part, " is null"}
	}
	switch {
	case op == "=" && l.nullable && r.nullable:
		return compare("is not distinct from")
	case op == "<>" && (l.nullable || r.nullable):
		return compare("is distinct from")
	case op == "<" && l.nullable:
		return or(compare(op), and(absent(l), not(absent(r))))
	case op == "<=":
		return or(compare(op), absent(l))
	case op == ">" && r.nullable:
		return or(compare(op), and(absent(r), not(absent(l))))
	case op == ">=":
		return or(compare(op), absent(r))
	}
	return compare(op)
}

// nullness asks whether a column is empty.
func nullness(l operand, op string) (expr, error) {
	switch {
	case !l.nullable:
		return nil, fmt.Errorf("%s is never empty: take this out", l.name)
	case op == "=":
		return test{l.part, " is null"}, nil
	case op == "<>":
		return test{l.part, " is not null"}, nil
	}
	return nil, fmt.Errorf("compare %s with null by == or != only", l.name)
}

// emptiness compares a list with the empty list, the only one it has an order
// of elements in common with.
func (t *translator) emptiness(l operand, op string, r operand) (expr, error) {
	list, ok := r.val.(*ast.Array)
	if !ok || list.Len() != 0 || (op != "=" && op != "<>") {
		return nil, fmt.Errorf("a list is compared with [] only; seek a value in it, as \"core\" in record.withheld")
	}
	if op == "<>" && l.nullable {
		op = "is distinct from"
	}
	return test{"cardinality(", l.part, ") " + op + " 0"}, nil
}

// member is `l in r`.
func (t *translator) member(l, r operand) (expr, error) {
	var elements []ast.Value
	if r.isColumn() {
		if !r.array {
			return nil, fmt.Errorf("%s is one value and no list; write == instead of in", r.name)
		}
		if l.isColumn() {
			return nil, fmt.Errorf("a field cannot be sought in another field; seek a known value")
		}
		v, err := constantOf(l.val, r.kind)
		if err != nil {
			return nil, err
		}
		return test{t.pool.add(v, r.kind.cast()), " = any(", r.part, ")"}, nil
	}
	if r.list != nil {
		switch {
		case l.list != nil:
			return nil, fmt.Errorf("a list cannot be sought in a list; seek a field of the record in it")
		case !l.isColumn():
			s, text := l.val.(ast.String)
			return constant(text && slices.Contains(r.list, string(s))), nil
		}
		return t.sought(l, r.list)
	}
	collect := func(x *ast.Term) { elements = append(elements, x.Value) }
	switch c := r.val.(type) {
	case *ast.Array:
		c.Foreach(collect)
	case ast.Set:
		c.Foreach(collect)
	default:
		return nil, fmt.Errorf("after `in` stands a list or a set, as in {\"amer\", \"emea\"}")
	}
	if !l.isColumn() {
		for _, e := range elements {
			if ast.Compare(l.val, e) == 0 {
				return constant(true), nil
			}
		}
		return constant(false), nil
	}
	return t.among(l, elements)
}

// sought is whether a column is in a list that a handle stands for.
func (t *translator) sought(l operand, list []string) (expr, error) {
	if l.kind == kindText && !l.array && len(list) > 0 {
		for _, s := range list {
			if err := storable(s); err != nil {
				return nil, err
			}
		}
		return test{l.part, among{t.pool.add(list, l.kind.listCast())}}, nil
	}
	elements := make([]ast.Value, len(list))
	for i, s := range list {
		elements[i] = ast.String(s)
	}
	return t.among(l, elements)
}

// among is whether a column is one of some known values.
func (t *translator) among(l operand, elements []ast.Value) (expr, error) {
	if l.array {
		return nil, fmt.Errorf("%s is a list and cannot be sought in a list; seek a value in it, as \"core\" in record.withheld", l.name)
	}
	if len(elements) == 0 {
		return constant(false), nil
	}
	p, err := t.list(elements, l.kind)
	if err != nil {
		return nil, err
	}
	return test{l.part, among{p}}, nil
}

// list binds elements as one array.
func (t *translator) list(elements []ast.Value, k kind) (*param, error) {
	var texts []string
	var numbers []int64
	for _, e := range elements {
		v, err := constantOf(e, k)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case string:
			texts = append(texts, v)
		case int64:
			numbers = append(numbers, v)
		default:
			return nil, fmt.Errorf("%s cannot be sought in a list; write the comparisons one by one", k.words())
		}
	}
	if numbers != nil {
		return t.pool.add(numbers, k.listCast()), nil
	}
	return t.pool.add(texts, k.listCast()), nil
}

// prefix is startswith(l, r).
func (t *translator) prefix(l, r operand) (expr, error) {
	if !l.isColumn() || r.isColumn() || l.kind != kindText || l.array {
		return nil, fmt.Errorf("startswith takes a field that is a text, and a known beginning")
	}
	v, err := constantOf(r.val, kindText)
	if err != nil {
		return nil, err
	}
	return test{"starts_with(", l.part, ", ", t.pool.add(v, string(kindText)), ")"}, nil
}

func holds(c int, op string) bool {
	switch op {
	case "=":
		return c == 0
	case "<>":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}
