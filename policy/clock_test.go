package policy_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store/schema"
	"meridian/policy"
)

// timedBundle is the shipped bundle with one more ground that opens by a kind
// of fact ("" for none), and what its rule does with the time.
func timedBundle(t *testing.T, fact, rule string) *policy.Bundle {
	t.Helper()
	files := policy.Embedded().Modules()
	kind := ""
	if fact != "" {
		kind = fmt.Sprintf(`"fact": %q, `, fact)
	}
	files["grounds.rego"] = strings.Replace(files["grounds.rego"], "grounds := {\n", "grounds := {\n\t\"bomb\": {\"effect\": \"opens\", "+kind+"\"text\": \"t\"},\n", 1)
	shows := "bomb_reveals(_, _, _, _) := true\n"
	if fact != "" {
		shows = "bomb_reveals(_, _, _, _, _) := true\n"
	}
	files["bomb.rego"] = "package meridian.rules\n\n" + rule + "\n\n" + shows
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatalf("%v\n%s", err, rule)
	}
	return b
}

const then = `"2026-12-01T00:00:00.000000Z"`

// What a rule says turns with facts alone: whatever else it does with `now` is
// refused, where it does it.
func TestTimeComesFromFacts(t *testing.T) {
	t.Parallel()
	mistimed := regexp.MustCompile(`(?m)^bomb\.rego:\d+: .*` + "`now` may only be compared with fact.valid_from and fact.valid_to.*write a dated agreement")
	for name, c := range map[string]struct{ fact, body, more string }{
		"constant":                    {body: "now >= " + then},
		"constant first":              {body: then + " <= now"},
		"under not":                   {body: "not now < " + then},
		"equality":                    {body: "now == " + then},
		"inequality":                  {body: "now != " + then},
		"unified":                     {body: "now = " + then},
		"equality with a turn":        {fact: "agreement", body: "now == fact.valid_from"},
		"governance column":           {body: "record.created < now"},
		"field":                       {body: "ask.entity == \"opportunity\"\n\trecord.fields.close_date < now"},
		"another column of a fact":    {fact: "agreement", body: "fact.effect < now"},
		"part of the subject":         {body: "ask.subject.purpose < now"},
		"itself":                      {body: "now <= now"},
		"another name":                {body: "later := now\n\tlater >= " + then},
		"another name that is known":  {body: "later := " + then + "\n\tnow >= later"},
		"table of dates":              {body: "now >= dates.launch", more: "dates := {\"launch\": " + then + "}"},
		"date of a rule":              {body: "now >= launch", more: "launch := " + then},
		"element of an array":         {body: "[now][0] >= " + then},
		"element of a list of dates":  {body: "now >= [" + then + "][0]"},
		"value of an object":          {body: "{\"at\": now}.at >= " + then},
		"key of an object":            {body: "{now: true}[" + then + "]"},
		"array pattern":               {body: "[" + then + "] = [now]"},
		"array with a variable":       {body: "[x] = [now]\n\tx >= " + then},
		"member of a set":             {body: "now in {" + then + "}"},
		"member of a list":            {body: "now in [" + then + "]"},
		"list that holds it":          {body: then + " in [now]"},
		"set that holds it":           {body: then + " in {now}"},
		"key of a list":               {body: "0, now in [" + then + "]"},
		"subject's list":              {body: "now in ask.subject.roles"},
		"comprehension":               {body: "count({1 | now >= " + then + "}) > 0"},
		"comprehension of it":         {body: "{x | x := now; x >= " + then + "} != set()"},
		"some":                        {body: "some date in [" + then + "]\n\tnow >= date"},
		"every":                       {body: "every date in [" + then + "] { now >= date }"},
		"every of a list with it":     {body: "every date in [now] { date >= " + then + " }"},
		"every of alternatives":       {fact: "agreement", body: "every date in [fact.valid_from, " + then + "] { now >= date }"},
		"double not":                  {body: "not early(now)", more: "early(now) if not now >= " + then},
		"function":                    {body: "later(now)", more: "later(now) if now >= " + then},
		"function of two":             {body: "after(now, " + then + ")", more: "after(a, b) if a >= b"},
		"function, sides exchanged":   {fact: "agreement", body: "after(" + then + ", now)\n\tafter(now, fact.valid_from)", more: "after(a, b) if a <= b"},
		"function with a false fact":  {body: "in_force({\"valid_from\": " + then + ", \"valid_to\": \"infinity\"}, now)"},
		"function with the record":    {body: "in_force(record, now)"},
		"function with fact for time": {fact: "agreement", body: "in_force(now, fact)"},
		"a list for a fact":           {fact: "agreement", body: "in_force([fact, {\"valid_from\": " + then + ", \"valid_to\": \"infinity\"}][1], now)"},
		"one of two facts":            {fact: "agreement", body: "some f in [fact, {\"valid_from\": " + then + ", \"valid_to\": \"infinity\"}]\n\tin_force(f, now)"},
		"value as argument":           {body: "at(now)", more: "at(" + then + ") := true"},
		"one argument twice":          {body: "same(now, " + then + ")", more: "same(x, x) := true"},
		"object as argument":          {body: "at({\"now\": now})", more: "at({\"now\": at}) if at >= " + then},
		"result of a function":        {body: "clock(now) >= " + then, more: "clock(now) := now"},
		"result of a function of it":  {body: "clock(now) == \"late\"", more: "clock(now) := \"late\" if now >= " + then},
		"result bound":                {fact: "agreement", body: "x := now < fact.valid_to\n\tx == false"},
		"lower":                       {body: "lower(now) >= \"2026-12\""},
		"upper":                       {body: "upper(now) >= " + then},
		"split":                       {body: "split(now, \"-\")[0] == \"2026\""},
		"startswith":                  {body: "startswith(now, \"2026-12\")"},
		"prefix of a date":            {body: "startswith(" + then + ", now)"},
		"endswith":                    {body: "endswith(now, \"Z\")"},
		"contains":                    {body: "contains(now, \"-12-\")"},
		"count":                       {body: "count(now) > 3"},
		"max":                         {body: "max([now, " + then + "]) == now"},
		"min":                         {body: "min({now, " + then + "}) == " + then},
		"max with a turn":             {fact: "agreement", body: "now < max([fact.valid_to, " + then + "])"},
		"union":                       {body: "{now} | {" + then + "} == {" + then + "}"},
		"difference":                  {body: "{now} - {" + then + "} == set()"},
		"plus":                        {body: "now + 1 > 0"},
		"name of a column":            {fact: "agreement", body: "fact[now] == \"x\""},
		"column by a word":            {fact: "agreement", body: "some part in [\"valid_from\", \"effect\"]\n\tnow < fact[part]"},
		"part of it":                  {body: "now[0] == \"2\""},
		"alone":                       {body: "now"},
		"not a turn":                  {fact: "agreement", body: "some x in [" + then + "]\n\tnot x = fact.valid_from\n\tnow >= x"},
		"a turn in another closure":   {fact: "agreement", body: "some x in [" + then + "]\n\tcount({1 | x = fact.valid_from}) == 0\n\tnow >= x"},
		"a turn in every":             {fact: "agreement", body: "some x in [" + then + "]\n\tevery y in [1] { y == 1; x != fact.valid_from }\n\tnow >= x"},
		"a turn that was worked on":   {fact: "area", body: "now < split(fact.valid_to, \"T\")[0]"},
		"a turn of a function":        {fact: "area", body: "now < end(fact)", more: "end(fact) := fact.valid_to"},
		"a turn or a date":            {fact: "area", body: "some x in {fact.valid_to, " + then + "}\n\tnow < x"},
		"a turn of the subject":       {fact: "area", body: "now < ask.subject.areas[0].valid_to"},
		"ground that closes no fact":  {body: "not closed(now)", more: "closed(now) if now >= " + then},
	} {
		body := "\tpermitted(ask)\n\trecord.id != \"\"\n\t" + c.body
		if !regexp.MustCompile(`\brecord\b`).MatchString(c.body) {
			body = "\tpermitted(ask)\n\t" + c.body
		}
		args := []string{"ask", "record", "now"}
		if c.fact != "" {
			args = []string{"ask", "record", "fact", "now"}
		}
		rule := define("bomb", args, body) + c.more
		problems := strings.Join(policy.Check(t.Context(), timedBundle(t, c.fact, rule), schema.Common()...), "\n")
		switch {
		case problems == "":
			t.Errorf("%s: the bundle was accepted\n%s", name, rule)
		case !mistimed.MatchString(problems) && !refusedBefore[name]:
			t.Errorf("%s: refused in other words: %s\n%s", name, problems, rule)
		}
	}
}

