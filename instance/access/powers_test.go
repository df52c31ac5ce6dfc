package access_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/policy"
)

// edited is the shipped bundle with texts of files put in place of others, and
// the tests that go with them dropped.
func edited(t testing.TB, edits ...string) map[string]string {
	t.Helper()
	files := policy.Embedded().Modules()
	for i := 0; i < len(edits); i += 3 {
		path, old := edits[i], edits[i+1]
		if !strings.Contains(files[path], old) {
			t.Fatalf("no %q in %s", old, path)
		}
		files[path] = strings.Replace(files[path], old, edits[i+2], 1)
	}
	return files
}

func names(list []crm.Permission) (out []string) {
	for _, p := range list {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

const repsGain = `	"rep": {"audit.read", "explain.any", "fact.write", "agreement.write", "policy.activate", "policy.approve", "policy.propose"},
	"manager": {"breakglass"},`

// TestImpactSaysWhoMayMore: what service.rego gives to a role is said of all
// who have it, and of nobody else, and so is what it takes.
func TestImpactSaysWhoMayMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := edited(t, "service.rego", `	"manager": {"breakglass"},`, repsGain, "service.rego", `"loader": {"load.run"}`, `"loader": set()`)
	personas, sum := w.impact(files)
	want := []string{"agreement.write", "audit.read", "explain.any", "fact.write", "policy.activate", "policy.approve", "policy.propose"}
	for _, s := range w.facts.Subjects {
		p, rep, loader := personas[s.ID], slices.Contains(s.Roles, "rep"), slices.Contains(s.Roles, "loader")
		if got := names(p.Powers.Gained); rep != slices.Equal(got, want) || !rep && len(got) > 0 {
			t.Errorf("%s gains %v", s.ID, got)
		}
		if got := names(p.Powers.Lost); loader != slices.Equal(got, []string{"load.run"}) || !loader && len(got) > 0 {
			t.Errorf("%s loses %v", s.ID, got)
		}
		if len(p.Entities) > 0 || len(p.OtherActions) > 0 {
			t.Errorf("%s: no record changes, and %+v", s.ID, p)
		}
	}
	maps.DeleteFunc(personas, func(id crm.SubjectID, _ access.PersonaImpact) bool { return strings.Contains(string(id), ":") }) // who stands in
	if len(personas) != 6 || len(sum.Warnings) != 1 || !strings.Contains(sum.Warnings[0], "policy diff shows") {
		t.Errorf("%+v", sum)
	}
}

// TestImpactSaysWhatLimitsAllow: limits that are let out are said with their
// values, of those whom they bind.
func TestImpactSaysWhatLimitsAllow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd()
	files := edited(t, "limits.rego", `"default_days": 30, "longest_days": 365`, `"default_days": 90, "longest_days": 3650`,
		"limits.rego", `"longest_minutes": 60`, `"longest_minutes": 6000`, "limits.rego", `"reason": 10`, `"reason": 0`)
	personas, _ := w.impact(files)
	share := access.LimitShift{Limit: "share", Before: "up to 365 days", After: "up to 3650 days", Looser: true}
	unended := access.LimitShift{Limit: "judgement without an end", Before: "30 days", After: "90 days", Looser: true}
	rep := personas["rep.west@amer"].Limits
	if !slices.Contains(rep, share) || !slices.Contains(rep, unended) || slices.ContainsFunc(rep, func(l access.LimitShift) bool { return strings.Contains(l.Limit, "glass") }) {
		t.Errorf("a representative: %+v", rep)
	}
	manager := personas["manager.us@amer"].Limits
	for _, l := range []access.LimitShift{
		share, unended, {Limit: "broken glass", Before: "up to 60 minutes", After: "up to 6000 minutes", Looser: true},
		{Limit: "broken glass without an end", Before: "60 minutes", After: "6000 minutes", Looser: true},
		{Limit: "reason of a broken glass", Before: "from 10 characters", After: "allowed, however many characters", Looser: true},
	} {
		if !slices.Contains(manager, l) {
			t.Errorf("a manager: %+v is missing of %+v", l, manager)
		}
	}
	for _, id := range []crm.SubjectID{"ops@amer", "loader@amer", "officer.a@amer"} { // who judges nothing
		if p, ok := personas[id]; ok {
			t.Errorf("%s: %+v", id, p)
		}
	}
	// A limit about one group, one role or oneself is said as that.
	files = edited(t, "limits.rego", "\tgrant.days > judgements.longest_days\n", "\tgrant.days > judgements.longest_days\n\tnot \"personal\" in grant.groups\n",
		"limits.rego", "\tlimit == \"own\"\n\tedit.subject == officer.id", "\tlimit == \"own\"\n\tedit.subject == officer.id\n\tnot \"officer\" in officer.roles")
	personas, _ = w.impact(files)
	if got := personas["rep.west@amer"].Limits; len(got) != 1 || got[0].Limit != "share of group personal" || got[0].After != "allowed, however many days" || !got[0].Looser {
		t.Errorf("%+v", got)
	}
	if got := personas["officer.a@amer"].Limits; len(got) != 4 || !strings.HasSuffix(got[0].Limit, "about oneself") || got[0].After != "allowed" {
		t.Errorf("%+v", got)
	}
}

