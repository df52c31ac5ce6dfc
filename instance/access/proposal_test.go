package access_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/access/accesstest"
	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
	"meridian/policy"
)

// officers are people with keys at amer: a and c of legal, b of credit.
type officers struct {
	*world
	keys map[string]ed25519.PrivateKey
}

func newOfficers(t *testing.T) *officers {
	o := &officers{world: newWorld(t), keys: map[string]ed25519.PrivateKey{}}
	o.facts.Subjects = slices.DeleteFunc(slices.Clone(o.facts.Subjects), func(s store.SubjectFact) bool { return s.ID == "officer.a@amer" })
	for name, department := range map[string]string{"a": "legal", "b": "credit", "c": "legal"} {
		o.facts.Subjects = append(o.facts.Subjects, store.SubjectFact{
			ID: subject(name), Kind: crm.KindPerson, Roles: []string{"officer"}, Departments: []string{department},
		})
	}
	o.reconcile()
	o.put(policy.Embedded())
	for _, name := range []string{"a", "b", "c"} {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		o.keys[name] = private
		o.trusted = append(o.trusted, store.TrustedKey{ID: signed.KeyID(public), Subject: subject(name), Public: public, Until: crm.Forever})
	}
	o.trust()
	return o
}

func subject(name string) crm.SubjectID { return crm.SubjectID("officer." + name + "@amer") }

func (o *officers) called(name string) crm.Caller { return o.world.called(subject(name)) }

// statement is one about what is in force now, good for a day.
func (o *officers) statement(purpose signed.Purpose, about string) signed.Statement {
	o.t.Helper()
	now, err := o.store.Active(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	return signed.Statement{
		Purpose: purpose, About: about, Expires: time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second),
		Places: []signed.Place{{Instance: "amer", After: now.Seq, Base: now.Digest}},
	}
}

func (o *officers) sign(name string, s signed.Statement) access.Signed {
	text, signature := s.Sign(o.keys[name])
	return access.Signed{Statement: text, Signature: signature}
}

func (o *officers) propose(name string, b *policy.Bundle) (store.Proposal, error) {
	return o.door.Propose(o.t.Context(), o.called(name), b.Modules(), "a test", o.sign(name, o.statement(signed.Propose, b.Digest())))
}

func (o *officers) approval(p store.Proposal) signed.Statement {
	s := o.statement(signed.Approve, p.About)
	s.Proposal = p.ID
	return s
}

func (o *officers) approve(name string, p store.Proposal) error {
	_, err := o.door.Approve(o.t.Context(), o.called(name), p.ID, o.sign(name, o.approval(p)))
	return err
}

func (o *officers) must(p store.Proposal, err error) store.Proposal {
	o.t.Helper()
	if err != nil {
		o.t.Fatalf("%v %v", err, crm.Public(err).Reasons)
	}
	return p
}

