package access_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// TestRevocationHoldsForTheNextStatement: once the change has committed, no
// read that begins afterwards sees the record, whatever is cached, on this
// replica or another.
func TestRevocationHoldsForTheNextStatement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	replica := access.New(access.Config{Instance: "amer", Store: w.store, Engine: w.inForce()})
	reads := func(d *access.Door, as crm.SubjectID) bool {
		t.Helper()
		rs, err := d.Get(t.Context(), caller(as), "account", []crm.RecordID{rec.ID})
		if err != nil {
			t.Fatal(err)
		}
		return rs[0].Err == nil
	}
	var share crm.Grant
	var agreement crm.Agreement
	for _, step := range []struct {
		name       string
		as         crm.SubjectID
		give, take func()
	}{
		{"assignment", "rep.east@amer",
			func() {
				w.alter("rep.east@amer", func(s *store.SubjectFact) { s.Territories = []string{"US-W"} })
			},
			func() {
				w.alter("rep.east@amer", func(s *store.SubjectFact) { s.Territories = []string{"US-NE"} })
			}},
		{"role", "rep.west@amer",
			func() {},
			func() { w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Roles = nil }) }},
		{"role again", "rep.west@amer",
			func() { w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Roles = []string{"rep"} }) },
			func() { w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Territories = nil }) }},
		{"tree", "manager.us@amer",
			func() {},
			func() {
				w.facts.Territories = slices.Clone(w.facts.Territories)
				for i, n := range w.facts.Territories {
					if n.ID == "US-W" {
						w.facts.Territories[i].Parent = "CA" // the west goes to Canada
					}
				}
				w.reconcile()
			}},
		{"share", "lawyer@amer",
			func() {
				share = w.judge("rep.energy@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:lawyer@amer"})
			},
			func() { w.endGrant("rep.energy@amer", share) }},
		{"agreement", "lawyer@amer",
			func() { agreement = w.agree(crm.Agreement{Account: rec.ID, Department: "legal"}) },
			func() { w.endAgreement(agreement) }},
		{"department", "lawyer@amer",
			func() { w.agree(crm.Agreement{Account: rec.ID, Department: "legal"}) },
			func() { w.alter("lawyer@amer", func(s *store.SubjectFact) { s.Departments = nil }) }},
	} {
		if step.name == "share" { // the tree was reorganised; energy needs California to judge
			w.alter("rep.energy@amer", func(s *store.SubjectFact) { s.Territories = []string{"US-CA"} })
		}
		step.give()
		for name, d := range map[string]*access.Door{"here": w.door, "on a replica": replica} {
			if !reads(d, step.as) {
				t.Errorf("%s: given and not seen %s", step.name, name)
			}
		}
		step.take()
		for name, d := range map[string]*access.Door{"here": w.door, "on a replica": replica} {
			if reads(d, step.as) {
				t.Errorf("%s: withdrawn and still seen %s", step.name, name)
			}
		}
	}
}

// TestRevocationUnderLoad: readers that began after the commit never see it.
func TestRevocationUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("NY", "Energy")
	share := w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.west@amer"})
	var revoked, stop atomic.Bool
	var saw atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				after := revoked.Load()
				page, _, err := w.door.List(t.Context(), caller("rep.west@amer"), access.ListRequest{Entity: "account"})
				if err != nil {
					t.Error(err)
					return
				}
				if len(page) > 0 {
					saw.Add(1)
					if after {
						t.Error("a read that began after the withdrawal shows the record")
						return
					}
				} else if after {
					return
				}
			}
		})
	}
	w.until(func() bool { return saw.Load() > 20 || t.Failed() })
	w.endGrant("manager.us@amer", share)
	revoked.Store(true)
	wg.Wait()
	stop.Store(true)
}

// TestFactsEndByTimeAlone: nothing is written when the time comes.
func TestFactsEndByTimeAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("NY", "Energy")
	stamp := func() int64 {
		t.Helper()
		n, err := w.door.Stamp(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	soon := time.Now().Add(2 * time.Second) // far enough for a slow machine to be ready
	later := soon.Add(time.Second)
	w.agree(crm.Agreement{Account: rec.ID, Department: "legal", From: soon, To: later})
	w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:analyst@amer", To: soon})
	before := stamp()
	reads := func(as crm.SubjectID) bool { return w.refusedKind(as, rec) == "" }
	if reads("lawyer@amer") || !reads("analyst@amer") {
		t.Fatal("too early or too late; is the machine asleep?")
	}
	w.until(func() bool { return reads("lawyer@amer") })
	if reads("analyst@amer") {
		t.Error("an expired share still opens")
	}
	w.until(func() bool { return !reads("lawyer@amer") })
	if after := stamp(); after != before {
		t.Errorf("the stamp went from %d to %d: something was written", before, after)
	}
}

func (w *world) refusedKind(as crm.SubjectID, rec crm.Record) crm.Kind {
	w.t.Helper()
	rs, err := w.get(as, rec)
	if err != nil {
		w.t.Fatal(err)
	}
	if rs[0].Err == nil {
		return ""
	}
	return crm.KindOf(rs[0].Err)
}

// TestOneStampPerAnswer: while assignments swing between two places, every
// page is wholly of one place or the other.
func TestOneStampPerAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		w.account("CA", "Energy")
		w.account("NY", "Energy")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				page, _, err := w.door.List(t.Context(), caller("rep.west@amer"), access.ListRequest{Entity: "account"})
				if crm.KindOf(err) == crm.Unavailable && err != nil {
					continue // it lost every attempt and says so
				}
				if err != nil {
					t.Error(err)
					return
				}
				places := map[string]bool{}
				for _, r := range page {
					places[r.Territory] = true
				}
				if len(places) != 1 || len(page) != 3 {
					t.Errorf("a page of %d records from %v", len(page), places)
					return
				}
			}
		})
	}
	for i := range 12 {
		w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Territories = []string{[]string{"US-NE", "US-W"}[i%2]} })
	}
	cancel()
	wg.Wait()
}

// TestWritesGetThroughWhileFactsChange: facts that change in the middle of every
// attempt, as when thousands of agreements are recorded, do not keep a batch
// of writes out for ever.
func TestWritesGetThroughWhileFactsChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	ask, changed := make(chan struct{}), make(chan struct{})
	var changer sync.WaitGroup
	changer.Go(func() {
		for range ask {
			w.agree(crm.Agreement{Account: rec.ID, Department: "legal"})
			changed <- struct{}{}
		}
	})
	owed := false // an agreement that waits for us
	w.hooks.refusing(func(*access.Draft) error {
		if !owed {
			ask <- struct{}{}
		}
		select {
		case <-changed:
			owed = false
		case <-time.After(time.Second): // facts wait for this attempt
			owed = true
		}
		return nil
	})
	wantBecame(t, w.upsert("account", access.UpsertRow{Fields: w.accountFields("CA", "Energy")}), "inserted")
	if !owed {
		t.Error("the write got through although the last agreement was recorded in its middle")
	}
	rec = w.ok(w.update("rep.west@amer", rec, "name", "Renamed"))
	if rec.Version != 2 {
		t.Errorf("version %d, want 2", rec.Version)
	}
	w.hooks.refusing(nil)
	if owed {
		<-changed // they wait no longer than the write takes
	}
	close(ask)
	changer.Wait()
}
