package policy

import (
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// rulePackages are where rules live. Another package would be a misspelt one.
var rulePackages = []string{"data.meridian.rules", "data.meridian.service", limitsPackage}

// lint finds what Rego would let pass in silence: misspelt names, rules that
// nothing uses, rules that look past their arguments.
// It also says which fields rules read.
func lint(c *ast.Compiler, declared []declaration, fields map[string]row, says speaker) (problems []string, reads map[string]bool) {
	t := &tracer{compiler: c, says: says, reached: map[string]bool{"data.meridian.rules.grounds": true}, fields: fieldShape(fields), reads: map[string]bool{}}
	operators := map[string]bool{}
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		operators[b.Name] = true
	}
	for _, d := range declared {
		shapes := argShapes(d.fact, t.fields)
		t.begins(d)
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
	if t.stop { // what follows would be about other things than the rules mean
		return t.problems, t.reads
	}
	t.run()
	t.keepsTime(declared)
	for _, m := range c.Modules {
		if !slices.Contains(rulePackages, m.Package.Path.String()) {
			name := strings.TrimPrefix(m.Package.Path.String(), "data.")
			if strings.HasSuffix(name, "_test") {
				t.problem(m.Package.Loc(), "package %s is one of tests: name the file so that it ends in _test.rego", name)
				continue
			}
			t.problem(m.Package.Loc(), "package %s holds no rules; known are meridian.rules, meridian.service and meridian.limits", name)
			continue
		}
		for _, r := range m.Rules {
			name := r.Head.Ref().String()
			if operators[name] {
				t.problem(r.Loc(), "%s is the name of an operator; a rule of this name would change what comparisons mean", name)
			}
			if !t.reached[r.Ref().String()] {
				t.problem(r.Loc(), "no ground uses %s%s", name, orMisspelt(name, maps.Keys(t.wanted(m.Package.Path.String()))))
			}
		}
	}
	slices.Sort(t.problems)
	return t.problems, t.reads
}

// factless says why a ground gets no fact, where it expects one.
func factless(args []string, r *ast.Rule) string {
	if slices.Contains(args, "fact") || len(r.Head.Args) != len(args)+1 {
		return ""
	}
	return `. A fact it gets only if the ground's line says so, as "fact": "agreement"`
}

// exchanged finds arguments in another order than they are given in: what the
// rule says of them would be said of something else.
func exchanged(r *ast.Rule, args []string) bool {
	for i, a := range r.Head.Args {
		if j := slices.Index(args, a.String()); j >= 0 && j != i {
			return true
		}
	}
	return false
}

// yesOrNothing is what rules may say.
const yesOrNothing = "%s says yes or nothing: no other value, no default, no else. Write what has to hold, and a ground that closes for what must not be"

// begins says what a ground's function lacks before it is followed.
func (t *tracer) begins(d declaration) {
	missing := func(name string) bool {
		return len(t.compiler.GetRulesExact(ast.MustParseRef("data.meridian.rules."+name))) == 0
	}
	if missing(d.name) {
		t.problem(d.at, "rules.%s is not defined: the ground needs a rule of its name, %s(%s) if { ... }", d.name, d.name, strings.Join(d.args(), ", "))
	}
	if name := d.name + "_reveals"; d.opens && missing(name) {
		blanks := strings.Repeat(", _", len(d.groupArgs())-1)[2:]
		t.problem(d.at, "rules.%s is not defined: a ground that opens says what it shows; for all of it write %s(%s, _) := true", name, name, blanks)
	}
}

// wanted are the names of a package that something uses or asks for.
func (t *tracer) wanted(pkg string) map[string]bool {
	out := map[string]bool{}
	for path := range t.reached {
		if name, ok := strings.CutPrefix(path, pkg+"."); ok {
			out[name] = true
		}
	}
	return out
}

func orMisspelt(name string, known iter.Seq[string]) string {
	if m := meant(name, known); m != "" {
		return m
	}
	return "; is it misspelt?"
}

// entry begins at a function that the engine itself calls.
func (t *tracer) entry(path string, args []string, shapes map[string]*shape) {
	rules := t.compiler.GetRulesExact(ast.MustParseRef(path))
	name := path[strings.LastIndexByte(path, '.')+1:]
	if len(rules) == 0 {
		if !strings.HasPrefix(path, "data.meridian.rules.") { // what a ground lacks was said
			t.problem(nil, "%s is not defined: a bundle needs %s(%s)", strings.TrimPrefix(path, "data."), name, strings.Join(args, ", "))
		}
		return
	}
	c := call{path: path}
	for _, a := range args {
		c.args = append(c.args, shapes[a])
	}
	for _, r := range rules {
		if len(r.Head.Args) != len(args) {
			t.problem(r.Loc(), "%s takes %d arguments: %s(%s); write _ for one that it does not use%s", name, len(args), name, strings.Join(args, ", "), factless(args, r))
			continue
		}
		if exchanged(t.says.asWritten(r), args) {
			t.problem(r.Loc(), "the arguments of %s are %s, in this order", name, strings.Join(args, ", "))
			t.stop = true
		}
		if !ast.Boolean(true).Equal(r.Head.Value.Value) || r.Default || r.Else != nil {
			t.problem(r.Loc(), yesOrNothing, name)
		}
	}
	t.visit(c)
}

// prints finds print, which the compiler takes out silently: a rule that holds
// nothing else would then always hold.
func prints(modules map[string]*ast.Module) (problems []string) {
	for _, m := range modules {
		ast.WalkRefs(m, func(r ast.Ref) bool {
			if r.String() == ast.Print.Name {
				problems = append(problems, fmt.Sprintf("%s:%d: print says nothing about who may see what, and is not heard: take it out", r[0].Location.File, r[0].Location.Row))
			}
			return false
		})
	}
	slices.Sort(problems)
	return problems
}

// grounds are the places of the grounds' lines, by name.
func (b *Bundle) grounds() map[string]*ast.Location {
	out := map[string]*ast.Location{}
	for _, r := range (speaker{b.parsed}).rulesOf("data.meridian.rules")["grounds"] {
		if r.Head.Value == nil {
			continue
		}
		if o, ok := r.Head.Value.Value.(ast.Object); ok {
			o.Foreach(func(k, _ *ast.Term) {
				if name, ok := k.Value.(ast.String); ok {
					out[string(name)] = k.Location
				}
			})
		}
	}
	return out
}

// twice finds a ground that is declared twice: Rego keeps the last line of an
// object's key in silence, and the ground would be what nobody reads first.
func (b *Bundle) twice() (problems []string) {
	for _, r := range (speaker{b.parsed}).rulesOf("data.meridian.rules")["grounds"] {
		seen := map[string]int{}
		for i, l := range strings.Split(string(r.Location.Text), "\n") {
			m := groundLine.FindStringSubmatch(l)
			if m == nil {
				continue
			}
			if first, twice := seen[m[1]]; twice {
				at := *r.Location
				at.Row += i
				problems = append(problems, placed(&at, fmt.Sprintf("ground %s is declared in line %d already: give one of the two another name, or take it out", m[1], first)))
				continue
			}
			seen[m[1]] = r.Location.Row + i
		}
	}
	return problems
}

var groundLine = regexp.MustCompile(`^\s*"([^"]+)"\s*:\s*\{`)
