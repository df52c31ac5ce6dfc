package access_test

import (
	"slices"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// replay decides everything so far again.
func (w *world) replay(r access.ReplayRequest) (map[string][]access.ReplayedDecision, access.ReplaySummary) {
	w.t.Helper()
	r.Since, r.Until = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	out := map[string][]access.ReplayedDecision{}
	sum, err := w.door.Replay(w.t.Context(), w.called("officer.a@amer"), r, func(s access.ReplayStep) error {
		if s.Decision != nil {
			key := string(s.Decision.Subject) + " " + s.Decision.Action
			out[key] = append(out[key], *s.Decision)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out, sum
}

// TestReplaySaysWhatWouldHaveFallenOutOtherwise: reads of a day under another
// bundle, by the records and facts of their moment, whatever became of them.
func TestReplaySaysWhatWouldHaveFallenOutOtherwise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	recs := w.crowd()
	california, walled := recs[0], recs[2] // the second is walled off from sales
	read := func(as crm.SubjectID, rec crm.Record) {
		if _, err := w.get(as, rec); err != nil {
			t.Fatal(err)
		}
	}
	read("rep.west@amer", california)
	read("manager.us@amer", california)
	read("manager.us@amer", walled)
	if _, _, err := w.door.List(ctx, caller("rep.west@amer"), access.ListRequest{Entity: "account"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.door.Count(ctx, caller("rep.west@amer"), "account", ""); err != nil {
		t.Fatal(err)
	}
	// What happens afterwards changes nothing about that time.
	w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Territories = nil })
	w.ok(w.update("manager.us@amer", california, "state", "NY"))

	closed := closedToReps(t)
	differ, sum := w.replay(access.ReplayRequest{Candidate: access.Candidate{Files: closed.Modules()}})
	gets := differ["rep.west@amer get"]
	if len(gets) != 1 || len(gets[0].Differing) != 1 {
		t.Fatalf("the get of the representative: %+v", gets)
	}
	one := gets[0].Differing[0]
	if !one.Was || one.Is || one.ID != california.ID || one.Version != california.Version || len(one.Opened) != 1 || one.Opened[0].Ground != "territory" || len(one.Opens) != 0 {
		t.Errorf("%+v", one)
	}
	if len(differ["rep.west@amer list"]) != 1 || len(differ["manager.us@amer get"]) != 0 {
		t.Errorf("lists %v, the manager's gets %v", differ["rep.west@amer list"], differ["manager.us@amer get"])
	}
	if sum.Open != 1 || sum.Decisions != sum.Same+sum.Differing+sum.Open+sum.Skipped || sum.Opened != 0 {
		t.Errorf("%+v: the count is open, and every decision is something", sum)
	}

	// A denial that becomes an answer, with the ground that no longer closes.
	unwalled := candidates(t)["walls do not hold"]
	differ, sum = w.replay(access.ReplayRequest{Candidate: access.Candidate{Files: unwalled.Modules()}})
	gets = differ["manager.us@amer get"]
	if len(gets) != 1 || len(gets[0].Differing) != 1 || sum.Opened == 0 {
		t.Fatalf("the get of the walled account: %+v, %+v", gets, sum)
	}
	if one := gets[0].Differing[0]; one.Was || !one.Is || !slices.ContainsFunc(one.Closed, func(r access.Reason) bool { return r.Ground == "wall" && r.Fact != "" }) {
		t.Errorf("%+v", one)
	}

	// The same bundle changes nothing; half of the decisions are fewer.
	if differ, sum := w.replay(access.ReplayRequest{Candidate: access.Candidate{Files: w.inForce().Bundle().Modules()}}); len(differ) != 0 || sum.Same == 0 {
		t.Errorf("the same bundle: %v %+v", differ, sum)
	}
	_, all := w.replay(access.ReplayRequest{Candidate: access.Candidate{Files: closed.Modules()}})
	if _, some := w.replay(access.ReplayRequest{Candidate: access.Candidate{Files: closed.Modules()}, Sample: 0.3}); some.Decisions == 0 || some.Decisions >= all.Decisions {
		t.Errorf("%d of %d decisions in a sample of 0.3", some.Decisions, all.Decisions)
	}
	if _, err := w.door.Replay(ctx, caller("ops@amer"), access.ReplayRequest{Candidate: access.Candidate{Files: closed.Modules()}, Since: time.Now().Add(-time.Hour), Until: time.Now()}, nil); crm.KindOf(err) != crm.Denied {
		t.Errorf("an operator: %v", err)
	}
}
