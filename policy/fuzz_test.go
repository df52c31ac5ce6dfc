package policy_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/policy"
)

// sqlText is all that a filter may consist of: names, operators, parameters and
// two fixed literals. A value of a rule or of a subject is none of it.
var sqlText = regexp.MustCompile(`^([a-z_]+|r\.[a-z_]+|r\."[a-z0-9_]+"|f\.[a-z_]+|fact\.agreement|fact\."grant"|\$[0-9]+(::[a-z]+(\[\])?)+|::text|'infinity'|"C"|0|[ ()=<>,])*$`)

// FuzzRule writes anything as the condition of a ground. Whatever it is, it is
// refused or it becomes SQL that holds no value; it never panics, and it never
// becomes nothing.
func FuzzRule(f *testing.F) {
	for _, seed := range []string{
		`record.territory in ask.subject.territories`, `not record.home == "x' or true --"`, `record[0] == "never"`, `record.pinned`,
		`startswith(record.segment, "a")`, `every x in ask.subject.keys { record.owner != x }`, "x := record.home\n\tx == \"$1\"",
		`record.sensitivity <= 1e400`, `record.home in {record.owner, "a"}`, `not not record.home == "a"`, `record == {}`, `now`, `false`, ``,
		`record.withheld == []`, `some i; record.withheld[i] == "a"`, `[record.home, 1] == ["a", 1]`, `{"a": record.home}.a == "b"`,
		`record.home == "a"; record.home == "b"`, `record.home = x; x = "a"`, `count({1 | record.home == "a"}) > 0`, `input == data`,
		`record.created < now; now < record.updated`, `record.id == "018f0000-0000-7000-8000-000000000001"`, `ask`, `_ = record.home`,
		`record.fields.tier != "x' or true --"`, `record.fields.amount < 0.1`, `"a" in record.fields.tags`, `not record.fields.since <= null`,
		`record.fields.order == record.fields.grade`, `record.fields == {}`, `f := record.fields; f.vip != true`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		modules := oneGround(body, `fact.department == "a"`, "")
		b, err := policy.NewBundle(modules)
		if err != nil {
			return
		}
		e, problems := policy.Compile(t.Context(), b, definitions...)
		if len(problems) > 0 {
			return
		}
		filter, err := e.Filter(t.Context(), asker, crm.ActionRead, "contact", groupNames)
		if err != nil {
			if crm.KindOf(err) != crm.Internal || filter.Where(&policy.Args{}) != "false" {
				t.Errorf("refused with kind %s and a filter %+v", crm.KindOf(err), filter)
			}
			return
		}
		var a policy.Args
		texts := []string{filter.Where(&a), filter.Reveals("core", &a)}
		include, unclosed := filter.Branches(&a)
		for _, sql := range append(append(texts, unclosed), include...) {
			if strings.TrimSpace(sql) == "" || !sqlText.MatchString(sql) || strings.Count(sql, "(") != strings.Count(sql, ")") {
				t.Errorf("%q became %q", body, sql)
			}
			for _, p := range regexp.MustCompile(`\$([0-9]+)`).FindAllStringSubmatch(sql, -1) {
				if n, err := strconv.Atoi(p[1]); err != nil || n < 1 || n > len(a.Values()) {
					t.Errorf("%q has no value for %s", sql, p[0])
				}
			}
		}
	})
}