// TestPermissionsChangeExactlyWhenAnswersDo: over random edits of who may what,
// impact names a permission for a subject if and only if Permit answers
// otherwise, and nothing is said to change if nothing does.
func TestPermissionsChangeExactlyWhenAnswersDo(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	w := newWorld(t)
	in := w.inForce()
	roles := []string{"rep", "manager", "reader", "officer", "ops", "loader"}
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	var permissions []string
	for _, p := range crm.Permissions() {
		permissions = append(permissions, p.Name)
	}
	r.Shuffle(len(permissions), func(i, j int) { permissions[i], permissions[j] = permissions[j], permissions[i] })
	changed := 0
	for batch := range slices.Chunk(permissions, 6) {
		var said strings.Builder
		for _, name := range batch { // each of them once, at least
			fmt.Fprintf(&said, "\npermit(subject, %q) if %q in subject.roles\n", name, pick(roles))
		}
		for range r.IntN(3) {
			fmt.Fprintf(&said, "\npermit(subject, permission) if {\n\t%q in subject.roles\n\tpermission == %q\n}\n", pick(roles), pick(permissions))
		}
		if r.IntN(2) == 0 {
			fmt.Fprintf(&said, "\npermit(subject, %q) if subject.kind == %q\n", pick(permissions), pick([]string{"person", "service", "instance"}))
		}
		files := policy.Embedded().Modules()
		files["service.rego"] += said.String()
		if r.IntN(2) == 0 {
			files["service.rego"] = strings.ReplaceAll(files["service.rego"], `"`+pick(permissions)+`", `, "")
		}
		b, err := policy.NewBundle(files)
		if err != nil {
			t.Fatal(err)
		}
		engine, err := policy.New(t.Context(), b, w.store.Definitions()...)
		if err != nil {
			t.Fatal(err)
		}
		personas, sum := w.impact(files)
		differing := 0
		for _, s := range w.facts.Subjects {
			subject, _, err := w.store.Subject(t.Context(), s.ID)
			if err != nil {
				t.Fatal(err)
			}
			var gained, lost []string
			for _, name := range permissions {
				was, err := in.Permit(t.Context(), subject, name)
				if err != nil {
					t.Fatal(err)
				}
				is, err := engine.Permit(t.Context(), subject, name)
				if err != nil {
					t.Fatal(err)
				}
				if is && !was {
					gained = append(gained, name)
				}
				if was && !is {
					lost = append(lost, name)
				}
			}
			slices.Sort(gained)
			slices.Sort(lost)
			p := personas[s.ID]
			if !slices.Equal(names(p.Powers.Gained), gained) || !slices.Equal(names(p.Powers.Lost), lost) {
				t.Errorf("%s: impact %v and %v, answers %v and %v, under\n%s", s.ID, names(p.Powers.Gained), names(p.Powers.Lost), gained, lost, said.String())
			}
			if len(gained)+len(lost) > 0 {
				differing++
			}
		}
		others := 0 // contracts, and those who stand in
		for id := range personas {
			if strings.Contains(string(id), ":") {
				others++
			}
		}
		if changed += differing; sum.Differing != int64(differing+others) {
			t.Errorf("%d differ, want %d and %d who are nobody here", sum.Differing, differing, others)
		}
		if quiet := len(personas) == 0 && len(sum.Warnings) == 0; quiet && len(policy.Reworded(in.Bundle(), b)) > 0 {
			t.Errorf("nothing is said of\n%s", said.String())
		}
	}
	if changed == 0 {
		t.Error("no edit changed anything")
	}
}

