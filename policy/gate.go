package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// personasFile is where a bundle keeps the people it is tried with.
const personasFile = "personas.json"

// Persona is a subject that travels with a bundle: its filters must compile,
// and are compared with the rules on live records.
type Persona struct {
	Name    string
	Subject crm.Subject
}

// Personas are the bundle's, by name.
func (b *Bundle) Personas() []Persona { return slices.Clone(b.personas) }

// parsePersonas reads {"<name>": <subject>, ...}.
func parsePersonas(text string) ([]Persona, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	subjects := map[string]crm.Subject{}
	if err := d.Decode(&subjects); err != nil {
		return nil, crm.FieldErrorf(personasFile, `is not {"<name>": {"id": ..., "kind": ..., "roles": [...], ...}, ...}: %v`, err)
	}
	var out []Persona
	for name, s := range subjects {
		if s.Kind != crm.KindPerson && s.Kind != crm.KindService && s.Kind != crm.KindInstance {
			return nil, crm.FieldErrorf(personasFile, "%s: kind is person, service or instance, not %q", name, s.Kind)
		}
		if s.ID == "" {
			s.ID = crm.SubjectID(name)
		}
		out = append(out, Persona{name, s})
	}
	slices.SortFunc(out, func(a, b Persona) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Format is the bundle's files in the one form of `policy fmt`: officers read
// what changed, not how it is set.
func Format(files map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(files))
	for path, text := range files {
		out[path] = text
		if !strings.HasSuffix(path, ".rego") {
			continue
		}
		set, err := format.SourceWithOpts(path, []byte(text), format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, crm.FieldErrorf(path, "the module does not parse: %v", err)
		}
		out[path] = string(set)
	}
	return out, nil
}

// Unformatted are the paths of files that Format would change.
func Unformatted(b *Bundle) ([]string, error) {
	set, err := Format(b.modules)
	if err != nil {
		return nil, err
	}
	var paths []string
	for path, text := range b.modules {
		if set[path] != text {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// testsAtMost bounds the tests of a bundle: one that never ends is no test.
const testsAtMost = 30 * time.Second

// Cover runs the bundle's tests and says which rules no test makes hold, as
// "<file>:<line> <name>". A rule that was never seen to hold is not tested,
// however many lines of it were read.
func Cover(ctx context.Context, b *Bundle) (results []TestResult, unseen []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, testsAtMost)
	defer cancel()
	seen := &exits{rules: map[string]bool{}}
	results, err = runTests(ctx, b, func(r *tester.Runner) *tester.Runner { return r.SetCoverageQueryTracer(seen) })
	if err == nil && ctx.Err() != nil {
		err = crm.Errorf(crm.Invalid, "the tests do not end within %s", testsAtMost)
	}
	if err != nil {
		return nil, nil, err
	}
	for path, m := range b.parsed {
		if isTest(path) {
			continue
		}
		for _, r := range m.Rules {
			if name := r.Head.Ref().String(); !seen.rules[place(r.Loc())] && !constantRule(r) {
				unseen = append(unseen, fmt.Sprintf("%s:%d %s", path, r.Loc().Row, name))
			}
		}
	}
	slices.Sort(unseen)
	return results, unseen, nil
}

// constantRule is a table such as role_actions: it always holds.
func constantRule(r *ast.Rule) bool {
	return len(r.Head.Args) == 0 && (len(r.Body) == 0 || r.Body.Equal(ast.NewBody(ast.NewExpr(ast.BooleanTerm(true)))))
}

// exits notes which rules held.
type exits struct {
	mu    sync.Mutex
	rules map[string]bool
}

// Enabled implements topdown.QueryTracer.
func (*exits) Enabled() bool { return true }

// Config implements topdown.QueryTracer.
func (*exits) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent implements topdown.QueryTracer.
func (x *exits) TraceEvent(e topdown.Event) {
	rule, ok := e.Node.(*ast.Rule)
	if e.Op != topdown.ExitOp || !ok {
		return
	}
	at := place(rule.Loc())
	x.mu.Lock()
	x.rules[at] = true
	x.mu.Unlock()
}

func place(l *ast.Location) string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d:%d", l.File, l.Row, l.Col)
}

// invariantsPackage is where a bundle says what no change may break: tests
// like others, but a proposal that drops or rewords one says so.
const invariantsPackage = "data.meridian.invariants_test"

// Invariants are the bundle's, by name, as text.
func (b *Bundle) Invariants() map[string]string {
	out := map[string]string{}
	for _, m := range b.parsed {
		if m.Package.Path.String() != invariantsPackage {
			continue
		}
		for _, r := range m.Rules {
			name := r.Head.Ref().String()
			out[name] += r.String() + "\n"
		}
	}
	return out
}
