package access_test

import (
	"context"
	"testing"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// review does the keeper's work until there is none left.
func (w *world) review(about ...crm.RecordID) (suspended int) {
	suspended, _ = w.kept(about...)
	return suspended
}

func (w *world) kept(about ...crm.RecordID) (suspended, resumed int) {
	w.t.Helper()
	for {
		off, on, err := w.door.ReviewGrants(w.t.Context(), about)
		if err != nil {
			w.t.Fatal(err)
		}
		suspended, resumed = suspended+off, resumed+on
		if off+on == 0 {
			return suspended, resumed
		}
	}
}

func (w *world) grantsOf(rec crm.Record) []crm.Grant {
	w.t.Helper()
	gs, err := w.door.ListGrants(w.t.Context(), caller("officer.a@amer"), rec.Entity, rec.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return gs
}

func TestAShareDoesNotOutliveItsGiversAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, officer := t.Context(), caller("officer.a@amer")
	rec := w.account("CA", "Energy")
	w.judge("rep.west@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.east@amer"})
	w.judge("rep.east@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "d:legal"})
	w.judge("rep.west@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantWithhold, Key: "s:banker@amer"})
	if n := w.review(); n != 0 || !w.sees("rep.east@amer", rec) || !w.sees("lawyer@amer", rec) {
		t.Fatalf("%d suspended though everybody has access", n)
	}

	w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Territories = []string{"US-NE"} })
	if n := w.review(); n != 2 {
		t.Errorf("%d suspended, want the share and the one that rested on it", n)
	}
	if w.sees("rep.east@amer", rec) || w.sees("lawyer@amer", rec) {
		t.Error("a suspended share opens the record")
	}
	waiting, err := w.door.SuspendedGrants(ctx, officer)
	if err != nil || len(waiting) != 2 || !waiting[0].Suspended || waiting[0].Kind != crm.GrantShare || waiting[0].Review == "" {
		t.Fatalf("waiting for review: %+v, %v", waiting, err)
	}
	if gs := w.grantsOf(rec); len(gs) != 3 {
		t.Errorf("%d grants are listed, want the suspended ones too", len(gs))
	}
	for _, as := range []crm.SubjectID{"rep.west@amer", "manager.us@amer", "ops@amer"} {
		_, err := w.door.SuspendedGrants(ctx, caller(as))
		wantKind(t, err, crm.Denied, "")
		_, err = w.door.ReinstateGrant(ctx, caller(as), waiting[0].ID, "x")
		wantKind(t, err, crm.Denied, "")
	}

	_, err = w.door.ReinstateGrant(ctx, officer, waiting[0].ID, "")
	wantKind(t, err, crm.Invalid, "reason")
	back, err := w.door.ReinstateGrant(ctx, officer, waiting[0].ID, "the handover is agreed")
	if err != nil || back.Suspended || back.ReviewedBy != "officer.a@amer" || back.By != "rep.west@amer" {
		t.Errorf("reinstated %+v, %v", back, err)
	}
	if n := w.review(); n != 0 || !w.sees("rep.east@amer", rec) {
		t.Errorf("%d suspended again; the officer answers for it", n)
	}
	_, err = w.door.ReinstateGrant(ctx, officer, waiting[0].ID, "again")
	wantKind(t, err, crm.Conflict, "")
	_, err = w.door.ReinstateGrant(ctx, officer, string(crm.NewRecordID()), "x")
	wantKind(t, err, crm.NotFound, "")
	if ended, err := w.door.EndGrant(ctx, officer, waiting[1].ID, "not needed"); err != nil || !ended.Ended {
		t.Errorf("ended %+v, %v", ended, err)
	}
	if waiting, err = w.door.SuspendedGrants(ctx, officer); err != nil || len(waiting) != 0 {
		t.Errorf("still waiting: %+v, %v", waiting, err)
	}
}

func TestReviewLooksAtGroupsChildrenAndLeavers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	contact := w.create("manager.us@amer", "contact", w.fields("contact", "account_id", string(rec.ID), "source_id", "C1"))
	// Seen by agreement: core and commercial; then core alone.
	wide := w.agree(crm.Agreement{Account: rec.ID, Department: "legal", Groups: []string{"core", "commercial"}})
	w.agree(crm.Agreement{Account: rec.ID, Department: "legal"})
	w.judge("lawyer@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:analyst@amer", Groups: []string{"core", "commercial"}})
	w.judge("lawyer@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.energy@amer"})
	w.judge("rep.west@amer", crm.Grant{Entity: "contact", Record: contact.ID, Kind: crm.GrantShare, Key: "s:rep.east@amer"})
	if _, err := w.door.EndAgreement(t.Context(), caller("officer.a@amer"), wide.ID, "over"); err != nil {
		t.Fatal(err)
	}
	if n := w.review(rec.ID); n != 1 {
		t.Errorf("%d suspended for the group that the giver lost, want 1", n)
	}
	// The account moves: its contact's share is found by the account's change.
	rs, err := w.update("manager.us@amer", rec, "state", "NY")
	w.ok(rs, err)
	if n := w.review(rec.ID); n != 1 || w.sees("rep.west@amer", contact) {
		t.Errorf("%d suspended of the account's children, want 1", n)
	}
	// Somebody leaves.
	w.facts.Subjects = w.facts.Subjects[:0:0]
	for _, s := range amer().Subjects {
		if s.ID != "lawyer@amer" {
			w.facts.Subjects = append(w.facts.Subjects, s)
		}
	}
	w.reconcile()
	if n := w.review(); n != 1 {
		t.Errorf("%d suspended of who left, want 1", n)
	}
}

// TestSharesDoNotHoldEachOtherUp: a share given back to its giver is no ground
// for the first one.
func TestSharesDoNotHoldEachOtherUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	w.judge("rep.west@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.east@amer"})
	w.judge("rep.east@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.west@amer"})
	if n := w.review(); n != 0 {
		t.Fatalf("%d suspended too early", n)
	}
	w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Territories = nil })
	if n := w.review(); n != 2 || w.sees("rep.west@amer", rec) || w.sees("rep.east@amer", rec) {
		t.Errorf("%d suspended, want both", n)
	}
}

// TestKeepFollowsFacts: nobody has to ask for the review.
func TestKeepFollowsFacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	w.judge("rep.west@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.east@amer"})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.door.Keep(ctx) }()
	suspended := func(rec crm.Record) func() bool {
		return func() bool { gs := w.grantsOf(rec); return len(gs) == 1 && gs[0].Suspended }
	}
	w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Territories = nil })
	w.until(suspended(rec))
	// A change of one record.
	other := w.account("NY", "Energy")
	w.judge("rep.east@amer", crm.Grant{Entity: "account", Record: other.ID, Kind: crm.GrantShare, Key: "s:rep.west@amer"})
	rs, err := w.update("manager.us@amer", other, "state", "CA")
	w.ok(rs, err)
	w.until(suspended(other))
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
