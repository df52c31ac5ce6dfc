package access_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// day is a random day of one representative, and what plain evaluation of two
// bundles said of every record whenever something was decided.
type day struct {
	*world
	rnd    *rand.Rand
	was    *policy.Engine
	is     *policy.Engine
	ids    []crm.RecordID // of accounts that there are or were
	wanted map[string]wanted
	gone   map[crm.RecordID]int64 // asked for when they were not there, and the rules of reading differed
}

// wanted is how a decision falls out again.
type wanted struct {
	verdict string
	records map[crm.RecordID][2]bool // those that differ: was, is
	bound   store.Shift
}

const (
	him     = crm.SubjectID("rep.west@amer")
	manager = crm.SubjectID("manager.us@amer")
)

// both is what the two bundles say of an action on an account as it is now.
func (d *day) both(id crm.RecordID, action crm.Action) (was, is policy.Decision, rec crm.Record, there bool) {
	d.t.Helper()
	ctx := d.t.Context()
	recs, err := d.store.Load(ctx, "account", []crm.RecordID{id})
	if err != nil {
		d.t.Fatal(err)
	}
	if rec, there = recs[id]; !there {
		return was, is, rec, false
	}
	return d.of(rec, action), d.under(d.is, rec, action), rec, true
}

func (d *day) of(rec crm.Record, action crm.Action) policy.Decision {
	return d.under(d.was, rec, action)
}

