package crm_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
)

func TestParseAggregation(t *testing.T) {
	d := crm.Definition{Entity: "deal", Fields: []crm.Field{
		{Name: "country", Type: crm.TypeString}, {Name: "amount", Type: crm.TypeDecimal}, {Name: "closes", Type: crm.TypeDate},
		{Name: "won", Type: crm.TypeBoolean}, {Name: "tags", Type: crm.TypeList},
	}}
	got, err := crm.ParseAggregation(d, []string{"country", " closes:quarter"}, []string{"count", "sum( amount )"}, "closes:quarter")
	want := crm.Aggregation{By: []crm.By{{"country", crm.CutNone}, {"closes", crm.CutQuarter}}, Measures: []crm.Measure{{"count", ""}, {"sum", "amount"}}, Order: 1}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	got, err = crm.ParseAggregation(d, nil, nil, "")
	if diff := cmp.Diff(crm.Aggregation{Measures: []crm.Measure{{"count", ""}}, Desc: true}, got); err != nil || diff != "" {
		t.Errorf("of nothing: %v %s", err, diff)
	}
	for _, c := range []struct{ by, measures, order, field, says string }{
		{"country,country,country,country", "", "", "by", "at most 3"},
		{"nope", "", "", "nope", "it has country"},
		{"tags", "", "", "tags", "choose another"},
		{"country:month", "", "", "country", "write country"},
		{"closes:week", "", "", "closes", "closes:month"},
		{"", "total(amount)", "", "measures", "sum(annual_revenue)"},
		{"", "sum(amount", "", "measures", "sum(annual_revenue)"},
		{"", "count(amount)", "", "measures", "distinct(amount)"},
		{"", "sum(country)", "", "country", "min, max or distinct"},
		{"", "max(won)", "", "won", "use distinct"},
		{"", "distinct(tags)", "", "tags", "count the records"},
		{"country", "count", "-sum(amount)", "order", "country, count"},
		{"", strings.Repeat("count,", 8) + "count", "", "measures", "at most 8"},
	} {
		_, err := crm.ParseAggregation(d, list(c.by), list(c.measures), c.order)
		if e := crm.Public(err); e.Kind != crm.Invalid || e.Field != c.field || !strings.Contains(e.Msg, c.says) {
			t.Errorf("%v: got %v, want %q about %s", c, err, c.says, c.field)
		}
	}
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
