package policy

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The time in a rule comes from facts alone: what a rule says of a record turns
// when a fact begins or ends, and those turns are known beforehand. Exchange and
// watches are woken by them, and an impact can be exact. A date that stood in a
// rule, or in a record, would pass unnoticed.

// tense is what a variable has to do with time.
type tense int

const (
	timeless tense = iota
	theTime        // now
	aFact          // it begins and ends
	aTurn          // when a fact begins, or ends
)

// timely follows `now` from the grounds through every function it is given to.
// Whatever is not surely a comparison with the begin or the end of the fact is
// a problem.
type timely struct {
	*tracer
	todo, seen []timed
}

// timed is a function with what its arguments have to do with time.
type timed struct {
	path string
	args []tense
	from *ast.Location // where it is called; nil for what the engine calls
}

// mistimed is what a rule is told that does anything else with `now`.
const mistimed = "`now` may only be compared with fact.valid_from and fact.valid_to, by <, <=, > or >=; " +
	"other dates belong to facts: write a dated agreement, assignment or grant"

// keepsTime finds rules that depend on a time which is no fact's.
func (t *tracer) keepsTime(declared []declaration) {
	y := &timely{tracer: t}
	tenses := map[string]tense{"now": theTime, "fact": aFact}
	for _, d := range declared {
		for name, args := range map[string][]string{d.name: d.args(), d.name + "_reveals": d.groupArgs(), d.name + "_masks": d.groupArgs()} {
			f := timed{path: "data.meridian.rules." + name}
			for _, a := range args {
				f.args = append(f.args, tenses[a])
			}
			y.visit(f)
		}
	}
	for len(y.todo) > 0 {
		f := y.todo[0]
		y.todo = y.todo[1:]
		for _, r := range t.compiler.GetRulesExact(ast.MustParseRef(f.path)) {
			if f.from == nil && len(r.Head.Args) != len(f.args) {
				continue // that was said
			}
			for ; r != nil; r = r.Else {
				y.rule(r, f)
			}
		}
	}
}

func (y *timely) visit(f timed) {
	if !slices.ContainsFunc(y.seen, func(o timed) bool { return o.path == f.path && slices.Equal(o.args, f.args) }) {
		y.seen, y.todo = append(y.seen, f), append(y.todo, f)
	}
}

// scene is what the variables of a body have to do with time.
type scene map[ast.Var]tense

// rule looks at a function that is given the time.
func (y *timely) rule(r *ast.Rule, f timed) {
	s := scene{}
	times := map[ast.Var]int{} // a variable stands among the arguments
	ast.WalkVars(r.Head.Args, func(v ast.Var) bool { times[v]++; return false })
	for i, p := range r.Head.Args {
		v, ok := p.Value.(ast.Var)
		switch {
		case i >= len(f.args) || f.args[i] == timeless:
		case ok && times[v] == 1:
			s[v] = f.args[i]
		case f.args[i] == theTime: // a pattern compares
			y.mistimed(f, r.Loc())
		}
	}
	if !slices.Contains(slices.Collect(maps.Values(s)), theTime) {
		return
	}
	y.body(f, r.Body, s)
	if s.holdsTime(r.Head.Value) || s.holdsTime(r.Head.Key) {
		y.mistimed(f, r.Loc())
	}
}

// mistimed tells of a problem where the function that has it is called: the
// function itself may be right for others.
func (y *timely) mistimed(f timed, at *ast.Location) {
	if f.from == nil || at == nil || f.from.File == at.File {
		y.problem(at, mistimed)
		return
	}
	y.problem(f.from, "through %s:%d, %s", at.File, at.Row, mistimed)
}

// body looks at conditions that hold together, so that a variable which one of
// them says is a turn is one in all of them, whatever else it is.
func (y *timely) body(f timed, b ast.Body, outer scene) {
	s := maps.Clone(outer)
	for n := -1; n != len(s); {
		n = len(s)
		for _, x := range b {
			if equation(x) && !x.Negated && len(x.With) == 0 {
				s.name(x.Operand(0), x.Operand(1))
				s.name(x.Operand(1), x.Operand(0))
			}
		}
	}
	for _, x := range b {
		if !y.expr(f, x, s) {
			y.mistimed(f, x.Loc())
		}
	}
}

// name notes that a variable is what a term is.
func (s scene) name(variable, term *ast.Term) {
	v, ok := variable.Value.(ast.Var)
	if is := s.of(term); ok && s[v] == timeless && (is == aFact || is == aTurn) {
		s[v] = is
	}
}

// of is what a term has to do with time.
func (s scene) of(t *ast.Term) tense {
	switch v := t.Value.(type) {
	case ast.Var:
		return s[v]
	case ast.Ref:
		head, ok := v[0].Value.(ast.Var)
		if ok && s[head] == aFact && len(v) == 2 && isTurn(v[1].Value) {
			return aTurn
		}
	}
	return timeless
}

// isTurn reports whether a column of a fact is one of those whose passing is
// noticed.
func isTurn(column ast.Value) bool {
	return ast.String("valid_from").Equal(column) || ast.String("valid_to").Equal(column)
}

// turns are when a known fact begins and ends, as values that partial
// evaluation may have put into a residual.
type turns []ast.Value

func (k known) turns() (at turns) {
	for _, name := range []string{"valid_from", "valid_to"} {
		if v := k.values[name]; v != nil {
			at = append(at, term(v).Value)
		}
	}
	return at
}

func (at turns) has(v ast.Value) bool {
	return slices.ContainsFunc(at, func(t ast.Value) bool { return ast.Compare(t, v) == 0 })
}

// expr reports whether a condition does nothing with the time but compare it
// with a turn, or give it to a function that is looked at too.
func (y *timely) expr(f timed, x *ast.Expr, s scene) bool {
	switch terms := x.Terms.(type) {
	case *ast.Every:
		y.body(f, terms.Body, s)
		return !s.holdsTime(terms.Domain)
	case *ast.Not:
		y.body(f, terms.Body, s)
		return true
	}
	if !x.IsCall() || len(x.With) > 0 {
		return !s.holdsTime(x)
	}
	operands := x.Operands()
	if x.Operator().HasPrefix(ast.DefaultRootRef) {
		called := timed{path: x.Operator().String(), from: x.Loc()}
		for _, o := range operands {
			called.args = append(called.args, s.of(o))
			if s.of(o) == timeless && s.holdsTime(o) {
				return false
			}
		}
		y.visit(called)
		return true
	}
	if len(operands) == 2 && ordered(x.Operator()) {
		a, b := s.of(operands[0]), s.of(operands[1])
		if a == theTime && b == aTurn || a == aTurn && b == theTime {
			return true
		}
	}
	return !s.holdsTime(x)
}

func ordered(operator ast.Ref) bool {
	op := comparisons[operator.String()]
	return op != "" && op != "=" && op != "<>"
}

// holdsTime reports whether the time stands anywhere in x.
func (s scene) holdsTime(x any) (found bool) {
	if t, ok := x.(*ast.Term); ok && t == nil {
		return false
	}
	ast.WalkVars(x, func(v ast.Var) bool {
		found = found || s[v] == theTime
		return found
	})
	return found
}
