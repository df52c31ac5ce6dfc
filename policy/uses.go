package policy

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// uses are the known values that a function depends on. A value that it only
// compares with columns, or only seeks a column in, does not matter to partial
// evaluation, which leaves such a condition as it is. Whatever is not surely of
// this form is read.
type uses struct {
	tracer *tracer
	reads  map[string]bool
}

// readsOf are the paths of the known values that a function reads, through all
// functions it calls.
func readsOf(c *ast.Compiler, path string, args []string, shapes map[string]*shape) []string {
	u := &uses{tracer: &tracer{compiler: c, reached: map[string]bool{}, reads: map[string]bool{}}, reads: map[string]bool{}}
	u.tracer.follow = u.rule
	named := maps.Clone(shapes)
	for _, a := range []string{"ask", "fact", "group"} {
		if s := shapes[a]; s != nil && !s.row {
			named[a] = s.named(a)
		}
	}
	u.tracer.entry(path, args, named)
	u.tracer.run()
	return slices.Sorted(maps.Keys(u.reads))
}

// named is the shape of something known, whose parts know their paths.
func (s *shape) named(path string) *shape {
	if s.fields == nil {
		return &shape{elem: s.elem, path: path}
	}
	n := &shape{fields: map[string]*shape{}}
	for name, f := range s.fields {
		n.fields[name] = f.named(path + "." + name)
	}
	return n
}

// read notes that everything below a shape is read.
func (u *uses) read(s *shape) {
	switch {
	case s == nil || s.row:
	case s.path != "":
		u.reads[s.path] = true
	default:
		for _, f := range s.fields {
			u.read(f)
		}
	}
}

// scoped is one rule with what its variables stand for.
type scoped struct {
	*uses
	vars  map[ast.Var]*shape
	args  map[ast.Var]bool
	equal map[ast.Var]int    // equations that a variable is one side of
	done  map[operandOf]bool // accounted for
}

// operandOf is an operand by its place: the compiler lets places share a term.
type operandOf struct {
	x *ast.Expr
	i int
}

// rule notes what one rule reads.
func (u *uses) rule(r *ast.Rule, args []*shape, vars map[ast.Var]*shape) {
	s := &scoped{u, vars, map[ast.Var]bool{}, map[ast.Var]int{}, map[operandOf]bool{}}
	for i, p := range r.Head.Args {
		v, isVar := p.Value.(ast.Var)
		if i < len(args) && (!isVar || s.args[v]) { // a pattern looks at the argument
			u.read(args[i])
		}
		s.args[v] = isVar
	}
	ast.WalkExprs(r.Body, func(x *ast.Expr) bool {
		if equation(x) {
			for _, o := range x.Operands() {
				if v, ok := o.Value.(ast.Var); ok {
					s.equal[v]++
				}
			}
		}
		return false
	})
	ast.WalkExprs(r.Body, func(x *ast.Expr) bool { s.expr(x); return false })
	s.rest(r.Body)
	s.rest(r.Head.Value)
	s.rest(r.Head.Key)
}

func equation(x *ast.Expr) bool {
	return (x.IsEquality() || x.IsAssignment()) && len(x.Operands()) == 2
}

// expr accounts for the terms of an expression that read nothing.
func (s *scoped) expr(x *ast.Expr) {
	if !x.IsCall() {
		return
	}
	operands := x.Operands()
	if x.Operator().HasPrefix(ast.DefaultRootRef) {
		for i, o := range operands {
			if s.whole(o) != nil && s.binds(x.Operator(), i) {
				s.done[operandOf{x, i}] = true // the function is followed
			}
		}
		return
	}
	if len(operands) != 2 {
		return
	}
	a, b := operands[0], operands[1]
	switch name := x.Operator().String(); {
	case equation(x) && (s.alias(x, 0) || s.alias(x, 1)): // a name
	case name == ast.Member.Name:
		if l := s.whole(b); s.column(a) && l != nil && l.path != "" && l.elem != nil {
			s.done[operandOf{x, 1}] = true
		}
	case comparisons[name] != "":
		for i := range 2 {
			if k := s.whole(operands[i]); s.column(operands[1-i]) && k != nil && k.path != "" && k.elem == nil {
				s.done[operandOf{x, i}] = true
			}
		}
	}
}

