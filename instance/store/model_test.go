package store_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// modelled is a record as the model knows it: which subject sees it, and which
// of its groups.
type modelled struct {
	rec     crm.Record
	opened  bool     // by an agreement that shows core only
	foreign []string // groups its origin withheld
}

// view says how groups are shown: true as they are, false masked. Those that
// are not in it are withheld.
type view map[string]bool

// sees is the rule of the model, written without the policy: territory shows
// all groups, an agreement shows core, a relationship core and a masked
// commercial, nobody shows what the origin kept.
func (m modelled) sees(s crm.Subject) (visible bool, v view) {
	v = view{}
	if len(s.Relationships) > 0 && m.rec.Department == s.Relationships[0].Department {
		v["core"], v["commercial"] = true, false
	}
	if m.opened && len(s.Departments) > 0 {
		v["core"] = true
	}
	if slices.Contains(s.Territories, m.rec.Territory) {
		v = view{"core": true, "commercial": true, "personal": true}
	}
	visible = len(v) > 0
	for _, g := range m.foreign {
		delete(v, g)
	}
	return visible, v
}

// value is the projected value of a field: null where it is withheld, what its
// mask leaves where it is masked.
func (m modelled) value(field string, v view) crm.Value {
	f, ok := thing.Field(field)
	switch plain, shown := v[f.Group]; {
	case !ok || !shown:
		return crm.Value{}
	case !plain:
		return f.Mask.Of(m.rec.Fields[field])
	}
	return m.rec.Fields[field]
}

// holds evaluates a condition with SQL's third truth value: 1, 0 or -1.
func (m modelled) holds(c crm.Condition, seen view) int {
	truth := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	switch c := c.(type) {
	case nil:
		return 1
	case crm.Not:
		if x := m.holds(c.Of, seen); x >= 0 {
			return 1 - x
		}
		return -1
	case crm.And:
		least := 1
		for _, x := range c {
			switch y := m.holds(x, seen); {
			case y == 0:
				return 0
			case y < 0:
				least = -1
			}
		}
		return least
	case crm.Or:
		most := 0
		for _, x := range c {
			switch y := m.holds(x, seen); {
			case y == 1:
				return 1
			case y < 0:
				most = -1
			}
		}
		return most
	case crm.IsNull:
		return truth(m.value(c.Field, seen).IsNull())
	case crm.In:
		v := m.value(c.Field, seen)
		if v.IsNull() {
			return -1
		}
		return truth(slices.ContainsFunc(c.Values, v.Equal))
	case crm.Compare:
		v := m.value(c.Field, seen)
		if v.IsNull() {
			return -1
		}
		n := 0
		if c.Op != "contains" {
			n = compare(v, c.Value)
		}
		switch c.Op {
		case "=":
			return truth(n == 0)
		case "!=":
			return truth(n != 0)
		case "<":
			return truth(n < 0)
		case "<=":
			return truth(n <= 0)
		case ">":
			return truth(n > 0)
		case ">=":
			return truth(n >= 0)
		}
		if v.Type() == crm.TypeList {
			return truth(slices.Contains(v.List(), c.Value.Text()))
		}
		return truth(strings.Contains(strings.ToLower(v.Text()), strings.ToLower(c.Value.Text())))
	}
	panic("unknown condition")
}

// compare orders values of one type.
func compare(v, w crm.Value) int {
	switch v.Type() {
	case crm.TypeInteger:
		return cmp.Compare(v.Int(), w.Int())
	case crm.TypeDecimal:
		return decimal.RequireFromString(v.Text()).Cmp(decimal.RequireFromString(w.Text()))
	case crm.TypeBoolean:
		return cmp.Compare(v.Text(), w.Text())
	case crm.TypeTimestamp:
		return v.Time().Compare(w.Time())
	}
	return cmp.Compare(v.Text(), w.Text())
}

// samples are the values the model draws from: few, so that they meet.
var samples = map[string][]crm.Value{
	"name":   {{}, crm.String(""), crm.String("a"), crm.String("b%"), crm.String("ab")},
	"count":  {{}, crm.Integer(-1), crm.Integer(0), crm.Integer(7)},
	"listed": {{}, crm.Boolean(true), crm.Boolean(false)},
	"order":  {{}, crm.Date("2026-01-01"), crm.Date("2026-11-23")},
	"seen":   {{}, crm.Timestamp(at("2026-11-23T06:00:00.000001Z")), crm.Timestamp(at("2026-11-23T06:00:00Z"))},
	"tags":   {{}, crm.List(), crm.List("a"), crm.List("a", "b%")},
	"amount": {{}, crm.Decimal("-1.5"), crm.Decimal("10"), crm.Decimal("9.99")},
	"secret": {{}, crm.String("a"), crm.String("b")},
	"closes": {{}, crm.Date("2026-01-01"), crm.Date("2026-11-23"), crm.Date("2027-02-01")},
	"iban":   {{}, crm.String("DE89370400440532013000"), crm.String("FR7630006000011234563000"), crm.String("b%"), crm.String("••••3000")},
}

