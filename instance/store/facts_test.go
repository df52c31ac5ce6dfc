package store_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/store"
)

// family is a small world of facts.
func family() store.Facts {
	return store.Facts{
		Territories: []trees.Node{{ID: "001", Name: "World"}, {ID: "US", Parent: "001", Name: "US"}, {ID: "US-W", Parent: "US"}, {ID: "US-CA", Parent: "US-W"}, {ID: "DE", Parent: "001"}},
		Segments:    []trees.Node{{ID: "all", Name: "All"}, {ID: "Energy", Parent: "all"}, {ID: "Energy/Oil", Parent: "Energy"}},
		Departments: []store.Department{{ID: "sales"}, {ID: "west", Parent: "sales"}, {ID: "legal"}},
		Subjects: []store.SubjectFact{
			{ID: "rep", Kind: crm.KindPerson, Roles: []string{"rep"}, Clearance: 2, Territories: []string{"US-W"}, Segments: []string{"all"}, Departments: []string{"west"}},
			{ID: "clerk", Kind: crm.KindService, Roles: []string{"loader", "ops"}, Segments: []string{"Energy"}},
		},
		Relationships: []store.RelationshipFact{{Department: "sales", On: "legal", Actions: []string{"read"}}},
		Contracts: []crm.Contract{{ID: "c1", Source: "amer", Destination: "emea", Entity: "account", Territories: []string{"US"}, Segments: []string{"Energy"},
			Departments: []string{"emea/dach"}, Groups: []string{"core"}, Jurisdictions: []string{"*"}, Purpose: "service", LegalBasis: "consent",
			Arrives: crm.Arrival{Department: "dach", Sensitivity: 3}}},
	}
}

