package access_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// impact compares a bundle with the one in force.
func (w *world) impact(files map[string]string, subjects ...crm.SubjectID) (map[crm.SubjectID]access.PersonaImpact, access.ImpactSummary) {
	w.t.Helper()
	personas := map[crm.SubjectID]access.PersonaImpact{}
	sum, err := w.door.Impact(w.t.Context(), w.called("officer.a@amer"), access.ImpactRequest{Candidate: access.Candidate{Files: files}, Subjects: subjects},
		func(s access.ImpactStep) error {
			if s.Persona != nil {
				personas[s.Persona.Subject] = *s.Persona
			}
			return nil
		})
	if err != nil {
		w.t.Fatal(err)
	}
	return personas, sum
}

// all is every account a subject lists at a door.
func all(t *testing.T, d *access.Door, as crm.SubjectID) map[crm.RecordID]crm.Record {
	t.Helper()
	recs, _, err := d.List(t.Context(), caller(as), access.ListRequest{Entity: "account", Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	out := map[crm.RecordID]crm.Record{}
	for _, r := range recs {
		out[r.ID] = r
	}
	return out
}

// crowd fills a world with accounts in many places, agreements and judgements.
func (w *world) crowd() (recs []crm.Record) {
	for _, state := range []string{"CA", "NY", "TX"} {
		for _, sector := range []string{"Energy", "Financials", "Utilities"} {
			recs = append(recs, w.account(state, sector))
		}
	}
	for i, r := range recs {
		switch i % 3 {
		case 0:
			w.agree(crm.Agreement{Account: r.ID, Department: "legal", Reason: "r", Groups: []string{"core", "commercial"}})
		case 1:
			w.agree(crm.Agreement{Account: r.ID, Department: "emea/dach-sales", Reason: "r"})
			w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: r.ID, Kind: crm.GrantShare, Key: "s:banker@amer"})
		case 2:
			w.agree(crm.Agreement{Account: r.ID, Department: "sales", Effect: crm.EffectWall, Reason: "r"})
		}
	}
	return recs
}

// candidates are bundles that change something for somebody.
func candidates(t testing.TB) map[string]*policy.Bundle {
	return map[string]*policy.Bundle{
		"reps see nothing": closedToReps(t),
		"walls do not hold": amended(t, "agreement.rego", `fact.effect == "wall"`, `fact.effect == "wall"
	ask.subject.clearance > 8`),
		"agreements show more": amended(t, "agreement.rego", `agreement_reveals(`, `agreement_reveals(_, _, _, _, group) if group == "personal"

agreement_reveals(`),
		"everybody sees everything": amended(t, "territory.rego", `territory_reveals(`, `territory(_, record, _) if record.sensitivity >= 0

territory_reveals(`),
	}
}

// TestImpactIsWhatActivationChanges: what the comparison says before is what
// everybody's lists say after, record by record and group by group.
func TestImpactIsWhatActivationChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd()
	for name, b := range candidates(t) {
		t.Run(name, func(t *testing.T) {
			engine, err := policy.New(t.Context(), b, w.store.Definitions()...)
			if err != nil {
				t.Fatal(err)
			}
			after := access.New(access.Config{Instance: "amer", Store: w.store, Engine: engine})
			personas, sum := w.impact(b.Modules())
			for _, s := range w.facts.Subjects {
				was, is := all(t, w.door, s.ID), all(t, after, s.ID)
				var want, got store.Shift
				groups := map[string]store.GroupShift{}
				either := maps.Clone(was)
				maps.Copy(either, is)
				for id := range either {
					b, before := was[id]
					a, after := is[id]
					changed := false
					for _, g := range []string{"core", "commercial", "personal"} {
						x := groups[g]
						switch from, to := level(b, before, g), level(a, after, g); {
						case from == to:
							continue
						case to == 2:
							x.Gained++
						case to == 1:
							x.Masked++
						default:
							x.Lost++
						}
						groups[g], changed = x, true
					}
					switch {
					case !before:
						want.Gained++
					case !after:
						want.Lost++
					case changed:
						want.Changed++
					}
				}
				gotGroups := map[string]store.GroupShift{}
				for _, e := range personas[s.ID].Entities {
					if e.Entity == "account" {
						got, gotGroups = e.Shift, e.Groups
						if e.Records != 9 {
							t.Errorf("%d accounts", e.Records)
						}
					}
				}
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("%s: lists (-) and impact (+):\n%s", s.ID, diff)
				}
				if diff := gocmp.Diff(groups, gotGroups); diff != "" {
					t.Errorf("%s: groups in lists (-) and in the impact (+):\n%s", s.ID, diff)
				}
			}
			if sum.Before != w.inForce().Digest() || sum.After != b.Digest() || sum.Differing != int64(len(personas)) {
				t.Errorf("summary %+v of %d personas", sum, len(personas))
			}
			if name == "everybody sees everything" && sum.Largest != 1 {
				t.Errorf("somebody newly sees everything, and the largest share is %v", sum.Largest)
			}
		})
	}
}

