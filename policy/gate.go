package policy

import (
	"context"
	"fmt"
	"maps"
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

// Format is the bundle's files in the one form of `policy fmt`: officers read
// what changed, not how it is set.
func Format(files map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(files))
	var faults []error
	for _, path := range slices.Sorted(maps.Keys(files)) {
		text := files[path]
		out[path] = text
		if !strings.HasSuffix(path, ".rego") {
			continue
		}
		set, err := format.SourceWithOpts(path, []byte(text), format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			faults = append(faults, unparsed(path, text, err))
			continue
		}
		out[path] = string(set)
	}
	if len(faults) > 0 {
		return nil, unfit(faults)
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
	seen := newSteps()
	results, err = runTests(ctx, b, seen)
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

// steps notes which rules held while tests ran, and which conditions did not.
type steps struct {
	mu    sync.Mutex
	rules map[string]bool
	fails map[string]map[int]*ast.Expr // of test files, by line
}

func newSteps() *steps {
	return &steps{rules: map[string]bool{}, fails: map[string]map[int]*ast.Expr{}}
}

// Enabled implements topdown.QueryTracer.
func (*steps) Enabled() bool { return true }

// Config implements topdown.QueryTracer.
func (*steps) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent implements topdown.QueryTracer.
func (x *steps) TraceEvent(e topdown.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch node := e.Node.(type) {
	case *ast.Rule:
		if e.Op == topdown.ExitOp {
			x.rules[place(node.Loc())] = true
		}
	case *ast.Expr:
		if at := node.Location; e.Op == topdown.FailOp && at != nil && isTest(at.File) {
			if x.fails[at.File] == nil {
				x.fails[at.File] = map[int]*ast.Expr{}
			}
			x.fails[at.File][at.Row] = node
		}
	}
}

// fell says which line of a test does not hold. Lines after it were not
// looked at, so it is the last that failed.
func (x *steps) fell(b *Bundle, r *tester.Result) string {
	until := strings.Count(b.modules[r.Location.File], "\n") + 1
	for _, rule := range b.parsed[r.Location.File].Rules {
		if row := rule.Loc().Row; row > r.Location.Row {
			until = min(until, row-1)
		}
	}
	last := 0
	for row := range x.fails[r.Location.File] {
		if row >= r.Location.Row && row <= until {
			last = max(last, row)
		}
	}
	if last == 0 {
		return placed(r.Location, "the test's body does not hold")
	}
	at := x.fails[r.Location.File][last].Location
	first, _, _ := strings.Cut(string(at.Text), "\n")
	return placed(at, quote(first)+" does not hold")
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
