package access_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

func (w *world) upsert(entity string, rows ...access.UpsertRow) []access.UpsertOutcome {
	w.t.Helper()
	out, err := w.door.Upsert(w.t.Context(), caller("loader@amer"), access.UpsertRequest{Entity: entity, Rows: rows})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// became is an outcome in a word.
func became(o access.UpsertOutcome) string {
	switch {
	case o.Err != nil:
		return string(crm.KindOf(o.Err))
	case o.Inserted:
		return "inserted"
	case o.Updated:
		return "updated"
	case o.Unchanged:
		return "unchanged"
	}
	return "nothing"
}

func wantBecame(t *testing.T, out []access.UpsertOutcome, want ...string) {
	t.Helper()
	for i, o := range out {
		if got := became(o); got != want[i] {
			t.Errorf("row %d %s (%v), want %s", i, got, o.Err, want[i])
		}
		if o.Err == nil && o.ID == "" {
			t.Errorf("row %d has no id", i)
		}
	}
}

func TestUpsert(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.accountFields("CA", "Energy"), w.accountFields("NY", "Financials")
	row := func(f map[string]crm.Value) access.UpsertRow { return access.UpsertRow{Fields: f} }
	first := w.upsert("account", row(a), row(b))
	wantBecame(t, first, "inserted", "inserted")
	rec := w.ok(w.get("rep.west@amer", crm.Record{Entity: "account", ID: first[0].ID}))
	if rec.Owner != crm.Unassigned || rec.Territory != "US-CA" || rec.Home != "amer" {
		t.Errorf("loaded %+v", rec.Governed)
	}
	w.hooks.seen = nil
	wantBecame(t, w.upsert("account", row(a), row(b)), "unchanged", "unchanged")
	if len(w.hooks.seen) != 0 {
		t.Error("plugins ran for rows that say nothing new")
	}

	// A field that a load does not bring stays; one it brings as null goes.
	a2 := w.fields("account", "source_id", a["source_id"].Text(), "state", "WA")
	a2["email"] = crm.Value{}
	again := w.upsert("account", row(a2), row(b))
	wantBecame(t, again, "updated", "unchanged")
	if again[0].ID != first[0].ID {
		t.Error("another record was made")
	}
	rec = w.ok(w.get("rep.west@amer", rec))
	if rec.Territory != "US-WA" || !rec.Fields["email"].IsNull() || rec.Fields["name"].Text() != a["name"].Text() || rec.Version != 2 {
		t.Errorf("updated %+v", rec)
	}

	noKey := w.accountFields("CA", "Energy")
	delete(noKey, "source_id")
	noName := w.accountFields("CA", "Energy")
	delete(noName, "name")
	wrong := w.accountFields("CA", "Energy")
	wrong["annual_revenue"] = crm.String("much")
	out := w.upsert("account", row(noKey), row(noName), row(wrong), row(w.accountFields("TX", "Energy")))
	wantBecame(t, out, "invalid", "invalid", "invalid", "inserted")
	wantKind(t, out[0].Err, crm.Invalid, "source_id")
	wantKind(t, out[1].Err, crm.Invalid, "name")
	wantKind(t, out[2].Err, crm.Invalid, "annual_revenue")
}

// TestUpsertOfTheSameKeyTwice: a batch boundary between two rows of a key
// must not change what becomes of them.
func TestUpsertOfTheSameKeyTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	row := func(name string) access.UpsertRow {
		return access.UpsertRow{Fields: w.fields("account", "source_id", "TWICE", "name", name, "country", "US", "state", "CA", "sector", "Energy")}
	}
	out := w.upsert("account", row("One"), row("One"), row("Two"))
	wantBecame(t, out, "inserted", "unchanged", "updated")
	rec := w.ok(w.get("rep.west@amer", crm.Record{Entity: "account", ID: out[2].ID}))
	if rec.Fields["name"].Text() != "Two" || rec.Version != 1 {
		t.Errorf("stored %+v", rec)
	}
}

func TestUpsertReferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	account := w.upsert("account", access.UpsertRow{Fields: w.accountFields("CA", "Energy", "source_id", "ACME")})
	contact := func(key, of string) access.UpsertRow {
		f := w.contactFields(crm.Record{ID: crm.NewRecordID()})
		delete(f, "account_id")
		f["source_id"] = crm.String(key)
		return access.UpsertRow{Fields: f, References: map[string]string{"account_id": of}}
	}
	out := w.upsert("contact", contact("C1", "ACME"), contact("C2", "NONE"))
	wantBecame(t, out, "inserted", "invalid")
	wantKind(t, out[1].Err, crm.Invalid, "account_id")
	rec := w.ok(w.get("rep.west@amer", crm.Record{Entity: "contact", ID: out[0].ID}))
	if rec.Account != account[0].ID || rec.Territory != "US-CA" {
		t.Errorf("the contact lies in %s of %s", rec.Territory, rec.Account)
	}
	wantBecame(t, w.upsert("contact", contact("C1", "ACME")), "unchanged")
}

func TestUpsertKeepsItsPositionWithItsRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	request := access.UpsertRequest{Entity: "account", Rows: []access.UpsertRow{{Fields: w.accountFields("CA", "Energy")}}}
	crash := errors.New("the process died here")
	request.Commit = func(_ context.Context, _ *store.Tx, out []access.UpsertOutcome) error {
		wantBecame(t, out, "inserted")
		return crash
	}
	if _, err := w.door.Upsert(t.Context(), caller("loader@amer"), request); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	if n := w.count("rep.west@amer"); n != 0 {
		t.Errorf("%d rows stayed without their position", n)
	}
	committed := 0
	request.Commit = func(context.Context, *store.Tx, []access.UpsertOutcome) error { committed++; return nil }
	request.DryRun = true
	out, err := w.door.Upsert(t.Context(), caller("loader@amer"), request)
	if err != nil {
		t.Fatal(err)
	}
	wantBecame(t, out, "inserted")
	if n := w.count("rep.west@amer"); n != 0 || committed != 1 {
		t.Errorf("a dry run left %d rows and committed %d times", n, committed)
	}
	request.DryRun = false
	if out, err = w.door.Upsert(t.Context(), caller("loader@amer"), request); err != nil {
		t.Fatal(err)
	}
	wantBecame(t, out, "inserted")
}

// TestUpsertsThatRace: two loads of the same keys end with one record a key,
// and neither is told of the other.
func TestUpsertsThatRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for round := range 5 {
				var rows []access.UpsertRow
				for k := range 10 {
					rows = append(rows, access.UpsertRow{Fields: w.fields("account", "source_id", fmt.Sprint("R", k),
						"name", fmt.Sprint("by ", i, " in ", round), "country", "US", "state", "CA", "sector", "Energy")})
				}
				out, err := w.door.Upsert(t.Context(), caller("loader@amer"), access.UpsertRequest{Entity: "account", Rows: rows})
				if crm.KindOf(err) == crm.Unavailable && err != nil {
					continue // it lost every attempt, and says so
				}
				if err != nil {
					t.Error(err)
					return
				}
				for _, o := range out {
					if o.Err != nil {
						t.Error(o.Err)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := w.count("rep.west@amer"); n != 10 {
		t.Errorf("%d records for 10 keys", n)
	}
}

func TestWhoMayLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	row := access.UpsertRow{Fields: w.accountFields("NY", "Energy")}
	for _, as := range []crm.SubjectID{"rep.west@amer", "banker@amer", "officer.a@amer", "ops@amer"} {
		out, err := w.door.Upsert(t.Context(), caller(as), access.UpsertRequest{Entity: "account", Rows: []access.UpsertRow{row}})
		if err != nil {
			t.Fatal(err)
		}
		wantKind(t, out[0].Err, crm.Denied, "")
	}
	if n := w.count("manager.us@amer"); n != 0 {
		t.Errorf("%d records", n)
	}
}
