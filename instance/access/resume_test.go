package access_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	gocmp "github.com/google/go-cmp/cmp"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// backdate moves the suspensions in the database so far into the past.
func (w *world) backdate(by time.Duration) {
	w.t.Helper()
	ctx := w.t.Context()
	conn, err := pgx.Connect(ctx, w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `update fact."grant" set recorded_from = recorded_from - $1::interval where suspended and recorded_to = 'infinity'`, by.String()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) waiting() []crm.Grant {
	w.t.Helper()
	gs, err := w.door.SuspendedGrants(w.t.Context(), caller("officer.a@amer"))
	if err != nil {
		w.t.Fatal(err)
	}
	return gs
}

// west and east are the two that most shares are between.
const west, east = crm.SubjectID("rep.west@amer"), crm.SubjectID("rep.east@amer")

// TestAShareHoldsAgainWhenItsGiverSeesAgain, and the one that rests on it. What
// an officer said of a share is final.
func TestAShareHoldsAgainWhenItsGiverSeesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	officer := caller("officer.a@amer")
	rec := w.account("CA", "Energy")
	first := w.judge(west, crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.east@amer"})
	second := w.judge(east, crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "d:legal"})
	lose := func() {
		t.Helper()
		w.alter(west, func(s *store.SubjectFact) { s.Territories = nil })
		w.kept()
	}
	regain := func(want int) {
		t.Helper()
		w.alter(west, func(s *store.SubjectFact) { s.Territories = []string{"US-W"} })
		if off, on := w.kept(); off != 0 || on != want {
			t.Errorf("%d suspended, %d hold again, want %d", off, on, want)
		}
	}
	lose()
	if len(w.waiting()) != 2 {
		t.Fatalf("waiting: %+v", w.waiting())
	}
	regain(2)
	if !w.sees(east, rec) || !w.sees("lawyer@amer", rec) || len(w.waiting()) != 0 {
		t.Error("the shares do not hold again")
	}
	for _, g := range w.grantsOf(rec) {
		if g.Suspended || g.ReviewedBy != "" || g.Review != "the giver has access to what was shared again" {
			t.Errorf("%+v", g)
		}
	}
	logged, err := w.store.FindDecisions(t.Context(), store.DecisionQuery{Action: "grant.resume", Limit: 10})
	if err != nil || len(logged) != 2 || logged[0].Subject != "meridian" {
		t.Errorf("%+v, %v", logged, err)
	}
	lose() // it still rests on its giver
	if w.sees(east, rec) || len(w.waiting()) != 2 {
		t.Error("a share that holds again outlives its giver's access")
	}
	if _, err := w.door.EndGrant(t.Context(), officer, first.ID, "not needed"); err != nil {
		t.Fatal(err)
	}
	regain(0)
	if w.sees(east, rec) || len(w.waiting()) != 1 || w.waiting()[0].ID != second.ID {
		t.Error("an ended share holds again, or what rested on it")
	}
}

// TestAForgottenShareStaysSuspended: what facts took away longer than a week ago
// an officer gives back. What a bundle took comes back with the bundle.
func TestAForgottenShareStaysSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	w.judge(west, crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.east@amer"})
	w.judge(east, crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "d:legal"})
	open, closed := w.inForce().Bundle(), amended(t, "territory.rego", "territory(ask, record, _) if {", `territory(ask, record, _) if {
	not barred(ask, record)`)
	closed = joined(t, closed, "territory.rego", `
barred(ask, record) if {
	ask.subject.id == "rep.west@amer"
	record.territory == "US-CA"
}
`)
	w.put(closed)
	if off, _ := w.kept(); off != 2 {
		t.Fatalf("%d suspended", off)
	}
	w.backdate(30 * 24 * time.Hour)
	w.put(open)
	if _, on := w.kept(); on != 2 || !w.sees("lawyer@amer", rec) {
		t.Errorf("%d hold again after the bundle went, want both", on)
	}

	move := func(territories ...string) {
		w.alter(west, func(s *store.SubjectFact) { s.Territories = territories })
	}
	move()
	if off, _ := w.kept(); off != 2 {
		t.Fatalf("%d suspended", off)
	}
	w.backdate(8 * 24 * time.Hour)
	move("US-W")
	if _, on := w.kept(); on != 0 || len(w.waiting()) != 2 {
		t.Errorf("%d hold again a week later", on)
	}
	w.put(closedToReps(t)) // another bundle came and went: it took nothing
	w.kept()
	w.put(open)
	if _, on := w.kept(); on != 0 || len(w.waiting()) != 2 {
		t.Errorf("%d hold again by a change of bundle that has nothing to do with it", on)
	}
}

