package policy_test

import (
	"errors"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/policy"
)

func TestEmbeddedBundle(t *testing.T) {
	b := policy.Embedded()
	for _, p := range policy.Check(t.Context(), b) {
		t.Error(p)
	}
	results, err := policy.Test(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) < 30 {
		t.Errorf("only %d Rego tests ran", len(results))
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s: %s", r.Name, r.Message)
		}
	}
}

// Every ground has to have examples in the bundle's own tests.
func TestEveryGroundHasExamples(t *testing.T) {
	modules := policy.Embedded().Modules()
	examples := modules["rules_test.rego"]
	for _, line := range strings.Split(modules["grounds.rego"], "\n") {
		name, _, ok := strings.Cut(strings.TrimSpace(line), `": {"effect": `)
		if name = strings.TrimPrefix(name, `"`); ok && !strings.Contains(examples, "rules."+name+"(") {
			t.Errorf("no test calls rules.%s", name)
		}
	}
}

func TestTestReportsFailures(t *testing.T) {
	modules := policy.Embedded().Modules()
	modules["more_test.rego"] = `package more_test

test_wrong if data.meridian.service.permit({"roles": []}, "policy.read")

test_right if 1 + 1 == 2
`
	b, err := policy.NewBundle(modules)
	if err != nil {
		t.Fatal(err)
	}
	results, err := policy.Test(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	outcome := map[string]policy.TestResult{}
	for _, r := range results {
		outcome[r.Name] = r
	}
	if r := outcome["more_test.test_wrong"]; r.Passed || r.Message == "" {
		t.Errorf("test_wrong: %+v", r)
	}
	if r := outcome["more_test.test_right"]; !r.Passed {
		t.Errorf("test_right: %+v", r)
	}
}

func TestDigestNamesTheModules(t *testing.T) {
	digest := func(modules map[string]string) string {
		t.Helper()
		b, err := policy.NewBundle(modules)
		if err != nil {
			t.Fatal(err)
		}
		return b.Digest()
	}
	a := digest(map[string]string{"a.rego": "package a\n", "b.rego": "package b\n"})
	if a != digest(map[string]string{"b.rego": "package b\n", "a.rego": "package a\n"}) {
		t.Error("the same modules have two digests")
	}
	if a == digest(map[string]string{"a.rego": "package a\n", "b.rego": "package b # changed\n"}) {
		t.Error("a changed comment keeps the digest")
	}
	b := policy.Embedded()
	b.Modules()["grounds.rego"] = "" // a copy
	if b.Digest() != policy.Embedded().Digest() || b.Modules()["grounds.rego"] == "" {
		t.Error("a bundle can be changed from outside")
	}
}

func TestUnparsableModuleNamesItsLine(t *testing.T) {
	_, err := policy.NewBundle(map[string]string{"broken.rego": "package broken\nallow if {"})
	e, ok := errors.AsType[*crm.Error](err)
	if !ok || e.Kind != crm.Invalid || e.Field != "broken.rego:2" {
		t.Errorf("got %#v", err)
	}
}
