package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/policy"

	"github.com/google/go-cmp/cmp"
)

// oneGround is a bundle whose ground g looks at the record and whose ground h
// looks at an agreement; further rules follow in more.
func oneGround(g, h, more string) map[string]string {
	return map[string]string{"service.rego": serviceModule, "rules.rego": `package meridian.rules

grounds := {
	"g": {"effect": "opens", "text": "g"},
	"h": {"effect": "opens", "fact": "agreement", "text": "h"},
	"w": {"effect": "closes", "fact": "grant", "text": "w"},
}

` + define("g", []string{"ask", "record", "now"}, "\t"+g) +
		define("h", []string{"ask", "record", "fact", "now"}, "\t"+h) + `
g_reveals(_, _, _, group) if group == "core"

h_reveals(_, _, fact, _, group) if group in fact.groups

w(ask, _, fact, _) if fact.key in ask.subject.keys

` + more}
}

var asker = crm.Subject{
	ID: "rep@amer", Kind: crm.KindPerson, Instance: "amer", Roles: []string{"rep"}, Clearance: 2,
	Territories: []string{"US", "US-CA"}, Departments: []string{"sales"}, AllSegments: true,
	Relationships: []crm.Relationship{{Department: "legal", Actions: []string{"read"}}, {Department: "tax", Actions: []string{"update"}}},
}