// sharper lets representatives see less: a change that officers could make,
// with the tests that go with it.
func sharper(t testing.TB, n string) *policy.Bundle {
	t.Helper()
	files := policy.Embedded().Modules()
	files["residency.rego"] += "\n# " + n + "\n"
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLifeOfABundle: proposed by one, approved by another, activated, rolled
// back; what is in force is what was signed, at every step.
func TestLifeOfABundle(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	first := o.inForce().Digest()
	b := sharper(t, "one")
	p := o.must(o.propose("a", b))
	if _, err := o.door.Activate(t.Context(), o.called("a"), p.ID, "", time.Time{}); crm.KindOf(err) != crm.Denied || !strings.Contains(err.Error(), "one signature") {
		t.Errorf("activated with one signature: %v", err)
	}
	if err := o.approve("b", p); err != nil {
		t.Fatal(err)
	}
	if o.inForce().Digest() != first {
		t.Error("an approved bundle is in force before it was activated")
	}
	done, err := o.door.Activate(t.Context(), o.called("b"), p.ID[:12], "on with it", time.Time{})
	if err != nil || done.Digest != b.Digest() || done.Proposal != p.ID || o.inForce().Digest() != b.Digest() {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := o.door.Activate(t.Context(), o.called("a"), p.ID, "", time.Time{}); crm.KindOf(err) != crm.Conflict {
		t.Errorf("activated twice: %v", err)
	}
	back := o.sign("b", o.statement(signed.Rollback, first))
	if done, err = o.door.Rollback(t.Context(), o.called("b"), first, "it was wrong", back); err != nil || done.Kind != store.ActivationRollback {
		t.Fatalf("%+v, %v", done, err)
	}
	if o.inForce().Digest() != first {
		t.Error("not rolled back")
	}
	if _, err := o.door.Rollback(t.Context(), o.called("b"), first, "again", back); err == nil {
		t.Error("the signature of a rollback was used twice")
	}
	life, err := o.door.PolicyLife(t.Context(), o.called("a"), 0)
	if err != nil || len(life.Activations) != 3 || life.Activations[0].Kind != store.ActivationRollback || life.Activations[1].Proposal != p.ID {
		t.Errorf("%+v, %v", life, err)
	}
	for _, action := range []string{"policy.propose", "policy.approve", "policy.activate", "policy.rollback"} {
		ds, err := o.door.Decisions(t.Context(), o.called("a"), store.DecisionQuery{Action: action, Limit: 10})
		if err != nil || !slices.ContainsFunc(ds, func(d store.Decision) bool { return d.Allowed }) {
			t.Errorf("%s is not in the decision log: %v", action, err)
		}
	}
}

// TestSignaturesThatDoNotCount: each is refused with words that say what to do,
// leaves nothing behind, and is in the decision log.
func TestSignaturesThatDoNotCount(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	b := sharper(t, "one")
	p := o.must(o.propose("a", b))
	stranger := ed25519.NewKeyFromSeed(make([]byte, 32))
	alter := func(f func(*signed.Statement)) access.Signed {
		s := o.approval(p)
		f(&s)
		return o.sign("b", s)
	}
	flipped := alter(func(*signed.Statement) {})
	flipped.Signature = slices.Clone(flipped.Signature)
	flipped.Signature[7] ^= 1
	edited := alter(func(*signed.Statement) {})
	edited.Statement = strings.Replace(edited.Statement, "place amer 1 ", "place amer 2 ", 1)
	foreign, signature := o.approval(p).Sign(stranger)
	for name, c := range map[string]struct {
		by   string
		s    access.Signed
		says string
	}{
		"by the author again":        {"a", o.sign("a", o.approval(p)), "both signatures are of one key"},
		"of the same department":     {"c", o.sign("c", o.approval(p)), "answer for one department"},
		"with another's key":         {"b", o.sign("c", o.approval(p)), "sign for themselves"},
		"with a key nobody knows":    {"b", access.Signed{Statement: foreign, Signature: signature}, "no key"},
		"a flipped bit":              {"b", flipped, "does not fit"},
		"an edited statement":        {"b", edited, "does not fit"},
		"no statement":               {"b", access.Signed{Statement: "approve it", Signature: []byte("x")}, "not a statement"},
		"for another purpose":        {"b", alter(func(s *signed.Statement) { s.Purpose = signed.Rollback }), "does not serve"},
		"for another instance":       {"b", alter(func(s *signed.Statement) { s.Places[0].Instance = "emea" }), "other instances"},
		"about another bundle":       {"b", alter(func(s *signed.Statement) { s.About = o.inForce().Digest() }), "not what was sent"},
		"about another proposal":     {"b", alter(func(s *signed.Statement) { s.Proposal = strings.Repeat("0", 64) }), "approves proposal"},
		"after another activation":   {"b", alter(func(s *signed.Statement) { s.Places[0].After++ }), "another base"},
		"that expired":               {"b", alter(func(s *signed.Statement) { s.Expires = time.Now().Add(-time.Minute) }), "expired"},
		"good for ever":              {"b", alter(func(s *signed.Statement) { s.Expires = time.Now().AddDate(1, 0, 0) }), "at most"},
		"the author's own statement": {"a", access.Signed{Statement: p.Signatures[0].Statement, Signature: p.Signatures[0].Signature}, "does not serve"},
	} {
		_, err := o.door.Approve(t.Context(), o.called(c.by), p.ID, c.s)
		if kind := crm.KindOf(err); kind != crm.Denied && kind != crm.Invalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if again := o.must(o.door.Proposal(t.Context(), o.called("a"), p.ID)); len(again.Signatures) != 1 {
		t.Errorf("%d signatures are kept, want the author's alone", len(again.Signatures))
	}
	ds, err := o.door.Decisions(t.Context(), o.called("a"), store.DecisionQuery{Action: "policy.approve", Limit: 100})
	if err != nil || len(ds) != 15 || ds[0].Allowed || len(ds[0].Reasons) != 1 {
		t.Errorf("%d refusals are in the log, %v", len(ds), err)
	}
	for _, who := range []crm.SubjectID{"rep.west@amer", "ops@amer", "manager.us@amer"} {
		if _, err := o.door.Approve(t.Context(), caller(who), p.ID, o.sign("b", o.approval(p))); crm.KindOf(err) != crm.Denied {
			t.Errorf("%s approves: %v", who, err)
		}
		if _, err := o.door.Activate(t.Context(), caller(who), p.ID, "", time.Time{}); crm.KindOf(err) != crm.Denied {
			t.Errorf("%s activates: %v", who, err)
		}
	}
}

// TestSignaturesStopCounting: between approval and activation a key is revoked
// or expires, an officer leaves, the policy in force changes, a byte of the
// kept bundle changes: nothing of it is activated.
func TestSignaturesStopCounting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(*officers, store.Proposal)
		kind      crm.Kind
	}{
		"author's key revoked": {func(o *officers, _ store.Proposal) { o.revoke("b", "a") }, crm.Denied},
		"second key revoked":   {func(o *officers, _ store.Proposal) { o.revoke("a", "b") }, crm.Denied},
		"key expired": {func(o *officers, _ store.Proposal) {
			o.sql(`alter table meridian.officer_key disable trigger guarded; update meridian.officer_key set valid_from = now() - interval '2 days', valid_to = now() - interval '1 day' where subject = 'officer.b@amer'`)
		}, crm.Denied},
		"second officer changed to the author's department": {func(o *officers, _ store.Proposal) {
			o.alter("officer.b@amer", func(s *store.SubjectFact) { s.Departments = []string{"credit", "legal"} })
		}, crm.Denied},
		"author left": {func(o *officers, _ store.Proposal) {
			o.alter("officer.a@amer", func(s *store.SubjectFact) { s.Roles = []string{"rep"} })
		}, crm.Denied},
		"another bundle is in force": {func(o *officers, _ store.Proposal) { o.put(sharper(o.t, "two")) }, crm.Stale},
		"the same bundle came back": {func(o *officers, _ store.Proposal) {
			o.put(sharper(o.t, "two"))
			o.put(policy.Embedded())
		}, crm.Stale},
		"a byte of the bundle changed": {func(o *officers, p store.Proposal) {
			o.sql(`alter table meridian.bundle disable trigger append_only;
				update meridian.bundle set files = jsonb_set(files, '{actions.rego}', to_jsonb((files->>'actions.rego') || ' ')) where digest = '` + p.About + `'`)
		}, crm.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOfficers(t)
			p := o.must(o.propose("a", sharper(t, "one")))
			if err := o.approve("b", p); err != nil {
				t.Fatal(err)
			}
			c.meanwhile(o, p)
			before := o.inForce().Digest()
			if _, err := o.door.Activate(t.Context(), o.called("c"), p.ID, "", time.Time{}); crm.KindOf(err) != c.kind {
				t.Errorf("activated: %v, want %s", err, c.kind)
			}
			if o.inForce().Digest() != before {
				t.Error("another bundle is in force")
			}
		})
	}
}

