package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// Engine is a compiled bundle. It is safe for concurrent use.
type Engine struct {
	bundle  *Bundle
	grounds []ground // those that open first, and those without facts first among them
	permit  rego.PreparedEvalQuery
	limits  limits
	people  *people
	alarms  alarms
	fields  map[string]row  // by entity
	reads   map[string]bool // names of the fields that rules read
}

// ground is one way to open or close a record.
type ground struct {
	name    string
	text    string
	opens   bool
	facts   *facts // which only the database knows; nil if it looks at none
	areas   bool   // it looks at the subject's areas, which are known
	says    *function
	reveals *function // only of those that open
	masks   *function // of those that open, if they have one
}

// function is one function of the bundle, ready for an unknown row and for a
// known one.
type function struct {
	partial  rego.PreparedPartialQuery
	eval     rego.PreparedEvalQuery
	reads    []string // paths of the known values that partial evaluation depends on
	outcomes outcomes
}

// New compiles b strictly. It refuses a bundle any of whose filters does not
// translate, as an Invalid error that lists every problem.
//
// defs are the entities whose fields rules may read.
func New(ctx context.Context, b *Bundle, defs ...crm.Definition) (*Engine, error) {
	e, problems := activate(ctx, b, defs)
	if len(problems) > 0 {
		err := crm.Errorf(crm.Invalid, "the bundle cannot be activated: %s", problems[0])
		err.Reasons = problems
		return nil, err
	}
	return e, nil
}

// Check lists what keeps a bundle from being activated; empty when nothing does.
func Check(ctx context.Context, b *Bundle, defs ...crm.Definition) []string {
	_, problems := activate(ctx, b, defs)
	return problems
}

func activate(ctx context.Context, b *Bundle, defs []crm.Definition) (*Engine, []string) {
	e, problems := compile(ctx, b, defs)
	if len(problems) == 0 {
		problems = e.rehearse(ctx)
	}
	return e, problems
}

// compile makes an engine of b, without proof that its filters translate.
func compile(ctx context.Context, b *Bundle, defs []crm.Definition) (e *Engine, problems []string) {
	defer func() {
		if p := recover(); p != nil {
			e, problems = nil, []string{fmt.Sprintf("the compiler panicked: %v", p)}
		}
	}()
	says := speaker{b.parsed}
	c := ast.NewCompiler().WithStrict(true).WithCapabilities(capabilities(""))
	c.Compile(b.rules())
	if c.Failed() {
		for _, err := range c.Errors {
			problems = append(problems, says.problem(err))
		}
		return nil, problems
	}
	if problems = append(prints(b.rules()), b.twice()...); len(problems) > 0 {
		return nil, problems
	}
	declared, problems := declarations(ctx, c, b.grounds())
	if len(problems) > 0 {
		return nil, problems
	}
	fields := map[string]row{}
	for _, d := range defs {
		fields[d.Entity] = fieldRow(d)
	}
	problems, reads := lint(c, declared, fields, says)
	if len(problems) > 0 {
		return nil, problems
	}
	e = &Engine{bundle: b, fields: fields, reads: reads, people: newPeople(peopleKept)}
	for _, d := range declared {
		g := ground{name: d.name, text: d.text, opens: d.opens, facts: factTables[d.fact], areas: d.fact == areaFact}
		var err error
		if g.says, err = d.prepare(ctx, c, d.name, d.args()); err == nil && d.opens {
			g.reveals, err = d.prepare(ctx, c, d.name+"_reveals", d.groupArgs())
		}
		if err == nil && d.opens && d.hasMasks(c) {
			g.masks, err = d.prepare(ctx, c, d.name+"_masks", d.groupArgs())
		}
		if err != nil {
			problems = append(problems, err.Error())
		}
		e.grounds = append(e.grounds, g)
	}
	var err error
	if e.permit, err = rego.New(rego.Compiler(c), rego.Query("data.meridian.service.permit(input.subject, input.permission)")).PrepareForEval(ctx); err != nil {
		problems = append(problems, err.Error())
	}
	e.limits = prepareLimits(ctx, c)
	return e, problems
}

