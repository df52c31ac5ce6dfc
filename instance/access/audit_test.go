package access_test

import (
	"context"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// TestAuditIsForOfficers: who looked at what, the refused included, and that
// somebody asked; to officers alone.
func TestAuditIsForOfficers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	w.ok(w.get("rep.west@amer", rec))
	if hidden, err := w.get("rep.east@amer", rec); err != nil || crm.KindOf(hidden[0].Err) != crm.NotFound {
		t.Fatalf("a hidden record: %+v, %v", hidden, err)
	}
	officer := w.called("officer.a@amer")
	ds, err := w.door.Decisions(t.Context(), officer, store.DecisionQuery{Record: rec.ID, Action: "get", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(ds) != 2 || ds[0].Subject != "rep.east@amer" || len(ds[0].Refused) != 1 || ds[1].Subject != "rep.west@amer" || len(ds[1].Records) != 1 {
		t.Errorf("%+v", ds)
	}
	if ds, err = w.door.Decisions(t.Context(), officer, store.DecisionQuery{Action: "audit.list", Limit: 10}); err != nil || len(ds) != 1 {
		t.Errorf("that an officer asked: %+v, %v", ds, err)
	}
	for _, who := range []crm.SubjectID{"rep.west@amer", "manager.us@amer", "ops@amer", "loader@amer", "nobody@amer"} {
		if _, err := w.door.Decisions(t.Context(), w.called(who), store.DecisionQuery{Limit: 1}); crm.KindOf(err) != crm.Denied {
			t.Errorf("%s lists decisions: %v", who, err)
		}
		if _, err := w.door.VerifyDecisions(t.Context(), w.called(who), ""); crm.KindOf(err) != crm.Denied {
			t.Errorf("%s verifies: %v", who, err)
		}
	}
}

// TestVerifySealsWhatWaits: what was decided before the question is in the
// answer, whether it was a read or a write.
func TestVerifySealsWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	w.ok(w.get("rep.west@amer", rec))
	officer := w.called("officer.a@amer")
	w.until(func() bool { // other tests' transactions are open on this server
		found, err := w.door.VerifyDecisions(t.Context(), officer, "")
		if err != nil || found.Break != nil {
			t.Fatalf("%+v, %v", found.Break, err)
		}
		return found.Decisions >= 2
	})
	w.sql(`set meridian.retention = 'on'; update meridian.decision_log set records = '{}', versions = '{}' where id = 1`)
	found, err := w.door.VerifyDecisions(t.Context(), officer, "")
	if err != nil || found.Break == nil || found.Break.Decision != 1 {
		t.Errorf("%+v, %v", found.Break, err)
	}
}

// TestSealRuns: decisions are sealed without anybody asking.
func TestSealRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account("CA", "Energy")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.door.Seal(ctx) }()
	w.until(func() bool {
		found, err := w.store.VerifyDecisions(t.Context(), "")
		return err != nil || found.Decisions > 0
	})
	if err := w.door.Retain(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if found, err := w.store.VerifyDecisions(t.Context(), ""); err != nil || found.Break != nil || found.Removed == 0 {
		t.Errorf("%+v, %v", found, err)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Seal did not end")
	}
}
