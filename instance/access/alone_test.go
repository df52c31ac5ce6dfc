package access_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
)

// TestOfficersDoNotOpenToThemselves: what nobody may say about themself nobody
// brings about by moving what they belong to; another officer may.
func TestOfficersDoNotOpenToThemselves(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	o.alter(subject("a"), func(s *store.SubjectFact) { s.Territories = []string{"US-NE"} })
	o.alter(subject("b"), func(s *store.SubjectFact) { s.Departments = []string{"west-sales"} })
	edits := map[string]store.Edit{
		"a territory moves under mine":  {Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "US-NE"},
		"my department may read others": {Do: store.EditRelate, ID: "legal", On: "west-sales", Actions: []string{"read"}},
		"my department moves":           {Do: store.EditMove, Kind: "department", ID: "legal", Under: "credit"},
	}
	for name, e := range edits {
		for when, from := range map[string]time.Time{"now": {}, "in a month": time.Now().AddDate(0, 1, 0)} {
			e.From = from
			_, err := o.door.EditFacts(t.Context(), o.called("a"), []store.Edit{e}, "because")
			if crm.KindOf(err) != crm.Denied || crm.Public(err).Field != "edits" {
				t.Errorf("%s, %s: %v", name, when, err)
			}
			for _, apply := range []bool{false, true} {
				_, err = o.door.Reorganise(t.Context(), o.called("a"), []store.Edit{e}, "because", apply, 0)
				if crm.KindOf(err) != crm.Denied {
					t.Errorf("%s, %s, reorganised (%v): %v", name, when, apply, err)
				}
			}
		}
	}
	for name, e := range edits {
		e.From = time.Now().AddDate(0, 1, 0)
		if _, err := o.door.EditFacts(t.Context(), o.called("b"), []store.Edit{e}, "because"); err != nil {
			t.Errorf("%s, by another: %v", name, err)
		}
	}
	undo := store.Edit{Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "US-W", From: time.Now().AddDate(0, 1, 1)}
	if _, err := o.door.EditFacts(t.Context(), o.called("a"), []store.Edit{undo}, "less for me"); err != nil {
		t.Errorf("giving up a territory: %v", err)
	}
}

// TestOfficersDoNotOpenToThemselvesLater: what another officer has dated counts
// from then on, wherever an edit or an agreement begins and ends.
func TestOfficersDoNotOpenToThemselvesLater(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	rec := o.account("CA", "Energy")
	soon, later, end := time.Now().AddDate(0, 1, 0), time.Now().AddDate(0, 2, 0), time.Now().AddDate(0, 3, 0)
	dated := []store.Edit{ // from one month to two, a is of credit and covers US-NE
		{Do: store.EditAssign, Kind: "department", ID: "credit", Subject: subject("a"), From: soon, To: later},
		{Do: store.EditAssign, Kind: "territory", ID: "US-NE", Subject: subject("a"), From: soon, To: later},
	}
	if _, err := o.door.EditFacts(t.Context(), o.called("b"), dated, "a secondment"); err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]store.Edit{
		"my next department may read":     {Do: store.EditRelate, ID: "credit", On: "legal", Actions: []string{"read"}, To: end},
		"a territory under my next":       {Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "US-NE", To: end},
		"my next department goes further": {Do: store.EditMove, Kind: "department", ID: "credit", Under: "west-sales", To: end},
	} {
		_, err := o.door.EditFacts(t.Context(), o.called("a"), []store.Edit{e}, "because")
		if crm.KindOf(err) != crm.Denied || crm.Public(err).Field != "edits" {
			t.Errorf("%s: %v", name, err)
		}
		e.From, e.To = later, end
		if _, err = o.door.EditFacts(t.Context(), o.called("a"), []store.Edit{e}, "because"); err != nil {
			t.Errorf("%s, when the secondment is over: %v", name, err)
		}
	}
	agreement := crm.Agreement{Account: rec.ID, Department: "credit", Reason: "audit"}
	_, err := o.door.CreateAgreement(t.Context(), o.called("a"), agreement)
	wantKind(t, err, crm.Denied, "department")
	wall := agreement
	wall.Effect = crm.EffectWall
	if wall, err = o.door.CreateAgreement(t.Context(), o.called("b"), wall); err != nil {
		t.Fatal(err)
	}
	_, err = o.door.EndAgreement(t.Context(), o.called("a"), wall.ID, "over")
	wantKind(t, err, crm.Denied, "department")
}

// TestDenialsAreNotMovedAway: one officer's edits do not take places out from
// under a denial, which it takes a signature to end.
func TestDenialsAreNotMovedAway(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	if _, err := o.deny("a", signed.Denial{Territory: "US-W"}); err != nil {
		t.Fatal(err)
	}
	move := store.Edit{Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "US-NE"}
	_, err := o.door.EditFacts(t.Context(), o.called("b"), []store.Edit{move}, "because")
	wantKind(t, err, crm.Denied, "edits")
	denied, err := o.deny("a", signed.Denial{Subject: subject("b")})
	if err != nil {
		t.Fatal(err)
	}
	end := func(name string) error {
		s := o.sign(name, o.statement(signed.EndDeny, signed.Digest(denied.ID+"\nsolved")))
		_, err := o.door.EndDenial(t.Context(), o.called(name), denied.ID, "solved", s)
		return err
	}
	wantKind(t, end("b"), crm.Denied, "")
	if err := end("c"); err != nil {
		t.Errorf("ended by another: %v", err)
	}
}