// revoke ends whose key by another officer's signature.
func (o *officers) revoke(by, whose string) {
	o.t.Helper()
	id := signed.KeyID(o.keys[whose].Public().(ed25519.PublicKey))
	s := o.sign(by, o.statement(signed.Revoke, signed.Digest(id+"\nlost")))
	if err := o.door.RevokeKey(o.t.Context(), o.called(by), id, "lost", s); err != nil {
		o.t.Fatal(err)
	}
}

// TestProposalsThatAreRefused: what fails a check is not even kept, and every
// problem is told at once.
func TestProposalsThatAreRefused(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	o.account("CA", "Energy")
	with := func(path, text string) map[string]string {
		files := policy.Embedded().Modules()
		files[path] += text
		return files
	}
	for name, c := range map[string]struct {
		files map[string]string
		says  string
	}{
		"misspelt rule":      {with("territory.rego", "\nterritori(ask, _, _) if permitted(ask)\n"), "did you mean territory?"},
		"a clock":            {with("territory.rego", "\nterritory(_, _, _) if time.now_ns() > 0\n"), "time.now_ns"},
		"the network":        {with("territory.rego", "\nterritory(_, _, _) if http.send({\"method\": \"get\", \"url\": \"http://x\"}).status_code == 200\n"), "http.send"},
		"no test":            {with("territory.rego", "\nterritory(ask, record, _) if {\n\tpermitted(ask)\n\trecord.owner == \"x\"\n\trecord.home == \"y\"\n}\n"), "holds in no test"},
		"not formatted":      {with("territory.rego", "\n\n\n\n# x\n"), "policy fmt"},
		"a test fails":       {with("service_test.rego", "\ntest_wrong if 1 == 2\n"), "test_wrong"},
		"everything visible": {with("territory.rego", "\nterritory(_, _, _) := true\n"), "territory"},
		"the one in force":   {policy.Embedded().Modules(), "nothing to propose"},
	} {
		b, err := policy.NewBundle(c.files)
		if err != nil {
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", name, err, c.says)
			}
			continue
		}
		_, err = o.propose("a", b)
		if crm.KindOf(err) != crm.Invalid || !strings.Contains(strings.Join(crm.Public(err).Reasons, "\n"), c.says) {
			t.Errorf("%s: %v %v, want %q", name, err, crm.Public(err).Reasons, c.says)
		}
		if _, known, err := o.store.Bundle(t.Context(), b.Digest()); known != (name == "the one in force") || err != nil {
			t.Errorf("%s: kept: %v, %v", name, known, err)
		}
	}
}