// joined is a bundle with more rules in one file.
func joined(t testing.TB, b *policy.Bundle, path, rules string) *policy.Bundle {
	t.Helper()
	files := b.Modules()
	files[path] += rules
	out, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// everybodySees is what everybody sees, record by record and group by group, and what is
// in scope of contracts.
type everybodySees map[crm.SubjectID]map[string]map[crm.RecordID]string

var groupsSeen = []string{"core", "commercial", "personal"}

func (w *world) everybodySees(records []crm.RecordID) everybodySees {
	w.t.Helper()
	out := everybodySees{}
	shows := func(r crm.Record) (s string) {
		for _, g := range groupsSeen {
			s += fmt.Sprint(level(r, true, g))
		}
		return s
	}
	for _, f := range w.facts.Subjects {
		out[f.ID] = map[string]map[crm.RecordID]string{}
		for _, entity := range []string{"account", "contact"} {
			recs, _, err := w.door.List(w.t.Context(), caller(f.ID), access.ListRequest{Entity: entity, Limit: 1000})
			if err != nil {
				w.t.Fatal(err)
			}
			seen := map[crm.RecordID]string{}
			for _, r := range recs {
				seen[r.ID] = shows(r)
			}
			out[f.ID][entity] = seen
		}
	}
	for _, k := range w.facts.Contracts {
		if k.Source != "amer" {
			continue
		}
		var projected []access.Projection
		if err := w.store.Tx(w.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			projected, err = w.door.Project(ctx, tx, k, records)
			return err
		}); err != nil {
			w.t.Fatal(err)
		}
		seen := map[crm.RecordID]string{}
		for _, p := range projected {
			if p.InScope {
				seen[p.ID] = shows(p.Record)
			}
		}
		out[crm.SubjectID("contract:"+k.ID)] = map[string]map[crm.RecordID]string{"account": seen}
	}
	return out
}

// shift counts how what is seen differs.
func shift(was, is map[crm.RecordID]string) (s store.Shift) {
	for id, a := range is {
		switch b, both := was[id]; {
		case !both:
			s.Gained++
		case a != b:
			s.Changed++
		}
	}
	for id := range was {
		if _, both := is[id]; !both {
			s.Lost++
		}
	}
	return s
}

// TestImpactCountsWhatTheKeeperDoes: what the comparison says is what everybody
// gains and loses once the bundle is in force and the keeper has followed, with
// shares, shares of shares and shares that wait; and after the way back
// everybody sees exactly what they saw.
func TestImpactCountsWhatTheKeeperDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var accounts, contacts []crm.RecordID
	for i, state := range []string{"CA", "NY", "CA", "TX"} {
		a := w.account(state, []string{"Energy", "Financials"}[i%2])
		accounts = append(accounts, a.ID)
		contacts = append(contacts, w.create("manager.us@amer", "contact", w.fields("contact", "account_id", string(a.ID), "source_id", fmt.Sprint("C", i))).ID)
	}
	barred := func(rule string) *policy.Bundle {
		b := amended(t, "territory.rego", "territory(ask, record, _) if {", "territory(ask, record, _) if {\n\tnot barred(ask, record)")
		return joined(t, b, "territory.rego", "\nbarred(ask, record) if {\n"+rule+"\n}\n")
	}
	open := w.inForce().Bundle()
	bundles := []*policy.Bundle{
		open,
		barred("\task.subject.id == \"rep.west@amer\"\n\trecord.territory == \"US-CA\""),
		barred("\t\"manager\" in ask.subject.roles\n\trecord.segment != \"Energy\""),
		closedToReps(t),
		amended(t, "territory.rego", "territory_reveals(ask, _, _, group) if within_contract(ask, group)", "territory_reveals(ask, _, _, group) if {\n\twithin_contract(ask, group)\n\tgroup != \"commercial\"\n}"),
		amended(t, "territory.rego", "territory_reveals(", "territory(ask, record, _) if {\n\tpermitted(ask)\n\trecord.sensitivity >= 0\n\task.subject.kind == \"person\"\n}\n\nterritory_reveals("),
	}
	suspensions, resumptions := 0, 0
	for n := range 8 {
		pick := rand.New(rand.NewPCG(4, uint64(n)))
		var given []crm.Grant
		for range 14 {
			i := pick.IntN(len(accounts))
			g := crm.Grant{Entity: "account", Record: accounts[i], Kind: crm.GrantShare, Reason: "r", Key: one(pick, "s:rep.east@amer", "s:rep.east@amer", "s:rep.west@amer",
				"d:legal", "d:credit", "s:banker@amer", "d:emea/dach-sales", "d:sales"), Groups: one(pick, nil, []string{"core", "commercial"}, []string{"core"})}
			if pick.IntN(3) == 0 {
				g.Entity, g.Record = "contact", contacts[i]
			}
			by := one[crm.SubjectID](pick, west, west, east, east, "manager.us@amer", "lawyer@amer", "analyst@amer")
			if made, err := w.door.Judge(t.Context(), caller(by), g); err == nil { // nobody gives what they do not see
				given = append(given, made)
			}
		}
		from, to := bundles[n%2*pick.IntN(len(bundles))], bundles[1+pick.IntN(len(bundles)-1)]
		if n%3 == 0 { // some wait already
			w.alter(west, func(s *store.SubjectFact) { s.Territories = []string{"US-NE"} })
		}
		w.put(from)
		w.kept()
		was, waited := w.everybodySees(accounts), suspendedOf(w.waiting())
		for _, b := range []*policy.Bundle{to, from} {
			off, on := w.foretells(b, accounts)
			suspensions, resumptions = suspensions+off, resumptions+on
		}
		if diff := gocmp.Diff(was, w.everybodySees(accounts)); diff != "" {
			t.Errorf("before (-) and after the way back (+):\n%s", diff)
		}
		if diff := gocmp.Diff(waited, suspendedOf(w.waiting())); diff != "" {
			t.Errorf("shares that wait before (-) and after the way back (+):\n%s", diff)
		}
		w.put(open)
		w.alter(west, func(s *store.SubjectFact) { s.Territories = []string{"US-W"} })
		for _, g := range given {
			if _, err := w.door.EndGrant(t.Context(), caller("officer.a@amer"), g.ID, "end of case"); err != nil {
				t.Fatal(err)
			}
		}
		if t.Failed() {
			t.Fatalf("in case %d of %d shares, from %s to %s", n, len(given), from.Digest(), to.Digest())
		}
	}
	if suspensions < 10 || resumptions < 10 {
		t.Errorf("%d suspensions and %d that hold again: it proves little", suspensions, resumptions)
	}
}