// A condition of the ground g, or h where it speaks of a fact, and its SQL.
func TestTranslates(t *testing.T) {
	for _, c := range []struct{ rego, more, sql string }{
		{rego: `record.territory in ask.subject.territories`, sql: `r.territory = any($1::text[])`},
		{rego: `record.territory in ask.subject.segments`, sql: `false`},
		{rego: `not record.territory in ask.subject.segments`, sql: `true`},
		{rego: `record.sensitivity <= ask.subject.clearance`, sql: `r.sensitivity <= $1::bigint`},
		{rego: `ask.subject.clearance < record.sensitivity`, sql: `r.sensitivity > $1::bigint`},
		{rego: `record.sensitivity in {1, 2}`, sql: `r.sensitivity = any($1::bigint[])`},
		{rego: `record.home == ask.subject.instance`, sql: `r.home = $1::text`},
		{rego: `record.home != "emea"`, sql: `r.home <> $1::text`},
		{rego: `record.home < "emea"`, sql: `r.home collate "C" < $1::text`},
		{rego: `record.home >= record.owner`, sql: `r.home collate "C" >= r.owner`},
		{rego: `startswith(record.segment, "Financials/")`, sql: `starts_with(r.segment, $1::text)`},
		{rego: `not record.home == "emea"`, sql: `((r.home = $1::text) is not true)`},
		{rego: `record.pinned == true`, sql: `r.pinned = $1::boolean`},
		{rego: `"core" in record.withheld`, sql: `$1::text = any(r.withheld)`},
		{rego: `record.withheld != []`, sql: `cardinality(r.withheld) <> 0`},
		{rego: `record.created < record.updated`, sql: `r.created < r.updated`},
		{rego: `record.created >= "2026-01-01T00:00:00.000000Z"`, sql: `r.created >= $1::timestamptz`},
		{rego: `record.id == record.account`, sql: `r.id = r.account`},
		{rego: `record.owner == record.id`, sql: `r.owner = r.id::text`},
		{rego: `record.id in ["018f0000-0000-7000-8000-000000000001"]`, sql: `r.id = any($1::uuid[])`},
		{rego: "x := record.home\n\tx == \"emea\"", sql: `r.home = $1::text`},
		{rego: "some x in ask.subject.territories\n\trecord.territory == x", sql: `(r.territory = $1::text or r.territory = $2::text)`},
		{rego: "every x in ask.subject.territories { record.territory != x }", sql: `(r.territory <> $1::text and r.territory <> $2::text)`},
		{rego: `record.department in {rel.department | some rel in ask.subject.relationships; ask.action in rel.actions}`, sql: `r.department = any($1::text[])`},
		{rego: `record.fields.tier == "a"`, sql: `r."tier" = $1::text`},
		{rego: `record.fields.order != "a"`, sql: `r."order" is distinct from $1::text`},
		{rego: `record.fields.size < 3`, sql: `(r."size" < $1::bigint or r."size" is null)`},
		{rego: `3 < record.fields.size`, sql: `r."size" > $1::bigint`},
		{rego: `record.fields.size <= record.sensitivity`, sql: `(r."size" <= r.sensitivity or r."size" is null)`},
		{rego: `record.sensitivity > record.fields.size`, sql: `(r.sensitivity > r."size" or r."size" is null)`},
		{rego: `record.fields.tier == record.fields.grade`, sql: `r."tier" is not distinct from r."grade"`},
		{rego: `record.fields.since < record.fields.since2`, sql: `(r."since" < r."since2" or (r."since" is null and ((r."since2" is null) is not true)))`},
		{rego: `record.fields.amount > 9.99`, sql: `r."amount" > $1::text::numeric`},
		{rego: `record.fields.since in {"2026-03-01"}`, sql: `r."since" = any($1::text[]::date[])`},
		{rego: `record.fields.vip == true`, sql: `r."vip" = $1::boolean`},
		{rego: `record.fields.parent == null`, sql: `r."parent" is null`},
		{rego: `record.fields.tags != null`, sql: `r."tags" is not null`},
		{rego: `record.fields.tags != []`, sql: `cardinality(r."tags") is distinct from 0`},
		{rego: `"x" in record.fields.tags`, sql: `$1::text = any(r."tags")`},
		{rego: "f := record.fields\n\tf.tier in ask.subject.territories", sql: `r."tier" = any($1::text[])`},
		{rego: `"manager" in ask.subject.roles`, sql: `false`},
		{rego: `ask.subject.all_segments`, sql: `true`},
		{rego: `ask.entity == "contact"`, sql: `true`},
		{rego: `either(record)`, more: "either(record) if record.home == \"a\"\n\neither(record) if record.owner == \"b\"\n",
			sql: `(r.home = $1::text or r.owner = $2::text)`},
		{rego: `not either(record)`, more: "either(record) if record.home == \"a\"\n\neither(record) if record.owner == \"b\"\n",
			sql: `(((r.home = $1::text) is not true) and ((r.owner = $2::text) is not true))`},
		{rego: `fact.department in ask.subject.departments`,
			sql: `exists (select from fact.agreement f where f.account = r.account and f.recorded_to = 'infinity' and f.department = any($1::text[]))`},
		{rego: `fact.department == record.department`,
			sql: `exists (select from fact.agreement f where f.account = r.account and f.recorded_to = 'infinity' and f.department = r.department)`},
		{rego: "\"read\" in fact.actions\n\tnow < fact.valid_to",
			sql: `exists (select from fact.agreement f where f.account = r.account and f.recorded_to = 'infinity' and ($1::text = any(f.actions) and statement_timestamp() < f.valid_to))`},
		{rego: `fact.department in ask.subject.segments`, sql: `false`},
	} {
		g, h := c.rego, "ask.action == \"never\""
		if strings.Contains(c.rego, "fact.") {
			g, h = h, g
		}
		e := compiled(t, oneGround(g, h, c.more))
		f, err := e.Filter(t.Context(), asker, crm.ActionRead, "contact", []string{"core"})
		if err != nil {
			t.Errorf("%s: %v", c.rego, err)
			continue
		}
		var a policy.Args
		if got := f.Where(&a); got != c.sql {
			t.Errorf("%s\n got %s\nwant %s", c.rego, got, c.sql)
		}
	}
}

func compiled(t *testing.T, modules map[string]string) *policy.Engine {
	t.Helper()
	b, err := policy.NewBundle(modules)
	if err != nil {
		t.Fatal(err)
	}
	e, problems := policy.Compile(t.Context(), b, definitions...)
	if len(problems) > 0 {
		t.Fatalf("%q\n%s", problems, modules["rules.rego"])
	}
	return e
}

