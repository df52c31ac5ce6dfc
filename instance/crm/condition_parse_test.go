package crm_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
)

var company = crm.Definition{Entity: "account", Governed: crm.GovernedOwn, Fields: []crm.Field{
	{Name: "name", Type: crm.TypeString, Group: "core"},
	{Name: "state", Type: crm.TypeString, Group: "core"},
	{Name: "annual_revenue", Type: crm.TypeDecimal, Group: "commercial"},
	{Name: "staff", Type: crm.TypeInteger, Group: "core"},
	{Name: "listed", Type: crm.TypeBoolean, Group: "core"},
	{Name: "founded", Type: crm.TypeDate, Group: "core"},
	{Name: "seen", Type: crm.TypeTimestamp, Group: "core"},
	{Name: "parent_id", Type: crm.TypeReference, Reference: "account", Group: "core"},
	{Name: "tags", Type: crm.TypeList, Group: "core"},
}}

func TestParseCondition(t *testing.T) {
	id := crm.RecordID("0193e0a0-0000-7000-8000-000000000001")
	eq := func(f string, v crm.Value) crm.Condition { return crm.Compare{Field: f, Op: "=", Value: v} }
	for text, want := range map[string]crm.Condition{
		"":                          nil,
		"  \n":                      nil,
		"name = 'Acme'":             eq("name", crm.String("Acme")),
		`name="Acme"`:               eq("name", crm.String("Acme")),
		"name = 'O''Hare and sons'": eq("name", crm.String("O'Hare and sons")),
		`name = "say ""hi"""`:       eq("name", crm.String(`say "hi"`)),
		"name = ''":                 eq("name", crm.String("")),
		"annual_revenue >= 1000000": crm.Compare{Field: "annual_revenue", Op: ">=", Value: crm.Decimal("1000000")},
		"annual_revenue<-0.50":      crm.Compare{Field: "annual_revenue", Op: "<", Value: crm.Decimal("-0.5")},
		"staff != '12'":             crm.Compare{Field: "staff", Op: "!=", Value: crm.Integer(12)},
		"listed = TRUE":             eq("listed", crm.Boolean(true)),
		"founded > '1999-12-31'":    crm.Compare{Field: "founded", Op: ">", Value: crm.Date("1999-12-31")},
		"seen <= '2026-11-23'":      crm.Compare{Field: "seen", Op: "<=", Value: crm.Timestamp(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC))},
		"parent_id = '" + strings.ToUpper(string(id)) + "'": eq("parent_id", crm.Reference(id)),
		"id = '" + string(id) + "'":                         eq("id", crm.Reference(id)),
		"territory = 'unassigned'":                          eq("territory", crm.String("unassigned")),
		"tags contains 'vip'":                               crm.Compare{Field: "tags", Op: "contains", Value: crm.String("vip")},
		"name CONTAINS 'bank'":                              crm.Compare{Field: "name", Op: "contains", Value: crm.String("bank")},
		"state in ('CA', 'NY')":                             crm.In{Field: "state", Values: []crm.Value{crm.String("CA"), crm.String("NY")}},
		"state not in ('CA')":                               crm.Not{Of: crm.In{Field: "state", Values: []crm.Value{crm.String("CA")}}},
		"state is null":                                     crm.IsNull{Field: "state"},
		"state is not null":                                 crm.Not{Of: crm.IsNull{Field: "state"}},
		"not not state is null":                             crm.Not{Of: crm.Not{Of: crm.IsNull{Field: "state"}}},
		"state = 'a' or state = 'b' and listed = true": crm.Or{
			eq("state", crm.String("a")), crm.And{eq("state", crm.String("b")), eq("listed", crm.Boolean(true))}},
		"(state = 'a' or state = 'b') and not (listed = true)": crm.And{
			crm.Or{eq("state", crm.String("a")), eq("state", crm.String("b"))}, crm.Not{Of: eq("listed", crm.Boolean(true))}},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := crm.ParseCondition(company, text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseConditionSaysWhatToWrite(t *testing.T) {
	for text, want := range map[string]struct{ field, says string }{
		"size = 'big'":                {"size", "it has name, state"},
		"name = Acme":                 {"name", "in quotes: 'Acme'"},
		"name = 12":                   {"name", "in quotes: '12'"},
		"name = null":                 {"name", "name is null"},
		"name is 'x'":                 {"name", "null or not null"},
		"name 'x'":                    {"name", "after the field comes"},
		"name =":                      {"name", "where a value belongs"},
		"staff = 1.5":                 {"staff", "whole number"},
		"staff = 9223372036854775808": {"staff", "64 bits"},
		"annual_revenue = 'much'":     {"annual_revenue", "decimal"},
		"annual_revenue contains '1'": {"annual_revenue", "contains is for text"},
		"listed = 'maybe'":            {"listed", "true or false"},
		"listed < true":               {"listed", "no order"},
		"founded = '2026-02-30'":      {"founded", "date"},
		"parent_id = 'acme'":          {"parent_id", "UUID"},
		"tags = 'vip'":                {"tags", "contains"},
		"tags in ('vip')":             {"tags", "contains"},
		"state in 'CA'":               {"state", "a list such as"},
		"state in ('CA' 'NY')":        {"state", "commas"},
		"state in ()":                 {"state", "where a value belongs"},
		"name = 'Acme":                {"", "never ends"},
		"name ! 'x'":                  {"", "lone !"},
		"name = 'a' state = 'b'":      {"", "and / or"},
		"(name = 'a'":                 {"", "closes a group"},
		"name = 'a' and":              {"", "where a field name belongs"},
		"name = 'a'; drop table x":    {"", "where none belongs"},
		strings.Repeat("(", 100) + "name = 'a'" + strings.Repeat(")", 100): {"", "flatter"},
		"name = '" + strings.Repeat("x", 20000) + "'":                      {"", "bytes"},
		"name = '\xff'": {"", "UTF-8"},
		"name = '\x00'": {"", "UTF-8"},
	} {
		_, err := crm.ParseCondition(company, text)
		e, ok := errors.AsType[*crm.Error](err)
		if !ok || e.Kind != crm.Invalid || e.Field != want.field || !strings.Contains(e.Msg, want.says) {
			t.Errorf("%.60q: got %v, want field %q and a message with %q", text, err, want.field, want.says)
		}
	}
}

func TestParseSort(t *testing.T) {
	got, err := crm.ParseSort(company, "-annual_revenue, name")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]crm.SortKey{{Field: "annual_revenue", Desc: true}, {Field: "name"}}, got); diff != "" {
		t.Error(diff)
	}
	for text, field := range map[string]string{"size": "size", "name,name": "name", "tags": "tags", "name,": ""} {
		_, err := crm.ParseSort(company, text)
		if e, ok := errors.AsType[*crm.Error](err); !ok || e.Field != field {
			t.Errorf("%q: got %v, want an error about %q", text, err, field)
		}
	}
}

