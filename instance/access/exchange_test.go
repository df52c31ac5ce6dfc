package access_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// emea is the contract under which accounts of emea come to amer.
var emea = crm.Contract{ID: "emea-amer-account", Source: "emea", Destination: "amer", Entity: "account"}

// foreign is a row as emea let it leave.
func (w *world) foreign(territory, segment string) access.ImportRow {
	f := w.accountFields("", "Energy", "country", "DE")
	delete(f, "email")
	delete(f, "tax_id")
	return access.ImportRow{Op: crm.OpUpsert, Entity: "account", ID: crm.NewRecordID(), Version: 4, Contract: emea.ID, Epoch: 1, Exposure: 1,
		Fields: f, Exec: "0af7651916cd43dd8448eb211c80319c",
		Governed: crm.Governed{Home: "emea", Territory: territory, Segment: segment, Department: "dach-sales", Owner: "rep.dach@emea", Jurisdiction: "DE", Sensitivity: 1}}
}

func (w *world) imports(rows ...access.ImportRow) []error {
	w.t.Helper()
	errs, err := w.door.Import(w.t.Context(), emea, rows, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return errs
}

// arrive imports one account and answers it as rep.west reads it.
func (w *world) arrive(territory, segment string) crm.Record {
	w.t.Helper()
	row := w.foreign(territory, segment)
	if err := w.imports(row)[0]; err != nil {
		w.t.Fatal(err)
	}
	return w.ok(w.get("rep.west@amer", crm.Record{Entity: "account", ID: row.ID}))
}

func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	row := w.foreign("US-CA", "Energy")
	if err := w.imports(row)[0]; err != nil {
		t.Fatal(err)
	}
	rec := w.ok(w.get("rep.west@amer", crm.Record{Entity: "account", ID: row.ID}))
	if rec.Home != "emea" || rec.Version != 4 || rec.Department != "west-sales" || rec.Sensitivity != 2 || rec.Pinned {
		t.Errorf("arrived as %+v", rec.Governed)
	}
	if len(rec.Withheld) != 1 || rec.Withheld[0] != "personal" {
		t.Errorf("withheld %v: what did not come is withheld, even from who sees all groups", rec.Withheld)
	}
	if !w.sees("analyst@amer", rec) {
		t.Error("the department it arrived at is not a ground")
	}

	mine := w.account("CA", "Energy")
	change := func(f func(*access.ImportRow)) access.ImportRow {
		r := w.foreign("US-CA", "Energy")
		f(&r)
		return r
	}
	refused := map[string]access.ImportRow{
		"an instance speaks for its own": change(func(r *access.ImportRow) { r.Governed.Home = "apac" }),
		"nor for the receiver":           change(func(r *access.ImportRow) { r.Governed.Home = "amer" }),
		"a local record's id":            change(func(r *access.ImportRow) { r.ID = mine.ID }),
		"an end to a local record":       change(func(r *access.ImportRow) { r.ID, r.Op = mine.ID, crm.OpDelete }),
		"a group beyond the contract":    change(func(r *access.ImportRow) { r.Fields["tax_id"] = crm.String("1") }),
		"a group its home withheld":      change(func(r *access.ImportRow) { r.Governed.Withheld = []string{"commercial"} }),
		"another contract":               change(func(r *access.ImportRow) { r.Contract = "other" }),
	}
	for name, r := range refused {
		if err := w.imports(r)[0]; crm.KindOf(err) != crm.Denied {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantKind(t, w.imports(change(func(r *access.ImportRow) { r.Fields["annual_revenue"] = crm.Boolean(true) }))[0], crm.Invalid, "annual_revenue")
	wantKind(t, w.imports(change(func(r *access.ImportRow) { r.Op = crm.OpGap }))[0], crm.Invalid, "op")
	if err := w.imports(change(func(r *access.ImportRow) { r.Fields["x__f"] = crm.String("a field of theirs") }))[0]; err != nil {
		t.Errorf("a field unknown here: %v", err)
	}
	if got := w.ok(w.get("manager.us@amer", mine)); got.Version != 1 || got.Home != "amer" {
		t.Errorf("a local record was touched: %+v", got)
	}

	// The end of a stay is let in even when the contract is over.
	w.facts.Contracts = w.facts.Contracts[:2]
	w.reconcile()
	if err := w.imports(w.foreign("US-CA", "Energy"))[0]; crm.KindOf(err) != crm.Denied {
		t.Errorf("without a contract: %v", err)
	}
	row.Op, row.Exposure = crm.OpRetract, 2
	if err := w.imports(row)[0]; err != nil {
		t.Fatal(err)
	}
	if w.sees("rep.west@amer", rec) {
		t.Error("retracted and still there")
	}
}

func TestImportAndItsCommitAreOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good, poison := w.foreign("US-CA", "Energy"), w.foreign("US-CA", "Energy")
	poison.Governed.Home = "apac"
	lost := errors.New("the disk is full")
	_, err := w.door.Import(t.Context(), emea, []access.ImportRow{good, poison}, func(_ context.Context, _ *store.Tx, errs []error) error {
		if errs[0] != nil || crm.KindOf(errs[1]) != crm.Denied {
			t.Errorf("commit was told %v", errs)
		}
		return lost
	})
	if !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if w.sees("rep.west@amer", crm.Record{Entity: "account", ID: good.ID}) {
		t.Error("rows stayed without their cursor")
	}
}

func (w *world) project(contract crm.Contract, ids ...crm.RecordID) []access.Projection {
	w.t.Helper()
	var out []access.Projection
	err := w.store.Tx(w.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		out, err = w.door.Project(ctx, tx, contract, ids)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	finserv, dach := w.facts.Contracts[0], w.facts.Contracts[1]
	bank := w.account("NY", "Financials")
	power := w.account("CA", "Energy")
	foreign := w.arrive("US-CA", "Financials")
	never := crm.NewRecordID()
	scope := func(contract crm.Contract) (in []bool) {
		for _, p := range w.project(contract, bank.ID, power.ID, foreign.ID, never) {
			in = append(in, p.InScope)
		}
		return in
	}
	want := func(step string, contract crm.Contract, want ...bool) {
		t.Helper()
		for i, in := range scope(contract) {
			if in != want[i] {
				t.Errorf("%s: scope %v, want %v", step, scope(contract), want)
				return
			}
		}
	}
	want("by segment", finserv, true, false, false, false)
	want("nothing agreed yet", dach, false, false, false, false)
	got := w.project(finserv, bank.ID)[0].Record
	if len(got.Withheld) != 2 || !got.Fields["annual_revenue"].IsNull() || got.Fields["name"].IsNull() {
		t.Errorf("projected %+v", got)
	}

	a := w.agree(crm.Agreement{Account: power.ID, Department: "emea/dach-sales", Groups: []string{"core", "commercial", "personal"}})
	want("agreed", dach, false, true, false, false)
	got = w.project(dach, power.ID)[0].Record
	if len(got.Withheld) != 1 || got.Withheld[0] != "personal" {
		t.Errorf("withheld %v: a contract brings its own groups only", got.Withheld)
	}
	w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: power.ID, Kind: crm.GrantWithhold, Key: "d:emea/dach-sales"})
	want("withheld by a colleague", dach, false, false, false, false)
	w.endAgreement(a)

	moved := w.ok(w.update("manager.us@amer", bank, "sector", "Energy"))
	want("moved out of the segment", finserv, false, false, false, false)
	w.ok(w.update("manager.us@amer", moved, "sector", "Financials"))
	want("and back", finserv, true, false, false, false)

	w.facts.Contracts[0].Jurisdictions = []string{"DE"}
	w.reconcile()
	want("residency", finserv, false, false, false, false)
	w.facts.Contracts[0].Jurisdictions = []string{"US"}
	w.facts.Contracts[0].To = time.Now().Add(2 * time.Second)
	w.reconcile()
	want("allowed again, for a moment", finserv, true, false, false, false)
	w.until(func() bool { return !scope(finserv)[0] })
}

// until waits for what time alone brings about.
func (w *world) until(done func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			w.t.Fatal("it did not come to pass")
		}
	}
}