// foretells puts a bundle in force and does the keeper's work; that is what the
// comparison said.
func (w *world) foretells(b *policy.Bundle, accounts []crm.RecordID) (suspended, resumed int) {
	w.t.Helper()
	was, waited := w.everybodySees(accounts), suspendedOf(w.waiting())
	personas, sum := w.impact(b.Modules())
	for _, s := range w.facts.Subjects { // asked about alone, a subject is told the same
		alone, _ := w.impact(b.Modules(), s.ID)
		if diff := gocmp.Diff(personas[s.ID], alone[s.ID]); diff != "" {
			w.t.Errorf("%s among all (-) and alone (+):\n%s", s.ID, diff)
		}
	}
	w.put(b)
	suspended, resumed = w.kept()
	is, waits := w.everybodySees(accounts), suspendedOf(w.waiting())
	for id, entities := range is {
		for entity := range entities {
			want, got := shift(was[id][entity], is[id][entity]), store.Shift{}
			for _, e := range personas[id].Entities {
				if e.Entity == entity {
					got = e.Shift
				}
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				w.t.Errorf("%s, %s: lists (-) and impact (+):\n%s", id, entity, diff)
			}
		}
	}
	if diff := gocmp.Diff(apart(waits, waited), foretold(sum.Suspended)); diff != "" {
		w.t.Errorf("suspended (-) and foretold (+):\n%s", diff)
	}
	if diff := gocmp.Diff(apart(waited, waits), foretold(sum.Resumed)); diff != "" {
		w.t.Errorf("holding again (-) and foretold (+):\n%s", diff)
	}
	return suspended, resumed
}

func one[T any](pick *rand.Rand, of ...T) T { return of[pick.IntN(len(of))] }

func suspendedOf(gs []crm.Grant) map[string]crm.Grant {
	out := map[string]crm.Grant{}
	for _, g := range gs {
		g.Review = ""
		out[g.ID] = g
	}
	return out
}

// apart are the ids of those in a that are not in b.
func apart(a, b map[string]crm.Grant) []string {
	out := []string{}
	for _, id := range slices.Sorted(maps.Keys(a)) {
		if _, both := b[id]; !both {
			out = append(out, id)
		}
	}
	return out
}

func foretold(shares []access.SharesImpact) []string {
	out := []string{}
	for _, s := range shares {
		out = append(out, s.IDs...)
	}
	slices.Sort(out)
	return out
}
