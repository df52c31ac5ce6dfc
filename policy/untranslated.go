package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// lineError is why a line of a rule cannot become a filter.
type lineError struct {
	at  *ast.Location
	err error
}

// untranslated is the error of the innermost condition: partial evaluation
// leaves conditions with the place they were written at.
func untranslated(x *ast.Expr, err error) error {
	if _, ok := errors.AsType[*lineError](err); ok {
		return err
	}
	if x.Location == nil || x.Location.File == "" {
		return fmt.Errorf("%s cannot become a filter: %w", spoken(x), err)
	}
	return &lineError{x.Location, err}
}

func (e *lineError) Error() string {
	first, more, _ := strings.Cut(string(e.at.Text), "\n")
	if more != "" {
		first += " …"
	}
	return placed(e.at, fmt.Sprintf("%s cannot become a filter: %v", quote(first), e.err))
}

func (e *lineError) Unwrap() error { return e.err }

// spoken is a condition as a rule would write it.
func spoken(x fmt.Stringer) string {
	return made.ReplaceAllString(strings.ReplaceAll(x.String(), "input.", ""), "_")
}

// words is what a field of the kind holds.
func (k kind) words() string {
	return map[kind]string{
		kindText: "a text", kindInt: "a whole number", kindBool: "true or false", kindUUID: "a record id",
		kindTime: "an instant", kindDate: "a date", kindReal: "a number",
	}[k]
}

// mismatch is about a known value that is not of the field's kind.
func mismatch(v ast.Value, k kind) error {
	kinds := map[string]string{"string": "a text", "number": "a number", "boolean": "true or false", "null": "nothing"}
	is := kinds[ast.ValueName(v)]
	if is == "" {
		is = "a list or a table"
	}
	says := fmt.Sprintf("%v is %s, and the field holds %s", v, is, k.words())
	switch x := v.(type) {
	case ast.String:
		_, err := json.Number(x).Float64()
		if (k == kindInt || k == kindReal) && err == nil || k == kindBool && (x == "true" || x == "false") {
			return fmt.Errorf("%s: write %s without quotes", says, string(x))
		}
	case ast.Boolean:
		if k == kindText {
			return fmt.Errorf("%s: write it in quotes, %q", says, v.String())
		}
	case ast.Number:
		switch k {
		case kindText:
			return fmt.Errorf("%s: write it in quotes, %q", says, v.String())
		case kindReal:
			return fmt.Errorf("%v has too many digits, or an exponent: write at most %d digits, as 1000000", v, maxDigits)
		}
	}
	return errors.New(says)
}

// uncallable is about a function of a field.
func uncallable(name string) error {
	return fmt.Errorf("%s cannot be asked of a field; compare the field itself by ==, !=, <, <=, in or startswith", name)
}

// elsewhere is about a field that the entity does not have.
func (t *translator) elsewhere(field string) error {
	var entities []string
	if t.having != nil {
		entities = t.having(field)
	}
	say := "say of which entity you speak, ask.entity == ..."
	switch len(entities) {
	case 0:
	case 1:
		say = fmt.Sprintf("only %s has; say ask.entity == %q", entities[0], entities[0])
	default:
		say = fmt.Sprintf(`only %s have; say ask.entity in {"%s"}`, strings.Join(entities, ", "), strings.Join(entities, `", "`))
	}
	return fmt.Errorf("not every entity has the field %s: %s in a line above", field, say)
}

// having are the entities that have a field.
func (e *Engine) having(field string) (entities []string) {
	for _, entity := range slices.Sorted(maps.Keys(e.fields)) {
		if _, has := e.fields[entity][field]; has {
			entities = append(entities, entity)
		}
	}
	return entities
}
