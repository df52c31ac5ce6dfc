package policy

import (
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

// No governance column is nullable, but custom fields will be: only conditions
// that mean the same for null in Rego and in SQL are taken.
func TestNullableColumns(t *testing.T) {
	tr := newTranslator(nil, &pool{})
	maybe := operand{column: column{name: "x", kind: kindInt, nullable: true}, part: "r.x"}
	lists := operand{column: column{name: "xs", kind: kindInt, array: true, nullable: true}, part: "r.xs"}
	never := operand{column: column{name: "n", kind: kindInt}, part: "r.n"}
	one := operand{val: ast.Number("1")}
	for _, op := range []string{"=", "<>", "<", "<=", ">", ">="} {
		for name, sides := range map[string][2]operand{"constant": {maybe, one}, "mirrored": {one, maybe}, "column": {maybe, never}} {
			_, err := tr.compare(sides[0], op, sides[1])
			if (err == nil) != (op == "=") {
				t.Errorf("%s %s: %v", name, op, err)
			}
		}
		if _, err := tr.compare(never, op, maybe); err == nil {
			t.Errorf("not null %s nullable has a form", op)
		}
		if _, err := tr.compare(lists, op, operand{val: ast.NewArray()}); err == nil {
			t.Errorf("nullable list %s [] has a form", op)
		}
	}
	if _, err := tr.member(maybe, operand{val: ast.NewArray(ast.IntNumberTerm(1))}); err != nil {
		t.Error(err)
	}
	if _, err := tr.member(one, lists); err == nil {
		t.Error("membership in a nullable list has a form")
	}
}
