package policy_test

import (
	"maps"
	"strings"
	"testing"

	"meridian/instance/store/schema"
	"meridian/policy"
)

// A file more, or another one, in a bundle.
type files map[string]string

// groundLine is where ground keeps a line for grounds.rego.
const groundLine = "+grounds"

func rule(body string) files { return files{"more.rego": "package meridian.rules\n\n" + body} }

func ground(line, body string) files {
	f := rule(body)
	f[groundLine] = line
	return f
}

func test(text string) files { return files{"more_test.rego": text} }

// said is all that an officer reads of a bundle that lacks something.
func said(t *testing.T, more files) string {
	all := policy.Embedded().Modules()
	if more["more_test.rego"] == "" { // quicker
		maps.DeleteFunc(all, func(path, _ string) bool { return strings.HasSuffix(path, "_test.rego") })
	}
	all["grounds.rego"] = strings.Replace(all["grounds.rego"], "grounds := {\n", "grounds := {\n"+more[groundLine], 1)
	maps.Copy(all, more)
	delete(all, groundLine)
	b, err := policy.NewBundle(all)
	if err != nil {
		return strings.Join(policy.Problems(err), "\n")
	}
	if problems := policy.Check(t.Context(), b, schema.Common()...); len(problems) > 0 {
		return strings.Join(problems, "\n")
	}
	results, unseen, err := policy.Cover(t.Context(), b)
	if err != nil {
		return strings.Join(policy.Problems(err), "\n")
	}
	var out []string
	for _, r := range results {
		if !r.Passed {
			out = append(out, r.Message)
		}
	}
	return strings.Join(append(out, unseen...), "\n")
}

