package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// shape is what an argument of a rule looks like. A rule that asks for a part
// that is not there would be silent in Rego, and under `not` it would be a yes.
type shape struct {
	fields map[string]*shape // of an object
	elem   *shape            // of a list
	row    bool              // only the database knows it: part of a record, a fact, or the time
	path   string            // of what is known, where it matters
}

var scalar = &shape{}

func listOf(s *shape) *shape { return &shape{elem: s} }

// argShapes are the arguments a ground's functions are called with; fields are
// those of all entities.
func argShapes(factName string, fields *shape) map[string]*shape {
	list := listOf(scalar)
	subject := &shape{fields: map[string]*shape{
		"id": scalar, "kind": scalar, "instance": scalar, "roles": list, "clearance": scalar, "territories": list,
		"segments": list, "all_segments": scalar, "departments": list, "keys": list, "groups": list,
		"jurisdictions": list, "purpose": scalar,
		"relationships": listOf(&shape{fields: map[string]*shape{"department": scalar, "actions": list}}),
	}}
	args := map[string]*shape{
		"ask":        {fields: map[string]*shape{"subject": subject, "action": scalar, "entity": scalar}},
		"subject":    subject,
		"permission": scalar,
		"group":      scalar,
		"now":        {row: true},
		"record":     rowShape(recordRow),
	}
	args["record"].fields["fields"] = fields
	if f, ok := factTables[factName]; ok {
		args["fact"] = rowShape(f.row)
	}
	if factName == areaFact {
		args["fact"] = &shape{fields: map[string]*shape{
			"department": scalar, "effect": scalar, "actions": list, "groups": list, "any_territory": scalar, "any_segment": scalar,
			"territories": list, "segments": list, "on_department": scalar, "valid_from": scalar, "valid_to": scalar,
		}}
	}
	return args
}

// fieldShape has the fields of all entities: which of them has one is asked
// when a filter is made.
func fieldShape(entities map[string]row) *shape {
	s := &shape{fields: map[string]*shape{}, row: true}
	for _, r := range entities {
		for name, f := range rowShape(r).fields {
			if old := s.fields[name]; old == nil || old.elem == nil {
				s.fields[name] = f
			}
		}
	}
	return s
}

func rowShape(r row) *shape {
	s := &shape{fields: map[string]*shape{}, row: true}
	for name, c := range r {
		s.fields[name] = &shape{row: true}
		if c.array {
			s.fields[name].elem = &shape{row: true}
		}
	}
	return s
}

// call is a function with the shapes of its arguments; nil is not known.
type call struct {
	path string
	args []*shape
}

// tracer follows the arguments of the entry points through every function they
// reach.
type tracer struct {
	compiler *ast.Compiler
	todo     []call
	seen     []call
	reached  map[string]bool // paths of rules that something uses
	fields   *shape          // the fields of all entities
	reads    map[string]bool // those that rules read
	problems []string
	at       *ast.Location // of the rule that is followed
	stop     bool          // the entry points are not what they are taken for
	says     speaker
	follow   func(r *ast.Rule, args []*shape, vars map[ast.Var]*shape) // is told of every rule, if not nil
}

func (t *tracer) problem(at *ast.Location, format string, args ...any) {
	if at == nil {
		at = t.at
	}
	p := placed(at, fmt.Sprintf(format, args...))
	if !slices.Contains(t.problems, p) {
		t.problems = append(t.problems, p)
	}
}

func (t *tracer) visit(c call) {
	t.reached[c.path] = true
	if !slices.ContainsFunc(t.seen, func(o call) bool { return o.path == c.path && slices.Equal(o.args, c.args) }) {
		t.seen = append(t.seen, c)
		t.todo = append(t.todo, c)
	}
}

// run follows the calls until nothing new is reached.
func (t *tracer) run() {
	for len(t.todo) > 0 {
		c := t.todo[0]
		t.todo = t.todo[1:]
		for _, r := range t.compiler.GetRulesExact(ast.MustParseRef(c.path)) {
			t.rule(r, c.args)
		}
	}
}

// rule follows one rule with its arguments.
func (t *tracer) rule(r *ast.Rule, args []*shape) {
	t.at = r.Loc()
	vars := map[ast.Var]*shape{}
	sees := false
	for i, p := range r.Head.Args {
		if v, ok := p.Value.(ast.Var); ok && i < len(args) && args[i] != nil {
			vars[v] = args[i]
			sees = sees || args[i].row
		}
	}
	says := r.Head.Value == nil || ast.Boolean(true).Equal(r.Head.Value.Value)
	if sees && (!says || r.Else != nil || r.Default) {
		// Two such bodies that both hold are an error for a known row and an "or" in SQL.
		t.problem(r.Loc(), yesOrNothing, r.Head.Name)
	}
	for n := -1; n != len(vars); { // until no body gives a name to another part
		n = len(vars)
		ast.WalkExprs(r, func(x *ast.Expr) bool { t.bind(x, vars); return false })
	}
	ast.WalkExprs(r, func(x *ast.Expr) bool { t.expr(x, vars); return false })
	ast.WalkTerms(r, func(x *ast.Term) bool {
		if ref, ok := x.Value.(ast.Ref); ok {
			t.ref(ref, x.Location, vars)
		}
		return false
	})
	if t.follow != nil {
		t.follow(r, args, vars)
	}
	if r.Else != nil {
		t.rule(r.Else, args)
	}
}

