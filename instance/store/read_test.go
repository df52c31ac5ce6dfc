package store_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/instance/store"
)

func TestTheZeroFilterShowsNothing(t *testing.T) {
	w := newWorld(t)
	rec := w.create("thing", "US-CA", fields{"name": crm.String("x")})
	r := store.Read{Entity: "thing", Limit: 10}
	if recs := w.list(r); len(recs) != 0 {
		t.Errorf("list shows %d records", len(recs))
	}
	if n, _, err := w.Count(t.Context(), r); n != 0 || err != nil {
		t.Errorf("count is %d, %v", n, err)
	}
	if ids, _, err := w.VisibleIDs(t.Context(), r); len(ids) != 0 || err != nil {
		t.Errorf("%d ids are visible, %v", len(ids), err)
	}
	r.IDs = []crm.RecordID{rec.ID}
	if p, err := w.Get(t.Context(), r); len(p.Records) != 0 || err != nil {
		t.Errorf("get shows %d records, %v", len(p.Records), err)
	}
	if vs, _, err := w.History(t.Context(), r, 10, 0); len(vs) != 0 || err != nil {
		t.Errorf("history shows %d versions, %v", len(vs), err)
	}
}

func TestGetAnswersInTheOrderAsked(t *testing.T) {
	w := newWorld(t)
	a, b, hidden := w.create("thing", "US-CA", nil), w.create("thing", "US-CA", nil), w.create("thing", "DE", nil)
	r := w.read(manager("US-CA"), "thing")
	r.IDs = []crm.RecordID{b.ID, hidden.ID, crm.NewRecordID(), a.ID}
	p, err := w.Get(t.Context(), r)
	if err != nil || len(p.Records) != 2 || p.Records[0].ID != b.ID || p.Records[1].ID != a.ID {
		t.Errorf("got %v, %v", idsOf(p.Records), err)
	}
	if stamp, now, err := w.Stamp(t.Context()); err != nil || p.Stamp != stamp || now.Before(p.Now) {
		t.Errorf("page under stamp %d at %s, the store is at %d, %s: %v", p.Stamp, p.Now, stamp, now, err)
	}
}