// refusedBefore are refused for something else already.
var refusedBefore = map[string]bool{"a turn of the subject": true}

// The bounds of facts may be looked at in every way that compares.
func TestRulesLookAtTheTimeOfFacts(t *testing.T) {
	t.Parallel()
	for _, fact := range []string{"agreement", "grant", "area"} {
		for name, c := range map[string]struct{ body, more string }{
			"helper of the bundle":  {body: "in_force(fact, now)"},
			"own comparison":        {body: "fact.valid_from <= now\n\tnow < fact.valid_to"},
			"other way round":       {body: "now >= fact.valid_from\n\tfact.valid_to > now"},
			"under not":             {body: "not now < fact.valid_from\n\tnot over(fact, now)", more: "over(fact, now) if now >= fact.valid_to"},
			"exchanged parameters":  {body: "begun(now, fact)", more: "begun(time, paper) if paper.valid_from <= time"},
			"given apart":           {body: "between(fact.valid_from, now, fact.valid_to)", more: "between(a, b, c) if {\n\ta <= b\n\tb < c\n}"},
			"named":                 {body: "ends := fact.valid_to\n\tnow < ends"},
			"fact named":            {body: "paper := fact\n\tnow < paper.valid_to"},
			"among alternatives":    {body: "holds(fact, now)", more: "holds(fact, now) if in_force(fact, now)\n\nholds(fact, _) if fact.department == \"never\""},
			"and a date of its own": {body: "in_force(fact, now)\n\tfact.valid_from >= " + then},
			"two bounds":            {body: "fact.valid_from < fact.valid_to\n\tnow < fact.valid_to"},
		} {
			if fact == "grant" {
				c.more = strings.Replace(c.more, "fact.department", "fact.key", 1)
			}
			rule := define("bomb", []string{"ask", "record", "fact", "now"}, "\tpermitted(ask)\n\t"+c.body) + c.more
			if problems := policy.Check(t.Context(), timedBundle(t, fact, rule), schema.Common()...); len(problems) > 0 {
				t.Errorf("%s of %s: %q\n%s", name, fact, problems, rule)
			}
		}
	}
}