// What the translator does not know keeps a bundle from being activated, also
// in one alternative of several and under `not`.
func TestRefuses(t *testing.T) {
	const helper = "helper(record) if record.home == \"a\"\n"
	for name, c := range map[string]struct{ rego, more, problem string }{
		"index into the row":       {rego: `record[0] == "never"`, problem: "a part is named by a word"},
		"computed column":          {rego: `record[ask.action] == "never"`, problem: "a part is named by a word"},
		"unknown column":           {rego: `record.revenue == "x"`, problem: `"revenue" is not known`},
		"unknown part of fact":     {rego: `fact.entity == "x"`, problem: `"entity" is not known`},
		"part of a column":         {rego: `record.home.city == "x"`, problem: "has no parts"},
		"misspelt subject":         {rego: `not "x" in ask.subjct.roles`, problem: `"subjct" is not known`},
		"misspelt subject part":    {rego: `not ask.subject.clearence > 3`, problem: `"clearence" is not known`},
		"misspelt relation":        {rego: "some rel in ask.subject.relationships\n\trecord.home == rel.departement", problem: `"departement" is not known`},
		"misspelt in a helper":     {rego: `helper(record)`, more: `helper(row) if not row.hom == "a"`, problem: `"hom" is not known`},
		"misspelt function":        {rego: `not helpr(record)`, more: helper, problem: "undefined function"},
		"misspelt rule":            {rego: `not data.meridian.rules.frozn`, problem: "is not defined"},
		"unused rule":              {rego: `record.home == "a"`, more: helper, problem: "no ground uses helper"},
		"input":                    {rego: `input.record.home == "a"`, problem: "not at input"},
		"element of a list column": {rego: `record.withheld[0] == "core"`, problem: "cannot become a filter"},
		"iterating a list column":  {rego: "some x in record.withheld\n\tx == \"core\"", problem: "cannot become a filter"},
		"every over a list column": {rego: `every x in record.withheld { x == "core" }`, problem: "cannot become a filter"},
		"list with a list":         {rego: `record.withheld == ["core"]`, problem: "compared with [] only"},
		"list of another order":    {rego: `record.withheld < []`, problem: "compared with [] only"},
		"set with a column":        {rego: `record.home in {record.owner, "a"}`, problem: "a field in a list of values"},
		"column in a column":       {rego: `record.home in record.withheld`, problem: "seek a known value"},
		"arithmetic":               {rego: `record.sensitivity + 1 < 3`, problem: "cannot become a filter"},
		"count":                    {rego: `count(record.withheld) == 0`, problem: "cannot become a filter"},
		"lower":                    {rego: `lower(record.home) == "a"`, problem: "cannot become a filter"},
		"contains":                 {rego: `contains(record.home, "a")`, problem: "cannot become a filter"},
		"prefix of a constant":     {rego: `startswith("abc", record.home)`, problem: "cannot become a filter"},
		"column alone":             {rego: `record.pinned`, problem: "may not stand alone"},
		"not column alone":         {rego: `not record.pinned`, problem: "may not stand alone"},
		"column with itself":       {rego: `record.pinned == record.pinned`, problem: "may not stand alone"},
		"text with a number":       {rego: `record.home == 3`, problem: "3 is a number, and the field holds a text"},
		"number with a text":       {rego: `record.sensitivity < "3"`, problem: "is a text, and the field holds a whole number"},
		"fraction":                 {rego: `record.sensitivity < 2.5`, problem: "2.5 is a number, and the field holds a whole number"},
		"null":                     {rego: `record.home == null`, problem: "never empty"},
		"mixed list":               {rego: `record.home in ["a", 3]`, problem: "3 is a number, and the field holds a text"},
		"object":                   {rego: `record.home == {"a": 1}`, problem: "cannot become a filter"},
		"columns of two kinds":     {rego: `record.home == record.sensitivity`, problem: "home is a text and sensitivity is a whole number"},
		"order of ids":             {rego: `record.id < record.account`, problem: "has no order"},
		"order of flags":           {rego: `record.pinned < true`, problem: "has no order"},
		"id that is none":          {rego: `record.id == "x"`, problem: "is not a record id"},
		"id in capitals":           {rego: `record.id == "018F0000-0000-7000-8000-000000000001"`, problem: "is not a record id"},
		"date for an instant":      {rego: `record.created < "2026-01-01"`, problem: "is not an instant"},
		"text with a zero byte":    {rego: `record.home == "a\u0000b"`, problem: "no field can hold"},
		"with":                     {rego: `helper(record) with input as {}`, more: helper, problem: "`with` is for tests"},
		"else":                     {rego: `helper(record)`, more: "helper(record) if {\n\trecord.home == \"a\"\n} else if record.home == \"b\"", problem: "no else"},
		"default":                  {rego: `not helper(record)`, more: helper + "\ndefault helper(_) := false\n", problem: "no default"},
		"value of a row":           {rego: `helper(record) == "x"`, more: `helper(record) := record.home`, problem: "helper says yes or nothing"},
		"comprehension of a row":   {rego: `record.home in {x | some x in ask.subject.territories; x != record.owner}`, problem: "cannot become a filter"},
		"clock":                    {rego: `time.now_ns() > 0`, problem: "undefined function time.now_ns"},
		"network":                  {rego: `http.send({"url": record.home}).status_code == 200`, problem: "undefined function http.send"},
		"chance":                   {rego: `rand.intn(record.home, 2) == 1`, problem: "undefined function rand.intn"},
		"pattern":                  {rego: `regex.match("a.*", record.home)`, problem: "undefined function regex.match"},
		"operator's name":          {rego: `eq(record.home, "a")`, more: `eq(a, b) if a != b`, problem: "is the name of an operator"},
		"one of two alternatives":  {rego: `helper(record)`, more: helper + "\nhelper(record) if record.withheld[0] == \"x\"\n", problem: "cannot become a filter"},
		"under not":                {rego: `not helper(record)`, more: helper + "\nhelper(record) if record.withheld[0] == \"x\"\n", problem: "cannot become a filter"},
		"unknown field":            {rego: `record.fields.teir == "a"`, problem: `"teir" is not known`},
		"field of another entity":  {rego: `record.fields.grade == "a"`, problem: "not every entity has the field grade: only contact has"},
		"field for one role alone": {rego: "\"auditor\" in ask.subject.roles\n\tnot record.fields.grade == \"a\"", problem: "not every entity has the field grade: only contact has"},
		"field alone":              {rego: `record.fields.vip`, problem: "may not stand alone"},
		"not field alone":          {rego: `not record.fields.tier`, problem: "may not stand alone"},
		"all fields":               {rego: `count(record.fields) == 0`, problem: "cannot become a filter"},
		"field by number":          {rego: `record.fields[0] == "a"`, problem: "a part is named by a word"},
		"field by a word":          {rego: `record.fields[ask.action] == "a"`, problem: "a part is named by a word"},
		"too exact a decimal":      {rego: `record.fields.amount < 0.1234567890123456789`, problem: "too many digits, or an exponent"},
		"decimal with exponent":    {rego: `record.fields.amount < 1e3`, problem: "too many digits, or an exponent"},
		"decimal with an integer":  {rego: `record.fields.amount < record.sensitivity`, problem: "amount is a number and sensitivity is a whole number"},
		"date that is none":        {rego: `record.fields.since < "2026-3-1"`, problem: "is not a date"},
		"date with an instant":     {rego: `record.fields.since < record.created`, problem: "since is a date and created is an instant"},
		"order of a list":          {rego: `record.fields.tags < null`, problem: "by == or != only"},
		"null of a column":         {rego: `record.home != null`, problem: "never empty"},
		"masks of what closes":     {rego: `record.home == "a"`, more: "w_masks(_, _, _, _, _) := true\n", problem: "no ground uses w_masks"},
		"misspelt masks":           {rego: `record.home == "a"`, more: "g_mask(_, _, _, _) := true\n", problem: "no ground uses g_mask"},
		"masks without a group":    {rego: `record.home == "a"`, more: "g_masks(_, _, _) := true\n", problem: "g_masks takes 4 arguments: g_masks(ask, record, now, group)"},
		"masks that say more":      {rego: `record.home == "a"`, more: "g_masks(_, _, _, group) := group\n", problem: "g_masks says yes or nothing"},
		"misspelt in masks":        {rego: `record.home == "a"`, more: "g_masks(_, record, _, _) if not record.hme == \"a\"\n", problem: `"hme" is not known`},
		"untranslatable masks":     {rego: `record.home == "a"`, more: "g_masks(_, record, _, _) if record.withheld[0] == \"a\"\n", problem: "cannot become a filter"},
		"for one role alone":       {rego: "\"auditor\" in ask.subject.roles\n\trecord.withheld[0] == \"x\"", problem: "cannot become a filter"},
		"for one action alone":     {rego: "ask.action == \"withhold\"\n\trecord.withheld[0] == \"x\"", problem: "cannot become a filter"},
		"for other instances":      {rego: "ask.subject.kind == \"instance\"\n\trecord.withheld[0] == \"x\"", problem: "cannot become a filter"},
		"for one entity alone":     {rego: "ask.entity == \"lead\"\n\trecord.withheld[0] == \"x\"", problem: "cannot become a filter"},
	} {
		g, h := c.rego, "fact.department == \"a\""
		if strings.Contains(c.rego, "fact.") {
			g, h = `record.home == "a"`, c.rego
		}
		expectProblem(t, name, oneGround(g, h, c.more), c.problem)
	}
}

