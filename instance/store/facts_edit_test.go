package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/store"
	"meridian/policy"
)

func (w *world) edit(edits ...store.Edit) ([]store.Fact, error) {
	var out []store.Fact
	err := w.Tx(w.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		out, err = tx.Edit(ctx, edits, "officer", "because")
		return err
	})
	return out, err
}

func (w *world) edited(edits ...store.Edit) []store.Fact {
	w.t.Helper()
	out, err := w.edit(edits...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// recorded is everything in the fact tables, to tell whether anything changed.
func (w *world) recorded() []string {
	w.t.Helper()
	var out []string
	for _, table := range []string{"territory", "segment", "department", "subject", "assignment", "relationship"} {
		w.query(`select to_jsonb(f)::text from fact.`+table+` f order by 1`, nil, func(r pgx.CollectableRow) error {
			var row string
			err := r.Scan(&row)
			out = append(out, table+row)
			return err
		})
	}
	return out
}

func (w *world) now() time.Time {
	w.t.Helper()
	_, now, err := w.Stamp(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return now
}

// TestOfficersWordsSurviveARestart: what officers assigned, moved and ended is
// as it was after the configuration was reconciled again; a configuration that
// says something new is followed where no officer's word is in force.
func TestOfficersWordsSurviveARestart(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	w.edited(
		store.Edit{Do: store.EditAssign, Kind: "territory", ID: "DE", Subject: "rep"},
		store.Edit{Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "DE"},
		store.Edit{Do: store.EditEnd, Kind: "subject", ID: "clerk"},
		store.Edit{Do: store.EditUnrelate, ID: "sales", On: "legal"},
		store.Edit{Do: store.EditUnassign, Kind: "segment", ID: "all", Subject: "rep"},
		store.Edit{Do: store.EditAssign, Kind: "segment", ID: "Energy", Subject: "rep"},
		store.Edit{Do: store.EditAdd, Kind: "territory", ID: "US-NV", Under: "US-W", Name: "Nevada"},
	)
	as := func(what string) {
		t.Helper()
		rep := w.subject("rep")
		if diff := cmp.Diff([]string{"DE", "US-CA", "US-NV", "US-W"}, rep.Territories); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		if _, known, _ := w.Subject(t.Context(), "clerk"); known || len(rep.Relationships) != 0 || rep.AllSegments {
			t.Errorf("%s: clerk known %v, rep %+v", what, known, rep)
		}
	}
	as("as edited")
	before, stamp := w.recorded(), w.stamp()
	w.reconcile(family())
	as("after a restart")
	if diff := cmp.Diff(before, w.recorded()); diff != "" || stamp != w.stamp() {
		t.Errorf("the restart wrote: %s (stamp %d, %d)", diff, stamp, w.stamp())
	}
	overridden, err := w.Overridden(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Override{
		{"territory", []string{"US-CA"}, "officer"}, {"subject", []string{"clerk"}, "officer"},
		{"assignment", []string{"clerk", "segment", "Energy"}, "officer"}, {"assignment", []string{"rep", "segment", "all"}, "officer"},
		{"relationship", []string{"sales", "legal"}, "officer"},
	}
	if diff := cmp.Diff(want, overridden); diff != "" {
		t.Error(diff)
	}
	f := family()
	f.Subjects[1].Roles = []string{"loader"}                                                             // new about a fact that was ended: it is back
	f.Territories = slices.DeleteFunc(f.Territories, func(n trees.Node) bool { return n.ID == "US-CA" }) // gone, but an officer moved it
	f.Territories = append(f.Territories, trees.Node{ID: "US-NV", Parent: "US", Name: "declared later"}) // an officer's is in force
	f.Relationships[0].Actions = []string{"read", "update"}                                              //
	w.reconcile(f)
	if rep := w.subject("rep"); !slices.Contains(rep.Territories, "US-CA") || !slices.Contains(rep.Territories, "US-NV") || len(rep.Relationships) != 1 {
		t.Errorf("after another configuration: %+v", rep)
	}
	if clerk, known, _ := w.Subject(t.Context(), "clerk"); !known || len(clerk.Segments) != 0 {
		t.Errorf("the clerk: %v %v", known, clerk.Segments)
	}
	w.edited(store.Edit{Do: store.EditUndo, Kind: "territory", ID: "US-NV"}, store.Edit{Do: store.EditUndo, Kind: "segment", ID: "all", Subject: "rep"})
	if rep := w.subject("rep"); slices.Contains(rep.Territories, "US-NV") || !rep.AllSegments {
		t.Errorf("after undo: %+v", rep)
	}
}

// TestEditsHaveDates: an edit can begin in the past, which what was believed
// then does not change, or in the future; and end, after which what was
// declared holds again.
func TestEditsHaveDates(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	now := w.now()
	soon, later, past := now.Add(time.Hour), now.Add(2*time.Hour), now.Add(-time.Hour)
	w.edited(
		store.Edit{Do: store.EditAssign, Kind: "territory", ID: "DE", Subject: "clerk", From: soon, To: later},
		store.Edit{Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "DE", From: soon, To: later},
		store.Edit{Do: store.EditAdd, Kind: "department", ID: "audit", Name: "Audit", From: past},
		store.Edit{Do: store.EditAdd, Kind: "subject", ID: "guest", Roles: []string{"rep"}, From: past},
		store.Edit{Do: store.EditAssign, Kind: "department", ID: "audit", Subject: "guest", From: past},
	)
	at := func(valid, recorded time.Time, id crm.SubjectID) crm.Subject {
		t.Helper()
		s, _, err := w.SubjectAt(t.Context(), id, &policy.Moment{Valid: valid, Recorded: recorded})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	done := w.now()
	for _, c := range []struct {
		valid, recorded time.Time
		de, ca          bool
		departments     int
	}{
		{done, done, false, true, 1}, {soon, done, true, false, 1}, {later, done, false, true, 1},
		{past, now, false, false, 0}, {past, done, false, false, 1}, {soon, now, false, true, 0},
	} {
		clerk, rep := at(c.valid, c.recorded, "clerk"), at(c.valid, c.recorded, "rep")
		if got := slices.Contains(clerk.Territories, "DE"); got != c.de {
			t.Errorf("%v: assigned to DE %v", c, got)
		}
		if got := slices.Contains(rep.Territories, "US-CA"); got != c.ca {
			t.Errorf("%v: CA with the rep %v", c, got)
		}
		if guest := at(c.valid, c.recorded, "guest"); c.departments != len(guest.Departments) {
			t.Errorf("%v: departments %v", c, guest.Departments)
		}
	}
	if n := w.number(`select count(*) from fact.assignment where subject = 'guest' and node = 'audit' and valid_from = $1 and recorded_from > $1`, past); n != 1 {
		t.Error("backdated validity is recorded now, once")
	}
	history, err := w.FactHistory(t.Context(), "territory", "US-CA")
	if err != nil || len(history) != 4 { // as declared, and since: before, during and after the move
		t.Errorf("history of CA: %+v, %v", history, err)
	}
	for i, f := range history {
		if moved := f.Parent == "DE"; moved != (f.Origin == "officer") || (i > 0) != (f.By == "officer" && f.Reason == "because") {
			t.Errorf("row %d: %+v", i, f)
		}
	}
}

// TestEditsAreRefusedWhole, and leave nothing.
func TestEditsAreRefusedWhole(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	w.agreed(crm.Agreement{Territory: "DE", Department: "legal", Effect: crm.EffectWall, From: w.now(), To: crm.Forever})
	before := w.recorded()
	add := store.Edit{Do: store.EditAdd, Kind: "territory", ID: "FR", Under: "001", Name: "France"}
	for name, tc := range map[string]struct {
		edit  store.Edit
		kind  crm.Kind
		field string
		says  string
	}{
		"circle":                {store.Edit{Do: store.EditMove, Kind: "territory", ID: "US", Under: "US-CA"}, crm.Invalid, "under", "below"},
		"under itself":          {store.Edit{Do: store.EditMove, Kind: "territory", ID: "US", Under: "US"}, crm.Invalid, "under", "below"},
		"the root":              {store.Edit{Do: store.EditMove, Kind: "territory", ID: "001", Under: "DE"}, crm.Invalid, "id", "root"},
		"orphan":                {store.Edit{Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "MOON"}, crm.Invalid, "under", "fact list territory"},
		"unknown node":          {store.Edit{Do: store.EditMove, Kind: "territory", ID: "MOON", Under: "US"}, crm.Invalid, "id", "fact list"},
		"not there yet":         {store.Edit{Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "DE", From: w.now().Add(-time.Hour)}, crm.Invalid, "id", "then"},
		"node with children":    {store.Edit{Do: store.EditEnd, Kind: "territory", ID: "US"}, crm.Invalid, "id", "territory US-W"},
		"node with assignments": {store.Edit{Do: store.EditEnd, Kind: "segment", ID: "all"}, crm.Invalid, "id", "the assignment of rep"},
		"node of a contract":    {store.Edit{Do: store.EditEnd, Kind: "segment", ID: "Energy"}, crm.Invalid, "id", "the contract c1"},
		"node of an agreement":  {store.Edit{Do: store.EditEnd, Kind: "territory", ID: "DE"}, crm.Invalid, "id", "the agreement"},
		"related department":    {store.Edit{Do: store.EditEnd, Kind: "department", ID: "legal"}, crm.Invalid, "id", "the relationship of sales"},
		"added twice":           {store.Edit{Do: store.EditAdd, Kind: "territory", ID: "US", Under: "001", Name: "US"}, crm.Conflict, "id", "already"},
		"assigned twice":        {store.Edit{Do: store.EditAssign, Kind: "territory", ID: "US-W", Subject: "rep"}, crm.Conflict, "id", "already"},
		"assigned to nothing":   {store.Edit{Do: store.EditAssign, Kind: "territory", ID: "MOON", Subject: "rep"}, crm.Invalid, "id", "fact list territory"},
		"assigned nobody":       {store.Edit{Do: store.EditAssign, Kind: "territory", ID: "DE", Subject: "nobody"}, crm.Invalid, "subject", "knows no subject"},
		"not assigned":          {store.Edit{Do: store.EditUnassign, Kind: "territory", ID: "DE", Subject: "rep"}, crm.Invalid, "id", "there is no assignment"},
		"related to nothing":    {store.Edit{Do: store.EditRelate, ID: "west", On: "MOON", Actions: []string{"read"}}, crm.Invalid, "on", "MOON"},
		"related for nothing":   {store.Edit{Do: store.EditRelate, ID: "west", On: "legal"}, crm.Invalid, "actions", "read"},
		"no name":               {store.Edit{Do: store.EditAdd, Kind: "territory", ID: "FR", Under: "001"}, crm.Invalid, "name", "name"},
		"no parent":             {store.Edit{Do: store.EditAdd, Kind: "segment", ID: "Air", Name: "Air"}, crm.Invalid, "under", "root"},
		"foreign department":    {store.Edit{Do: store.EditAdd, Kind: "department", ID: "emea/x", Name: "X"}, crm.Invalid, "id", "another instance"},
		"reserved":              {store.Edit{Do: store.EditAdd, Kind: "territory", ID: crm.Unassigned, Under: "001", Name: "X"}, crm.Invalid, "id", "name"},
		"clearance":             {store.Edit{Do: store.EditChange, Kind: "subject", ID: "rep", Clearance: new(11)}, crm.Invalid, "clearance", "9"},
		"no change":             {store.Edit{Do: store.EditChange, Kind: "subject", ID: "rep"}, crm.Invalid, "roles", "what changes"},
		"unknown verb":          {store.Edit{Do: "paint", Kind: "territory", ID: "US"}, crm.Invalid, "do", "undo"},
		"unknown kind":          {store.Edit{Do: store.EditEnd, Kind: "moon", ID: "US"}, crm.Invalid, "kind", "territory"},
		"ends before it begins": {store.Edit{Do: store.EditEnd, Kind: "territory", ID: "DE", To: w.now().Add(-time.Hour)}, crm.Invalid, "to", "later"},
		"child outlives parent": {store.Edit{Do: store.EditAdd, Kind: "territory", ID: "DE-BY", Under: "FR", Name: "X", To: crm.Forever}, crm.Invalid, "under", "all that time"},
	} {
		t.Run(name, func(t *testing.T) {
			first := add
			first.To = w.now().Add(24 * time.Hour)
			_, err := w.edit(first, tc.edit)
			e, ok := errors.AsType[*crm.Error](err)
			if !ok || e.Kind != tc.kind || e.Field != "edits[1]."+tc.field || !strings.Contains(e.Msg, tc.says) {
				t.Errorf("%+v", err)
			}
		})
	}
	if diff := cmp.Diff(before, w.recorded()); diff != "" {
		t.Errorf("something was left: %s", diff)
	}
	w.edited( // what a node needs may leave in the same batch, in any order
		store.Edit{Do: store.EditEnd, Kind: "territory", ID: "US-W"},
		store.Edit{Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "US"},
		store.Edit{Do: store.EditUnassign, Kind: "territory", ID: "US-W", Subject: "rep"},
	)
	if rep := w.subject("rep"); len(rep.Territories) != 0 {
		t.Errorf("rep has %v", rep.Territories)
	}
}

// TestOfficersAndConfigurations: whatever officers say and configurations
// follow one another, no fact is recorded twice for one time, a configuration
// neither touches an officer's word nor what it said before, and what no
// officer spoke of is as it is declared.
func TestOfficersAndConfigurations(t *testing.T) {
	w := newWorld(t)
	places := []string{"001", "US", "US-W", "US-CA", "DE"}
	rapid.Check(t, func(r *rapid.T) { officersSay(w, r, places) })
}

func officersSay(w *world, r *rapid.T, places []string) {
	last := family()
	for range rapid.IntRange(2, 4).Draw(r, "steps") {
		if rapid.Bool().Draw(r, "configuration") {
			last = drawFacts(r)
			officers := w.officers()
			if err := w.Reconcile(w.t.Context(), last); err != nil {
				r.Fatal(err)
			}
			if diff := cmp.Diff(officers, w.officers()); diff != "" {
				r.Fatalf("the configuration touched officers' words: %s", diff)
			}
			before := w.recorded()
			if err := w.Reconcile(w.t.Context(), last); err != nil {
				r.Fatal(err)
			}
			if diff := cmp.Diff(before, w.recorded()); diff != "" {
				r.Fatalf("the same configuration again wrote: %s", diff)
			}
		} else {
			e := drawEdit(r, places, w.now())
			if _, err := w.edit(e); err != nil && crm.KindOf(err) == crm.Internal {
				r.Fatalf("%+v: %v", e, err)
			}
		}
		if n := w.number(`select count(*) from fact.assignment a join fact.assignment b using (subject, tree, node)
			where a.recorded_to = 'infinity' and b.recorded_to = 'infinity' and a.valid_from < a.valid_to and b.valid_from < b.valid_to
			  and (a.valid_from, a.recorded_from) < (b.valid_from, b.recorded_from) and b.valid_from < a.valid_to`); n != 0 {
			r.Fatalf("%d assignments hold twice at a time", n)
		}
	}
	if err := w.Reconcile(w.t.Context(), last); err != nil {
		r.Fatal(err)
	}
	for _, s := range last.Subjects {
		for _, node := range s.Territories {
			key := []any{string(s.ID), node}
			if w.number(`select count(*) from fact.assignment where subject = $1 and tree = 'territory' and node = $2 and recorded_by <> 'declared'`, key...) == 0 &&
				w.number(`select count(*) from fact.assignment where subject = $1 and tree = 'territory' and node = $2 and recorded_to = 'infinity'
					and valid_from <= now() and now() < valid_to`, key...) != 1 {
				r.Fatalf("%v is declared, no officer spoke of it, and it is not in force", key)
			}
		}
	}
}

// officers are the rows in force or to come that officers stand for.
func (w *world) officers() []string {
	w.t.Helper()
	var out []string
	w.query(`select subject || ' ' || tree || ' ' || node || ' ' || valid_from || ' ' || valid_to from fact.assignment
		where recorded_to = 'infinity' and origin <> 'declared' and valid_from < valid_to order by 1`, nil, func(r pgx.CollectableRow) error {
		var s string
		err := r.Scan(&s)
		out = append(out, s)
		return err
	})
	return out
}

func drawFacts(r *rapid.T) store.Facts {
	f := family()
	f.Subjects[0].Territories = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"US", "US-W", "US-CA", "DE"}), 0, 3, rapid.ID).Draw(r, "territories")
	f.Subjects[0].Clearance = rapid.IntRange(0, 2).Draw(r, "clearance")
	if rapid.Bool().Draw(r, "alone") {
		f.Subjects = f.Subjects[:1]
	}
	return f
}

func drawEdit(r *rapid.T, places []string, now time.Time) store.Edit {
	hours := func(name string, least, most int) time.Time {
		return now.Add(time.Duration(rapid.IntRange(least, most).Draw(r, name)) * time.Hour)
	}
	e := store.Edit{
		Kind: "territory", ID: rapid.SampledFrom(places).Draw(r, "node"), Subject: rapid.SampledFrom([]crm.SubjectID{"rep", "clerk"}).Draw(r, "subject"),
		Do: rapid.SampledFrom([]string{store.EditAssign, store.EditAssign, store.EditUnassign, store.EditUndo, store.EditChange}).Draw(r, "do"),
	}
	if rapid.Bool().Draw(r, "dated") {
		e.From, e.To = hours("from", -3, 3), hours("to", 1, 6)
	}
	if e.Do == store.EditChange {
		e = store.Edit{Do: e.Do, Kind: "subject", ID: string(e.Subject), Roles: []string{fmt.Sprint("role", rapid.IntRange(0, 3).Draw(r, "role"))}, From: e.From, To: e.To}
	}
	return e
}
