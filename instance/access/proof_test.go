package access_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
	"meridian/policy"
)

// forge writes an activation into the database as its owner can, signed or not.
func (o *officers) forge(kind store.ActivationKind, digest, proposal, by string) {
	o.t.Helper()
	o.sql(`insert into meridian.activation (seq, digest, kind, proposal, reason, by)
		select coalesce(max(seq), 0) + 1, '` + digest + `', '` + string(kind) + `', '` + proposal + `', 'a forgery', '` + by + `' from meridian.activation`)
}

// keep keeps a bundle as anybody can who writes to the database.
func (o *officers) keep(b *policy.Bundle) *policy.Bundle {
	o.t.Helper()
	if err := o.store.Tx(o.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.AddBundle(ctx, store.Bundle{Digest: b.Digest(), Files: b.Modules(), Version: "v0.9"})
	}); err != nil {
		o.t.Fatal(err)
	}
	return b
}

// signedBy adds a signature to the database as its owner can.
func (o *officers) signedBy(s access.Signed, key string, proposal string) {
	o.t.Helper()
	st, err := signed.Parse(s.Statement)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := o.store.Tx(o.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.AddSignature(ctx, store.Signature{
			ID: st.ID(), Purpose: string(st.Purpose), About: st.About, Proposal: proposal, Statement: s.Statement, Signature: s.Signature,
			Key: key, Subject: "officer.b@amer", Department: "credit",
		})
	}); err != nil {
		o.t.Fatal(err)
	}
}

func (o *officers) keyOf(name string) string {
	return signed.KeyID(o.keys[name].Public().(ed25519.PublicKey))
}

// TestNothingUnprovenDecides: whatever whoever owns the database writes into it,
// no policy decides that two officers did not sign for this moment. It decides
// nothing on any replica, and is said to have no proof; an officer goes back,
// and then everything is as before.
func TestNothingUnprovenDecides(t *testing.T) {
	t.Parallel()
	leaking := func(o *officers) *policy.Bundle { return o.keep(sharper(o.t, "leaking")) }
	for name, c := range map[string]struct {
		forge func(o *officers)
		says  string
	}{
		"no proposal": {func(o *officers) {
			o.forge(store.ActivationOfficers, leaking(o).Digest(), "", "officer.a@amer")
		}, "no proposal"},
		"a proposal with one signature": {func(o *officers) {
			p := o.must(o.propose("a", sharper(o.t, "leaking")))
			o.forge(store.ActivationOfficers, p.About, p.ID, "officer.a@amer")
		}, "nobody approved"},
		"a second signature of the same department, written as of another": {func(o *officers) {
			p := o.must(o.propose("a", sharper(o.t, "leaking")))
			o.signedBy(o.sign("c", o.approval(p)), o.keyOf("c"), p.ID)
			o.forge(store.ActivationOfficers, p.About, p.ID, "officer.a@amer")
		}, "both of legal"},
		"both signatures of one officer": {func(o *officers) {
			p := o.must(o.propose("a", sharper(o.t, "leaking")))
			o.signedBy(o.sign("a", o.approval(p)), o.keyOf("a"), p.ID)
			o.forge(store.ActivationOfficers, p.About, p.ID, "officer.a@amer")
		}, "both signatures"},
		"a signature that was changed": {func(o *officers) {
			p := o.must(o.propose("a", sharper(o.t, "leaking")))
			s := o.sign("b", o.approval(p))
			s.Signature = slices.Clone(s.Signature)
			s.Signature[5] ^= 1
			o.signedBy(s, o.keyOf("b"), p.ID)
			o.forge(store.ActivationOfficers, p.About, p.ID, "officer.a@amer")
		}, "does not fit its statement"},
		"a key that the owner of the database let in": {func(o *officers) {
			p := o.must(o.propose("a", sharper(o.t, "leaking")))
			public, private, err := ed25519.GenerateKey(nil)
			if err != nil {
				o.t.Fatal(err)
			}
			o.keys["z"] = private
			o.sql(`insert into meridian.officer_key (id, subject, department, public_key, valid_from, valid_to) values ('` + signed.KeyID(public) + `', 'officer.b@amer', 'credit', '\x` +
				hex.EncodeToString(public) + `', now() - interval '1 day', '9999-12-31')`)
			o.signedBy(o.sign("z", o.approval(p)), o.keyOf("z"), p.ID)
			o.forge(store.ActivationOfficers, p.About, p.ID, "officer.a@amer")
		}, "not of the operator"},
		"an approval that a revoked key gave": {func(o *officers) {
			o.revoke("a", "b")
			p := o.must(o.propose("a", sharper(o.t, "leaking")))
			o.signedBy(o.sign("b", o.approval(p)), o.keyOf("b"), p.ID)
			o.forge(store.ActivationOfficers, p.About, p.ID, "officer.a@amer")
		}, "had been revoked"},
		"both signatures, for another moment": {func(o *officers) {
			p := o.must(o.propose("a", sharper(o.t, "leaking")))
			if err := o.approve("b", p); err != nil {
				o.t.Fatal(err)
			}
			o.put(sharper(o.t, "since"))
			o.forge(store.ActivationOfficers, p.About, p.ID, "officer.a@amer")
		}, "to follow activation"},
		"both signatures, for another bundle": {func(o *officers) {
			p := o.must(o.propose("a", sharper(o.t, "fine")))
			if err := o.approve("b", p); err != nil {
				o.t.Fatal(err)
			}
			o.forge(store.ActivationOfficers, leaking(o).Digest(), p.ID, "officer.a@amer")
		}, "another bundle"},
		"a rollback that nobody signed": {func(o *officers) {
			o.forge(store.ActivationRollback, policy.Embedded().Digest(), "", "officer.a@amer")
		}, "no officer signed"},
		"a signed rollback to what was never in force": {func(o *officers) {
			b := leaking(o)
			o.signedBy(o.sign("b", o.statement(signed.Rollback, b.Digest())), o.keyOf("b"), "")
			o.forge(store.ActivationRollback, b.Digest(), "", "officer.b@amer")
		}, "does not bring back"},
		"an upgrade to what the product never brought": {func(o *officers) {
			o.forge(store.ActivationUpgrade, leaking(o).Digest(), "", "")
		}, "does not know bundle"},
		"an upgrade over what officers chose": {func(o *officers) {
			o.forge(store.ActivationUpgrade, policy.Embedded().Digest(), "", "")
		}, "does not replace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOfficers(t)
			rec := o.account("CA", "Energy")
			o.activate(sharper(t, "in force"))
			if !o.sees("rep.west@amer", rec) {
				t.Fatal("the representative sees nothing to begin with")
			}
			c.forge(o)
			in, err := o.store.Active(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for replica, door := range map[string]*access.Door{"this replica": o.door, "one that starts": o.replica()} {
				_, err := door.Get(t.Context(), caller("rep.west@amer"), "account", []crm.RecordID{rec.ID})
				if crm.KindOf(err) != crm.Unavailable || !strings.Contains(err.Error(), "nothing proves") {
					t.Errorf("%s answers: %v", replica, err)
				}
			}
			if o.door.PolicyUnproven() != in.Seq {
				t.Errorf("the metric says %d", o.door.PolicyUnproven())
			}
			life, err := o.door.PolicyLife(t.Context(), o.called("a"), 0)
			if err != nil || !strings.Contains(life.Unproven[in.Seq], c.says) || len(life.WayBack.Targets) == 0 {
				t.Fatalf("the history says %q, not %q: %v", life.Unproven[in.Seq], c.says, err)
			}
			found, err := o.door.VerifyDecisions(t.Context(), o.called("a"), "")
			if err != nil || !found.Stopped || len(found.Unproven) != 1 || found.Unproven[0].Seq != in.Seq || !strings.Contains(found.Unproven[0].Why, c.says) {
				t.Errorf("audit verify: %+v, %v", found.Unproven, err)
			}
			if err := o.back("a", life.WayBack.Targets[0]); err != nil {
				t.Fatalf("no way back: %v", err)
			}
			if !o.sees("rep.west@amer", rec) || o.door.PolicyUnproven() != 0 {
				t.Error("nothing is as it was after the rollback")
			}
			if found, err := o.door.VerifyDecisions(t.Context(), o.called("a"), ""); err != nil || found.Stopped || len(found.Unproven) != 1 {
				t.Errorf("audit verify after the rollback: %+v, %v", found.Unproven, err)
			}
		})
	}
}

