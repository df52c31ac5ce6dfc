package store_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

func (w *world) agreed(a crm.Agreement) crm.Agreement {
	w.t.Helper()
	var made crm.Agreement
	err := w.Tx(w.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		a.By = "officer"
		made, err = tx.AddAgreement(ctx, a)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// TestAreasOfASubject: agreements about areas reach the members of the
// departments they name, expanded, also those that begin later; and the
// destination of a contract that names the department.
func TestAreasOfASubject(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	now := time.Now().Truncate(time.Microsecond).UTC()
	later := now.Add(240 * time.Hour)
	base := crm.Agreement{Department: "sales", Effect: crm.EffectOpen, Actions: []string{"read"}, Groups: []string{"core"}, From: now, To: crm.Forever}
	with := func(change func(*crm.Agreement)) crm.Agreement {
		a := base
		change(&a)
		return w.agreed(a)
	}
	coming := with(func(a *crm.Agreement) { a.Territory, a.Segment, a.From = "US", "Energy", later })
	wall := with(func(a *crm.Agreement) {
		a.OnDepartment, a.Effect, a.Department, a.Actions, a.Groups = "legal", crm.EffectWall, "west", nil, nil
	})
	gone := with(func(a *crm.Agreement) { a.Territory = "OLD" }) // in no tree: it stands for itself
	with(func(a *crm.Agreement) { a.Territory, a.From, a.To = "US", now.Add(-2*time.Hour), now.Add(-time.Hour) })
	with(func(a *crm.Agreement) { a.Territory, a.Department = "US", "legal" })
	with(func(a *crm.Agreement) { a.Account = crm.NewRecordID() })
	foreign := with(func(a *crm.Agreement) { a.Segment, a.Department = "all", "emea/dach" })

	area := func(a crm.Agreement) crm.Area {
		return crm.Area{ID: a.ID, Department: a.Department, Effect: a.Effect, Actions: list(a.Actions), Groups: list(a.Groups), OnDepartment: a.OnDepartment,
			AnyTerritory: a.Territory == "", AnySegment: a.Segment == "", Territories: []string{}, Segments: []string{}, From: a.From, To: a.To}
	}
	want := []crm.Area{area(coming), area(wall), area(gone)}
	want[0].Territories, want[0].Segments = []string{"US", "US-CA", "US-W"}, []string{"Energy", "Energy/Oil"}
	want[2].Territories = []string{"OLD"}
	slices.SortFunc(want, func(a, b crm.Area) int { return strings.Compare(a.ID, b.ID) }) // ids of one millisecond are in any order
	sameArea := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
	if diff := cmp.Diff(want, w.subject("rep").Areas, sameArea); diff != "" {
		t.Error(diff)
	}
	if areas := w.subject("clerk").Areas; len(areas) != 0 {
		t.Errorf("the clerk, who is in no department, has %v", areas)
	}
	receiver, known, err := w.ReceiverAt(t.Context(), "c1", nil)
	if err != nil || !known {
		t.Fatal(known, err)
	}
	want = []crm.Area{area(foreign)}
	want[0].Segments = []string{"Energy", "Energy/Oil", "all"}
	if diff := cmp.Diff(want, receiver.Areas, sameArea); diff != "" {
		t.Error(diff)
	}
	if err := w.refused(`insert into fact.agreement (id, department, effect, actions, groups, document, reason, given_by, recorded_by, valid_from, valid_to)
		values (gen_random_uuid(), 'legal', 'open', '{}', '{}', '', '', 'x', 'x', now(), 'infinity')`); err == nil {
		t.Error("an agreement about nothing")
	}
}

// TestSubjectAtAMoment: who somebody was, by what was recorded then and by what
// is recorded since.
func TestSubjectAtAMoment(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	_, then, err := w.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := family()
	f.Subjects[0].Territories, f.Contracts = []string{"DE"}, nil
	w.reconcile(f)
	_, now, err := w.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		at         policy.Moment
		territory  string
		contracted bool
	}{
		"then":                    {policy.Moment{Valid: then, Recorded: then}, "US-CA", true},
		"then, as known now":      {policy.Moment{Valid: then, Recorded: now}, "US-CA", true},
		"now":                     {policy.Moment{Valid: now, Recorded: now}, "DE", false},
		"now, as believed before": {policy.Moment{Valid: now, Recorded: then}, "US-CA", true},
	} {
		s, known, err := w.SubjectAt(t.Context(), "rep", &tc.at)
		if err != nil || !known || s.Territories[0] != tc.territory {
			t.Errorf("%s: %v %v %v", name, s.Territories, known, err)
		}
		if _, in, err := w.ReceiverAt(t.Context(), "c1", &tc.at); err != nil || in != tc.contracted {
			t.Errorf("%s: contract in force %v, %v", name, in, err)
		}
	}
	if _, known, err := w.SubjectAt(t.Context(), "rep", &policy.Moment{Valid: then, Recorded: then.AddDate(-1, 0, 0)}); known || err != nil {
		t.Errorf("known before anything was recorded: %v, %v", known, err)
	}
	// A transaction sees what it changed itself, and nobody else does.
	err = w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		a := crm.Agreement{Territory: "DE", Department: "west", Effect: crm.EffectWall, From: now, To: crm.Forever, By: "officer"}
		if _, err := tx.AddAgreement(ctx, a); err != nil {
			return err
		}
		s, _, err := tx.SubjectAt(ctx, "rep", nil)
		if err != nil || len(s.Areas) != 1 || len(w.subject("rep").Areas) != 0 {
			t.Errorf("inside %v, outside %v: %v", s.Areas, w.subject("rep").Areas, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
