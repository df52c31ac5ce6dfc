package store_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// arrival is a foreign record under a contract; more sets what differs.
func arrival(id crm.RecordID, contract string, exposure int64, more func(*store.ImportWrite)) store.ImportWrite {
	g := governed("US-CA")
	g.Home, g.Account, g.Created = "emea", id, at("2026-01-01T00:00:00Z")
	r := store.ImportWrite{Op: crm.OpUpsert, Entity: "account", ID: id, Version: exposure, Contract: contract, Epoch: 1, Exposure: exposure, Governed: g, Exec: "e2",
		Fields: fields{"source_id": crm.String("S"), "name": crm.String("Acme"), "annual_revenue": crm.Decimal("10"), "email": crm.String("a@example.org")}}
	if more != nil {
		more(&r)
	}
	return r
}

func withhold(groups ...string) func(*store.ImportWrite) {
	return func(r *store.ImportWrite) { r.Governed.Withheld = groups }
}

func op(op crm.Op) func(*store.ImportWrite) {
	return func(r *store.ImportWrite) { r.Op = op }
}

func (w *world) imports(rows ...store.ImportWrite) []error {
	w.t.Helper()
	var errs []error
	err := w.Tx(w.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		errs, err = tx.Import(ctx, rows)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return errs
}

// mustImport is imports for rows that are all accepted.
func (w *world) mustImport(rows ...store.ImportWrite) {
	w.t.Helper()
	for i, err := range w.imports(rows...) {
		if err != nil {
			w.t.Fatalf("row %d: %v", i, err)
		}
	}
}

// held is the one record as the store has it, if it has it.
func (w *world) held(id crm.RecordID) (crm.Record, bool) {
	w.t.Helper()
	recs, err := w.Load(w.t.Context(), "account", []crm.RecordID{id})
	if err != nil {
		w.t.Fatal(err)
	}
	rec, ok := recs[id]
	return rec, ok
}

func TestImportsAreOrderedByEpochAndExposure(t *testing.T) {
	w := newWorld(t)
	id := crm.NewRecordID()
	name := func(s string) func(*store.ImportWrite) {
		return func(r *store.ImportWrite) { r.Fields["name"] = crm.String(s) }
	}
	w.mustImport(arrival(id, "c", 5, name("five")))
	for _, late := range []store.ImportWrite{arrival(id, "c", 5, name("again")), arrival(id, "c", 4, name("four")), arrival(id, "c", 3, op(crm.OpRetract)), arrival(id, "c", 2, op(crm.OpSnapshot))} {
		w.mustImport(late)
		if rec, ok := w.held(id); !ok || rec.Fields["name"].Text() != "five" {
			t.Errorf("exposure %d overtook 5: %+v", late.Exposure, rec)
		}
	}
	w.mustImport(arrival(id, "c", 6, op(crm.OpRetract)))
	w.mustImport(arrival(id, "c", 5, name("risen")))
	if _, ok := w.held(id); ok {
		t.Error("an old upsert brought a retracted record back")
	}
	w.mustImport(arrival(id, "c", 1, func(r *store.ImportWrite) { r.Epoch = 2 })) // the origin was restored
	if rec, ok := w.held(id); !ok || rec.Home != "emea" || !rec.Created.Equal(at("2026-01-01T00:00:00Z")) {
		t.Errorf("a newer epoch did not win: %+v", rec)
	}
	w.mustImport(arrival(id, "c", 99, name("of the old epoch")))
	// Several rows of one record in one batch are applied in their order.
	second := func(s string) func(*store.ImportWrite) {
		return func(r *store.ImportWrite) { r.Epoch, r.Fields["name"] = 2, crm.String(s) }
	}
	w.mustImport(arrival(id, "c", 10, second("ten")), arrival(id, "c", 12, second("twelve")), arrival(id, "c", 11, second("eleven")))
	if rec, _ := w.held(id); rec.Fields["name"].Text() != "twelve" {
		t.Errorf("after exposures 10, 12, 11 the name is %v", rec.Fields["name"])
	}
}

func TestRetractionLeavesNoValues(t *testing.T) {
	for _, end := range []crm.Op{crm.OpRetract, crm.OpDelete, crm.OpErase} {
		t.Run(string(end), func(t *testing.T) {
			w := newWorld(t)
			id := crm.NewRecordID()
			w.mustImport(arrival(id, "c", 1, nil), arrival(id, "c", 2, nil))
			head, err := w.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			w.mustImport(arrival(id, "c", 3, op(end)))
			if n := w.number("select (select count(*) from record.account) + (select count(*) from history.account)"); n != 0 {
				t.Errorf("%d rows of the record are left", n)
			}
			if n := w.number("select count(*) from meridian.holding where record_id = $1 and not held and until is not null and groups = '{}' and exposure = 3", string(id)); n != 1 {
				t.Error("no value-free holding proves that the record left")
			}
			cs, _, err := w.Changes(t.Context(), head, 10)
			if err != nil || len(cs) != 1 || cs[0].Op != end || cs[0].ID != id {
				t.Errorf("watchers are told %+v, %v", cs, err)
			}
		})
	}
}

func TestARecordStaysWhileOneContractHoldsIt(t *testing.T) {
	w := newWorld(t)
	id := crm.NewRecordID()
	w.mustImport(arrival(id, "narrow", 1, withhold("commercial", "personal")), arrival(id, "wide", 1, withhold("personal")))
	rec, _ := w.held(id)
	if rec.Fields["annual_revenue"].IsNull() || !rec.Fields["email"].IsNull() || strings.Join(rec.Governed.Withheld, " ") != "personal" {
		t.Errorf("the union of two contracts is %+v", rec)
	}
	w.mustImport(arrival(id, "wide", 2, op(crm.OpRetract)))
	rec, ok := w.held(id)
	if !ok || rec.Fields["name"].Text() != "Acme" || !rec.Fields["annual_revenue"].IsNull() || strings.Join(rec.Governed.Withheld, " ") != "commercial personal" {
		t.Errorf("after the wide contract let go the record is %+v", rec)
	}
	if n := w.number("select count(*) from history.account where annual_revenue is not null"); n != 0 {
		t.Errorf("%d versions still hold what no contract covers", n)
	}
	w.mustImport(arrival(id, "narrow", 2, op(crm.OpRetract)))
	if _, ok := w.held(id); ok {
		t.Error("the record outlived its last holding")
	}
}

func TestAMaskThatGrowsReachesBack(t *testing.T) {
	w := newWorld(t)
	id := crm.NewRecordID()
	w.mustImport(arrival(id, "c", 1, nil), arrival(id, "c", 2, nil))
	w.mustImport(arrival(id, "c", 3, func(r *store.ImportWrite) { r.Version, r.Governed.Withheld = 2, []string{"personal"} })) // same version, other mask
	if rec, _ := w.held(id); !rec.Fields["email"].IsNull() || rec.Fields["annual_revenue"].IsNull() || rec.Version != 2 {
		t.Errorf("the record is %+v", rec)
	}
	if n := w.number("select count(*) from history.account where email is not null or not 'personal' = any(withheld)"); n != 0 {
		t.Errorf("%d versions show the group that was withdrawn", n)
	}
	if n := w.number("select count(*) from history.account"); n != 2 {
		t.Errorf("%d versions in the history, want 2", n)
	}
}

func TestImportNeverTouchesWhatIsAtHomeHere(t *testing.T) {
	w := newWorld(t)
	own := w.create("account", "US-CA", fields{"source_id": crm.String("S"), "name": crm.String("Own")})
	foreign := crm.NewRecordID()
	errs := w.imports(arrival(own.ID, "c", 1, nil), arrival(foreign, "c", 1, nil), // the same key as ours: keys are unique at home only
		arrival(crm.NewRecordID(), "c", 1, func(r *store.ImportWrite) { r.Fields["annual_revenue"] = crm.String("much") }),
		arrival(crm.NewRecordID(), "c", 1, func(r *store.ImportWrite) { r.Fields["annual_revenue"] = crm.Decimal("1e999999") }),
		arrival(crm.NewRecordID(), "c", 1, func(r *store.ImportWrite) { r.Entity = "nothing" }),
		arrival(crm.NewRecordID(), "c", 1, func(r *store.ImportWrite) { r.Op = crm.OpWatermark }),
		arrival("no id", "c", 1, nil),
		arrival(crm.NewRecordID(), "c", 1, func(r *store.ImportWrite) { r.Fields["of_tomorrow"] = crm.String("x") }))
	for i, kind := range []crm.Kind{crm.Conflict, "", crm.Invalid, crm.Invalid, crm.Invalid, crm.Invalid, crm.Invalid, ""} {
		if kind == "" && errs[i] != nil || kind != "" && crm.KindOf(errs[i]) != kind {
			t.Errorf("row %d: %v, want %q", i, errs[i], kind)
		}
	}
	if rec, _ := w.held(own.ID); rec.Fields["name"].Text() != "Own" {
		t.Error("an import changed a record at home here")
	}
	out := w.write("account", false, w.change(everywhere, w.mustHold(foreign), fields{"name": crm.String("mine")}))
	wantError(t, out[0].Err, crm.NotHome, "")
}

func (w *world) mustHold(id crm.RecordID) crm.Record {
	w.t.Helper()
	rec, ok := w.held(id)
	if !ok {
		w.t.Fatalf("%s is not held", id)
	}
	return rec
}

func TestRecordsHereFollowAnAccountFromElsewhere(t *testing.T) {
	w := newWorld(t)
	id := crm.NewRecordID()
	w.mustImport(arrival(id, "c", 1, nil))
	contact := w.create("contact", "DE", fields{"source_id": crm.String("c"), "account_id": crm.Reference(id)})
	if contact.Territory != "US-CA" {
		t.Errorf("the contact lies in %s", contact.Territory)
	}
	w.mustImport(arrival(id, "c", 2, func(r *store.ImportWrite) { r.Governed.Territory = "US-NY" }))
	if n := w.number("select count(*) from record.contact where territory = 'US-NY' and version = 2"); n != 1 {
		t.Error("the contact did not follow")
	}
}

// TestImportConverges: rows of two contracts that arrive in any order within
// each, some twice, in batches of any size, leave what the newest of each
// contract says.
func TestImportConverges(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		id := crm.NewRecordID()
		var rows []store.ImportWrite
		newest := map[string]store.ImportWrite{}
		for _, contract := range []string{"a", "b"} {
			for e := range int64(rapid.IntRange(1, 5).Draw(rt, "exposures")) {
				r := arrival(id, contract, e+1, withhold(rapid.SampledFrom([][]string{nil, {"personal"}, {"commercial", "personal"}}).Draw(rt, "mask")...))
				r.Op = rapid.SampledFrom([]crm.Op{crm.OpUpsert, crm.OpSnapshot, crm.OpRetract}).Draw(rt, "op")
				rows = append(rows, r)
				newest[contract] = r
			}
		}
		rows = append(rows, rapid.SliceOfN(rapid.SampledFrom(rows), 0, 3).Draw(rt, "twice")...)
		rows = rapid.Permutation(rows).Draw(rt, "order")
		for rest := rows; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "batch")
			w.mustImport(rest[:n]...)
			rest = rest[n:]
		}
		var shown []string
		held := false
		for _, r := range newest {
			if r.Op != crm.OpRetract {
				held = true
				for _, g := range []string{"core", "commercial", "personal"} {
					if !slices.Contains(r.Governed.Withheld, g) && !slices.Contains(shown, g) {
						shown = append(shown, g)
					}
				}
			}
		}
		rec, ok := w.held(id)
		if ok != held {
			rt.Fatalf("held is %v, want %v", ok, held)
		}
		for field, group := range map[string]string{"name": "core", "annual_revenue": "commercial", "email": "personal"} {
			if held && rec.Fields[field].IsNull() == slices.Contains(shown, group) {
				rt.Fatalf("%s is %v, shown are %v", field, rec.Fields[field], shown)
			}
		}
	})
}