// declaration is a ground as the bundle declares it.
type declaration struct {
	name, fact, text string
	opens            bool
	at               *ast.Location // of its line among the grounds
}

// args are the arguments of the ground's functions.
func (d declaration) args() []string {
	if d.fact != "" {
		return []string{"ask", "record", "fact", "now"}
	}
	return []string{"ask", "record", "now"}
}

// groupArgs are the arguments of its functions about a field group.
func (d declaration) groupArgs() []string { return append(d.args(), "group") }

// hasMasks reports whether the ground shows groups masked; it need not.
func (d declaration) hasMasks(c *ast.Compiler) bool {
	return len(c.GetRulesExact(ast.MustParseRef("data.meridian.rules."+d.name+"_masks"))) > 0
}

// declarations reads data.meridian.rules.grounds.
func declarations(ctx context.Context, c *ast.Compiler, lines map[string]*ast.Location) (ds []declaration, problems []string) {
	var v any
	rs, err := rego.New(rego.Compiler(c), rego.Query("data.meridian.rules.grounds")).Eval(ctx)
	if err == nil && len(rs) == 1 {
		v = rs[0].Expressions[0].Value
	}
	grounds, ok := v.(map[string]any)
	if err != nil || !ok || len(grounds) == 0 {
		return nil, []string{"meridian.rules declares no grounds; say grounds := {\"<name>\": {\"effect\": \"opens\" or \"closes\", \"text\": ...}}"}
	}
	for _, name := range slices.Sorted(maps.Keys(grounds)) {
		wrong := func(format string, args ...any) {
			problems = append(problems, placed(lines[name], "ground "+name+": "+fmt.Sprintf(format, args...)))
		}
		attrs, _ := grounds[name].(map[string]any)
		d := declaration{name: name, at: lines[name], opens: attrs["effect"] == "opens"}
		d.fact, _ = attrs["fact"].(string)
		d.text, _ = attrs["text"].(string)
		_, saysFact := attrs["fact"]
		for k := range attrs {
			if k != "effect" && k != "fact" && k != "text" {
				wrong("%q is not an attribute of a ground; known are effect fact text", k)
			}
		}
		if !d.opens && attrs["effect"] != "closes" {
			wrong(`the effect is "opens" or "closes", not %v`, attrs["effect"])
		}
		if saysFact && !slices.Contains(factNames(), d.fact) {
			wrong("there are no facts of the kind %v; known are %s", attrs["fact"], strings.Join(factNames(), " "))
		}
		if d.text == "" {
			wrong(`say in "text" what it means; people read it as the reason`)
		}
		ds = append(ds, d)
	}
	slices.SortStableFunc(ds, func(a, b declaration) int { return a.rank() - b.rank() })
	return ds, problems
}

// rank orders grounds so that the cheap ones come first in the SQL.
func (d declaration) rank() int {
	n := 0
	if !d.opens {
		n = 2
	}
	if factTables[d.fact] != nil {
		n++
	}
	return n
}

// unknowns is what only the database knows when a filter is made.
func (d declaration) unknowns() []*ast.Term {
	us := []*ast.Term{ast.MustParseTerm("input.record"), ast.MustParseTerm("input.now")}
	if d.fact != areaFact {
		us = append(us, ast.MustParseTerm("input.fact"))
	}
	return us
}

func (d declaration) prepare(ctx context.Context, c *ast.Compiler, name string, args []string) (*function, error) {
	query := "data.meridian.rules." + name + "(input." + strings.Join(args, ", input.") + ")"
	partial, err := rego.New(rego.Compiler(c), rego.Query(query), rego.ParsedUnknowns(d.unknowns())).PrepareForPartial(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	eval, err := rego.New(rego.Compiler(c), rego.Query(query)).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &function{partial: partial, eval: eval, reads: readsOf(c, "data.meridian.rules."+name, args, argShapes(d.fact, &shape{row: true}))}, nil
}

// Digest names the bundle.
func (e *Engine) Digest() string { return e.bundle.Digest() }

// Bundle is what the engine was made from.
func (e *Engine) Bundle() *Bundle { return e.bundle }
