package archtest_test

import (
	"go/ast"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"meridian/instance/crm"
)

// TestOneListOfPermissions: every permission that code asks policy for is in
// crm.Permissions, which impact compares, and each in the list is asked for.
// Who asks says so with a parameter called permission; what is passed there is
// a text, a constant or a variable that was given texts in the same package.
func TestOneListOfPermissions(t *testing.T) {
	asking := map[string]int{}                 // functions with such a parameter, and where it stands
	texts := map[string]map[string][]string{}  // by package: what a name was given
	files := map[string]map[string]*ast.File{} // by package and path
	eachFile(t, func(t *testing.T, path, pkg string, _ *ast.File) {
		if strings.HasSuffix(path, "_test.go") || !strings.HasPrefix(pkg, "instance") && !strings.HasPrefix(pkg, "policy") && !strings.HasPrefix(pkg, "plugins") && !strings.HasPrefix(pkg, "adapters") {
			return
		}
		f := whole(t, path)
		if files[pkg] == nil {
			files[pkg], texts[pkg] = map[string]*ast.File{}, map[string][]string{}
		}
		files[pkg][path] = f
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if at := permissionAt(n.Type); at >= 0 {
					asking[n.Name.Name] = at
				}
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if i < len(n.Values) {
						texts[pkg][name.Name] = append(texts[pkg][name.Name], literal(n.Values[i])...)
					}
				}
			case *ast.AssignStmt:
				for i, to := range n.Lhs {
					if name, ok := to.(*ast.Ident); ok && i < len(n.Rhs) {
						texts[pkg][name.Name] = append(texts[pkg][name.Name], literal(n.Rhs[i])...)
					}
				}
			}
			return true
		})
	})
	if len(asking) < 6 {
		t.Fatalf("only %v have a parameter called permission; does the test still see them?", slices.Sorted(maps.Keys(asking)))
	}
	asked := map[string]string{}
	for pkg, of := range files {
		for path, f := range of {
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				at, ok := asking[last(call.Fun)]
				if !ok || at >= len(call.Args) {
					return true
				}
				given := literal(call.Args[at])
				if name, ok := call.Args[at].(*ast.Ident); ok {
					given = texts[pkg][name.Name]
					if name.Name == "permission" { // passed on: seen where it comes from
						given = append(given, "")
					}
				}
				if selected, ok := call.Args[at].(*ast.SelectorExpr); ok && selected.Sel.Name == "Name" { // of an entry of the list
					given = []string{""}
				}
				if len(given) == 0 {
					t.Errorf("%s: %s is asked for a permission that the test cannot read; pass a text or a constant", filepath.Base(path), last(call.Fun))
				}
				for _, name := range given {
					asked[name] = path
				}
				return true
			})
		}
	}
	delete(asked, "")
	listed := map[string]bool{}
	for _, p := range crm.Permissions() {
		if listed[p.Name] || p.Text == "" {
			t.Errorf("%s is listed twice, or says not what it lets do", p.Name)
		}
		if listed[p.Name] = true; asked[p.Name] == "" {
			t.Errorf("nobody asks for %s; take it out of crm.Permissions", p.Name)
		}
	}
	for name, path := range asked {
		if !listed[name] {
			t.Errorf("%s asks for %q, which crm.Permissions lacks: nobody would be told that a policy gives it", path, name)
		}
	}
}

// permissionAt is where a function takes a permission, -1 if it takes none.
func permissionAt(f *ast.FuncType) int {
	at := 0
	for _, field := range f.Params.List {
		for _, name := range field.Names {
			if of, ok := field.Type.(*ast.Ident); ok && of.Name == "string" && name.Name == "permission" {
				return at
			}
			at++
		}
	}
	return -1
}

// literal is the text of an expression, if it is one.
func literal(e ast.Expr) []string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		if text, err := strconv.Unquote(l.Value); err == nil {
			return []string{text}
		}
	}
	return nil
}
