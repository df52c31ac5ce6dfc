package access_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// seen counts what subjects read of accounts, by territory.
func (w *world) seen(subjects ...crm.SubjectID) map[crm.SubjectID]map[string]int64 {
	w.t.Helper()
	out := map[crm.SubjectID]map[string]int64{}
	for _, id := range subjects {
		sights, err := w.door.WhatSees(w.t.Context(), caller("officer.a@amer"), id)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, s := range sights {
			if s.Entity == "account" {
				out[id] = s.Territories
			}
		}
	}
	return out
}

// accounts is what an impact says of accounts.
func accounts(impacts []access.PersonaImpact, id crm.SubjectID) access.EntityImpact {
	for _, p := range impacts {
		for _, e := range p.Entities {
			if p.Subject == id && e.Entity == "account" {
				return e
			}
		}
	}
	return access.EntityImpact{}
}

// TestReorganisation: a preview changes nothing and says exactly what applying
// then does; what moved since is not applied.
func TestReorganisation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, officer := t.Context(), caller("officer.a@amer")
	west, east, manager := crm.SubjectID("rep.west@amer"), crm.SubjectID("rep.east@amer"), crm.SubjectID("manager.us@amer")
	california := w.account("CA", "Energy")
	w.account("CA", "Energy")
	w.account("OR", "Financials")
	w.account("NY", "Energy")
	contact := w.create("manager.us@amer", "contact", w.fields("contact", "source_id", "C1", "account_id", string(california.ID), "last_name", "Lovelace"))
	share := w.judge(west, crm.Grant{Entity: "account", Record: california.ID, Kind: crm.GrantShare, Key: "s:lawyer@amer"})

	edits := []store.Edit{
		{Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "US-S"},
		{Do: store.EditUnassign, Kind: "territory", ID: "US-W", Subject: west},
		{Do: store.EditAdd, Kind: "subject", ID: "new@amer", Roles: []string{"rep"}, Clearance: new(3)},
		{Do: store.EditAssign, Kind: "territory", ID: "US-OR", Subject: "new@amer"},
		{Do: store.EditAssign, Kind: "segment", ID: "all", Subject: "new@amer"},
	}
	before := w.seen(west, east, manager)
	stamp, err := w.door.Stamp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	preview, err := w.door.Reorganise(ctx, officer, edits, "new regions", false, 0)
	if err != nil {
		t.Fatal(err)
	}
	if now, err := w.door.Stamp(ctx); err != nil || now != stamp || cmp.Diff(before, w.seen(west, east, manager)) != "" {
		t.Error("the preview changed something", err)
	}
	if history, err := w.door.FactHistory(ctx, officer, "subject", "new@amer"); err == nil {
		t.Errorf("the preview left %+v", history)
	}
	if e := accounts(preview.Impacts, east); e.Gained != 2 || e.Lost != 0 || e.Territories["US-CA"].Gained != 2 || e.Segments["Energy"].Gained != 2 {
		t.Errorf("east: %+v", e)
	}
	if e := accounts(preview.Impacts, west); e.Lost != 3 || e.Territories["US-CA"].Lost != 2 || e.Territories["US-OR"].Lost != 1 {
		t.Errorf("west: %+v", e)
	}
	if e := accounts(preview.Impacts, "new@amer"); e.Gained != 1 {
		t.Errorf("new: %+v", e)
	}
	if e := accounts(preview.Impacts, manager); e.Gained != 0 || e.Lost != 0 {
		t.Errorf("the manager sees the same: %+v", e)
	}
	if !slices.Equal(preview.Emptied, []crm.SubjectID{west}) || !slices.Equal(preview.Suspended, []string{share.ID}) || preview.Applied {
		t.Errorf("emptied %v, suspended %v, applied %v", preview.Emptied, preview.Suspended, preview.Applied)
	}

	w.account("TX", "Energy") // records may move meanwhile, facts may not
	w.judge(manager, crm.Grant{Entity: "account", Record: california.ID, Kind: crm.GrantShare, Key: "d:legal"})
	_, err = w.door.Reorganise(ctx, officer, edits, "new regions", true, preview.Stamp)
	wantKind(t, err, crm.Stale, "")
	again, err := w.door.Reorganise(ctx, officer, edits, "new regions", false, 0)
	if err != nil {
		t.Fatal(err)
	}
	applied, err := w.door.Reorganise(ctx, officer, edits, "new regions", true, again.Stamp)
	if err != nil || !applied.Applied {
		t.Fatal(applied.Applied, err)
	}
	if diff := cmp.Diff(again.Impacts, applied.Impacts); diff != "" {
		t.Errorf("applied otherwise than previewed: %s", diff)
	}
	after := w.seen(west, east, "new@amer")
	if len(after[west]) != 0 || after[east]["US-CA"] != 2 || after["new@amer"]["US-OR"] != 1 {
		t.Errorf("after: %v", after)
	}
	if w.sees(west, contact) || !w.sees(east, contact) {
		t.Error("what hangs on the accounts goes along")
	}
	if n, _, err := w.door.ReviewGrants(ctx, nil); err != nil || n != 1 {
		t.Errorf("%d shares suspended, %v", n, err)
	}
	_, err = w.door.Reorganise(ctx, caller("manager.us@amer"), edits, "mine", false, 0)
	wantKind(t, err, crm.Denied, "")
}

