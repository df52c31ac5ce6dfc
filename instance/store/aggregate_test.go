package store_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"meridian/instance/crm"
)

func (w *world) aggregation(entity, by, measures, order string) crm.Aggregation {
	w.t.Helper()
	d, _ := w.Definition(entity)
	list := func(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }) }
	a, err := crm.ParseAggregation(d, list(by), list(measures), order)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// texts is tallies for a test to compare.
func texts(ts []crm.Tally) string {
	var rows []string
	for _, t := range ts {
		var cells []string
		for _, v := range slices.Concat(t.Keys, t.Values) {
			cells = append(cells, v.Text())
		}
		rows = append(rows, strings.Join(cells, " "))
	}
	return strings.Join(rows, "|")
}

func TestAggregate(t *testing.T) {
	w := newWorld(t)
	for _, f := range []fields{
		{"name": crm.String("a"), "count": crm.Integer(9223372036854775807), "order": crm.Date("2026-01-31"), "seen": crm.Timestamp(at("2026-03-31T23:59:59Z")), "amount": crm.Decimal("0.1")},
		{"name": crm.String("a"), "count": crm.Integer(9223372036854775807), "order": crm.Date("2026-02-01"), "seen": crm.Timestamp(at("2026-04-01T00:00:00Z")), "amount": crm.Decimal("0.2")},
		{"name": crm.String("b"), "amount": crm.Decimal("100")},
		{},
	} {
		w.create("thing", "US-CA", f)
	}
	for _, c := range []struct {
		by, measures, order string
		limit               int
		want                string
	}{
		{"", "", "", 10, "4"},
		{"name", "count sum(count)", "", 10, "a 2 18446744073709551614|b 1 | 1 "},
		{"name", "sum(amount) avg(amount) min(amount) max(amount) distinct(amount)", "-sum(amount)", 10, "b 100 100 100 100 1|a 0.3 0.15 0.1 0.2 2|     0"},
		{"order:month", "count", "order:month", 10, "2026-01-01 1|2026-02-01 1| 2"},
		{"order:quarter seen:quarter", "count", "-seen:quarter", 10, "2026-01-01 2026-04-01 1|2026-01-01 2026-01-01 1|  2"},
		{"territory", "min(seen) max(order)", "", 10, "US-CA 2026-03-31T23:59:59Z 2026-02-01"},
		{"name", "count", "name", 2, "a 2|b 1"},
	} {
		r := w.read(everywhere, "thing")
		r.Limit = c.limit
		got, more, stamp, err := w.Aggregate(t.Context(), r, w.aggregation("thing", c.by, c.measures, c.order))
		if err != nil || texts(got) != c.want || more != (c.limit == 2) || stamp == 0 {
			t.Errorf("%+v is %s, more %t: %v", c, texts(got), more, err)
		}
	}
	r := w.read(manager("DE"), "thing")
	r.Limit = 5
	if got, _, _, err := w.Aggregate(t.Context(), r, w.aggregation("thing", "", "count sum(amount)", "")); err != nil || texts(got) != "0 " {
		t.Errorf("of nothing: %s, %v", texts(got), err)
	}
}

// TestAggregateIsWhatOneWorksOutOfAList: under every filter and condition, what
// the database aggregates is what one works out of the records that List shows,
// masked and withheld as they are there.
func TestAggregateIsWhatOneWorksOutOfAList(t *testing.T) {
	w := newWorld(t)
	partner, both := manager(), manager("US-CA")
	partner.Relationships = []crm.Relationship{{Department: "dach-sales", Actions: []string{"read"}}}
	both.Departments, both.Relationships = []string{"dach-sales"}, partner.Relationships
	rapid.Check(t, func(rt *rapid.T) {
		drawRecords(rt, w)
		r := w.read(rapid.SampledFrom([]crm.Subject{partner, both, everywhere}).Draw(rt, "subject"), "thing")
		if rapid.Bool().Draw(rt, "filtered") {
			r.Where = drawCondition(rt, 2)
		}
		by := rapid.SampledFrom([]string{"name", "amount", "iban", "closes", "listed", "secret"}).Draw(rt, "by")
		page, err := w.List(t.Context(), r)
		if crm.KindOf(err) == crm.Denied {
			return
		} else if err != nil {
			rt.Fatal(err)
		}
		got, _, _, err := w.Aggregate(t.Context(), r, w.aggregation("thing", by, "count sum(amount) distinct(closes) max(closes)", "count"))
		if by == "secret" && crm.KindOf(err) == crm.Denied {
			return // withheld on every row: refused as in a filter
		} else if err != nil {
			rt.Fatal(err)
		}
		want := workedOut(page.Records, by)
		byText := func(a, b crm.Tally) int { return cmp.Compare(texts([]crm.Tally{a}), texts([]crm.Tally{b})) }
		slices.SortFunc(got, byText)
		slices.SortFunc(want, byText)
		if texts(got) != texts(want) {
			rt.Fatalf("by %s: %s, of the list %s", by, texts(got), texts(want))
		}
	})
}

// workedOut is the aggregation of the test above in Go.
func workedOut(records []crm.Record, by string) (ts []crm.Tally) {
	groups := map[string][]crm.Record{}
	for _, r := range records {
		key := r.Fields[by].Text()
		if r.Fields[by].IsNull() {
			key = "\x00" // not the empty text
		}
		groups[key] = append(groups[key], r)
	}
	for _, rs := range groups {
		sum, sums, days := decimal.Zero, false, map[string]bool{}
		for _, r := range rs {
			if v := r.Fields["amount"]; !v.IsNull() {
				sum, sums = sum.Add(decimal.RequireFromString(v.Text())), true
			}
			if v := r.Fields["closes"]; !v.IsNull() {
				days[v.Text()] = true
			}
		}
		row := crm.Tally{Keys: []crm.Value{rs[0].Fields[by]}, Values: []crm.Value{crm.Integer(int64(len(rs))), {}, crm.Integer(int64(len(days))), {}}}
		if sums {
			row.Values[1] = crm.Decimal(sum.String())
		}
		for d := range days {
			if d > row.Values[3].Text() {
				row.Values[3] = crm.Date(d)
			}
		}
		ts = append(ts, row)
	}
	return ts
}