// The frame of a bundle: its declarations, packages and entry points.
func TestRefusesFrames(t *testing.T) {
	good := oneGround(`record.home == "a"`, `fact.department == "a"`, "")
	change := func(path, old, by string) map[string]string {
		return map[string]string{
			"rules.rego": strings.Replace(good["rules.rego"], old, by, 1), "service.rego": good["service.rego"], path: strings.Replace(good[path], old, by, 1),
		}
	}
	expectProblem(t, "no grounds", map[string]string{"rules.rego": "package meridian.rules\n", "service.rego": serviceModule}, "declares no grounds")
	expectProblem(t, "unknown effect", change("rules.rego", `"w": {"effect": "closes"`, `"w": {"effect": "shuts"`), `"opens" or "closes", not shuts`)
	expectProblem(t, "unknown attribute", change("rules.rego", `"text": "w"`, `"text": "w", "facts": "x"`), `"facts" is not an attribute`)
	expectProblem(t, "unknown fact", change("rules.rego", `"fact": "grant"`, `"fact": "grants"`), "no facts of the kind grants")
	expectProblem(t, "no text", change("rules.rego", `, "text": "w"`, ``), `say in "text"`)
	expectProblem(t, "ground without function", change("rules.rego", `"w": {`, `"v": {`), "rules.v is not defined")
	expectProblem(t, "misspelt ground function", change("rules.rego", "w(ask", "ww(ask"), "rules.w is not defined")
	expectProblem(t, "no reveals", change("rules.rego", "g_reveals(", "g_reveal("), "rules.g_reveals is not defined")
	expectProblem(t, "too few arguments", change("rules.rego", "w(ask, _, fact, _)", "w(ask, _, fact)"), "w takes 4 arguments: w(ask, record, fact, now)")
	expectProblem(t, "another value", change("rules.rego", "w(ask, _, fact, _) if", "w(ask, _, fact, _) := \"yes\" if"), "w says yes or nothing")
	expectProblem(t, "no permit", change("service.rego", "permit(", "permits("), "service.permit is not defined")
	other := change("rules.rego", "", "")
	other["extra.rego"] = "package meridian.rule\n\nx := 1\n"
	expectProblem(t, "misspelt package", other, "holds no rules")
}