// binds reports whether a function of the bundle takes its i-th argument as a
// plain variable.
func (s *scoped) binds(name ast.Ref, i int) bool {
	rules := s.tracer.compiler.GetRulesExact(name)
	for _, r := range rules {
		if i >= len(r.Head.Args) {
			return false
		}
		if _, ok := r.Head.Args[i].Value.(ast.Var); !ok {
			return false
		}
	}
	return len(rules) > 0
}

// alias accounts for an equation that does no more than name a part.
func (s *scoped) alias(x *ast.Expr, i int) bool {
	a, b := x.Operand(i), x.Operand(1-i)
	v, ok := a.Value.(ast.Var)
	if !ok || s.args[v] || s.equal[v] != 1 || !s.single(b) {
		return false
	}
	s.done[operandOf{x, i}] = true
	if s.whole(b) != nil {
		s.done[operandOf{x, 1 - i}] = true
	}
	return true
}

// single reports whether a term, if it is a variable, has one meaning only.
func (s *scoped) single(t *ast.Term) bool {
	v, ok := t.Value.(ast.Var)
	return !ok || s.args[v] || s.equal[v] <= 1
}

// column reports whether a term is surely something that only the database
// knows.
func (s *scoped) column(t *ast.Term) bool {
	head := t
	if ref, ok := t.Value.(ast.Ref); ok {
		head = ref[0]
	}
	v, ok := head.Value.(ast.Var)
	if !ok || !s.args[v] && s.equal[v] != 1 {
		return false
	}
	shape := shapeOf(t, s.vars)
	return shape != nil && shape.row
}

// whole is the shape of a term that names something known, or a part of it, as
// it was given.
func (s *scoped) whole(t *ast.Term) *shape {
	switch v := t.Value.(type) {
	case ast.Var:
		if k := s.vars[v]; k != nil && !k.row && (k.path != "" || k.fields != nil) && s.single(t) {
			return k
		}
	case ast.Ref:
		if k, exact := s.follow(v); exact {
			return k
		}
	}
	return nil
}

// follow finds what a reference names. It is exact if it names it as it was
// given; otherwise something of it, or nothing known, is named.
func (s *scoped) follow(ref ast.Ref) (k *shape, exact bool) {
	v, ok := ref[0].Value.(ast.Var)
	if k = s.vars[v]; !ok || k == nil || k.row {
		return nil, false
	}
	for _, p := range ref[1:] {
		if k.path != "" {
			return k, false
		}
		name, isText := p.Value.(ast.String)
		if !isText || k.fields[string(name)] == nil {
			return k, false
		}
		k = k.fields[string(name)]
	}
	return k, s.single(ref[0])
}

// rest reads what nothing accounted for.
func (s *scoped) rest(x any) {
	if t, ok := x.(*ast.Term); ok && t == nil {
		return
	}
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if !x.IsCall() {
				return false
			}
			for i, o := range x.Operands() {
				if !s.done[operandOf{x, i}] {
					s.rest(o)
				}
			}
			return true
		case *ast.Term:
			return s.term(x)
		}
		return false
	}).Walk(x)
}

// term reads what a term names, and reports whether that is all of it.
func (s *scoped) term(t *ast.Term) bool {
	switch v := t.Value.(type) {
	case ast.Var:
		s.read(s.vars[v])
		return true
	case ast.Ref:
		if _, isVar := v[0].Value.(ast.Var); !isVar {
			return false
		}
		if k, _ := s.follow(v); k != nil {
			s.read(k)
		}
		for _, p := range v[1:] {
			s.rest(p)
		}
		return true
	}
	return false
}
