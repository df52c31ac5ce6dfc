package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/policy"
)

// A rule that was activated and has no answer for somebody denies, is told of
// once, and names neither the subject nor what the subject has.
func TestRulesWithoutAnAnswerRaiseAlarms(t *testing.T) {
	e := compiled(t, oneGround("some a in ask.subject.territories\n\tsome b in ask.subject.territories\n\tsome c in ask.subject.territories\n"+
		"\trecord.home == a\n\trecord.owner == b\n\trecord.segment == c", `fact.department == "a"`, ""))
	var told []policy.Alarm
	faults := 0
	e.OnAlarm(func(a policy.Alarm) { told = append(told, a) }, func() { faults++ })
	s := asker
	for i := range 11 {
		s.Territories = append(s.Territories, fmt.Sprint("SECRET-", i))
	}
	for range 3 {
		if f, err := e.Filter(t.Context(), s, crm.ActionRead, "contact", nil); err == nil || f.Where(&policy.Args{}) != "false" {
			t.Errorf("not denied: %v", err)
		}
	}
	want := []policy.Alarm{{Bundle: e.Digest(), Ground: "g", Entity: "contact", Action: crm.ActionRead}}
	if !slices.Equal(told, want) || faults != 3 || strings.Contains(fmt.Sprint(told), "SECRET") {
		t.Errorf("told %v of %d faults, want %v of 3", told, faults, want)
	}
	if _, err := e.Filter(t.Context(), asker, crm.ActionRead, "contact", nil); err != nil || faults != 3 {
		t.Errorf("others are denied too: %v, %d faults", err, faults)
	}
}

// A rule that does not come to an end is cut off, and that is no yes.
func TestEndlessRulesAreCutOff(t *testing.T) {
	var loops, conditions []string
	for i := range 12 {
		loops = append(loops, fmt.Sprintf("some v%d in ask.subject.keys", i))
		conditions = append(conditions, fmt.Sprintf("v%d", i))
	}
	body := "not endless(ask)\n\trecord.home == \"a\""
	e := compiled(t, oneGround(body, `fact.department == "a"`,
		"endless(ask) if {\n\t"+strings.Join(loops, "\n\t")+"\n\tcount(["+strings.Join(conditions, ", ")+"]) == 99\n}\n"))
	faults := 0
	e.OnAlarm(func(policy.Alarm) {}, func() { faults++ })
	s := asker
	for i := range 40 {
		s.Keys = append(s.Keys, fmt.Sprint(i))
	}
	if f, err := e.Filter(t.Context(), s, crm.ActionRead, "contact", nil); err == nil || f.Where(&policy.Args{}) != "false" || faults != 1 {
		t.Errorf("not cut off: %v, %d faults", err, faults)
	}
	rec := crm.Record{Entity: "contact", ID: uuids[0], Governed: crm.Governed{Home: "a", Account: uuids[0]}}
	if d, err := e.Explain(t.Context(), s, crm.ActionRead, rec, policy.Facts{}, noon, nil); err == nil || d.Allowed || faults != 2 {
		t.Errorf("not cut off: %v, %d faults", err, faults)
	}
}

// What an officer, or somebody in an officer's name, may try.
func TestHostilePoliciesAreRefused(t *testing.T) {
	nested := "f0(record) if record.home == \"a\"\n"
	for i := range 40 {
		nested += fmt.Sprintf("\nf%d(record) if f%d(record)\n", i+1, i)
	}
	deep := "record.home == \"a\""
	for name, c := range map[string]struct{ rego, more, problem string }{
		"recursion":           {rego: "f(record)", more: "f(record) if g2(record)\n\ng2(record) if f(record)\n", problem: "recursive"},
		"a rule of itself":    {rego: "f(record)", more: "f(record) if not f(record)\n", problem: "recursive"},
		"misspelt rule":       {rego: "not frozen(record)", more: "frozn(record) if record.pinned == true\n", problem: "undefined function"},
		"index into input":    {rego: `input.account[0] == "x"`, problem: "not at input"},
		"clock":               {rego: `time.now_ns() > 0`, problem: "undefined function time.now_ns"},
		"doubling":            {rego: `concat("", [record.home, record.home]) == "aa"`, problem: "undefined function concat"},
		"network":             {rego: `http.send({"method": "get", "url": "http://127.0.0.1"}).status_code == 200`, problem: "undefined function http.send"},
		"host":                {rego: `opa.runtime().env.HOME == "/root"`, problem: "undefined function opa.runtime"},
		"whole of the data":   {rego: `count(data) > 0`, problem: "recursive"},
		"print":               {rego: `print(record.home)`, problem: "print says nothing"},
		"another's functions": {rego: `data.meridian.rules_test.allowed(record)`, problem: "undefined"},
	} {
		expectProblem(t, name, oneGround(c.rego, `fact.department == "a"`, c.more), c.problem)
	}
	// Nesting is no recursion: it comes to an end, as SQL or as a refusal.
	b, err := policy.NewBundle(oneGround("f40(record)", deep+"\n\tfact.department == \"a\"", nested))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := policy.New(t.Context(), b, definitions...); err == nil {
		f, err := e.Filter(t.Context(), asker, crm.ActionRead, "contact", nil)
		var a policy.Args
		if err != nil || !strings.Contains(f.Where(&a), "r.home = ") {
			t.Errorf("nested functions became %s: %v", f.Where(&a), err)
		}
	}
	if _, err := policy.NewBundle(map[string]string{"data.rego": "package meridian.rules\n\nx := \"" + strings.Repeat("x", 10<<20) + "\"\n"}); err == nil || crm.KindOf(err) != crm.Invalid {
		t.Errorf("ten megabytes of data: %v", err)
	}
}

// Tests of a bundle run where the instance runs: they may not double either.
func TestTestsThatDoubleAreRefused(t *testing.T) {
	files := policy.Embedded().Modules()
	files["doubling_test.rego"] = "package doubling_test\n\ntest_doubling if sprintf(\"%s%s\", [\"a\", \"a\"]) == \"aa\"\n"
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Test(t.Context(), b); err == nil || !strings.Contains(err.Error(), "sprintf") {
		t.Errorf("they ran: %v", err)
	}
}

// TestRulesThatMultiply: a rule whose alternatives double with every function
// ends the check with its first filter; there are hundreds.
func TestRulesThatMultiply(t *testing.T) {
	rules := "f0(record) if record.home == \"a\"\n"
	for i := range 16 {
		for _, column := range []string{"owner", "home"} {
			rules += fmt.Sprintf("\nf%d(record) if {\n\tf%d(record)\n\trecord.%s == \"x%d\"\n}\n", i+1, i, column, i)
		}
	}
	expectProblem(t, "doubling", oneGround("f16(record)", `fact.department == "a"`, rules), "take longer than")
}