// TestProposalsTellWhatTheyChange: the second officer reads with a proposal who
// would gain and lose what.
func TestProposalsTellWhatTheyChange(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	o.account("CA", "Energy")
	files := policy.Embedded().Modules()
	files["grounds.rego"] = strings.Replace(files["grounds.rego"], "grounds := {", `grounds := {
	"energy": {"effect": "closes", "text": "energy companies are closed"},`, 1)
	files["energy.rego"] = "package meridian.rules\n\nenergy(_, record, _) if startswith(record.segment, \"Energy\")\n"
	files["energy_test.rego"] = `package meridian.energy_test

import data.meridian.rules

test_energy_is_closed if rules.energy({}, {"segment": "Energy/Oil"}, "")
`
	files, err := policy.Format(files)
	if err != nil {
		t.Fatal(err)
	}
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	var report access.Report
	if err := json.Unmarshal(o.must(o.propose("a", b)).Report, &report); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(report.Checks, func(c access.Check) bool { return c.Name == "impact" })
	if at < 0 || !strings.Contains(report.Checks[at].Detail, "rep.west@amer: account loses 1 of 1") {
		t.Errorf("%+v", report.Checks)
	}
}

// TestDroppedInvariantsAreShown: whoever approves is told which promises of the
// bundle in force a proposal does not make any more.
func TestDroppedInvariantsAreShown(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	files := policy.Embedded().Modules()
	delete(files, "invariants_test.rego")
	report, err := o.door.Examine(t.Context(), o.called("a"), files)
	if err != nil || !report.Passed() || len(report.Warnings) < 4 || !strings.Contains(report.Warnings[0], "is dropped") {
		t.Errorf("%+v, %v", report, err)
	}
	files = maps.Clone(policy.Embedded().Modules())
	files["invariants_test.rego"] = strings.Replace(files["invariants_test.rego"], `["DE", "FR", "CN", "unassigned"]`, `["DE"]`, 1)
	if report, err = o.door.Examine(t.Context(), o.called("a"), files); err != nil || len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], "worded otherwise") {
		t.Errorf("%+v, %v", report.Warnings, err)
	}
}

