package access_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
	"meridian/policy"
)

// activate has a bundle proposed by a, approved by b and put in force.
func (o *officers) activate(b *policy.Bundle) {
	o.t.Helper()
	p := o.must(o.propose("a", b))
	if err := o.approve("b", p); err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.door.Activate(o.t.Context(), o.called("b"), p.ID, "", time.Time{}); err != nil {
		o.t.Fatal(err)
	}
}

func (o *officers) back(name, digest string) error {
	o.t.Helper()
	_, err := o.door.Rollback(o.t.Context(), o.called(name), digest, "a test", o.sign(name, o.statement(signed.Rollback, digest)))
	return err
}

// targets are where a rollback may go, as officers are told.
func (o *officers) targets() []string {
	o.t.Helper()
	life, err := o.door.PolicyLife(o.t.Context(), o.called("a"), 0)
	if err != nil {
		o.t.Fatal(err)
	}
	return life.WayBack.Targets
}

// TestOneOfficerOnlyGoesBack: a second rollback goes one further back, nothing
// brings a bundle again that was taken back but two officers, and a refusal
// leaves in force what is.
func TestOneOfficerOnlyGoesBack(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	first := o.inForce().Digest()
	fine, leaking := sharper(t, "fine"), sharper(t, "leaking")
	o.activate(fine)
	o.activate(leaking)
	if got := o.targets(); !slices.Equal(got, []string{fine.Digest(), first}) {
		t.Fatalf("targets %v", got)
	}
	refused := func(digest string, kind crm.Kind, says string) {
		t.Helper()
		before := o.inForce().Digest()
		if err := o.back("a", digest); crm.KindOf(err) != kind || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %s: %s", err, kind, says)
		}
		if o.inForce().Digest() != before {
			t.Error("a refusal changed what is in force")
		}
	}
	refused(leaking.Digest(), crm.Conflict, "is in force")
	if err := o.back("a", fine.Digest()); err != nil {
		t.Fatal(err)
	}
	refused(leaking.Digest(), crm.Denied, "let a second officer approve")
	if err := o.back("a", first); err != nil { // the second goes one further back
		t.Fatal(err)
	}
	refused(leaking.Digest(), crm.Denied, "was rolled back")
	refused(fine.Digest(), crm.Denied, "was rolled back")
	refused(strings.Repeat("0", 64), crm.Denied, "never in force")
	if got := o.targets(); len(got) != 0 {
		t.Errorf("targets %v below the first", got)
	}
	o.activate(fine) // two officers bring it back, and then it is a target again
	o.activate(sharper(t, "next"))
	if got := o.targets(); !slices.Equal(got, []string{fine.Digest(), first}) {
		t.Errorf("targets %v", got)
	}
	refused(leaking.Digest(), crm.Denied, "was rolled back")
	ds, err := o.door.Decisions(t.Context(), o.called("a"), store.DecisionQuery{Action: "policy.activate", Limit: 100})
	if err != nil || !slices.ContainsFunc(ds, func(d store.Decision) bool {
		return !d.Allowed && strings.Contains(strings.Join(d.Reasons, " "), "was rolled back")
	}) {
		t.Errorf("the refusals are not in the decision log: %v", err)
	}
}

// TestRollbacksAtOnce: of officers who go back at the same moment one does, and
// the others are not taken one further back by what they signed. The signature
// of who saw something else in force does not count either.
func TestRollbacksAtOnce(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	fine, leaking := sharper(t, "fine"), sharper(t, "leaking")
	o.activate(fine)
	o.activate(leaking)
	late := o.sign("c", o.statement(signed.Rollback, fine.Digest()))
	further := o.sign("c", o.statement(signed.Rollback, o.targets()[1]))
	names := []string{"a", "b", "a", "b"}
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		s := o.sign(name, o.statement(signed.Rollback, fine.Digest()))
		all.Go(func() {
			_, errs[i] = o.door.Rollback(t.Context(), o.called(name), fine.Digest(), "at once", s)
		})
	}
	all.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if crm.KindOf(err) != crm.Stale || !strings.Contains(err.Error(), "policy history") {
			t.Errorf("%v", err)
		}
	}
	if done != 1 || o.inForce().Digest() != fine.Digest() {
		t.Errorf("%d rollbacks were done, in force is %.12s", done, o.inForce().Digest())
	}
	if _, err := o.door.Rollback(t.Context(), o.called("c"), fine.Digest(), "late", late); crm.KindOf(err) != crm.Stale {
		t.Errorf("a late rollback to what is in force: %v", err)
	}
	if _, err := o.door.Rollback(t.Context(), o.called("c"), o.targets()[0], "late", further); crm.KindOf(err) != crm.Stale {
		t.Errorf("a late rollback goes further back: %v", err)
	}
}

// TestRollbackWhileAnActivationWaits: a proposal that both officers signed does
// not bring a bundle back that was rolled back meanwhile, nor any other, and
// the two at once never end in something that nobody asked for.
func TestRollbackWhileAnActivationWaits(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	first := o.inForce().Digest()
	leaking := sharper(t, "leaking")
	twice := o.must(o.propose("a", leaking)) // signed twice, and activated once
	once := o.must(o.propose("a", leaking))
	for _, p := range []store.Proposal{once, twice} {
		if err := o.approve("b", p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.door.Activate(t.Context(), o.called("a"), once.ID, "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := o.back("a", first); err != nil {
		t.Fatal(err)
	}
	if _, err := o.door.Activate(t.Context(), o.called("a"), twice.ID, "", time.Time{}); crm.KindOf(err) != crm.Stale {
		t.Errorf("an older proposal brought back what was rolled back: %v", err)
	}
	next := o.must(o.propose("a", leaking)) // since the rollback: it may
	if err := o.approve("b", next); err != nil {
		t.Fatal(err)
	}
	if _, err := o.door.Activate(t.Context(), o.called("a"), next.ID, "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	waiting := o.must(o.propose("a", sharper(t, "next")))
	if err := o.approve("b", waiting); err != nil {
		t.Fatal(err)
	}
	back := o.sign("b", o.statement(signed.Rollback, first))
	var activated, rolled error
	var both sync.WaitGroup
	both.Go(func() { _, activated = o.door.Activate(t.Context(), o.called("a"), waiting.ID, "", time.Time{}) })
	both.Go(func() { _, rolled = o.door.Rollback(t.Context(), o.called("b"), first, "at once", back) })
	both.Wait()
	switch in := o.inForce().Digest(); {
	case activated == nil && rolled == nil, activated != nil && rolled != nil:
		t.Errorf("activated: %v, rolled back: %v", activated, rolled)
	case activated == nil && in != waiting.About, rolled == nil && in != first:
		t.Errorf("in force is %.12s; activated: %v, rolled back: %v", in, activated, rolled)
	case activated == nil && crm.KindOf(rolled) != crm.Stale, rolled == nil && crm.KindOf(activated) != crm.Stale:
		t.Errorf("activated: %v, rolled back: %v", activated, rolled)
	}
}

// TestStatementsOfRollbackServeOnce: replayed after the same bundle is in force
// once more, a signature does nothing.
func TestStatementsOfRollbackServeOnce(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	first := o.inForce().Digest()
	o.activate(sharper(t, "one"))
	used := o.sign("a", o.statement(signed.Rollback, first))
	if _, err := o.door.Rollback(t.Context(), o.called("a"), first, "a test", used); err != nil {
		t.Fatal(err)
	}
	o.activate(sharper(t, "one"))
	if _, err := o.door.Rollback(t.Context(), o.called("a"), first, "again", used); err == nil {
		t.Error("a signature served twice")
	}
}