// FuzzParseCondition: whatever is typed, the answer is a condition over known
// fields or an Invalid error.
func FuzzParseCondition(f *testing.F) {
	for _, seed := range []string{"name = 'a'", "not (state in ('a', \"b\") or staff < -1)", "seen > '2026-01-01' and tags contains 'x'", "name is not null", "((", "'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := crm.ParseCondition(company, text)
		if err != nil {
			if crm.KindOf(err) != crm.Invalid {
				t.Errorf("%q: %v is not invalid", text, err)
			}
			return
		}
		walk(t, c)
	})
}

func walk(t *testing.T, c crm.Condition) {
	known := func(field string, vs ...crm.Value) {
		_, own := company.Field(field)
		if _, governance := crm.GovernanceField(field); !own && !governance {
			t.Errorf("condition on unknown field %q", field)
		}
		for _, v := range vs {
			if v.IsNull() {
				t.Errorf("%s compared with null", field)
			}
		}
	}
	switch c := c.(type) {
	case nil:
	case crm.And:
		for _, x := range c {
			walk(t, x)
		}
	case crm.Or:
		for _, x := range c {
			walk(t, x)
		}
	case crm.Not:
		walk(t, c.Of)
	case crm.Compare:
		known(c.Field, c.Value)
	case crm.In:
		known(c.Field, c.Values...)
	case crm.IsNull:
		known(c.Field)
	default:
		t.Errorf("unknown condition %T", c)
	}
}