// TestOfficersActivateOverWhatHasNoProof: a proposal made while nothing decides
// takes force with its two signatures.
func TestOfficersActivateOverWhatHasNoProof(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	rec := o.account("CA", "Energy")
	o.forge(store.ActivationOfficers, o.keep(sharper(t, "leaking")).Digest(), "", "officer.a@amer")
	fine := sharper(t, "fine")
	p := o.must(o.propose("a", fine))
	if !strings.Contains(string(p.Report), "decides nothing") {
		t.Errorf("the second officer is not told: %s", p.Report)
	}
	if err := o.approve("b", p); err != nil {
		t.Fatal(err)
	}
	if _, err := o.door.Activate(t.Context(), o.called("b"), p.ID, "", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if o.inForce().Digest() != fine.Digest() || !o.sees("rep.west@amer", rec) {
		t.Error("it does not decide")
	}
}

// TestKeysThatOfficersEnrolled prove what they sign as the operator's do, until
// a link of the chain is not there.
func TestKeysThatOfficersEnrolled(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	rec := o.account("CA", "Energy")
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	k := signed.Key{Subject: subject("b"), Department: "credit", Public: public, Until: time.Now().AddDate(1, 0, 0)}
	k.Until = k.Until.UTC().Truncate(time.Second)
	p := o.must(o.door.ProposeKey(t.Context(), o.called("a"), k, "another laptop", o.sign("a", o.statement(signed.Enroll, k.Digest()))))
	if err := o.approve("b", p); err != nil {
		t.Fatal(err)
	}
	o.keys["b"] = private
	fine := sharper(t, "fine")
	o.activate(fine)
	o.trust() // a restart
	if !o.sees("rep.west@amer", rec) || o.inForce().Digest() != fine.Digest() {
		t.Error("what an enrolled key signed is not in force")
	}
	o.sql(`alter table meridian.proposal disable trigger append_only;
		update meridian.proposal set content = jsonb_set(content, '{Department}', '"legal"') where purpose = 'enroll'`)
	o.trust()
	if _, err := o.get("rep.west@amer", rec); crm.KindOf(err) != crm.Unavailable {
		t.Errorf("the key's enrolment was changed, and it still proves: %v", err)
	}
}

// TestTheOperatorsWordCounts: a key that the operator does not name any more
// proves nothing, and one that ended proves what it signed before.
func TestTheOperatorsWordCounts(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	rec := o.account("CA", "Energy")
	fine := sharper(t, "fine")
	o.activate(fine)
	all := slices.Clone(o.trusted)
	a := slices.IndexFunc(all, func(k store.TrustedKey) bool { return k.Subject == subject("a") })
	o.trusted = slices.Clone(all)
	_, now, err := o.store.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o.trusted[a].Until = now
	o.trust()
	if !o.sees("rep.west@amer", rec) {
		t.Error("the officer left, and what they had signed does not hold any more")
	}
	if _, err := o.propose("a", sharper(t, "next")); crm.KindOf(err) != crm.Denied {
		t.Errorf("a key signs after its end: %v", err)
	}
	o.trusted = slices.Delete(slices.Clone(all), a, a+1)
	o.trust()
	if _, err := o.get("rep.west@amer", rec); crm.KindOf(err) != crm.Unavailable {
		t.Errorf("proven by a key that the operator does not name: %v", err)
	}
}

// TestDeliveries: what the product brought decides, that of another version if
// the operator says so.
func TestDeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	later := sharper(t, "of a later version")
	for _, b := range []*policy.Bundle{policy.Embedded(), later} {
		if _, err := w.store.Adopt(t.Context(), store.Bundle{Digest: b.Digest(), Files: b.Modules(), Version: "v9"}); err != nil {
			t.Fatal(err)
		}
		_, err := w.get("rep.west@amer", rec)
		if b == later {
			if crm.KindOf(err) != crm.Unavailable {
				t.Errorf("decided by a bundle that nobody vouches for: %v", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("the shipped bundle: %v", err)
		}
	}
	engine, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	told := access.New(access.Config{Instance: "amer", Store: w.store, Engine: engine, Delivered: []string{later.Digest()}})
	if _, err := told.Get(t.Context(), caller("rep.west@amer"), "account", []crm.RecordID{rec.ID}); err != nil {
		t.Errorf("the operator vouches for it: %v", err)
	}
}

// TestActivationsThatComeLate are not carried out.
func TestActivationsThatComeLate(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	before := o.inForce().Digest()
	p := o.must(o.propose("a", sharper(t, "one")))
	if err := o.approve("b", p); err != nil {
		t.Fatal(err)
	}
	_, now, err := o.store.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.door.Activate(t.Context(), o.called("b"), p.ID, "", now); crm.KindOf(err) != crm.Stale || o.inForce().Digest() != before {
		t.Errorf("carried out late: %v", err)
	}
	if _, err := o.door.Activate(t.Context(), o.called("b"), p.ID, "", now.Add(time.Hour)); err != nil {
		t.Errorf("in time: %v", err)
	}
}

// TestChangedBytesAreNotHandedOut under the digest of what they were: neither
// as files, nor to compare with, nor to sign.
func TestChangedBytesAreNotHandedOut(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	p := o.must(o.propose("a", sharper(t, "one")))
	o.sql(`alter table meridian.bundle disable trigger append_only;
		update meridian.bundle set files = jsonb_set(files, '{actions.rego}', to_jsonb((files->>'actions.rego') || ' ')) where digest = '` + p.About + `'`)
	for what, err := range map[string]error{
		"files":   errorOf(o.door.BundleNamed(t.Context(), o.called("a"), p.About[:12])),
		"impact":  errorOf(o.door.Impact(t.Context(), o.called("a"), access.ImpactRequest{Candidate: access.Candidate{Digest: p.About}}, nil)),
		"approve": o.approve("b", p),
	} {
		if crm.KindOf(err) != crm.Conflict || !strings.Contains(err.Error(), "does not fit its digest") || !strings.Contains(err.Error(), p.About[:12]) || strings.Contains(err.Error(), "in force") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if again := o.must(o.door.Proposal(t.Context(), o.called("a"), p.ID)); len(again.Signatures) != 1 {
		t.Error("the approval is kept")
	}
	o.sql(`update meridian.bundle set files = jsonb_set(files, '{actions.rego}', to_jsonb((files->>'actions.rego') || ' ')) where digest = '` + o.inForce().Digest() + `'`)
	if _, err := o.door.BundleNamed(t.Context(), o.called("a"), ""); err == nil || !strings.Contains(err.Error(), "does not fit its digest") {
		t.Errorf("the bundle in force, changed, is handed out as what it was: %v", err)
	}
}

func errorOf[T any](_ T, err error) error { return err }