// TestOfficersUnderstand holds what is said of the mistakes people make: file
// and line, what is wrong, and what to write instead.
func TestOfficersUnderstand(t *testing.T) {
	for _, c := range []struct {
		name  string
		files files
		says  string
	}{
		{"misspelt rule", rule("territori(ask, _, _) if permitted(ask)\n"),
			`more.rego:3: no ground uses territori; did you mean territory?`},
		{"list by a name", rule("territory(ask, record, _) if {\n\tnot ask.subject.roles.trainee\n\trecord.home == \"x\"\n}\n"),
			"more.rego:4: ask.subject.roles.trainee: ask.subject.roles is a list, and its parts have no names, so this never holds and `not` of it always; write \"trainee\" in ask.subject.roles"},
		{"list by a variable", rule("territory(ask, record, _) if {\n\tword := \"trainee\"\n\tnot ask.subject.roles[word]\n\trecord.home == \"x\"\n}\n"),
			"more.rego:5: ask.subject.roles[word]: ask.subject.roles is a list, and its parts have no names, so this never holds and `not` of it always; write word in ask.subject.roles"},
		{"list by another list's word", rule("territory(ask, record, _) if {\n\tsome word in ask.subject.territories\n\tnot ask.subject.roles[word]\n\trecord.home == \"x\"\n}\n"),
			"more.rego:5: ask.subject.roles[word]: ask.subject.roles is a list, and its parts have no names, so this never holds and `not` of it always; write word in ask.subject.roles"},
		{"list by a name, in a function", rule("territory(ask, record, _) if {\n\tnot has(ask.subject.roles, \"trainee\")\n\trecord.home == \"x\"\n}\n\nhas(words, word) if words[word]\n"),
			"more.rego:8: words[word]: words is a list, and its parts have no names, so this never holds and `not` of it always; write word in words"},
		{"list by a number", rule("territory(ask, record, _) if {\n\tnot ask.subject.roles[7] == \"trainee\"\n\trecord.home == \"x\"\n}\n"),
			"more.rego:4: ask.subject.roles[7]: the places of a list say nothing, and it may be shorter; seek a value in it: \"...\" in ask.subject.roles"},
		{"row's list by a name", rule("territory(_, record, _) if not record.withheld.core\n"),
			"more.rego:3: record.withheld.core: record.withheld is a list, and its parts have no names, so this never holds and `not` of it always; write \"core\" in record.withheld"},
		{"set by a name", rule("learners := {\"trainee\"}\n\nterritory(_, record, _) if {\n\tnot learners.trainees\n\trecord.home == \"x\"\n}\n"),
			"more.rego:6: learners.trainees: \"trainees\" is not in learners, so this never holds and `not` of it always"},
		{"object by a name", rule("levels := {\"trainee\": {\"low\"}}\n\nterritory(_, record, _) if {\n\tnot levels.trainee.high\n\trecord.home == \"x\"\n}\n"),
			"more.rego:6: levels.trainee.high: \"high\" is not in levels, so this never holds and `not` of it always"},
		{"misspelt field of record", rule("territory(ask, record, _) if {\n\tpermitted(ask)\n\trecord.terittory == \"US-CA\"\n}\n"),
			`more.rego:5: "terittory" is not known; did you mean territory? Known are account created department fields home id jurisdiction owner pinned segment sensitivity territory updated withheld`},
		{"misspelt record.fields", rule("territory(ask, record, _) if {\n\tpermitted(ask)\n\trecord.fields.anual_revenue == 3\n}\n"),
			`more.rego:5: "anual_revenue" is not known; did you mean annual_revenue?`},
		{"field not of entity", rule("territory(ask, record, _) if {\n\tpermitted(ask)\n\trecord.fields.amount == 3\n}\n"),
			"more.rego:5: `record.fields.amount == 3` cannot become a filter: not every entity has the field amount: only opportunity has; say ask.entity == \"opportunity\" in a line above"},
		{"misspelt subject", rule("territory(ask, record, _) if {\n\t\"manager\" in ask.subject.role\n}\n"),
			`more.rego:3: the argument record is not used: write _ for it, or is it misspelt below?`},
		{"misspelt ask", rule("territory(ask, record, _) if {\n\task.acton == \"read\"\n\trecord.home == \"x\"\n}\n"),
			`more.rego:4: "acton" is not known; did you mean action? Known are action entity subject`},
		{"misspelt fn", rule("territory(ask, record, _) if {\n\tpermited(ask)\n\trecord.home == \"x\"\n}\n"),
			`more.rego:4: undefined function permited: misspelt, or not written yet; did you mean permitted?`},
		{"misspelt arg", rule("territory(ask, recrod, _) if {\n\tpermitted(ask)\n\trecord.home == \"x\"\n}\n"),
			"more.rego:3: the argument recrod is not used: write _ for it, or is it misspelt below?\nmore.rego:5: record is not defined here; did you mean recrod?"},
		{"misspelt var", rule("territory(ask, record, _) if {\n\tpermitted(aks)\n\trecord.home == \"x\"\n}\n"),
			"more.rego:3: the argument ask is not used: write _ for it, or is it misspelt below?\nmore.rego:4: aks is not defined here; did you mean ask?"},
		{"unused arg", rule("territory(ask, record, _) if record.home == \"x\"\n"),
			`more.rego:3: the argument ask is not used: write _ for it, or is it misspelt below?`},
		{"text with number", rule("territory(_, record, _) if record.sensitivity < \"3\"\n"),
			"more.rego:3: `record.sensitivity < \"3\"` cannot become a filter: \"3\" is a text, and the field holds a whole number: write 3 without quotes"},
		{"number for text", rule("territory(_, record, _) if record.territory == 3\n"),
			"more.rego:3: `record.territory == 3` cannot become a filter: 3 is a number, and the field holds a text: write it in quotes, \"3\""},
		{"account not id", rule("territory(_, record, _) if record.account == \"APC.BE\"\n"),
			"more.rego:3: `record.account == \"APC.BE\"` cannot become a filter: \"APC.BE\" is not a record id in its canonical form; meridian policy past --record tells the id of a customer"},
		{"date", rule("territory(ask, record, _) if {\n\task.entity == \"opportunity\"\n\trecord.fields.close_date < \"1.2.2026\"\n}\n"),
			"more.rego:5: `record.fields.close_date < \"1.2.2026\"` cannot become a filter: \"1.2.2026\" is not a date as \"2026-03-01\""},
		{"instant", rule("territory(_, record, now) if now < \"2026-01-01\"\n"),
			`more.rego:3: the argument record is not used: write _ for it, or is it misspelt below?`},
		{"bool alone", rule("territory(_, record, _) if record.pinned\n"),
			"more.rego:3: `record.pinned` cannot become a filter: a field may not stand alone; compare it: record.pinned == true"},
		{"bool cmp text", rule("territory(_, record, _) if record.pinned == \"true\"\n"),
			"more.rego:3: `record.pinned == \"true\"` cannot become a filter: \"true\" is a text, and the field holds true or false: write true without quotes"},
		{"list cmp value", rule("territory(_, record, _) if record.withheld == \"core\"\n"),
			"more.rego:3: `record.withheld == \"core\"` cannot become a filter: a list is compared with [] only; seek a value in it, as \"core\" in record.withheld"},
		{"in a string", rule("territory(_, record, _) if record.home in \"amer\"\n"),
			"more.rego:3: `record.home in \"amer\"` cannot become a filter: after `in` stands a list or a set, as in {\"amer\", \"emea\"}"},
		{"col in col", rule("territory(_, record, _) if record.home in record.territory\n"),
			"more.rego:3: `record.home in record.territory` cannot become a filter: territory is one value and no list; write == instead of in"},
		{"missing import test", test("package meridian.more_test\n\ntest_x if {\n\tnot rules.territory(cases.ask(cases.rep, \"read\"), cases.record, cases.now)\n}\n"),
			"more_test.rego:4: undefined function rules.territory: at the head of the file there is no import data.meridian.rules\n" +
				"more_test.rego:4: undefined function cases.ask: at the head of the file there is no import data.meridian.rules_test as cases"},
		{"unused import", rule("import data.meridian.service\n\nterritory(_, record, _) if record.home == \"x\"\n"),
			`more.rego:3: the import of data.meridian.service is not used: take it out`},
		{"unknown import", rule("import data.meridian.rulez\n\nterritory(_, record, _) if rulez.foo(record)\n"),
			`more.rego:5: undefined function data.meridian.rulez.foo: there is no package meridian.rulez; did you mean meridian.rules?`},
		{"import in test misspelt", test("package meridian.more_test\n\nimport data.meridian.rule\n\ntest_x if {\n\tnot rule.territory(1, 2, 3)\n}\n"),
			`more_test.rego:6: undefined function data.meridian.rule.territory: there is no package meridian.rule; did you mean meridian.rules?`},
		{"test misspelt fn", test("package meridian.more_test\n\nimport data.meridian.rules\nimport data.meridian.rules_test as cases\n\ntest_x if {\n\tnot rules.teritory(cases.ask(cases.rep, \"read\"), cases.record, cases.now)\n}\n"),
			`more_test.rego:7: undefined function data.meridian.rules.teritory: misspelt; did you mean territory?`},
		{"test misspelt case", test("package meridian.more_test\n\nimport data.meridian.rules\nimport data.meridian.rules_test as cases\n\ntest_x if {\n\tnot rules.territory(cases.ask(cases.repp, \"read\"), cases.record, cases.now)\n}\n"),
			`more_test.rego:7: repp is not defined in package meridian.rules_test; did you mean rep?`},
		{"failing test", test("package meridian.more_test\n\nimport data.meridian.rules\nimport data.meridian.rules_test as cases\n\ntest_x if {\n\trules.territory(cases.ask(cases.rep, \"fly\"), cases.record, cases.now)\n}\n"),
			"more_test.rego:7: `rules.territory(cases.ask(cases.rep, \"fly\"), cases.record, cases.now)` does not hold"},
		{"test http", test("package meridian.more_test\n\ntest_x if {\n\thttp.send({}).status == 3\n}\n"),
			`more_test.rego:4: undefined function http.send: rules look at nothing but their arguments, so that the same question has the same answer`},
		{"test print", test("package meridian.more_test\n\ntest_x if {\n\tprint(\"x\")\n}\n"),
			`more_test.rego:4: print says nothing about who may see what, and is not heard: take it out`},
		{"test wrong args", test("package meridian.more_test\n\nimport data.meridian.rules\nimport data.meridian.rules_test as cases\n\ntest_x if {\n\trules.territory(cases.ask(cases.rep, \"read\"), cases.record)\n}\n"),
			`more_test.rego:7: territory is written territory(ask, record, _), and here it gets 2 arguments`},
		{"todo test", test("package meridian.more_test\n\ntodo_test_x if false\n"),
			`more_test.rego:3: is skipped: a test's name begins with test_, not with todo_`},
		{"ground without function", ground("\t\"insider\": {\"effect\": \"closes\", \"text\": \"x\"},\n", ""),
			`grounds.rego:38: rules.insider is not defined: the ground needs a rule of its name, insider(ask, record, now) if { ... }`},
		{"ground bad effect", ground("\t\"insider\": {\"effect\": \"close\", \"text\": \"x\"},\n", "insider(_, record, _) if record.home == \"x\"\n"),
			`grounds.rego:38: ground insider: the effect is "opens" or "closes", not close`},
		{"ground attr", ground("\t\"insider\": {\"effect\": \"closes\", \"txt\": \"x\"},\n", "insider(_, record, _) if record.home == \"x\"\n"),
			"grounds.rego:38: ground insider: \"txt\" is not an attribute of a ground; known are effect fact text\ngrounds.rego:38: ground insider: say in \"text\" what it means; people read it as the reason"},
		{"ground fact", ground("\t\"insider\": {\"effect\": \"closes\", \"text\": \"x\", \"fact\": \"agreements\"},\n", "insider(_, record, fact, _) if {\n\trecord.home == \"x\"\n\tfact.department == \"y\"\n}\n"),
			`grounds.rego:38: ground insider: there are no facts of the kind agreements; known are agreement area grant`},
		{"ground no reveals", ground("\t\"insider\": {\"effect\": \"opens\", \"text\": \"x\"},\n", "insider(_, record, _) if record.home == \"x\"\n"),
			`grounds.rego:38: rules.insider_reveals is not defined: a ground that opens says what it shows; for all of it write insider_reveals(_, _, _, _) := true`},
		{"ground twice", ground("\t\"wall\": {\"effect\": \"closes\", \"text\": \"x\"},\n", ""),
			`grounds.rego:48: ground wall is declared in line 38 already: give one of the two another name, or take it out`},
		{"ground missing comma", ground("\t\"insider\": {\"effect\": \"closes\", \"text\": \"x\"}\n", ""),
			`grounds.rego:38: a comma is missing at the end of this line, or a bracket`},
		{"ground too many args", ground("\t\"insider\": {\"effect\": \"closes\", \"text\": \"x\"},\n", "insider(_, record, fact, _) if {\n\trecord.home == \"x\"\n\tfact.department == \"y\"\n}\n"),
			"more.rego:3: insider takes 3 arguments: insider(ask, record, now); write _ for one that it does not use. A fact it gets only if the ground's line says so, as \"fact\": \"agreement\"\nmore.rego:5: fact.department: fact has no parts here"},
		{"no grounds", files{"grounds.rego": "package meridian.rules\n"},
			`meridian.rules declares no grounds; say grounds := {"<name>": {"effect": "opens" or "closes", "text": ...}}`},
		{"misspelt fact field", ground("\t\"insider\": {\"effect\": \"closes\", \"text\": \"x\", \"fact\": \"agreement\"},\n", "insider(_, _, fact, _) if fact.dept == \"y\"\n"),
			`more.rego:3: "dept" is not known; known are account actions department effect groups valid_from valid_to`},
		{"not unsafe", rule("territory(ask, record, _) if {\n\tpermitted(ask)\n\tnot record.territory == x\n}\n"),
			`more.rego:5: x is not defined here: is it misspelt, or a text? A text is written "x"`},
		{"not some", rule("territory(ask, record, _) if {\n\tpermitted(ask)\n\tnot some t in record.withheld\n}\n"),
			"more.rego:5: `not` cannot stand before `some`: write `not \"x\" in list`, or put the `some` into a rule of its own and `not` before that rule"},
		{"not before head", rule("not territory(ask, record, _) if {\n\tpermitted(ask)\n\trecord.home == \"x\"\n}\n"),
			`more.rego:3: a rule cannot begin with not: it says yes or nothing. To forbid, write a ground that closes`},
		{"in not", rule("territory(ask, record, _) if {\n\trecord.home not in {\"x\"}\n}\n"),
			"more.rego:4: `a not in b` is written `not a in b`"},
		{"=!", rule("territory(ask, record, _) if {\n\trecord.home =! \"x\"\n}\n"),
			`more.rego:4: this is no comparison; there are ==, !=, <, <=, > and >=`},
		{"<>", rule("territory(ask, record, _) if {\n\trecord.home <> \"x\"\n}\n"),
			`more.rego:4: this is no comparison; there are ==, !=, <, <=, > and >=`},
		{"and", rule("territory(_, record, _) if {\n\trecord.home == \"x\" and record.owner == \"y\"\n}\n"),
			"more.rego:4: write every condition in a line of its own, without `and`: all lines of a rule have to hold"},
		{"or", rule("territory(_, record, _) if {\n\trecord.home == \"x\" or record.owner == \"y\"\n}\n"),
			"more.rego:4: there is no `or` in a line: write the rule twice, once for each case, or compare with several values: in {\"a\", \"b\"}"},
		{"&&", rule("territory(_, record, _) if {\n\trecord.home == \"x\" && record.owner == \"y\"\n}\n"),
			"more.rego:4: write every condition in a line of its own, without `and`: all lines of a rule have to hold"},
		{"single quotes", rule("territory(_, record, _) if {\n\trecord.home == 'x'\n}\n"),
			`more.rego:4: texts stand between straight double quotes: "x"`},
		{"curly quotes", rule("territory(_, record, _) if {\n\trecord.home == “x”\n}\n"),
			`more.rego:4: texts stand between straight double quotes: "x"`},
		{"unclosed string", rule("territory(_, record, _) if {\n\trecord.home == \"x\n}\n"),
			`more.rego:4: the text that begins in this line has no closing "`},
		{"missing if", rule("territory(_, record, _) {\n\trecord.home == \"x\"\n}\n"),
			"more.rego:3: `if` (in small letters) is missing: a rule is written name(ask, record, _) if { ... }"},
		{"missing brace", rule("territory(_, record, _) if {\n\trecord.home == \"x\"\n"),
			`more.rego:3: the { of this line is never closed`},
		{"extra brace", rule("territory(_, record, _) if {\n\trecord.home == \"x\"\n}}\n"),
			`more.rego:5: this } closes nothing: there is one too many`},
		{"missing paren", rule("territory(_, record, _ if {\n\trecord.home == \"x\"\n}\n"),
			`more.rego:3: a bracket that is opened in this line is not closed, or a comma is missing`},
		{"comma lines", rule("territory(_, record, _) if {\n\trecord.home == \"x\",\n\trecord.owner == \"y\"\n}\n"),
			`more.rego:4: no comma at the end of a condition: every condition stands in a line of its own`},
		{"uppercase If", rule("territory(_, record, _) If {\n\trecord.home == \"x\"\n}\n"),
			"more.rego:3: `if` (in small letters) is missing: a rule is written name(ask, record, _) if { ... }"},
		{"rule text", rule("A bank is closed to everybody\n"),
			"more.rego:3: `A bank is closed to everybody` is not a rule. A rule is written name(ask, record, _) if { ... }; before a comment stands #"},
		{"recursion", rule("territory(ask, record, now) if territory(ask, record, now)\n"),
			`more.rego:3: rules.territory is recursive, it asks itself and has no answer: data.meridian.rules.territory -> data.meridian.rules.territory`},
		{"recursion2", rule("territory(ask, record, _) if a(ask, record)\n\na(ask, record) if b(ask, record)\n\nb(ask, record) if a(ask, record)\n"),
			"more.rego:5: rules.a is recursive, it asks itself and has no answer: data.meridian.rules.a -> data.meridian.rules.b -> data.meridian.rules.a\nmore.rego:7: rules.b is recursive, it asks itself and has no answer: data.meridian.rules.b -> data.meridian.rules.a -> data.meridian.rules.b"},
		{"print", rule("territory(_, record, _) if {\n\tprint(\"hello\")\n\trecord.home == \"x\"\n}\n"),
			`more.rego:4: print says nothing about who may see what, and is not heard: take it out`},
		{"trace", rule("territory(_, record, _) if {\n\ttrace(\"hello\")\n\trecord.home == \"x\"\n}\n"),
			"more.rego:4: undefined function trace: rules may not call it; they compare, and use `in`, `not`, startswith and functions of their own"},
		{"dup complete", rule("x := 1\n\nx := 2\n"),
			"more.rego:3: no ground uses x; is it misspelt?\nmore.rego:5: no ground uses x; is it misspelt?"},
		{"dup arity", rule("territory(_, record) if record.home == \"x\"\n"),
			`more.rego:3: territory has another form at territory.rego:7, territory(ask, record, _): give this one another name, or the same arguments`},
		{"default", rule("default territory(_, _, _) := false\n"),
			`more.rego:3: territory says yes or nothing: no other value, no default, no else. Write what has to hold, and a ground that closes for what must not be`},
		{"else", rule("territory(_, record, _) if {\n\trecord.home == \"x\"\n} else := false\n"),
			"more.rego:3: territory says yes or nothing: no other value, no default, no else. Write what has to hold, and a ground that closes for what must not be\nmore.rego:5: territory says yes or nothing: no other value, no default, no else. Write what has to hold, and a ground that closes for what must not be"},
		{"returns text", rule("territory(_, record, _) := \"yes\" if record.home == \"x\"\n"),
			`more.rego:3: territory says yes or nothing: no other value, no default, no else. Write what has to hold, and a ground that closes for what must not be`},
		{"package missing", files{"more.rego": "territory(_, record, _) if record.home == \"x\"\n"},
			`more.rego:1: a file begins with its package: package meridian.rules, or for a test package meridian.<name>_test`},
		{"package wrong", files{"more.rego": "package meridian.rule\n\nterritory(_, record, _) if record.home == \"x\"\n"},
			`more.rego:1: package meridian.rule holds no rules; known are meridian.rules, meridian.service and meridian.limits`},
		{"test in rules pkg", files{"more.rego": "package meridian.rules_test\n\ntest_x if true\n"},
			`more.rego:1: package meridian.rules_test is one of tests: name the file so that it ends in _test.rego`},
		{"fact twice", ground("\t\"insider\": {\"effect\": \"closes\", \"text\": \"x\", \"fact\": \"agreement\"},\n", "insider(_, record, fact, _) if {\n\tfact.department == \"x\"\n\tfact.account == record.id\n\tsome other in data.facts\n\tother.account == fact.account\n}\n"),
			`more.rego:3: data.facts[_] is not defined: a rule looks at its arguments, one fact at most among them, and at rules of the bundle`},
		{"fact not declared", rule("territory(_, record, fact) if fact.department == \"x\"\n"),
			`more.rego:3: the argument record is not used: write _ for it, or is it misspelt below?`},
		{"input.x", rule("territory(_, _, _) if input.x == 3\n"),
			`more.rego:3: input.x: a rule looks only at its arguments, not at input; write record, ask or fact for it`},
		{"input array", rule("territory(_, _, _) if input.account[0] == \"x\"\n"),
			`more.rego:3: input.account[0]: a rule looks only at its arguments, not at input; write record, ask or fact for it`},
		{"data.x", rule("territory(_, record, _) if record.home == data.facts.home\n"),
			`more.rego:3: data.facts.home is not defined: a rule looks at its arguments, one fact at most among them, and at rules of the bundle`},
		{"now_ns", rule("territory(_, record, _) if {\n\trecord.home == \"x\"\n\ttime.now_ns() > 0\n}\n"),
			"more.rego:5: undefined function time.now_ns: rules have no clock; the time is the argument `now`"},
		{"http", rule("territory(_, _, _) if http.send({\"method\": \"get\", \"url\": \"http://example.com\"}).status_code == 200\n"),
			`more.rego:3: undefined function http.send: rules look at nothing but their arguments, so that the same question has the same answer`},
		{"rand", rule("territory(_, _, _) if rand.intn(\"x\", 2) == 1\n"),
			`more.rego:3: undefined function rand.intn: rules look at nothing but their arguments, so that the same question has the same answer`},
		{"sprintf", rule("territory(_, record, _) if record.home == sprintf(\"%s\", [\"x\"])\n"),
			"more.rego:3: undefined function sprintf: rules may not call it; they compare, and use `in`, `not`, startswith and functions of their own"},
		{"regex", rule("territory(_, record, _) if regex.match(\"a.*\", record.home)\n"),
			"more.rego:3: undefined function regex.match: rules may not call it; they compare, and use `in`, `not`, startswith and functions of their own"},
		{"arith", rule("territory(_, record, _) if record.sensitivity + 1 < 3\n"),
			"more.rego:3: `record.sensitivity + 1 < 3` cannot become a filter: nothing can be calculated from a field; compare the field itself with a known value"},
		{"lower col", rule("territory(_, record, _) if lower(record.home) == \"x\"\n"),
			"more.rego:3: `lower(record.home)` cannot become a filter: lower cannot be asked of a field; compare the field itself by ==, !=, <, <=, in or startswith"},
		{"endswith col", rule("territory(_, record, _) if endswith(record.home, \"x\")\n"),
			"more.rego:3: `endswith(record.home, \"x\")` cannot become a filter: endswith cannot be asked of a field; compare the field itself by ==, !=, <, <=, in or startswith"},
		{"contains col", rule("territory(_, record, _) if contains(record.home, \"x\")\n"),
			"more.rego:3: `contains(record.home, \"x\")` cannot become a filter: contains cannot be asked of a field; compare the field itself by ==, !=, <, <=, in or startswith"},
		{"count col", rule("territory(_, record, _) if count(record.withheld) > 1\n"),
			"more.rego:3: `count(record.withheld) > 1` cannot become a filter: nothing can be calculated from a field; compare the field itself with a known value"},
		{"list with column", rule("territory(_, record, _) if \"x\" in {record.home, record.owner}\n"),
			"more.rego:3: `\"x\" in {record.home, record.owner}` cannot become a filter: a field in a list of values cannot be sought; write the comparisons one by one"},
		{"every", rule("territory(_, record, _) if every x in record.withheld { x != \"core\" }\n"),
			"more.rego:3: `every x in record.withheld { x != \"core\" }` cannot become a filter: a rule cannot go through a list of the record one by one; ask whether a value is in it, as \"core\" in record.withheld"},
		{"with", rule("territory(_, record, _) if record.home == \"x\" with input as 3\n"),
			"more.rego:3: `with` is for tests; a rule looks only at what it is given\nmore.rego:3: input: a rule looks only at its arguments, not at input; write record, ask or fact for it"},
		{"some in row", rule("territory(_, record, _) if {\n\tsome g in record.withheld\n\tg == \"core\"\n}\n"),
			"more.rego:4: `some g in record.withheld` cannot become a filter: an element of a list cannot be picked out; ask whether a value is in it, as \"core\" in record.withheld"},
		{"index", rule("territory(_, record, _) if record.withheld[0] == \"x\"\n"),
			"more.rego:3: `record.withheld[0] == \"x\"` cannot become a filter: an element of a list cannot be picked out; ask whether a value is in it, as \"core\" in record.withheld"},
		{"dynamic", rule("territory(ask, record, _) if record[ask.entity] == \"x\"\n"),
			`more.rego:3: record[ask.entity]: a part is named by a word of its own, as record.home`},
		{"parts of text", rule("territory(_, record, _) if record.home.x == \"x\"\n"),
			`more.rego:3: record.home.x: home has no parts here`},
		{"null", rule("territory(_, record, _) if record.home == null\n"),
			"more.rego:3: `record.home == null` cannot become a filter: home is never empty: take this out"},
		{"bool order", rule("territory(_, record, _) if record.pinned < true\n"),
			"more.rego:3: `record.pinned < true` cannot become a filter: pinned has no order; compare it by == or !="},
		{"many digits", rule("territory(ask, record, _) if {\n\task.entity == \"account\"\n\trecord.fields.annual_revenue > 1234567890123456789012\n}\n"),
			"more.rego:5: `record.fields.annual_revenue > 1234567890123456789012` cannot become a filter: 1234567890123456789012 has too many digits, or an exponent: write at most 18 digits, as 1000000"},
		{"expo", rule("territory(ask, record, _) if {\n\task.entity == \"account\"\n\trecord.fields.annual_revenue > 1e6\n}\n"),
			"more.rego:5: `record.fields.annual_revenue > 1e6` cannot become a filter: 1e6 has too many digits, or an exponent: write at most 18 digits, as 1000000"},
		{"thousands", rule("territory(ask, record, _) if {\n\task.entity == \"account\"\n\trecord.fields.annual_revenue > 1,000,000\n}\n"),
			`more.rego:5: write numbers without separators: 1000000`},
		{"decimal vs int", rule("territory(_, record, _) if record.sensitivity > 1.5\n"),
			"more.rego:3: `record.sensitivity > 1.5` cannot become a filter: 1.5 is a number, and the field holds a whole number"},
		{"not whole", rule("territory(_, record, _) if not record\n"),
			"more.rego:3: `not record` cannot become a filter: a record is always there: ask about one of its fields"},
		{"rego file ending", files{"more.txt": "x"},
			`more.txt: a bundle holds .rego files and personas.json; rename it, or take it out`},
		{"rego upper", files{"MORE.REGO": "package meridian.rules"},
			`MORE.REGO: a bundle holds .rego files and personas.json; rename it, or take it out`},
		{"space in name", files{"my rule.rego": "package meridian.rules"},
			`my rule.rego: the name of a file is made of letters from a to z, digits, _ and -: as my_rule.rego`},
		{"umlaut", files{"grün.rego": "package meridian.rules"},
			`grün.rego: the name of a file is made of letters from a to z, digits, _ and -: as gr_n.rego`},
		{"empty file", files{"more.rego": ""},
			`more.rego:1: the file holds nothing; begin it with package meridian.rules, or take it out`},
		{"only comment", files{"more.rego": "# nothing\n"},
			`more.rego:1: the file holds nothing; begin it with package meridian.rules, or take it out`},
		{"10MB", files{"more.rego": "package meridian.rules\n#" + strings.Repeat("x", 10<<20)},
			`more.rego: a bundle has at most 200 files and 1048576 bytes; data belongs into facts (meridian fact, meridian agreement)`},
		{"utf8", files{"more.rego": "package meridian.rules\n\n# caf\xe9\n"},
			`more.rego:3: this line holds a letter that is not in UTF-8; write it anew, or save the file as text in UTF-8`},
		{"nul", files{"more.rego": "package meridian.rules # \x00"},
			`more.rego: is not plain text; save it as text in UTF-8`},
		{"utf16", files{"more.rego": "p\x00a\x00"},
			`more.rego: is not plain text; save it as text in UTF-8`},
		{"personas json", files{"personas.json": "{\n\"x\": {\"kind\": \"person\",}\n}"},
			`personas.json:2: is not JSON here (invalid character '}' looking for beginning of object key string): look at the commas, quotes and brackets of this line and the one before; the file is {"<name>": {"kind": "person", "roles": ["rep"], ...}, ...}`},
		{"personas kind", files{"personas.json": "{\n\"x\": {\"kind\": \"ghost\"}\n}"},
			`personas.json:2: x: kind is person, service or instance, not "ghost"`},
		{"personas field", files{"personas.json": "{\n\"x\": {\"kind\": \"person\",\n \"clearence\": 3}\n}"},
			`personas.json:3: x: has no clearence; did you mean clearance? A persona has id kind instance roles clearance territories segments all_segments departments relationships keys groups jurisdictions purpose areas`},
		{"personas type", files{"personas.json": "{\n\"x\": {\"kind\": \"person\",\n \"clearance\": \"3\"}\n}"},
			`personas.json:3: x: clearance is a whole number, as 3`},
		{"personas list", files{"personas.json": "[]"},
			`personas.json:1: the file is {"<name>": {"kind": "person", "roles": ["rep"], ...}, ...}`},
		{"personas empty", files{"personas.json": ""},
			`personas.json:1: is not JSON here (unexpected end of JSON input): look at the commas, quotes and brackets of this line and the one before; the file is {"<name>": {"kind": "person", "roles": ["rep"], ...}, ...}`},
		{"personas roles type", files{"personas.json": "{\n\"x\": {\"kind\": \"person\",\n \"roles\": \"rep\"}\n}"},
			`personas.json:3: x: roles is a list, as ["x"]`},
		{"personas trailing", files{"personas.json": "{} x"},
			`personas.json:1: is not JSON here (invalid character 'x' after top-level value): look at the commas, quotes and brackets of this line and the one before; the file is {"<name>": {"kind": "person", "roles": ["rep"], ...}, ...}`},
		{"operator name", rule("equal(_, _) := true\n"),
			`more.rego:3: equal is the name of an operator; a rule of this name would change what comparisons mean`},
		{"var in set compr", rule("territory(_, record, _) if record.home in {x | x := record.owner}\n"),
			"more.rego:3: `{x | x := record.owner}` cannot become a filter: a value made of the record's fields cannot be used; write the comparisons one by one, each of a field with a known value"},
		{"unused local", rule("territory(_, record, _) if {\n\tx := 3\n\trecord.home == \"x\"\n}\n"),
			`more.rego:4: x is set and not used: take it out, or is it misspelt below?`},
		{"reveals row", rule("territory_reveals(ask, record, _, _) if record.home == \"a\"\n"),
			`more.rego:3: the argument ask is not used: write _ for it, or is it misspelt below?`},
		{"masks reveal default", rule("territory_masks(_, _, _) := true\n"),
			`more.rego:3: territory_masks takes 4 arguments: territory_masks(ask, record, now, group); write _ for one that it does not use`},
		{"limits bad", files{"limits.rego": "package meridian.limits\n\njudgements := {\"default_days\": 3}\n"},
			"meridian.limits.edit_beyond is not defined: a bundle needs edit_beyond(limit, subject, edit)\nmeridian.limits.judgement_beyond is not defined: a bundle needs judgement_beyond(limit, subject, grant)"},
		{"service", files{"service.rego": "package meridian.service\n"},
			`emergency.rego:12: undefined function data.meridian.service.permit: there is no package meridian.service`},
		{"shadow record", rule("territory(record, ask, _) if {\n\tpermitted(ask)\n\trecord.home == \"x\"\n}\n"),
			`more.rego:3: the arguments of territory are ask, record, now, in this order`},
		{"assign then", rule("territory(_, record, _) if {\n\trecord := 3\n\trecord.home == \"x\"\n}\n"),
			`more.rego:4: record is the name of something else in this rule: give the new value another name`},
		{"time minus", rule("territory(_, record, now) if record.created < now - 3\n"),
			"more.rego:3: `now` may only be compared with fact.valid_from and fact.valid_to, by <, <=, > or >=; other dates belong to facts: write a dated agreement, assignment or grant"},
		{"dup used", rule("closed_home := \"x\"\n\nclosed_home := \"y\"\n\nterritory(_, record, _) if record.home == closed_home\n"),
			`more.rego:5: two rules of this name say different things of the same: a rule says yes or nothing, and a table has one value`},
		{"match error", rule("limit := \"3\"\n\nterritory(_, record, _) if {\n\tlimit == 3\n\trecord.home == \"x\"\n}\n"),
			`more.rego:6: the two sides are never equal: one is of type string, the other number. A text stands in quotes, a number does not`},
		{"startswith number", rule("territory(_, record, _) if startswith(record.home, 3)\n"),
			`more.rego:3: startswith is given something else than it takes, which is (search: string, base: string, result: boolean)`},
		{"helper arity", rule("territory(ask, record, _) if {\n\tpermitted(ask, record)\n\trecord.home == \"x\"\n}\n"),
			`more.rego:5: record.home is nothing here: is it misspelt, or is what stands before the dot given to a function that takes fewer arguments?`},
		{"quote forgotten", rule("territory(_, record, _) if record.territory == US\n"),
			`more.rego:3: US is not defined here: is it misspelt, or a text? A text is written "US"`},
		{"else rule in helper", rule("territory(_, record, _) if h(record)\n\nh(record) := true if {\n\trecord.home == \"x\"\n} else := false\n"),
			"more.rego:5: h says yes or nothing: no other value, no default, no else. Write what has to hold, and a ground that closes for what must not be\nmore.rego:7: h says yes or nothing: no other value, no default, no else. Write what has to hold, and a ground that closes for what must not be"},
		{"helper value", rule("territory(_, record, _) if h(record) == \"x\"\n\nh(record) := \"x\" if record.home == \"x\"\n"),
			`more.rego:5: h says yes or nothing: no other value, no default, no else. Write what has to hold, and a ground that closes for what must not be`},
		{"test undefined pkg under not", test("package meridian.more_test\n\ntest_x if {\n\tnot data.meridian.rulez.x == 3\n}\n"),
			`more_test.rego:4: data.meridian.rulez.x is not defined; did you mean meridian.rules?`},
		{"test error", test("package meridian.more_test\n\ntest_x if {\n\tto_number(\"x\") == 3\n}\n"),
			`more_test.rego:4: to_number: strconv.ParseFloat: parsing "x": invalid syntax`},
		{"lower case true", rule("territory(_, record, _) if record.pinned == True\n"),
			`more.rego:3: True is not defined here; did you mean true?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := said(t, c.files); got != c.says {
				t.Errorf("got\n%s\nwant\n%s", got, c.says)
			}
		})
	}
}