// level is how far a record shows a group: 2 as it is, 1 masked, 0 not at all.
func level(r crm.Record, seen bool, group string) int {
	switch {
	case !seen:
		return 0
	case slices.Contains(r.Withheld, group):
		return 0
	case slices.Contains(r.Masked, group):
		return 1
	}
	return 2
}

// TestImpactNamesWhatComesBack: what a destination holds and would lose is
// counted under the contract, and what would newly leave too.
func TestImpactNamesWhatComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	recs := w.crowd()
	inScope := map[crm.RecordID]bool{}
	var envelopes []store.Envelope
	for i, r := range recs { // all are held; those in scope now are what can come back
		envelopes = append(envelopes, store.Envelope{Sequence: int64(i + 1), Key: string(r.ID), Body: []byte("x"), Disclosure: &store.Disclosure{
			Contract: "amer-finserv-account", Entity: "account", ID: r.ID, Version: 1, Exposure: 1, Operation: crm.OpUpsert,
		}})
		if strings.HasPrefix(r.Segment, "Financials") {
			inScope[r.ID] = true
		}
	}
	if err := w.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.LockStream(ctx, "s", "finserv", "account"); err != nil {
			return err
		}
		return tx.StoreEnvelopes(ctx, "s", 1, envelopes)
	}); err != nil {
		t.Fatal(err)
	}
	closed := amended(t, "territory.rego", `territory(ask, record, _) if {
	permitted(ask)`, `territory(ask, record, _) if {
	permitted(ask)
	ask.subject.kind != "instance"`)
	personas, sum := w.impact(closed.Modules())
	p := personas["contract:amer-finserv-account"]
	if len(p.Entities) != 1 || p.Destination != "finserv" {
		t.Fatalf("%+v", p)
	}
	e := p.Entities[0]
	back := slices.Clone(e.GiveBackIDs)
	slices.SortFunc(back, func(a, b crm.RecordID) int { return cmp.Compare(a, b) })
	if want := slices.Sorted(maps.Keys(inScope)); e.GiveBack != int64(len(inScope)) || e.Lost != e.GiveBack || !slices.Equal(back, want) {
		t.Errorf("gives back %d %v, want %v", e.GiveBack, back, want)
	}
	if sum.GiveBack != e.GiveBack {
		t.Errorf("summary %+v", sum)
	}
	open := amended(t, "agreement.rego", `fact.effect == "open"`, `fact.effect in {"open", "wall"}`)
	if personas, _ := w.impact(open.Modules(), "contract:amer-emea-account"); len(personas) != 0 {
		t.Errorf("a wall on sales leaves nothing to emea: %+v", personas)
	}
}

// TestImpactNamesOtherActions: who may do more to records, without seeing more,
// is named with the action, and that can be compared as reading is.
func TestImpactNamesOtherActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd()
	b := amended(t, "actions.rego", `"reader": {"read"}`, `"reader": {"read", "update"}`)
	personas, _ := w.impact(b.Modules())
	p := personas["banker@amer"]
	if len(personas) != 1 || len(p.Entities) != 0 || !slices.Equal(p.OtherActions, []crm.Action{crm.ActionUpdate}) {
		t.Fatalf("a reader may update: %+v", personas)
	}
	var updates int64
	_, err := w.door.Impact(t.Context(), caller("officer.a@amer"), access.ImpactRequest{Candidate: access.Candidate{Files: b.Modules()}, Action: crm.ActionUpdate, Subjects: []crm.SubjectID{"banker@amer"}},
		func(s access.ImpactStep) error {
			if s.Persona != nil {
				updates += s.Persona.Entities[0].Gained
			}
			return nil
		})
	if err != nil || updates == 0 {
		t.Errorf("%d accounts to update: %v", updates, err)
	}
}

// TestImpactIsForOfficersAndLogged: nobody else asks, and the question is in
// the log before the first answer.
func TestImpactIsForOfficersAndLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := closedToReps(t).Modules()
	request := access.ImpactRequest{Candidate: access.Candidate{Files: files}}
	for _, s := range []crm.SubjectID{"rep.west@amer", "manager.us@amer", "ops@amer", "loader@amer"} {
		_, err := w.door.Impact(t.Context(), caller(s), request, func(access.ImpactStep) error { t.Error("told"); return nil })
		if crm.KindOf(err) != crm.Denied {
			t.Errorf("%s: %v", s, err)
		}
	}
	c := w.called("officer.a@amer")
	steps := 0
	_, err := w.door.Impact(t.Context(), c, request, func(s access.ImpactStep) error {
		if steps++; steps > 1 {
			return nil
		}
		ds, err := w.store.Decisions(context.WithoutCancel(t.Context()), c.Execution)
		if err != nil || len(ds) != 1 || ds[0].Action != "policy.impact" || len(ds[0].Reasons) != 1 {
			t.Errorf("before the first answer the log says %+v, %v", ds, err)
		}
		return nil
	})
	if err != nil || steps < len(w.facts.Subjects) {
		t.Errorf("%d steps: %v", steps, err)
	}
	// A run ends when its caller goes.
	ctx, cancel := context.WithCancel(t.Context())
	_, err = w.door.Impact(ctx, c, request, func(access.ImpactStep) error { cancel(); return nil })
	if err == nil {
		t.Error("a cancelled comparison went on")
	}
}