func TestCursorsAreStableAndSayNothing(t *testing.T) {
	w := newWorld(t)
	for i := range 25 {
		w.create("thing", "US-CA", fields{"name": crm.String(fmt.Sprintf("customer-%02d", i))})
	}
	r := w.read(everywhere, "thing")
	r.Limit, r.Sort = 10, []crm.SortKey{{Field: "name"}}
	seen := map[crm.RecordID]bool{}
	for pages := 1; ; pages++ {
		p, err := w.List(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range p.Records {
			if seen[rec.ID] {
				t.Errorf("%s comes twice", rec.ID)
			}
			seen[rec.ID] = true
		}
		if r.Cursor = p.Next; r.Cursor == "" {
			if pages != 3 {
				t.Errorf("%d pages, want 3", pages)
			}
			break
		}
		raw, err := base64.RawURLEncoding.DecodeString(r.Cursor)
		if err != nil || strings.Contains(string(raw), "customer") {
			t.Errorf("cursor %q can be read: %v", r.Cursor, err)
		}
		// Rows that come and go behind the cursor and before it change nothing.
		w.create("thing", "US-CA", fields{"name": crm.String("a")})
		w.must("thing", w.removal(everywhere, p.Records[0]))
	}
	if len(seen) != 25 {
		t.Errorf("%d of 25 records were met", len(seen))
	}

	p, err := w.List(t.Context(), w.page(10, "", crm.SortKey{Field: "name"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.open("amer").List(t.Context(), w.page(10, p.Next, crm.SortKey{Field: "name"})); err != nil {
		t.Errorf("a replica does not take the cursor: %v", err)
	}
	for name, r := range map[string]store.Read{
		"another order":  w.page(10, p.Next, crm.SortKey{Field: "name", Desc: true}),
		"no order":       w.page(10, p.Next),
		"garbage":        w.page(10, "AbCd", crm.SortKey{Field: "name"}),
		"a changed byte": w.page(10, p.Next[:len(p.Next)-2]+"xx", crm.SortKey{Field: "name"}),
	} {
		_, err := w.List(t.Context(), r)
		if e := crm.Public(err); e.Kind != crm.Invalid || e.Field != "cursor" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (w *world) page(limit int, cursor string, keys ...crm.SortKey) store.Read {
	r := w.read(everywhere, "thing")
	r.Limit, r.Cursor, r.Sort = limit, cursor, keys
	return r
}

func TestWithheldValuesCannotBeAskedFor(t *testing.T) {
	w := newWorld(t)
	account := w.create("account", "DE", fields{"source_id": crm.String("a"), "name": crm.String("A"), "annual_revenue": crm.Decimal("100"), "email": crm.String("x@example.org")})
	own := w.create("account", "US-CA", fields{"source_id": crm.String("b"), "name": crm.String("B"), "annual_revenue": crm.Decimal("5")})
	w.agree(account.ID, "dach-sales", []string{"read"}, []string{"core"})
	guest := manager("US-CA")
	guest.Departments = []string{"dach-sales"}
	r := w.read(guest, "account")
	recs := w.list(r)
	if len(recs) != 2 || strings.Join(recs[0].Withheld, " ") != "commercial personal" || len(recs[1].Withheld) != 0 {
		t.Fatalf("the guest sees %+v", recs)
	}
	if _, ok := recs[0].Fields["annual_revenue"]; ok {
		t.Error("a withheld field is there")
	}
	for text, want := range map[string]crm.RecordID{
		"annual_revenue > 1": own.ID, "annual_revenue is null": account.ID, "not annual_revenue is null": own.ID, "annual_revenue in (100, 5)": own.ID,
		"not annual_revenue = 5 or annual_revenue = 5": own.ID, "annual_revenue != 100": own.ID, "email contains 'x' or name = 'B'": own.ID,
	} {
		r.Where = w.where("account", text)
		if recs := w.list(r); len(recs) != 1 || recs[0].ID != want {
			t.Errorf("%s: %v, want %s alone", text, idsOf(recs), want)
		}
	}
	// Sorted by revenue, 100 would stand before 5; withheld it stands last.
	r.Where, r.Sort = nil, []crm.SortKey{{Field: "annual_revenue", Desc: true}}
	if recs := w.list(r); recs[0].ID != own.ID {
		t.Error("the order tells a withheld value")
	}
	// Where a group is hidden on every row, asking about it is refused.
	for _, r := range []store.Read{
		{Entity: "account", Sort: []crm.SortKey{{Field: "annual_revenue"}}},
		{Entity: "account", Where: w.where("account", "annual_revenue is null")},
	} {
		_, err := w.List(t.Context(), r)
		wantError(t, err, crm.Denied, "annual_revenue")
	}
}

func TestHistoryIsShownUnderTodaysPolicy(t *testing.T) {
	w := newWorld(t)
	v1 := w.create("thing", "DE", fields{"name": crm.String("one"), "amount": crm.Decimal("1")})
	v2 := w.must("thing", w.change(everywhere, v1, fields{"name": crm.String("two")}))[0]
	move := w.change(everywhere, v2, nil)
	move.Governed.Territory = "US-CA"
	move.Steps = []crm.Step{{Step: "assign", Plugin: "territory-assignment", Verdict: "allow", Set: []string{"territory"}}}
	v3 := w.must("thing", move)[0]

	history := func(s crm.Subject, limit int, before int64) []crm.Version {
		t.Helper()
		r := w.read(s, "thing")
		r.IDs = []crm.RecordID{v1.ID}
		vs, _, err := w.History(t.Context(), r, limit, before)
		if err != nil {
			t.Fatal(err)
		}
		return vs
	}
	all := history(everywhere, 10, 0)
	if len(all) != 3 || all[0].Version != 3 || all[2].Op != crm.OpCreate || all[2].Fields["name"].Text() != "one" || all[1].Actor != "manager@amer" {
		t.Fatalf("history is %+v", all)
	}
	if len(all[0].Steps) != 1 || all[0].Steps[0].Plugin != "territory-assignment" {
		t.Errorf("steps are %+v", all[0].Steps)
	}
	for i := 1; i < len(all); i++ {
		if !all[i-1].At.After(all[i].At) {
			t.Errorf("version %d was recorded at %s, not after %s", all[i-1].Version, all[i-1].At, all[i].At)
		}
	}
	if vs := history(everywhere, 1, 3); len(vs) != 1 || vs[0].Version != 2 {
		t.Errorf("one version before 3 is %+v", vs)
	}
	// A Californian sees that it was elsewhere, not what it said there.
	vs := history(manager("US-CA"), 10, 0)
	if len(vs) != 3 || len(vs[0].Withheld) != 0 || len(vs[1].Withheld) != 3 || len(vs[1].Fields) != 0 {
		t.Errorf("the Californian sees %+v", vs)
	}
	if vs := history(manager("DE"), 10, 0); len(vs) != 0 {
		t.Errorf("who lost the record still sees %d versions", len(vs))
	}
	w.must("thing", w.removal(everywhere, v3))
	if vs := history(manager("US-CA"), 10, 0); len(vs) != 4 || vs[0].Op != crm.OpDelete || vs[0].Version != 4 {
		t.Errorf("after its deletion the history is %+v", vs)
	}
	if vs := history(manager("DE"), 10, 0); len(vs) != 0 {
		t.Errorf("who could not see it last sees %d versions of a deleted record", len(vs))
	}
}

func TestRecordedTimesIncreaseWhateverTheClockDoes(t *testing.T) {
	w := newWorld(t)
	w.create("thing", "US-CA", nil)
	w.exec("update record.thing set updated = now() + interval '1 hour'") // the clock ran ahead
	rec := w.list(w.read(everywhere, "thing"))[0]
	ahead := rec.Updated
	for range 5 {
		rec = w.must("thing", w.change(everywhere, rec, fields{"count": crm.Integer(rec.Version)}))[0]
	}
	if rec.Updated.Sub(ahead).Microseconds() != 5 {
		t.Errorf("five versions after %s the record was updated at %s", ahead, rec.Updated)
	}
	if n := w.number("select count(*) from (select at - lag(at) over (order by version) as step from history.thing where version > 1) x where step <= '0'"); n != 0 {
		t.Errorf("%d recorded times do not increase", n)
	}
}

func TestUnknownNamesAreSaid(t *testing.T) {
	w := newWorld(t)
	_, err := w.List(t.Context(), store.Read{Entity: "nothing"})
	wantError(t, err, crm.Invalid, "entity")
	r := w.read(everywhere, "thing")
	r.Where = crm.Compare{Field: "nope", Op: "=", Value: crm.String("x")}
	_, err = w.List(t.Context(), r)
	wantError(t, err, crm.Invalid, "nope")
	r.Where = nil
	r.Sort = []crm.SortKey{{Field: "tags"}}
	_, err = w.List(t.Context(), r)
	wantError(t, err, crm.Invalid, "tags")
}

func TestGovernanceCanBeAskedFor(t *testing.T) {
	w := newWorld(t)
	a := w.create("thing", "US-CA", nil)
	w.create("thing", "DE", nil)
	r := w.read(everywhere, "thing")
	for _, text := range []string{"territory = 'US-CA'", "id = '" + string(a.ID) + "'", "home = 'amer' and not territory in ('DE')", "created > '2026-01-01' and version = 1 and jurisdiction is not null and territory != 'DE'"} {
		r.Where = w.where("thing", text)
		if recs := w.list(r); len(recs) != 1 || recs[0].ID != a.ID {
			t.Errorf("%s: %v", text, idsOf(recs))
		}
	}
	r.Where, r.Sort = nil, []crm.SortKey{{Field: "territory", Desc: true}}
	if recs := w.list(r); len(recs) != 2 || recs[0].ID != a.ID {
		t.Errorf("by territory: %v", idsOf(recs))
	}
}