func (d *day) under(e *policy.Engine, rec crm.Record, action crm.Action) policy.Decision {
	d.t.Helper()
	ctx := d.t.Context()
	s, _, err := d.store.Subject(ctx, him)
	if err != nil {
		d.t.Fatal(err)
	}
	facts, err := d.store.FactsAbout(ctx, rec.ID, rec.Account)
	if err != nil {
		d.t.Fatal(err)
	}
	_, now, err := d.store.Stamp(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	def, _ := d.store.Definition("account")
	x, err := e.Explain(ctx, s, action, rec, facts, now, def.Groups())
	if err != nil {
		d.t.Fatal(err)
	}
	return x
}

func otherwise(a, b policy.Decision) bool {
	return a.Allowed != b.Allowed || a.Allowed && (!slices.Equal(a.Revealed, b.Revealed) || !slices.Equal(a.Masked, b.Masked))
}

// reads notes what a read that answered ids is to fall out as.
func (d *day) reads(c crm.Caller, answered []crm.RecordID, all, counts bool, found int64) {
	w := wanted{verdict: "same", records: map[crm.RecordID][2]bool{}}
	for _, id := range d.ids {
		was, is, _, there := d.both(id, crm.ActionRead)
		switch {
		case !there || !otherwise(was, is):
			continue
		case is.Allowed && !was.Allowed:
			w.bound.Gained++
		case was.Allowed && !is.Allowed:
			w.bound.Lost++
		default:
			w.bound.Changed++
		}
		if slices.Contains(answered, id) {
			w.verdict, w.records[id] = "differs", [2]bool{was.Allowed, is.Allowed}
		}
	}
	more := w.bound.Gained + w.bound.Changed
	if counts && found > 0 {
		more += w.bound.Lost
	}
	if !all || more == 0 {
		w.bound = store.Shift{}
	} else if w.verdict == "same" {
		w.verdict = "open"
	}
	d.wanted[c.Execution] = w
}

func (d *day) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// step does something at random.
func (d *day) step() {
	ctx := d.t.Context()
	c := d.called(him)
	id := d.ids[d.rnd.IntN(len(d.ids))]
	def := "account"
	filter := []string{"", "state = 'CA'", "annual_revenue > 10"}[d.rnd.IntN(3)]
	list := func(page []crm.Record, _ string, err error) {
		if crm.KindOf(err) == crm.Denied && err != nil { // the field is withheld everywhere: nothing was decided
			return
		}
		d.must(err)
		d.reads(c, listed(page), true, false, 0)
	}
	switch d.rnd.IntN(14) {
	case 0:
		some := slices.Compact([]crm.RecordID{id, d.ids[0]})
		_, err := d.door.Get(ctx, c, def, some)
		d.must(err)
		d.reads(c, some, false, false, 0)
		for _, id := range some {
			if _, _, _, there := d.both(id, crm.ActionRead); !there && d.apart(crm.ActionRead) {
				d.gone[id]++
			}
		}
	case 1:
		list(d.door.List(ctx, c, access.ListRequest{Entity: def, Filter: filter, Limit: 1 + d.rnd.IntN(6)}))
	case 2:
		list(d.door.Search(ctx, c, access.SearchRequest{Entity: def, Query: "company", Filter: filter}))
	case 3:
		n, err := d.door.Count(ctx, c, def, filter)
		if err == nil {
			d.reads(c, nil, true, true, n)
		}
	case 4:
		_, tallies, _, err := d.door.Aggregate(ctx, c, access.AggregateRequest{Entity: def, Measures: []string{"count"}, By: []string{"state"}})
		d.must(err)
		d.reads(c, nil, true, true, int64(len(tallies)))
	case 5:
		ids, _, err := d.door.Visible(ctx, c, def, "")
		d.must(err)
		d.reads(c, nil, true, true, int64(len(ids)))
	case 6:
		_, err := d.door.History(ctx, c, def, id, 0, 0)
		if _, _, _, there := d.both(id, crm.ActionRead); there {
			d.reads(c, []crm.RecordID{id}, false, false, 0)
		} else if err != nil && crm.KindOf(err) != crm.NotFound {
			d.must(err)
		}
	case 7, 8:
		d.writes(c, id)
	case 9:
		d.creates(c)
	case 10:
		d.judges(c, id)
	case 11: // the record changes by another's hand
		_, _, rec, there := d.both(id, crm.ActionRead)
		if there {
			rec.Entity = def
			_, err := d.update(manager, rec, "state", []string{"CA", "NY", "TX"}[d.rnd.IntN(3)])
			d.must(err)
		}
	case 12:
		if _, _, _, there := d.both(id, crm.ActionRead); !there {
			return
		}
		a := d.agree(crm.Agreement{Account: id, Department: "west-sales", Groups: []string{"core", "commercial"},
			Effect: []crm.Effect{crm.EffectOpen, crm.EffectWall}[d.rnd.IntN(2)]})
		if d.rnd.IntN(3) > 0 {
			d.endAgreement(a)
		}
	case 13:
		d.alter(him, func(s *store.SubjectFact) {
			s.Territories = [][]string{{"US-W"}, {"US"}, {"US-NE"}}[d.rnd.IntN(3)]
			s.Clearance = 1 + d.rnd.IntN(4)
		})
	}
}

// writes changes or deletes a record.
func (d *day) writes(c crm.Caller, id crm.RecordID) {
	ctx := d.t.Context()
	verb := []crm.Action{crm.ActionUpdate, crm.ActionUpdate, crm.ActionUpdate, crm.ActionDelete}[d.rnd.IntN(4)]
	readWas, readIs, rec, there := d.both(id, crm.ActionRead)
	was, is, _, _ := d.both(id, verb)
	if !there {
		return
	}
	sets := [][]string{{"name", fmt.Sprint("Company ", d.rnd.Int())}, {"annual_revenue", fmt.Sprint(d.rnd.IntN(1000))}, {"state", "WA"}}[d.rnd.IntN(3)]
	var rs []access.Result
	var err error
	if verb == crm.ActionDelete {
		rs, err = d.door.Delete(ctx, c, access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: id, Version: rec.Version}}})
	} else {
		rs, err = d.door.Update(ctx, c, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{{ID: id, Version: rec.Version, Fields: d.fields("account", sets...)}}})
	}
	d.must(err)
	w := wanted{verdict: "same", records: map[crm.RecordID][2]bool{}}
	then := [2]bool{readWas.Allowed && was.Allowed, readIs.Allowed && is.Allowed}
	if rs[0].Err == nil && verb == crm.ActionUpdate {
		post, err := d.store.Load(ctx, "account", []crm.RecordID{id})
		d.must(err)
		action := crm.ActionUpdate
		if rec.Territory != post[id].Territory {
			action = crm.ActionCreate
		}
		then[0] = then[0] && d.under(d.was, post[id], action).Allowed
		then[1] = then[1] && d.under(d.is, post[id], action).Allowed
	}
	field, _ := mustDefinition(d).Field(sets[0])
	hides := then[0] && then[1] && rs[0].Err == nil && verb == crm.ActionUpdate && !rec.Fields[sets[0]].Equal(d.fields("account", sets...)[sets[0]]) &&
		(!slices.Contains(is.Revealed, field.Group) || !slices.Contains(readIs.Revealed, field.Group))
	switch {
	case then[0] != then[1] || hides:
		w.verdict, w.records[id] = "differs", then
	case rs[0].Err != nil && then[0] && crm.KindOf(rs[0].Err) == crm.Denied:
		w.verdict = "open"
	}
	d.wanted[c.Execution] = w
}

func mustDefinition(d *day) crm.Definition {
	def, _ := d.store.Definition("account")
	return def
}

func (d *day) creates(c crm.Caller) {
	rs, err := d.door.Create(d.t.Context(), c, access.CreateRequest{Entity: "account", Rows: []access.NewRow{
		{Fields: d.accountFields([]string{"CA", "NY"}[d.rnd.IntN(2)], "Energy"), Sensitivity: d.rnd.IntN(3)}}})
	d.must(err)
	w := wanted{verdict: "same", records: map[crm.RecordID][2]bool{}}
	if rs[0].Err == nil {
		id := rs[0].Record.ID
		d.ids = append(d.ids, id)
		if was, is, _, _ := d.both(id, crm.ActionCreate); was.Allowed != is.Allowed {
			w.verdict, w.records[id] = "differs", [2]bool{was.Allowed, is.Allowed}
		}
	} else if crm.KindOf(rs[0].Err) == crm.Denied && d.apart(crm.ActionCreate) {
		w.verdict = "open"
	}
	d.wanted[c.Execution] = w
}