func expectProblem(t *testing.T, name string, modules map[string]string, problem string) {
	t.Helper()
	b, err := policy.NewBundle(modules)
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, modules["rules.rego"])
		return
	}
	e, err := policy.New(t.Context(), b, definitions...)
	refusal, ok := errors.AsType[*crm.Error](err)
	if e != nil || !ok || refusal.Kind != crm.Invalid {
		t.Errorf("%s: the bundle was activated, or refused without a reason: %v", name, err)
		return
	}
	if !strings.Contains(strings.Join(refusal.Reasons, "\n"), problem) {
		t.Errorf("%s: got %q, want one with %q", name, refusal.Reasons, problem)
	}
}

// A rule may translate for a bundle's rehearsal and unfold too far for a
// subject with long lists: an error then, in bounded time, never a shorter OR.
func TestRefusesToUnfoldTooFar(t *testing.T) {
	e := compiled(t, oneGround("some a in ask.subject.territories\n\tsome b in ask.subject.territories\n\tsome c in ask.subject.territories\n"+
		"\trecord.home == a\n\trecord.owner == b\n\trecord.segment == c", `fact.department == "a"`, ""))
	s := asker
	for i := range 11 {
		s.Territories = append(s.Territories, fmt.Sprint("T", i))
	}
	f, err := e.Filter(t.Context(), s, crm.ActionRead, "contact", nil)
	if err == nil || !strings.Contains(err.Error(), "alternatives") || f.Where(&policy.Args{}) != "false" {
		t.Errorf("got %v", err)
	}
}

func TestZeroFilterShowsNothing(t *testing.T) {
	var f policy.Filter
	var a policy.Args
	include, unclosed := f.Branches(&a)
	got := []any{f.Where(&a), f.Reveals("core", &a), include, unclosed, a.Values()}
	if diff := cmp.Diff([]any{"false", "false", []string(nil), "false", []any(nil)}, got); diff != "" {
		t.Error(diff)
	}
}