var sampledFields = slices.Sorted(func(yield func(string) bool) {
	for f := range samples {
		if !yield(f) {
			return
		}
	}
})

func drawCondition(t *rapid.T, depth int) crm.Condition {
	field := rapid.SampledFrom(sampledFields).Draw(t, "field")
	some := samples[field][1:]
	v := rapid.SampledFrom(some).Draw(t, "operand")
	switch kind := rapid.IntRange(0, 7).Draw(t, "kind"); {
	case kind == 0:
		return crm.IsNull{Field: field}
	case kind == 1 && depth > 0:
		return crm.Not{Of: drawCondition(t, depth-1)}
	case kind == 2 && depth > 0:
		return crm.And{drawCondition(t, depth-1), drawCondition(t, depth-1)}
	case kind == 3 && depth > 0:
		return crm.Or{drawCondition(t, depth-1), drawCondition(t, depth-1)}
	case v.Type() == crm.TypeList:
		return crm.Compare{Field: field, Op: "contains", Value: crm.String("b%")}
	case kind == 4:
		return crm.In{Field: field, Values: []crm.Value{v, rapid.SampledFrom(some).Draw(t, "operand")}}
	case kind == 5 && v.Type() == crm.TypeString:
		return crm.Compare{Field: field, Op: "contains", Value: crm.String(rapid.SampledFrom([]string{"A", "%", "_", ""}).Draw(t, "part"))}
	}
	return crm.Compare{Field: field, Op: rapid.SampledFrom([]string{"=", "!=", "<", "<=", ">", ">="}).Draw(t, "op"), Value: v}
}

func drawSort(t *rapid.T) []crm.SortKey {
	var keys []crm.SortKey
	for _, f := range rapid.SliceOfNDistinct(rapid.SampledFrom(sampledFields), 0, 3, rapid.ID).Draw(t, "sort") {
		if f != "tags" {
			keys = append(keys, crm.SortKey{Field: f, Desc: rapid.Bool().Draw(t, "desc")})
		}
	}
	return keys
}

// TestListIsGetIsCountIsTheModel: whatever is stored, asked and sorted, every
// path and every plan shape shows the records and groups that the model shows,
// in its order, page by page.
func TestListIsGetIsCountIsTheModel(t *testing.T) {
	w := newWorld(t)
	californian, guest, nobody := manager("US-CA"), manager(), manager()
	guest.Departments = []string{"dach-sales"}
	partner := manager()
	partner.Relationships = []crm.Relationship{{Department: "dach-sales", Actions: []string{"read"}}}
	both := manager("US-CA")
	both.Departments, both.Relationships = guest.Departments, partner.Relationships
	subjects := []crm.Subject{californian, guest, partner, both, nobody, everywhere}
	rapid.Check(t, func(rt *rapid.T) {
		records := drawRecords(rt, w)
		for range 4 {
			s := rapid.SampledFrom(subjects).Draw(rt, "subject")
			r := w.read(s, "thing")
			if rapid.Bool().Draw(rt, "filtered") {
				r.Where = drawCondition(rt, 3)
			}
			r.Sort = drawSort(rt)
			want := expected(records, s, r)
			agree(rt, w, r, want)
		}
	})
}

func drawRecords(rt *rapid.T, w *world) []modelled {
	w.exec("truncate record.thing, history.thing")
	var ms []modelled
	var rows []store.Write
	for range rapid.IntRange(0, 25).Draw(rt, "records") {
		f := fields{}
		for _, name := range sampledFields {
			f[name] = rapid.SampledFrom(samples[name]).Draw(rt, name)
		}
		row := w.creation(everywhere, "thing", rapid.SampledFrom([]string{"US-CA", "DE"}).Draw(rt, "territory"), f)
		row.Governed.Account = crm.NewRecordID()
		row.Governed.Department = rapid.SampledFrom([]string{crm.Unassigned, "dach-sales"}).Draw(rt, "department")
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil
	}
	for _, rec := range w.must("thing", rows...) {
		m := modelled{rec: rec, opened: rapid.Bool().Draw(rt, "opened")}
		if m.opened {
			w.agree(rec.Account, "dach-sales", []string{"read"}, []string{"core"})
		}
		if rapid.IntRange(0, 3).Draw(rt, "foreign") == 0 {
			m.foreign = []string{rapid.SampledFrom([]string{"core", "commercial"}).Draw(rt, "withheld")}
			w.exec("update record.thing set withheld = $2 where id = $1", string(rec.ID), m.foreign)
		}
		ms = append(ms, m)
	}
	return ms
}

