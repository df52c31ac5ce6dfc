package policy

import (
	"context"
	"slices"
	"strings"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
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
	return runTests(ctx, b, func(r *tester.Runner) *tester.Runner { return r })
}

func runTests(ctx context.Context, b *Bundle, with func(*tester.Runner) *tester.Runner) ([]TestResult, error) {
	modules := map[string]*ast.Module{}
	for path, m := range b.parsed {
		modules[path] = m.Copy()
	}
	store := inmem.New()
	txn, err := store.NewTransaction(ctx, storage.TransactionParams{})
	if err != nil {
		return nil, crm.Errorf(crm.Internal, "policy tests: %w", err)
	}
	defer store.Abort(ctx, txn)
	compiler := ast.NewCompiler().WithCapabilities(capabilities("_test.rego"))
	found, err := with(tester.NewRunner()).SetCompiler(compiler).SetStore(store).SetModules(modules).RaiseBuiltinErrors(true).RunTests(ctx, txn)
	if err != nil {
		return nil, crm.Errorf(crm.Invalid, "the tests do not compile: %w", err)
	}
	var results []TestResult
	for r := range found {
		t := TestResult{Name: strings.TrimPrefix(r.Package, "data.") + "." + r.Name, Passed: r.Pass()}
		switch {
		case r.Error != nil:
			t.Message = r.Error.Error()
		case r.Skip:
			t.Message = "skipped"
		case !t.Passed:
			t.Message = "the test's body does not hold at " + r.Location.String()
		}
		results = append(results, t)
	}
	slices.SortFunc(results, func(a, b TestResult) int { return strings.Compare(a.Name, b.Name) })
	return results, nil
}