// TestAgreementsForOnesOwnDepartment are another officer's to make, and walls
// around it another's to end.
func TestAgreementsForOnesOwnDepartment(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	rec := o.account("CA", "Energy")
	agree := func(name string, effect crm.Effect) (crm.Agreement, error) {
		return o.door.CreateAgreement(t.Context(), o.called(name), crm.Agreement{Account: rec.ID, Department: "legal", Effect: effect, Reason: "audit"})
	}
	_, err := agree("a", crm.EffectOpen)
	wantKind(t, err, crm.Denied, "department")
	if _, err := agree("b", crm.EffectOpen); err != nil {
		t.Errorf("by another: %v", err)
	}
	wall, err := agree("a", crm.EffectWall)
	if err != nil {
		t.Fatalf("a wall around one's own department: %v", err)
	}
	_, err = o.door.EndAgreement(t.Context(), o.called("a"), wall.ID, "over")
	wantKind(t, err, crm.Denied, "department")
	if o.sees("lawyer@amer", rec) {
		t.Error("the wall is gone")
	}
	if _, err := o.door.EndAgreement(t.Context(), o.called("b"), wall.ID, "over"); err != nil {
		t.Errorf("ended by another: %v", err)
	}
}

// TestOfficersDoNotChooseWhoseSignatureCounts: an operator's key answers for the
// department that its officer is declared in, wherever officers move them.
func TestOfficersDoNotChooseWhoseSignatureCounts(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	edits := []store.Edit{
		{Do: store.EditAssign, Kind: "department", ID: "credit", Subject: subject("c")},
		{Do: store.EditUnassign, Kind: "department", ID: "legal", Subject: subject("c")},
	}
	if _, err := o.door.EditFacts(t.Context(), o.called("a"), edits, "moved"); err != nil {
		t.Fatal(err)
	}
	o.trust() // a restart
	p := o.must(o.propose("a", sharper(t, "one")))
	if err := o.approve("c", p); crm.KindOf(err) != crm.Denied {
		t.Errorf("approved by whom the author moved to another department: %v", err)
	}
}

// TestManyChangesOfPolicyAtOnce take turns before they take connections, so that
// the one whose turn it is finds one.
func TestManyChangesOfPolicyAtOnce(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for range 40 {
		s := o.sign("a", o.statement(signed.Revoke, "another"))
		all.Go(func() {
			if err := o.door.RevokeKey(ctx, o.called("a"), "key", "why", s); crm.KindOf(err) != crm.Denied {
				t.Errorf("not answered: %v", err)
			}
		})
	}
	all.Wait()
}

// TestWhoWaitedIsAskedAgain: an officer who lost the role while a change of
// theirs waited for its turn makes it no more.
func TestWhoWaitedIsAskedAgain(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	dismiss := func() error {
		gone := store.Edit{Do: store.EditChange, Kind: "subject", ID: string(subject("a")), Roles: []string{}}
		_, err := o.door.EditFacts(t.Context(), o.called("b"), []store.Edit{gone}, "left")
		return err
	}
	why := "why"
	revoke := o.sign("a", o.statement(signed.Revoke, signed.Digest(o.trusted[1].ID+"\n"+why)))
	later := make(chan error, 2)
	o.waiting("meridian.policy", func(until func(n int)) {
		go func() { later <- o.door.RevokeKey(t.Context(), o.called("a"), o.trusted[1].ID, why, revoke) }()
		until(1)
		if err := dismiss(); err != nil {
			t.Fatal(err)
		}
	})
	wantKind(t, <-later, crm.Denied, "")
	back := store.Edit{Do: store.EditChange, Kind: "subject", ID: string(subject("a")), Roles: []string{"officer"}}
	if _, err := o.door.EditFacts(t.Context(), o.called("b"), []store.Edit{back}, "back"); err != nil {
		t.Fatal(err)
	}
	o.waiting("meridian.reconcile", func(until func(n int)) {
		go func() { later <- dismiss() }()
		until(1)
		go func() {
			e := store.Edit{Do: store.EditAssign, Kind: "territory", ID: "US", Subject: "lawyer@amer"}
			_, err := o.door.EditFacts(t.Context(), o.called("a"), []store.Edit{e}, "a last favour")
			later <- err
		}()
		until(2)
	})
	denied := 0
	for range 2 {
		if err := <-later; crm.KindOf(err) == crm.Denied {
			denied++
		} else if err != nil {
			t.Error(err)
		}
	}
	if denied != 1 {
		t.Errorf("%d of 2 changes are denied, want that of who was dismissed", denied)
	}
}

// waiting runs f while a turn is taken; until waits for n that wait for it.
func (o *officers) waiting(turn string, f func(until func(n int))) {
	o.t.Helper()
	must := func(err error) {
		o.t.Helper()
		if err != nil {
			o.t.Fatal(err)
		}
	}
	ctx := o.t.Context()
	conn, err := pgx.Connect(ctx, o.url)
	must(err)
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, "select pg_advisory_lock(hashtext($1))", turn)
	must(err)
	f(func(n int) {
		for there := 0; there < n; {
			must(ctx.Err())
			must(conn.QueryRow(ctx, `select count(*) from pg_locks l join pg_database d on d.oid = l.database
				where d.datname = current_database() and l.locktype = 'advisory' and not l.granted`).Scan(&there))
		}
	})
}