// expected is what the model shows of the records, in order, masked.
func expected(ms []modelled, s crm.Subject, r store.Read) []crm.Record {
	var shown []modelled
	views := map[crm.RecordID]view{}
	for _, m := range ms {
		if visible, v := m.sees(s); visible && m.holds(r.Where, v) == 1 {
			shown = append(shown, m)
			views[m.rec.ID] = v
		}
	}
	slices.SortFunc(shown, func(a, b modelled) int {
		for _, k := range r.Sort {
			v, w := a.value(k.Field, views[a.rec.ID]), b.value(k.Field, views[b.rec.ID])
			switch {
			case v.IsNull() && w.IsNull():
				continue
			case v.IsNull():
				return 1
			case w.IsNull():
				return -1
			}
			if n := compare(v, w); n != 0 && k.Desc {
				return -n
			} else if n != 0 {
				return n
			}
		}
		return cmp.Compare(a.rec.ID, b.rec.ID)
	})
	var out []crm.Record
	for _, m := range shown {
		out = append(out, m.as(views[m.rec.ID]))
	}
	return out
}

// as is the record as a view shows it.
func (m modelled) as(v view) crm.Record {
	rec := m.rec
	rec.Fields = fields{}
	for _, f := range thing.Fields {
		if plain, shown := v[f.Group]; plain || shown && f.Mask != crm.MaskHide {
			rec.Fields[f.Name] = m.value(f.Name, v)
		}
	}
	for _, g := range thing.Groups() {
		switch plain, shown := v[g]; {
		case !shown:
			rec.Withheld = append(rec.Withheld, g)
		case !plain:
			rec.Masked = append(rec.Masked, g)
		}
	}
	return rec
}

// agree checks that every path answers want.
func agree(rt *rapid.T, w *world, r store.Read, want []crm.Record) {
	ctx := w.t.Context()
	refused := func(err error) bool { // a group withheld on all rows may not be asked about
		if crm.KindOf(err) == crm.Denied {
			if len(want) > 0 && len(want[0].Withheld)+len(want[0].Masked) == 0 {
				rt.Fatalf("refused although the group is shown: %v", err)
			}
			return true
		}
		if err != nil {
			rt.Fatal(err)
		}
		return false
	}
	for _, shape := range store.Shapes {
		if shape == store.Shapes[2] && len(r.Sort) > 0 {
			continue // a window is over the order of ids
		}
		page := r
		page.Limit = rapid.IntRange(1, 12).Draw(rt, "limit")
		var got []crm.Record
		for {
			p, err := w.ListAs(ctx, page, shape)
			if refused(err) {
				return
			}
			if len(p.Records) > page.Limit {
				rt.Fatalf("%d records on a page of %d", len(p.Records), page.Limit)
			}
			got = append(got, p.Records...)
			if page.Cursor = p.Next; page.Cursor == "" {
				break
			}
		}
		same(rt, "list", got, want)
	}
	n, _, err := w.Count(ctx, r)
	if err != nil || int(n) != len(want) {
		rt.Fatalf("count is %d, the model has %d: %v", n, len(want), err)
	}
	ids, _, err := w.VisibleIDs(ctx, r)
	slices.Sort(ids)
	if err != nil || !slices.Equal(ids, slices.Sorted(slices.Values(idsOf(want)))) {
		rt.Fatalf("visible ids are %v: %v", ids, err)
	}
	get := r
	get.IDs = w.everyID("thing")
	p, err := w.Get(ctx, get)
	if err != nil {
		rt.Fatal(err)
	}
	byID := slices.SortedFunc(slices.Values(want), func(a, b crm.Record) int { return cmp.Compare(a.ID, b.ID) })
	same(rt, "get", p.Records, byID)
}

func idsOf(recs []crm.Record) []crm.RecordID {
	var ids []crm.RecordID
	for _, r := range recs {
		ids = append(ids, r.ID)
	}
	return ids
}

func same(rt *rapid.T, path string, got, want []crm.Record) {
	if !slices.Equal(idsOf(got), idsOf(want)) {
		rt.Fatalf("%s shows %v, the model %v", path, idsOf(got), idsOf(want))
	}
	for i := range got {
		if !slices.Equal(got[i].Withheld, want[i].Withheld) || !slices.Equal(got[i].Masked, want[i].Masked) || len(got[i].Fields) != len(want[i].Fields) {
			rt.Fatalf("%s withholds %v of %s and shows %d fields, the model %v and %d", path, got[i].Withheld, got[i].ID, len(got[i].Fields), want[i].Withheld, len(want[i].Fields))
		}
		for name, v := range want[i].Fields {
			if !got[i].Fields[name].Equal(v) {
				rt.Fatalf("%s shows %s = %v, the model %v", path, name, got[i].Fields[name], v)
			}
		}
	}
}