// The second belt: a residual that compares the time with anything else than
// the bounds of the fact has no filter, and raises the alarm.
func TestNoFilterComparesTheTimeWithADate(t *testing.T) {
	t.Parallel()
	s := asker
	s.Areas = []crm.Area{{ID: "a", Department: s.Departments[0], Effect: crm.EffectOpen, AnyTerritory: true, AnySegment: true, From: noon, To: noon.Add(time.Hour)}}
	for rule, good := range map[string]bool{
		"now >= fact.valid_from":                                     true,
		"fact.valid_from < fact.valid_to; now < fact.valid_to":       true, // both are known
		"now >= " + then:                                             false,
		"now >= record.created":                                      false,
		`now >= max([fact.valid_from, ` + then + `])`:                false,
		`some x in [fact.valid_to, ` + then + `]; now < x`:           false,
		`now in {` + then + `}`:                                      false,
		`startswith(now, "2026")`:                                    false,
		`now == ` + then:                                             false,
		`fact.valid_from <= record.created; now < record.created`:    false,
		`some x in ask.subject.territories; x != ""; now >= x`:       false,
		`some x in [` + then + `]; not x = fact.valid_from; now > x`: false,
	} {
		e := compiled(t, oneGround(`record.home == "a"`, `fact.department == "a"`, ""))
		var alarms []policy.Alarm
		e.OnAlarm(func(a policy.Alarm) { alarms = append(alarms, a) }, func() {})
		if err := e.Smuggle(t.Context(), "g", "area", define("g", []string{"ask", "record", "fact", "now"}, "\t"+strings.ReplaceAll(rule, "; ", "\n\t"))); err != nil {
			t.Fatalf("%s: %v", rule, err)
		}
		f, err := e.Filter(t.Context(), s, crm.ActionRead, "contact", nil)
		if good {
			if err != nil || len(alarms) > 0 {
				t.Errorf("%s: %v, alarms %v", rule, err, alarms)
			}
			continue
		}
		if err == nil || f.Where(&policy.Args{}) != "false" || len(alarms) != 1 || alarms[0].Ground != "g" {
			t.Errorf("%s: became %s, %v, alarms %v", rule, f.Where(&policy.Args{}), err, alarms)
		}
	}
}