// bind notes what a variable stands for.
func (t *tracer) bind(x *ast.Expr, vars map[ast.Var]*shape) {
	if !x.IsEquality() && !x.IsAssignment() || len(x.Operands()) != 2 {
		return
	}
	for i := range 2 {
		v, ok := x.Operand(i).Value.(ast.Var)
		if !ok || vars[v] != nil {
			continue
		}
		if s := shapeOf(x.Operand(1-i), vars); s != nil {
			vars[v] = s
		}
	}
}

func shapeOf(x *ast.Term, vars map[ast.Var]*shape) *shape {
	switch v := x.Value.(type) {
	case ast.String, ast.Number, ast.Boolean, ast.Null:
		return scalar
	case ast.Var:
		return vars[v]
	case ast.Ref:
		head, ok := v[0].Value.(ast.Var)
		if !ok {
			return nil
		}
		s := vars[head]
		for _, p := range v[1:] {
			if s = s.part(p); s == nil {
				return nil
			}
		}
		return s
	}
	return nil
}

// part is the shape of a part, nil if there is none or it is not known.
func (s *shape) part(p *ast.Term) *shape {
	switch {
	case s == nil:
		return nil
	case s.elem != nil:
		return s.elem
	}
	name, _ := p.Value.(ast.String)
	return s.fields[string(name)]
}

// expr follows the calls of functions of the bundle.
func (t *tracer) expr(x *ast.Expr, vars map[ast.Var]*shape) {
	if len(x.With) > 0 {
		t.problem(x.Loc(), "`with` is for tests; a rule looks only at what it is given")
	}
	if !x.IsCall() || !x.Operator().HasPrefix(ast.DefaultRootRef) {
		return
	}
	c := call{path: x.Operator().String()}
	for _, o := range x.Operands() {
		c.args = append(c.args, shapeOf(o, vars))
	}
	t.visit(c)
}

// ref refuses a reference to a part that is not there.
func (t *tracer) ref(ref ast.Ref, at *ast.Location, vars map[ast.Var]*shape) {
	switch {
	case ref.HasPrefix(ast.InputRootRef):
		t.problem(at, "%v: a rule looks only at its arguments, not at input; write record, ask or fact for it", ref)
		return
	case ref.HasPrefix(ast.DefaultRootRef):
		rules := t.compiler.GetRules(ref)
		if len(rules) == 0 {
			t.problem(at, "%s is not defined: a rule looks at its arguments, one fact at most among them, and at rules of the bundle", written(ref, at))
		}
		for _, r := range rules {
			if len(r.Head.Args) == 0 {
				t.visit(call{path: r.Ref().String()})
			}
		}
		if says := notInRule(rules, ref, at); says != "" {
			t.problem(at, "%s", says)
		}
		return
	}
	head, ok := ref[0].Value.(ast.Var)
	s := vars[head]
	if !ok || s == nil {
		return
	}
	for i, p := range ref[1:] {
		switch {
		case s.elem != nil:
			if _, number := p.Value.(ast.Number); shapeOf(p, vars) != nil && !(number && s.row) { // that one cannot become a filter, which says more
				t.problem(at, "%s", notInList(ref[:i+2], i+2 == len(ref), at))
				return
			}
			s = s.elem
		case s.fields == nil:
			whole, _, _ := strings.Cut(written(ref, at), ".")
			if i > 0 {
				whole = partName(ref[:i+1])
			}
			t.problem(at, "%s: %s has no parts here", written(ref, at), whole)
			return
		default:
			name, isText := p.Value.(ast.String)
			next := s.fields[string(name)]
			if !isText || next == nil {
				t.problem(at, "%s", unknownPart(ref, name, isText, s, at))
				return
			}
			if s == t.fields {
				t.reads[string(name)] = true
			}
			s = next
		}
	}
}

// unknownPart says that a reference asks for a part that is not there.
func unknownPart(ref ast.Ref, name ast.String, isText bool, s *shape, at *ast.Location) string {
	if !isText {
		return fmt.Sprintf("%s: a part is named by a word of its own, as record.home", written(ref, at))
	}
	known := slices.Sorted(maps.Keys(s.fields))
	says := fmt.Sprintf("%q is not known%s", string(name), meant(string(name), slices.Values(known)))
	if len(known) > manyNames && strings.HasSuffix(says, "?") {
		return says
	}
	if strings.HasSuffix(says, "?") {
		return says + " Known are " + strings.Join(known, " ")
	}
	return says + "; known are " + strings.Join(known, " ")
}

// manyNames is how many names a message lists in any case.
const manyNames = 20

// written is a reference as it stands in the file, if that is known.
func written(ref ast.Ref, at *ast.Location) string {
	if at != nil && len(at.Text) > 0 && len(at.Text) < 80 && !strings.Contains(string(at.Text), "\n") {
		return string(at.Text)
	}
	return made.ReplaceAllString(ref.String(), "_")
}

// partName is the last name of a reference.
func partName(ref ast.Ref) string {
	if name, ok := ref[len(ref)-1].Value.(ast.String); ok {
		return string(name)
	}
	return "it"
}