// TestImpactNeverSaysNothingOfSomething: a rule that tells nobody here apart
// now, a promise dropped, a persona gone: the reader of an impact is told, and
// so is whoever approves. Of a comment there is nothing to tell.
func TestImpactNeverSaysNothingOfSomething(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	fired := edited(t, "service.rego", "\tpermission in role_permissions[role]\n", "\tpermission in role_permissions[role]\n\tsubject.kind != \"nobody\"\n",
		"personas.json", `"new hire"`, `"newcomer"`, "invariants_test.rego", `["DE", "FR", "CN", "unassigned"]`, `["DE"]`)
	personas, sum := o.impact(fired)
	said := strings.Join(sum.Warnings, "\n")
	for _, want := range []string{"service.rego: permit", "persona new hire is gone", "test_residency_is_for_every_jurisdiction is worded otherwise"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said: %s", want, said)
		}
	}
	if len(personas) != 0 {
		t.Errorf("%+v", personas)
	}
	if _, sum := o.impact(sharper(t, "a comment").Modules()); len(sum.Warnings) != 0 {
		t.Errorf("of a comment: %v", sum.Warnings)
	}
	formatted, err := policy.Format(fired)
	if err != nil {
		t.Fatal(err)
	}
	b, err := policy.NewBundle(formatted)
	if err != nil {
		t.Fatal(err)
	}
	var report access.Report
	if err := json.Unmarshal(o.must(o.propose("a", b)).Report, &report); err != nil {
		t.Fatal(err)
	}
	if told := strings.Join(report.Warnings, "\n"); !strings.Contains(told, "persona new hire is gone") || !strings.Contains(told, "service.rego: permit") || !strings.Contains(told, "is worded otherwise") {
		t.Errorf("the second officer is told %s", told)
	}
}

// TestImpactSaysWhoLocksThemselvesOut: a policy that nobody could change or roll
// back any more is said to be one.
func TestImpactSaysWhoLocksThemselvesOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, sum := w.impact(edited(t, "service.rego", `"policy.activate", `, ""), "banker@amer")
	if len(sum.Warnings) == 0 || !strings.Contains(sum.Warnings[0], "nobody would hold policy.activate any more") {
		t.Errorf("%v", sum.Warnings)
	}
	if personas, sum := w.impact(edited(t, "service.rego", `"policy.deny",`, ""), "officer.a@amer"); strings.Contains(strings.Join(sum.Warnings, ""), "nobody would hold") || len(personas) != 1 {
		t.Errorf("%v %+v", sum.Warnings, personas)
	}
}

// TestProposalsTellWhoMayMore: the second officer reads it before all else.
func TestProposalsTellWhoMayMore(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	b, err := policy.NewBundle(o.repsAsOfficers())
	if err != nil {
		t.Fatal(err)
	}
	var report access.Report
	if err := json.Unmarshal(o.must(o.propose("a", b)).Report, &report); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(report.Checks, func(c access.Check) bool { return c.Name == "impact" })
	lines := strings.Split(report.Checks[at].Detail, "\n")
	if !strings.HasPrefix(lines[1], "analyst@amer, lawyer@amer, ") || !strings.Contains(lines[1], "rep.east@amer, rep.energy@amer, rep.west@amer") ||
		!strings.Contains(lines[1], "policy.activate") || !strings.Contains(report.Checks[at].Detail, "share: up to 365 days -> up to 3650 days") {
		t.Errorf("%s", report.Checks[at].Detail)
	}
}

