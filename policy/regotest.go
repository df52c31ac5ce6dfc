package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// TestResult is the outcome of one Rego test.
type TestResult struct {
	Name    string // package and rule
	Passed  bool
	Message string // why it did not pass
}

// Test runs the bundle's Rego tests. A bundle whose rules or tests do not
// compile is an Invalid error.
func Test(ctx context.Context, b *Bundle) ([]TestResult, error) {
	return runTests(ctx, b, newSteps())
}

func runTests(ctx context.Context, b *Bundle, seen *steps) ([]TestResult, error) {
	if err := b.lintTests(); err != nil {
		return nil, err
	}
	modules := b.copies()
	store := inmem.New()
	txn, err := store.NewTransaction(ctx, storage.TransactionParams{})
	if err != nil {
		return nil, crm.Errorf(crm.Internal, "policy tests: %w", err)
	}
	defer store.Abort(ctx, txn)
	compiler := ast.NewCompiler().WithCapabilities(capabilities("_test.rego"))
	found, err := tester.NewRunner().SetCoverageQueryTracer(seen).SetCompiler(compiler).SetStore(store).SetModules(modules).RaiseBuiltinErrors(true).RunTests(ctx, txn)
	if err != nil {
		return nil, crm.Errorf(crm.Invalid, "the tests cannot be run: %v", err)
	}
	var results []TestResult
	for r := range found {
		t := TestResult{Name: strings.TrimPrefix(r.Package, "data.") + "." + r.Name, Passed: r.Pass()}
		switch {
		case r.Error != nil:
			t.Message = speaker{b.parsed}.said(r.Error, r.Location)
		case r.Skip:
			t.Message = placed(r.Location, "is skipped: a test's name begins with test_, not with todo_")
		case !t.Passed:
			t.Message = seen.fell(b, r)
		}
		results = append(results, t)
	}
	slices.SortFunc(results, func(a, b TestResult) int { return strings.Compare(a.Name, b.Name) })
	return results, nil
}

// lintTests finds what Rego would let pass in silence in tests: a name that is
// nowhere defined has no value, and under `not` such a test would always pass.
func (b *Bundle) lintTests() error {
	says := speaker{b.parsed}
	c := ast.NewCompiler().WithCapabilities(capabilities("_test.rego"))
	c.Compile(b.copies())
	var problems []error
	for _, err := range c.Errors {
		problems = append(problems, crm.Errorf(crm.Invalid, "%s", says.problem(err)))
	}
	for _, p := range prints(b.parsed) {
		problems = append(problems, crm.Errorf(crm.Invalid, "%s", p))
	}
	if len(problems) > 0 {
		return unfit(problems)
	}
	for _, path := range slices.Sorted(maps.Keys(c.Modules)) {
		m := c.Modules[path]
		if !isTest(path) {
			continue
		}
		for _, r := range m.Rules {
			ast.WalkTerms(r, func(x *ast.Term) bool {
				if ref, ok := x.Value.(ast.Ref); ok && ref.HasPrefix(ast.DefaultRootRef) && len(c.GetRules(ref)) == 0 {
					problems = append(problems, says.nowhere(ref, x.Location, r.Loc()))
				}
				return false
			})
		}
	}
	return unfit(problems)
}

// copies are all modules, and the one made for tests; compiling changes them.
func (b *Bundle) copies() map[string]*ast.Module {
	out := map[string]*ast.Module{decisionFile: b.decisionModule()}
	for path, m := range b.parsed {
		out[path] = m.Copy()
	}
	return out
}

// nowhere is about a name of a package that is not there.
func (s speaker) nowhere(ref ast.Ref, at, rule *ast.Location) error {
	if at == nil || at.File == "" {
		at = rule
	}
	words := ref.ConstantPrefix()
	pkg, name := "", ""
	for i := len(words); i > 0 && name == ""; i-- { // the longest beginning that is a package
		if len(s.rulesOf(words[:i].String())) > 0 && i < len(words) {
			pkg, name = words[:i].String(), strings.Trim(words[i].String(), `"`)
		}
	}
	says := fmt.Sprintf("%s is not defined", written(ref, at))
	if name != "" {
		says = fmt.Sprintf("%s is not defined in package %s%s", name, strings.TrimPrefix(pkg, "data."), meant(name, maps.Keys(s.rulesOf(pkg))))
	} else {
		says += meant(strings.TrimPrefix(words.String(), "data."), s.packages())
	}
	return crm.Errorf(crm.Invalid, "%s", placed(at, says))
}

// said is an error of a test that was run.
func (s speaker) said(err error, at *ast.Location) string {
	if e, ok := errors.AsType[*topdown.Error](err); ok && e.Location != nil && e.Location.File != "" {
		if e.Code == topdown.ConflictErr {
			return placed(e.Location, "two rules of this name say different things of the same: a rule says yes or nothing, and a table has one value")
		}
		return placed(e.Location, e.Message)
	}
	return placed(at, err.Error())
}
