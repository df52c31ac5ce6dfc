package policy

import (
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// rulePackages are where rules live. Another package would be a misspelt one.
var rulePackages = []string{"data.meridian.rules", "data.meridian.service", limitsPackage}

// lint finds what Rego would let pass in silence: misspelt names, rules that
// nothing uses, rules that look past their arguments.
// It also says which fields rules read.
func lint(c *ast.Compiler, declared []declaration, fields map[string]row) (problems []string, reads map[string]bool) {
	t := &tracer{compiler: c, reached: map[string]bool{"data.meridian.rules.grounds": true}, fields: fieldShape(fields), reads: map[string]bool{}}
	operators := map[string]bool{}
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		operators[b.Name] = true
	}
	for _, d := range declared {
		shapes := argShapes(d.fact, t.fields)
		t.entry("data.meridian.rules."+d.name, d.args(), shapes)
		if d.opens {
			t.entry("data.meridian.rules."+d.name+"_reveals", d.groupArgs(), shapes)
		}
		if d.opens && d.hasMasks(c) {
			t.entry("data.meridian.rules."+d.name+"_masks", d.groupArgs(), shapes)
		}
	}
	t.entry("data.meridian.service.permit", []string{"subject", "permission"}, argShapes("", t.fields))
	t.limits()
	t.run()
	for _, m := range c.Modules {
		if !slices.Contains(rulePackages, m.Package.Path.String()) {
			t.problem(m.Package.Loc(), "package %v holds no rules; known are meridian.rules, meridian.service and meridian.limits", m.Package.Path)
			continue
		}
		for _, r := range m.Rules {
			name := r.Head.Ref().String()
			if operators[name] {
				t.problem(r.Loc(), "%s is the name of an operator; a rule of this name would change what comparisons mean", name)
			}
			if !t.reached[r.Ref().String()] {
				t.problem(r.Loc(), "no ground uses %s; is it misspelt?", name)
			}
		}
	}
	slices.Sort(t.problems)
	return t.problems, t.reads
}

// entry begins at a function that the engine itself calls.
func (t *tracer) entry(path string, args []string, shapes map[string]*shape) {
	rules := t.compiler.GetRulesExact(ast.MustParseRef(path))
	if len(rules) == 0 {
		t.problem(nil, "%s is not defined", path)
		return
	}
	c := call{path: path}
	for _, a := range args {
		c.args = append(c.args, shapes[a])
	}
	for _, r := range rules {
		if len(r.Head.Args) != len(args) {
			t.problem(r.Loc(), "%s takes %s", path, fmt.Sprint(args))
		}
		if !ast.Boolean(true).Equal(r.Head.Value.Value) || r.Default || r.Else != nil {
			t.problem(r.Loc(), "%s says yes or nothing: no other value, no default, no else", path)
		}
	}
	t.visit(c)
}

// prints finds print, which the compiler takes out silently: a rule that holds
// nothing else would then always hold.
func (b *Bundle) prints() (problems []string) {
	for _, m := range b.rules() {
		ast.WalkRefs(m, func(r ast.Ref) bool {
			if r.String() == ast.Print.Name {
				problems = append(problems, fmt.Sprintf("%s:%d: print says nothing about access; take it out", r[0].Location.File, r[0].Location.Row))
			}
			return false
		})
	}
	slices.Sort(problems)
	return problems
}
