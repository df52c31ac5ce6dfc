package policy

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// notInList says that a list is read by anything but a variable that takes all
// its places: by a name it is never there, and by a number only for those whose
// list is long enough. Under `not` it would be a yes.
func notInList(ref ast.Ref, whole bool, at *ast.Location) string {
	list, key := made.ReplaceAllString(ref[:len(ref)-1].String(), "_"), made.ReplaceAllString(ref[len(ref)-1].String(), "_")
	if text := written(ref, at); whole { // as the officer wrote it
		if cut := strings.LastIndex(text, "["); cut > 0 && strings.HasSuffix(text, "]") {
			list, key = text[:cut], text[cut+1:len(text)-1]
		} else if cut := strings.LastIndex(text, "."); cut > 0 {
			list = text[:cut]
		}
	}
	if _, ok := ref[len(ref)-1].Value.(ast.Number); ok {
		return fmt.Sprintf("%s: the places of a list say nothing, and it may be shorter; seek a value in it: \"...\" in %s", written(ref, at), list)
	}
	return fmt.Sprintf("%s: %s is a list, and its parts have no names, so this never holds and `not` of it always; write %s in %s",
		written(ref, at), list, key, list)
}

// notInRule says that a reference asks a rule that is written out, as a set or
// an object, for what it does not hold; "" if it may.
func notInRule(rules []*ast.Rule, ref ast.Ref, at *ast.Location) string {
	if len(rules) != 1 {
		return ""
	}
	r := rules[0]
	name := r.Ref()
	always := len(r.Body) == 1 && ast.Boolean(true).Equal(termOf(r.Body[0]))
	if len(r.Head.Args) > 0 || r.Default || r.Else != nil || !always || r.Head.Value == nil || !r.Head.Value.IsGround() || r.Head.Key != nil || len(ref) <= len(name) {
		return ""
	}
	whole := r.Head.Value.Value
	for _, key := range ref[len(name):] {
		if _, constant := key.Value.(ast.String); !constant {
			if _, constant = key.Value.(ast.Number); !constant {
				return ""
			}
		}
		part, err := whole.Find(ast.Ref{key})
		if err != nil {
			return fmt.Sprintf("%s: %s is not in %s, so this never holds and `not` of it always", written(ref, at), key, partName(name))
		}
		whole = part
	}
	return ""
}

// termOf is what an expression of one term says, nil for another.
func termOf(x *ast.Expr) ast.Value {
	if t, ok := x.Terms.(*ast.Term); ok {
		return t.Value
	}
	return nil
}