// TestReorganisationToCome: the figures of a batch that begins later are those
// of then.
func TestReorganisationToCome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, officer := t.Context(), caller("officer.a@amer")
	w.account("CA", "Energy")
	w.account("NV", "Energy")
	soon := time.Now().Add(30 * 24 * time.Hour)
	first := store.Edit{Do: store.EditAssign, Kind: "territory", ID: "US-NV", Subject: "rep.east@amer", From: soon.Add(-time.Hour)}
	if _, err := w.door.EditFacts(ctx, officer, []store.Edit{first}, "because"); err != nil {
		t.Fatal(err)
	}
	then, err := w.door.Reorganise(ctx, officer, []store.Edit{{Do: store.EditAssign, Kind: "territory", ID: "US-W", Subject: "rep.east@amer", From: soon}}, "because", true, 0)
	if err != nil {
		t.Fatal(err)
	}
	if e := accounts(then.Impacts, "rep.east@amer"); e.Gained != 1 || e.Territories["US-CA"].Gained != 1 {
		t.Errorf("gains California alone, Nevada is there by then: %+v", e)
	}
	if n := w.seen("rep.east@amer")["rep.east@amer"]; len(n) != 0 {
		t.Errorf("now already: %v", n)
	}
	_, err = w.door.EditFacts(ctx, officer, []store.Edit{{Do: store.EditEnd, Kind: "subject", ID: "banker@amer", From: soon.Add(24 * time.Hour)}}, "leaves")
	if err != nil {
		t.Fatal(err)
	}
	bank := w.account("NY", "Financials")
	w.agree(crm.Agreement{Account: bank.ID, Department: "legal", To: soon.Add(48 * time.Hour)})
	w.agree(crm.Agreement{Segment: "Financials", Department: "emea/dach-sales", From: soon.Add(72 * time.Hour), Reason: "x"})

	turns, _, err := w.door.Forecast(ctx, officer, 60)
	if err != nil || len(turns) != 5 {
		t.Fatalf("%d turns, %v: %+v", len(turns), err, turns)
	}
	for i, want := range []struct {
		kind         string
		begins       bool
		who          crm.SubjectID
		gained, lost int64
	}{
		{"assignment", true, "rep.east@amer", 1, 0}, {"assignment", true, "rep.east@amer", 1, 0}, {"subject", false, "banker@amer", 0, 1},
		{"agreement", false, "lawyer@amer", 0, 1}, {"agreement", true, "contract:amer-emea-account", 1, 0},
	} {
		turn := turns[i]
		at := slices.IndexFunc(turn.Events, func(e store.Expiry) bool { return e.Kind == want.kind && e.Begins == want.begins })
		if e := accounts(turn.Impacts, want.who); at < 0 || len(turn.Impacts) != 1 || e.Gained != want.gained || e.Lost != want.lost {
			t.Errorf("turn %d: %+v", i, turn)
		}
	}
	_, _, err = w.door.Forecast(ctx, officer, 5000)
	wantKind(t, err, crm.Invalid, "days")
	_, _, err = w.door.Forecast(ctx, caller("rep.west@amer"), 1)
	wantKind(t, err, crm.Denied, "")
}
