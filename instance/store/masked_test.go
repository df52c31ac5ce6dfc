package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// TestMaskedInSQLIsMaskedInGo: what the database leaves of a value is what
// crm.Mask.Of leaves of it, for every mask, type and value.
func TestMaskedInSQLIsMaskedInGo(t *testing.T) {
	w := newWorld(t)
	kinds := []struct {
		field crm.Field
		pg    string
		value *rapid.Generator[crm.Value]
	}{
		{crm.Field{Type: crm.TypeString, Mask: crm.MaskLastFour}, "text", rapid.Map(rapid.StringN(0, 14, -1).Filter(storable), crm.String)},
		{crm.Field{Type: crm.TypeDate, Mask: crm.MaskYear}, "date", rapid.Map(instants, func(at time.Time) crm.Value { return crm.Date(at.Format(time.DateOnly)) })},
		{crm.Field{Type: crm.TypeTimestamp, Mask: crm.MaskYear}, "timestamptz", rapid.Map(instants, crm.Timestamp)},
		{crm.Field{Type: crm.TypeInteger, Mask: crm.MaskBand}, "bigint", rapid.Map(rapid.Int64(), crm.Integer)},
		{crm.Field{Type: crm.TypeDecimal, Mask: crm.MaskBand}, "numeric", rapid.Map(rapid.StringMatching(`-?[0-9]{1,19}(\.[0-9]{1,19})?`), func(s string) crm.Value {
			v, err := crm.ParseValue(crm.TypeDecimal, s)
			if err != nil {
				panic(err)
			}
			return v
		})},
	}
	for _, k := range kinds {
		t.Run(string(k.field.Type), func(t *testing.T) {
			sql := "select (" + store.MaskedSQL(k.field, "x.v") + ")::text from (select $1::text::" + k.pg + " as v) x"
			rapid.Check(t, func(t *rapid.T) {
				v := k.value.Draw(t, "value")
				var got string
				w.query(sql, []any{v.Text()}, func(r pgx.CollectableRow) error { return r.Scan(&got) })
				if want := k.field.Mask.Of(v); !parsed(k.field.Type, got).Equal(want) {
					t.Errorf("%s of %s: the database says %q, Go %q", k.field.Mask, v.Text(), got, want.Text())
				}
			})
		})
	}
}

func storable(s string) bool {
	for _, r := range s {
		if r == 0 {
			return false
		}
	}
	return true
}

// instants lie in the years that dates are written in.
var instants = rapid.Map(rapid.Int64Range(at("0001-01-01T00:00:00Z").Unix(), at("9999-12-31T23:59:59Z").Unix()), func(s int64) time.Time { return time.Unix(s, 0).UTC() })

// parsed reads what PostgreSQL writes for a type.
func parsed(typ crm.Type, s string) crm.Value {
	if typ == crm.TypeTimestamp {
		at, err := time.Parse("2006-01-02 15:04:05-07", s)
		if err != nil {
			panic(err)
		}
		return crm.Timestamp(at)
	}
	v, err := crm.ParseValue(typ, s)
	if err != nil {
		panic(fmt.Sprintf("%s %q: %v", typ, s, err))
	}
	return v
}

// TestHistoryIsMaskedByTheLeastOfThenAndNow: a version shows no more of a group
// than today's filter shows of it on that version, nor than on the record now.
func TestHistoryIsMaskedByTheLeastOfThenAndNow(t *testing.T) {
	w := newWorld(t)
	reader := manager("US-CA") // reveals there; elsewhere the relationship masks
	reader.Relationships = []crm.Relationship{{Department: "desk", Actions: []string{"read"}}}
	create := w.creation(everywhere, "thing", "US-CA", fields{"amount": crm.Decimal("4200"), "terms": crm.String("net 30"), "secret": crm.String("x")})
	create.Governed.Department = "desk"
	v1 := w.must("thing", create)[0]
	history := func() []crm.Version {
		t.Helper()
		r := w.read(reader, "thing")
		r.IDs = []crm.RecordID{v1.ID}
		vs, _, err := w.History(t.Context(), r, 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		return vs
	}
	if vs := history(); len(vs) != 1 || vs[0].Fields["amount"].Text() != "4200" || len(vs[0].Masked)+len(vs[0].Withheld) != 0 {
		t.Fatalf("in the reader's territory: %+v", vs)
	}
	away := w.change(everywhere, v1, fields{"amount": crm.Decimal("77")})
	away.Governed.Territory = "DE"
	v2 := w.must("thing", away)[0]
	vs := history()
	for i, want := range []string{"10", "1000"} { // v1 was shown as it was; the record now is masked
		v := vs[i].Record
		_, left := v.Fields["terms"]
		if v.Fields["amount"].Text() != want || left || strings.Join(v.Masked, " ") != "commercial" || strings.Join(v.Withheld, " ") != "personal" {
			t.Errorf("version %d, the record being elsewhere now: %+v", v.Version, v)
		}
	}
	back := w.change(everywhere, v2, nil)
	back.Governed.Territory = "US-CA"
	w.must("thing", back)
	vs = history()
	for i, want := range []string{"77", "10", "4200"} { // what it was elsewhere stays masked
		if v := vs[i].Record; v.Fields["amount"].Text() != want || len(v.Masked) != i%2 {
			t.Errorf("version %d, the record being back: %+v", v.Version, v)
		}
	}
}