// TestKeysNeedTwoOfficers: a key is enrolled by two signatures, serves from then
// on, and never comes back once it is revoked.
func TestKeysNeedTwoOfficers(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	k := signed.Key{Subject: subject("c"), Department: "legal", Public: public, Until: time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)}
	enroll := func() (store.Proposal, error) {
		return o.door.ProposeKey(t.Context(), o.called("a"), k, "new laptop", o.sign("a", o.statement(signed.Enroll, k.Digest())))
	}
	p := o.must(enroll())
	old := o.keys["c"]
	o.keys["c"] = private
	b := sharper(t, "one")
	if _, err := o.propose("c", b); crm.KindOf(err) != crm.Denied || !strings.Contains(err.Error(), "no key") {
		t.Errorf("a key with one signature serves: %v", err)
	}
	o.keys["c"] = old
	if err := o.approve("c", p); crm.KindOf(err) != crm.Denied {
		t.Errorf("approved within one department: %v", err)
	}
	if err := o.approve("b", p); err != nil {
		t.Fatal(err)
	}
	o.keys["c"] = private
	o.must(o.propose("c", b))
	o.revoke("b", "c")
	if _, err := o.propose("c", sharper(t, "two")); crm.KindOf(err) != crm.Denied || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a revoked key serves: %v", err)
	}
	p = o.must(enroll())
	if err := o.approve("b", p); crm.KindOf(err) != crm.Conflict {
		t.Errorf("a revoked key came back: %v", err)
	}
	wrong := k
	wrong.Department = "credit"
	_, err = o.door.ProposeKey(t.Context(), o.called("a"), wrong, "", o.sign("a", o.statement(signed.Enroll, wrong.Digest())))
	wantKind(t, err, crm.Invalid, "department")
	over := k
	over.Until = time.Now().Add(-time.Minute)
	_, err = o.door.ProposeKey(t.Context(), o.called("a"), over, "", o.sign("a", o.statement(signed.Enroll, over.Digest())))
	wantKind(t, err, crm.Invalid, "until")
	err = o.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.AddOfficerKey(ctx, store.OfficerKey{ID: signed.KeyID(public) + "x", Subject: over.Subject, Department: "legal", Public: public, Proposal: p.ID, To: over.Until})
	})
	if crm.KindOf(err) != crm.Invalid || strings.Contains(err.Error(), "_") { // the belt below, in words
		t.Errorf("a key that ends before it begins: %v", err)
	}
	keys, err := o.door.OfficerKeys(t.Context(), o.called("a"))
	if err != nil || len(keys) != 4+len(accesstest.Trusted()) {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	// What the operator takes from the configuration is over too.
	if err := o.store.TrustKeys(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := o.propose("a", sharper(t, "three")); crm.KindOf(err) != crm.Denied || !strings.Contains(err.Error(), "operator") {
		t.Errorf("a key that the operator does not name any more serves: %v", err)
	}
}