// repsAsOfficers gives representatives what officers may with the policy, and
// takes the tests along.
func (o *officers) repsAsOfficers() map[string]string {
	o.t.Helper()
	files := edited(o.t, "service.rego", `	"manager": {"breakglass"},`, repsGain, "limits.rego", `"longest_days": 365`, `"longest_days": 3650`)
	drop := func(path, name string) {
		parts := strings.Split(files[path], "\n\n")
		kept := slices.DeleteFunc(parts, func(p string) bool { return strings.Contains(p, name) })
		if len(kept) == len(parts) {
			o.t.Fatalf("no %s in %s", name, path)
		}
		files[path] = strings.Join(kept, "\n\n")
	}
	for _, name := range []string{"test_officers_keep_facts_and_policy ", "test_only_officers_change_policy ", "test_only_officers_see_who_looked_at_what "} {
		drop("service_test.rego", name)
	}
	files["limits_test.rego"] = strings.ReplaceAll(files["limits_test.rego"], "366", "3651")
	files, err := policy.Format(files)
	if err != nil {
		o.t.Fatal(err)
	}
	return files
}

// TestPermissionsAreNoKeys: a policy that gives policy's permissions to people
// who are no officers gives them no key. They approve nothing, propose nothing,
// roll back nothing and deny nothing until two officers enrolled a key of
// theirs; what both officers signed, they may put in force.
func TestPermissionsAreNoKeys(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	b, err := policy.NewBundle(o.repsAsOfficers())
	if err != nil {
		t.Fatal(err)
	}
	first := o.inForce().Digest()
	o.activate(b)
	rep := crm.SubjectID("rep.west@amer")
	p := o.must(o.propose("a", sharper(t, "next")))
	public, own, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	with := func(key ed25519.PrivateKey, s signed.Statement) access.Signed {
		text, signature := s.Sign(key)
		return access.Signed{Statement: text, Signature: signature}
	}
	for name, key := range map[string]ed25519.PrivateKey{"their own key": own, "an officer's key": o.keys["b"]} {
		if _, err := o.door.Approve(t.Context(), caller(rep), p.ID, with(key, o.approval(p))); crm.KindOf(err) != crm.Denied {
			t.Errorf("with %s a representative approves: %v", name, err)
		}
		if _, err := o.door.Rollback(t.Context(), caller(rep), first, "mine", with(key, o.statement(signed.Rollback, first))); crm.KindOf(err) != crm.Denied {
			t.Errorf("with %s a representative rolls back: %v", name, err)
		}
		next := sharper(t, "theirs")
		if _, err := o.door.Propose(t.Context(), caller(rep), next.Modules(), "mine", with(key, o.statement(signed.Propose, next.Digest()))); crm.KindOf(err) != crm.Denied {
			t.Errorf("with %s a representative proposes: %v", name, err)
		}
		k := signed.Key{Subject: rep, Department: "west-sales", Public: public, Until: time.Now().AddDate(0, 6, 0).UTC().Truncate(time.Second)}
		if _, err := o.door.ProposeKey(t.Context(), caller(rep), k, "mine", with(key, o.statement(signed.Enroll, k.Digest()))); crm.KindOf(err) != crm.Denied {
			t.Errorf("with %s a representative enrols a key: %v", name, err)
		}
	}
	if _, err := o.door.Activate(t.Context(), caller(rep), p.ID, "", time.Time{}); crm.KindOf(err) != crm.Denied || !strings.Contains(err.Error(), "one signature") {
		t.Errorf("a representative activates what one officer signed: %v", err)
	}
	if err := o.approve("b", p); err != nil {
		t.Fatal(err)
	}
	if _, err := o.door.Activate(t.Context(), caller(rep), p.ID, "", time.Time{}); err != nil {
		t.Errorf("what two officers signed: %v", err)
	}
}