// apart reports whether the bundles have different rules for an action.
func (d *day) apart(action crm.Action) bool {
	s, _, err := d.store.Subject(d.t.Context(), him)
	d.must(err)
	def := mustDefinition(d)
	a, err := d.was.Filter(d.t.Context(), s, action, "account", def.Groups())
	d.must(err)
	b, err := d.is.Filter(d.t.Context(), s, action, "account", def.Groups())
	d.must(err)
	return !a.Same(b)
}

func (d *day) judges(c crm.Caller, id crm.RecordID) {
	kind := []crm.GrantKind{crm.GrantShare, crm.GrantWithhold}[d.rnd.IntN(2)]
	readWas, readIs, _, there := d.both(id, crm.ActionRead)
	was, is, _, _ := d.both(id, crm.Action(kind))
	g, err := d.door.Judge(d.t.Context(), c, crm.Grant{Entity: "account", Record: id, Kind: kind, Key: "d:legal", Reason: "they work on it together"})
	if !there {
		if d.apart(crm.ActionRead) || d.apart(crm.Action(kind)) {
			d.gone[id]++
		}
		return
	}
	w := wanted{verdict: "same", records: map[crm.RecordID][2]bool{}}
	then := [2]bool{readWas.Allowed && was.Allowed, readIs.Allowed && is.Allowed}
	switch {
	case then[0] != then[1], err == nil && kind == crm.GrantShare && !slices.Contains(is.Revealed, "core"):
		w.verdict, w.records[id] = "differs", then
	case err != nil && then[0]:
		d.t.Fatal(err)
	}
	d.wanted[c.Execution] = w
	if err == nil {
		d.endGrant(him, g)
	}
}

func listed(page []crm.Record) (ids []crm.RecordID) {
	for _, r := range page {
		ids = append(ids, r.ID)
	}
	return ids
}

// TestReplayAgreesWithPlainEvaluation: whatever happened in a day, deciding it
// again says what evaluating both bundles on every record said at the time; and
// it says the same of each decision as of that decision alone, however much
// those that are decided together share.
func TestReplayAgreesWithPlainEvaluation(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]*policy.Bundle{
		"reps see nothing": closedToReps(t), "walls do not hold": candidates(t)["walls do not hold"], "everybody sees everything": candidates(t)["everybody sees everything"],
		"reps do not write what they earn": amended(t, "territory.rego", `territory_reveals(ask, _, _, group) if within_contract(ask, group)`,
			"territory_reveals(ask, _, _, group) if {\n\tgroup != \"commercial\"\n\twithin_contract(ask, group)\n}"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is, err := policy.New(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			d := &day{world: w, rnd: rand.New(rand.NewPCG(1, uint64(len(name)))), was: w.inForce(), is: is, wanted: map[string]wanted{}, gone: map[crm.RecordID]int64{}}
			d.ids = w.crowdIDs()
			for range 120 {
				d.step()
			}
			r := access.ReplayRequest{Candidate: access.Candidate{Files: b.Modules()}, Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}
			all, sum := d.again(r)
			var gone int64
			for _, n := range d.gone {
				gone += n
			}
			if sum.Decisions != sum.Same+sum.Differing+sum.Open+sum.Skipped || len(all) != int(sum.Differing+sum.Open) || sum.Gone != gone {
				t.Errorf("told of %d decisions, %d of what was not there: %+v", len(all), gone, sum)
			}
			told := map[string]access.ReplayedDecision{}
			for _, one := range all {
				told[one.Execution] = one
			}
			seen := map[string]int{}
			for execution, want := range d.wanted {
				one, is := told[execution]
				got := wanted{verdict: "same", records: map[crm.RecordID][2]bool{}}
				if is {
					got.verdict = "differs"
					for _, r := range one.Differing {
						got.records[r.ID] = [2]bool{r.Was, r.Is}
					}
					if one.Open != "" {
						got.verdict = "open"
					}
					if one.Bound != nil {
						got.bound = one.Bound.Shift
					}
				}
				if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
					t.Errorf("%s by %s: %s", one.Action, execution, diff)
				}
				seen[want.verdict]++
				if is {
					seen[one.Action+" "+want.verdict]++
				}
			}
			t.Log(seen)
			for _, one := range all {
				r.Since, r.Until = one.At, one.At.Add(time.Microsecond)
				alone, _ := d.again(r)
				if diff := cmp.Diff(one, alone[one.ID]); diff != "" {
					t.Errorf("%s alone: %s", one.Action, diff)
				}
			}
		})
	}
}

// again replays and answers what was told, by the id of the decision.
func (d *day) again(r access.ReplayRequest) (map[int64]access.ReplayedDecision, access.ReplaySummary) {
	d.t.Helper()
	out := map[int64]access.ReplayedDecision{}
	sum, err := d.door.Replay(context.WithoutCancel(d.t.Context()), d.called("officer.a@amer"), r, func(s access.ReplayStep) error {
		if s.Decision != nil {
			out[s.Decision.ID] = *s.Decision
		}
		return nil
	})
	d.must(err)
	return out, sum
}