func (w *world) reconcile(f store.Facts) {
	w.t.Helper()
	if err := w.Reconcile(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) subject(id crm.SubjectID) crm.Subject {
	w.t.Helper()
	s, _, err := w.Subject(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) stamp() int64 {
	w.t.Helper()
	n, _, err := w.Stamp(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestSubjectIsExpanded(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	rep, known, err := w.Subject(t.Context(), "rep")
	if err != nil || !known {
		t.Fatal(known, err)
	}
	want := crm.Subject{
		ID: "rep", Kind: crm.KindPerson, Instance: "amer", Roles: []string{"rep"}, Clearance: 2,
		Territories: []string{"US-CA", "US-W"}, Segments: []string{"Energy", "Energy/Oil", "all"}, AllSegments: true,
		Departments:   []string{"sales", "west"}, // a member of a department is one of its parents'
		Relationships: []crm.Relationship{{Department: "legal", Actions: []string{"read"}}},
		Keys:          []string{"s:rep", "d:sales", "d:west"}, Stamp: w.stamp(),
	}
	less := func(a, b string) int { return strings.Compare(a, b) }
	slices.SortFunc(rep.Segments, less)
	if diff := cmp.Diff(want, rep); diff != "" {
		t.Error(diff)
	}
	clerk := w.subject("clerk")
	if clerk.AllSegments || len(clerk.Segments) != 2 || len(clerk.Territories) != 0 || len(clerk.Relationships) != 0 {
		t.Errorf("clerk %+v", clerk)
	}
	if _, known, err := w.Subject(t.Context(), "nobody"); known || err != nil {
		t.Errorf("nobody is known: %v, %v", known, err)
	}
}

func TestReceiverIsTheContract(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	receiver := func(id string) (s crm.Subject, inForce bool) {
		t.Helper()
		err := w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			s, inForce, err = tx.Receiver(ctx, id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return s, inForce
	}
	got, inForce := receiver("c1")
	want := crm.Subject{
		ID: "contract:c1", Kind: crm.KindInstance, Instance: "emea", Territories: []string{"US", "US-CA", "US-W"}, Segments: []string{"Energy", "Energy/Oil"},
		Departments: []string{"emea/dach"}, Keys: []string{"s:emea", "d:emea/dach"}, Groups: []string{"core"}, Jurisdictions: []string{"*"},
		Purpose: "service", From: got.From, To: crm.Forever, Stamp: w.stamp(),
	}
	if got.From.IsZero() || got.From.After(time.Now().Add(time.Minute)) {
		t.Errorf("in force from %s", got.From)
	}
	if diff := cmp.Diff(want, got); diff != "" || !inForce {
		t.Error(inForce, diff)
	}
	if _, inForce := receiver("c2"); inForce {
		t.Error("a contract nobody signed is in force")
	}
	cs, err := w.Contracts(t.Context())
	if err != nil || len(cs) != 1 {
		t.Fatal(cs, err)
	}
	signed := family().Contracts[0]
	signed.To = crm.Forever
	if diff := cmp.Diff(signed, cs[0]); diff != "" {
		t.Error(diff)
	}
}

// TestReconcileIsIdempotent: a restart with the same configuration moves
// nothing, wakes nobody and writes nothing.
func TestReconcileIsIdempotent(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	stamp, rows := w.stamp(), w.number(`select count(*) from meridian.outbox`)
	w.reconcile(family())
	if w.stamp() != stamp || w.number(`select count(*) from meridian.outbox`) != rows {
		t.Error("the same facts again moved the stamp or the feed")
	}
	var wg sync.WaitGroup
	for range 4 { // replicas that start together after a change
		wg.Go(func() {
			f := family()
			f.Subjects[0].Territories = []string{"DE"}
			if err := w.Reconcile(t.Context(), f); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.number(`select count(*) from fact.assignment where subject = 'rep' and tree = 'territory' and node = 'DE' and recorded_to = 'infinity'`); n != 1 {
		t.Errorf("%d assignments to DE", n)
	}
}

// TestFactsAreNeverRewritten: what was believed and when can be asked later.
func TestFactsAreNeverRewritten(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	var march time.Time
	w.query(`select clock_timestamp()`, nil, func(r pgx.CollectableRow) error { return r.Scan(&march) })
	changed := family()
	changed.Subjects[0].Territories, changed.Subjects[0].Clearance = []string{"DE"}, 5
	changed.Subjects = changed.Subjects[:1] // the clerk has left
	changed.Contracts = nil
	w.reconcile(changed)
	if got := w.subject("rep"); got.Clearance != 5 || !slices.Equal(got.Territories, []string{"DE"}) {
		t.Errorf("now %+v", got)
	}
	if _, known, _ := w.Subject(t.Context(), "clerk"); known {
		t.Error("the clerk is still known")
	}
	for what, sql := range map[string]string{
		"as it is known today, in March": `select count(*) from fact.assignment where subject = 'rep' and node = 'US-W'
			and recorded_to = 'infinity' and valid_from <= $1 and $1 < valid_to`,
		"as it was known in March": `select count(*) from fact.assignment where subject = 'rep' and node = 'US-W'
			and recorded_from <= $1 and $1 < recorded_to and valid_from <= $1 and $1 < valid_to`,
		"the clerk, in March":  `select count(*) from fact.subject where id = 'clerk' and recorded_to = 'infinity' and valid_from <= $1 and $1 < valid_to`,
		"a contract, in March": `select count(*) from fact.contract where id = 'c1' and recorded_to = 'infinity' and valid_from <= $1 and $1 < valid_to`,
	} {
		if n := w.number(sql, march); n != 1 {
			t.Errorf("%s: %d rows", what, n)
		}
	}
	if n := w.number(`select count(*) from fact.assignment where node = 'DE' and valid_from <= $1`, march); n != 0 {
		t.Error("the new assignment reaches back")
	}
	w.reconcile(family()) // the clerk is back, the contract too
	if _, known, _ := w.Subject(t.Context(), "clerk"); !known {
		t.Error("the clerk is not back")
	}
	if cs, err := w.Contracts(t.Context()); err != nil || len(cs) != 1 {
		t.Error(cs, err)
	}
	for _, table := range []string{`fact.subject`, `fact.agreement`, `fact."grant"`} {
		for _, sql := range []string{"delete from " + table, "truncate " + table} {
			if err := w.refused(sql); err == nil || !strings.Contains(err.Error(), "never deleted") {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
}

// refused is the error of SQL that must fail.
func (w *world) refused(sql string) error {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(w.t.Context()) }()
	_, err = conn.Exec(w.t.Context(), sql)
	return err
}

func TestExpiredContractStaysDeclared(t *testing.T) {
	w := newWorld(t)
	f := family()
	f.Contracts[0].From, f.Contracts[0].To = at("2020-01-01T00:00:00Z"), at("2020-02-01T00:00:00Z")
	w.reconcile(f)
	stamp := w.stamp()
	w.reconcile(f)
	if w.stamp() != stamp {
		t.Error("an expired contract is recorded again and again")
	}
	if cs, err := w.Contracts(t.Context()); err != nil || len(cs) != 0 {
		t.Error(cs, err)
	}
	if n := w.number(`select count(*) from fact.contract where valid_from < valid_to`); n != 0 {
		t.Error("it was in force before it was signed here")
	}
}

func TestInvalidFactsAreRefused(t *testing.T) {
	w := newWorld(t)
	for name, spoil := range map[string]func(*store.Facts){
		"orphan":             func(f *store.Facts) { f.Territories[3].Parent = "XX" },
		"cycle":              func(f *store.Facts) { f.Territories[1].Parent = "US-CA" },
		"twice":              func(f *store.Facts) { f.Segments[2].ID = "Energy" },
		"reserved":           func(f *store.Facts) { f.Segments[2].ID = crm.Unassigned },
		"foreign department": func(f *store.Facts) { f.Departments[2].ID = "emea/legal" },
		"subject twice":      func(f *store.Facts) { f.Subjects[1].ID = "rep" },
		"kind":               func(f *store.Facts) { f.Subjects[0].Kind = crm.KindInstance },
		"clearance":          func(f *store.Facts) { f.Subjects[0].Clearance = 10 },
		"unknown territory":  func(f *store.Facts) { f.Subjects[0].Territories = []string{"XX"} },
		"unknown department": func(f *store.Facts) { f.Relationships[0].On = "XX" },
		"relationship twice": func(f *store.Facts) { f.Relationships = append(f.Relationships, f.Relationships[0]) },
		"contract with self": func(f *store.Facts) { f.Contracts[0].Destination = "amer" },
		"contract twice":     func(f *store.Facts) { f.Contracts = append(f.Contracts, f.Contracts[0]) },
		"contract beyond":    func(f *store.Facts) { f.Contracts[0].Segments = []string{"XX"} },
		"contract ends first": func(f *store.Facts) {
			f.Contracts[0].From, f.Contracts[0].To = at("2021-01-01T00:00:00Z"), at("2020-01-01T00:00:00Z")
		},
	} {
		f := family()
		spoil(&f)
		if err := w.Reconcile(t.Context(), f); crm.KindOf(err) != crm.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := w.number(`select count(*) from fact.subject`); n != 0 {
		t.Error("an invalid configuration left facts")
	}
}

// TestEveryFactMovesTheStamp, and is in the feed, whoever changes it.
func TestEveryFactMovesTheStamp(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	account := crm.NewRecordID()
	change := func(name string, kind crm.ChangeKind, record crm.RecordID, do func(*store.Tx) error) {
		t.Helper()
		stamp := w.stamp()
		head, err := w.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := tx.Attribute(ctx, crm.Caller{Subject: "officer", Execution: "e1"}); err != nil {
				return err
			}
			return do(tx)
		})
		if err != nil {
			t.Fatal(name, err)
		}
		if w.stamp() <= stamp {
			t.Errorf("%s: the stamp did not move", name)
		}
		changes, _, err := w.Changes(t.Context(), head, 100)
		if err != nil || len(changes) == 0 {
			t.Fatalf("%s: the feed has %v, %v", name, changes, err)
		}
		for _, c := range changes {
			if c.Kind != kind || c.ID != record || c.Actor != "officer" || c.Execution != "e1" {
				t.Errorf("%s: the feed says %+v", name, c)
			}
		}
	}
	var agreement crm.Agreement
	var grant crm.Grant
	ctx := t.Context()
	now := time.Now()
	change("agreement", crm.ChangeFact, account, func(tx *store.Tx) (err error) {
		agreement, err = tx.AddAgreement(ctx, crm.Agreement{Account: account, Department: "legal", Effect: crm.EffectOpen, From: now, To: crm.Forever, By: "officer"})
		return err
	})
	change("end of agreement", crm.ChangeFact, account, func(tx *store.Tx) error {
		_, err := tx.EndAgreement(ctx, agreement.ID, "officer", "over")
		return err
	})
	change("grant", crm.ChangeFact, account, func(tx *store.Tx) (err error) {
		grant, err = tx.AddGrant(ctx, crm.Grant{Entity: "account", Record: account, Kind: crm.GrantShare, Key: "s:rep", Reason: "x", From: now, To: crm.Forever, By: "officer"})
		return err
	})
	change("end of grant", crm.ChangeFact, account, func(tx *store.Tx) error {
		_, err := tx.EndGrant(ctx, grant.ID, "officer", "over")
		return err
	})
	change("bundle", crm.ChangeBundle, "", func(tx *store.Tx) error {
		b := kept("b", "")
		if err := tx.AddBundle(ctx, b); err != nil {
			return err
		}
		_, err := tx.Activate(ctx, store.Activation{Digest: b.Digest, Kind: store.ActivationOfficers}, 0)
		return err
	})

	for name, spoil := range map[string]func(*store.Facts){
		"territory":    func(f *store.Facts) { f.Territories[0].Name = "Earth" },
		"segment":      func(f *store.Facts) { f.Segments[0].Name = "Everything" },
		"department":   func(f *store.Facts) { f.Departments[0].Name = "Sales" },
		"subject":      func(f *store.Facts) { f.Subjects[0].Clearance = 9 },
		"assignment":   func(f *store.Facts) { f.Subjects[0].Departments = nil },
		"relationship": func(f *store.Facts) { f.Relationships[0].Actions = nil },
		"contract":     func(f *store.Facts) { f.Contracts[0].Purpose = "other" },
	} {
		stamp := w.stamp()
		f := family()
		spoil(&f)
		w.reconcile(f)
		if w.stamp() <= stamp {
			t.Errorf("%s: the stamp did not move", name)
		}
		w.reconcile(family())
	}
}

// TestBoundariesByTimeAlone: a subject changes, the stamp moves and the feed
// hears of it, though nobody writes a fact.
func TestBoundariesByTimeAlone(t *testing.T) {
	w := newWorld(t)
	f := family()
	soon := time.Now().Add(2 * time.Second) // far enough for a slow machine to be ready
	f.Contracts[0].To = soon
	w.reconcile(f)
	account := crm.NewRecordID()
	err := w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.AddAgreement(ctx, crm.Agreement{Account: account, Department: "legal", Effect: crm.EffectOpen, From: soon, To: crm.Forever, By: "officer"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.EnqueueBoundaries(t.Context()); err != nil {
		t.Fatal(err)
	}
	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := w.stamp()
	for deadline := time.Now().Add(10 * time.Second); w.stamp() == before; {
		if time.Now().After(deadline) {
			t.Fatal("the stamp did not move by itself")
		}
	}
	rep := w.subject("rep") // loading takes note of the boundary
	if rep.Stamp <= before+1 || rep.Stamp != w.stamp() {
		t.Errorf("loaded under %d after %d; now %d", rep.Stamp, before, w.stamp())
	}
	if err := w.EnqueueBoundaries(t.Context()); err != nil {
		t.Fatal(err)
	}
	changes, next, err := w.Changes(t.Context(), head, 10)
	if err != nil {
		t.Fatal(err)
	}
	var ids []crm.RecordID
	for _, c := range changes {
		if c.Kind != crm.ChangeBoundary {
			t.Errorf("the feed says %+v", c)
		}
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	if diff := cmp.Diff([]crm.RecordID{"", account}, ids); diff != "" {
		t.Error(diff)
	}
	if err := w.EnqueueBoundaries(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, _, err := w.Changes(t.Context(), next, 10); err != nil || len(again) != 0 {
		t.Errorf("announced twice: %v, %v", again, err)
	}
}

func TestPlacesAndRoles(t *testing.T) {
	w := newWorld(t)
	w.reconcile(family())
	ctx := t.Context()
	if territory, segment, err := w.Placed(ctx, "US-CA", "Nowhere"); !territory || segment || err != nil {
		t.Error(territory, segment, err)
	}
	if roles, known, err := w.SubjectRoles(ctx, "clerk"); !slices.Equal(roles, []string{"loader", "ops"}) || !known || err != nil {
		t.Error(roles, known, err)
	}
	if _, known, err := w.SubjectRoles(ctx, "nobody"); known || err != nil {
		t.Error(known, err)
	}
	// Members of west are members of sales above it, and not the other way round.
	if roles, err := w.DepartmentRoles(ctx, "sales"); !slices.Equal(roles, []string{"rep"}) || err != nil {
		t.Error(roles, err)
	}
	if roles, err := w.DepartmentRoles(ctx, "legal"); len(roles) != 0 || err != nil {
		t.Error(roles, err)
	}
}
