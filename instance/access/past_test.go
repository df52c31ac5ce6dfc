package access_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"pgregory.net/rapid"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/store"
	"meridian/policy"
)

// then is a moment that a test remembers: who could see which account, by which
// grounds with which facts, as plain OPA said at the time.
type then struct {
	at     time.Time
	bundle string
	sees   map[crm.RecordID]map[crm.SubjectID][]string // "ground fact"
}

// memory remembers moments of a world. It knows the records, facts and subjects
// of now only, and asks neither history nor any filter.
type memory struct {
	w       *world
	moments []then
	bundles map[string]rego.PreparedEvalQuery
}

// remember evaluates the bundle in force for everybody and every account.
func (m *memory) remember(t *rapid.T, ids []crm.RecordID) {
	w, ctx := m.w, m.w.t.Context()
	fatal := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, now, err := w.store.Stamp(ctx)
	fatal(err)
	one := then{at: now.UTC(), bundle: w.inForce().Digest(), sees: map[crm.RecordID]map[crm.SubjectID][]string{}}
	var subjects []crm.Subject
	for _, f := range w.facts.Subjects {
		s, _, err := w.store.Subject(ctx, f.ID)
		fatal(err)
		subjects = append(subjects, s)
	}
	for _, k := range w.facts.Contracts {
		if k.Source == "amer" {
			s, _, err := w.store.ReceiverAt(ctx, k.ID, nil)
			fatal(err)
			subjects = append(subjects, s)
		}
	}
	records, err := w.store.Load(ctx, "account", ids)
	fatal(err)
	for id, rec := range records {
		one.sees[id] = map[crm.SubjectID][]string{}
		facts, err := w.store.FactsAbout(ctx, id, rec.Account)
		fatal(err)
		for _, s := range subjects {
			grounds, err := m.evaluate(ctx, s, rec, facts, now)
			fatal(err)
			if len(grounds) > 0 {
				one.sees[id][s.ID] = grounds
			}
		}
	}
	m.moments = append(m.moments, one)
}

// evaluate asks plain OPA about one known record with known facts.
func (m *memory) evaluate(ctx context.Context, s crm.Subject, rec crm.Record, facts policy.Facts, now time.Time) ([]string, error) {
	engine, err := m.w.door.InForce(ctx)
	if err != nil {
		return nil, err
	}
	query, ok := m.bundles[engine.Digest()]
	if !ok {
		modules := map[string]*ast.Module{}
		for path, text := range engine.Bundle().Modules() {
			if strings.HasSuffix(path, ".rego") && !strings.HasSuffix(path, "_test.rego") {
				modules[path] = ast.MustParseModuleWithOpts(text, ast.ParserOptions{RegoVersion: ast.RegoV1})
			}
		}
		oracle := "package oracle\n\n"
		for ground, x := range map[string][2]string{
			"territory": {"", ""}, "steward": {"", ""}, "catalogue": {"", ""}, "load": {"", ""}, "relationship": {"", ""},
			"agreement": {"some f in input.agreements", "f, "}, "share": {"some f in input.grants", "f, "},
		} {
			oracle += fmt.Sprintf("opens contains [%q, f.noted] if {\n\t%s\n\tdata.meridian.rules.%s(input.ask, input.record, %sinput.now)\n}\n\n",
				ground, orNothing(x[0]), ground, x[1])
		}
		for ground, x := range map[string][2]string{"residency": {"", ""}, "wall": {"some f in input.agreements", "f, "}, "withhold": {"some f in input.grants", "f, "}} {
			oracle += fmt.Sprintf("closed if {\n\t%s\n\tdata.meridian.rules.%s(input.ask, input.record, %sinput.now)\n}\n\n", orNothing(x[0]), ground, x[1])
		}
		oracle += "answer contains o if {\n\tsome o in opens\n\tnot closed\n}\n"
		modules["oracle"] = ast.MustParseModuleWithOpts(oracle, ast.ParserOptions{RegoVersion: ast.RegoV1})
		c := ast.NewCompiler()
		if c.Compile(modules); c.Failed() {
			return nil, c.Errors
		}
		if query, err = rego.New(rego.Compiler(c), rego.Query("data.oracle.answer")).PrepareForEval(ctx); err != nil {
			return nil, err
		}
		m.bundles[engine.Digest()] = query
	}
	rs, err := query.Eval(ctx, rego.EvalInput(known(s, rec, facts, now)))
	if err != nil || len(rs) == 0 {
		return nil, err
	}
	var out []string
	for _, o := range rs[0].Expressions[0].Value.([]any) {
		pair := o.([]any)
		out = append(out, strings.TrimSpace(pair[0].(string)+" "+pair[1].(string)))
	}
	slices.Sort(out)
	return out, nil
}

func orNothing(s string) string {
	if s == "" {
		return `f := {"noted": ""}`
	}
	return s
}

func known(s crm.Subject, rec crm.Record, facts policy.Facts, now time.Time) map[string]any {
	stamp := func(t time.Time) string {
		if t.Year() > 9999 {
			return "infinity"
		}
		return t.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	list := func(of []string) []any {
		out := []any{}
		for _, x := range of {
			out = append(out, x)
		}
		return out
	}
	relationships, agreements, grants := []any{}, []any{}, []any{}
	for _, r := range s.Relationships {
		relationships = append(relationships, map[string]any{"department": r.Department, "actions": list(r.Actions)})
	}
	note := func(id string, f map[string]any) map[string]any {
		f["noted"] = id // no rule looks at it
		return f
	}
	for _, a := range facts.Agreements {
		agreements = append(agreements, note(a.ID, map[string]any{
			"account": string(a.Account), "department": a.Department, "effect": string(a.Effect), "actions": list(a.Actions),
			"groups": list(a.Groups), "valid_from": stamp(a.From), "valid_to": stamp(a.To),
		}))
	}
	for _, g := range facts.Grants {
		grants = append(grants, note(g.ID, map[string]any{
			"record": string(g.Record), "kind": string(g.Kind), "key": g.Key, "groups": list(g.Groups),
			"valid_from": stamp(g.From), "valid_to": stamp(g.To), "suspended": g.Suspended,
		}))
	}
	action := crm.ActionRead
	if s.Kind == crm.KindInstance {
		action = crm.ActionPublish
	}
	g := rec.Governed
	return map[string]any{
		"ask": map[string]any{"action": string(action), "entity": rec.Entity, "subject": map[string]any{
			"id": string(s.ID), "kind": string(s.Kind), "instance": s.Instance, "roles": list(s.Roles), "clearance": s.Clearance,
			"territories": list(s.Territories), "segments": list(s.Segments), "all_segments": s.AllSegments, "departments": list(s.Departments),
			"relationships": relationships, "keys": list(s.Keys), "groups": list(s.Groups), "jurisdictions": list(s.Jurisdictions), "purpose": s.Purpose,
		}},
		"record": map[string]any{
			"id": string(rec.ID), "home": g.Home, "territory": g.Territory, "segment": g.Segment, "department": g.Department, "owner": g.Owner,
			"account": string(g.Account), "sensitivity": g.Sensitivity, "jurisdiction": g.Jurisdiction, "pinned": g.Pinned,
			"withheld": list(g.Withheld), "created": stamp(g.Created), "updated": stamp(g.Updated),
		},
		"agreements": agreements, "grants": grants, "now": stamp(now),
	}
}

// TestWhoCouldSeeAgreesWithPlainOPA: on a random history of records, facts and
// bundles, who could see a record on a past date, why, and what somebody could
// see then, is what plain OPA said on that date.
func TestWhoCouldSeeAgreesWithPlainOPA(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shippedBundle := policy.Embedded()
	bundles := []*policy.Bundle{shippedBundle}
	for _, name := range slices.Sorted(maps.Keys(candidates(t))) {
		bundles = append(bundles, candidates(t)[name])
	}
	m := &memory{w: w, bundles: map[string]rego.PreparedEvalQuery{}}
	ids := w.crowdIDs()
	gone := map[crm.RecordID]bool{}
	c, officer := caller("manager.us@amer"), caller("officer.a@amer")
	asked, visible := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		ctx := w.t.Context()
		id := rapid.SampledFrom(ids).Draw(t, "record")
		departments := []string{"legal", "sales", "west-sales", "emea/dach-sales"}
		soon := time.Now().Add(time.Duration(rapid.SampledFrom([]int{40, 3600_000}).Draw(t, "ends in")) * time.Millisecond)
		var from time.Time // now, or backdated: it was not known before it was recorded
		if rapid.Bool().Draw(t, "backdated") {
			from = time.Now().Add(-time.Hour)
		}
		switch op := rapid.IntRange(0, 7).Draw(t, "what happens"); op {
		case 0: // the record moves
			recs, err := w.store.Load(ctx, "account", []crm.RecordID{id})
			if err != nil {
				t.Fatal(err)
			}
			if rec, ok := recs[id]; ok {
				_, _ = w.door.Update(ctx, c, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{{ID: id, Version: rec.Version, Fields: w.fields("account",
					"state", rapid.SampledFrom([]string{"CA", "NY", "TX"}).Draw(t, "state"), "sector", rapid.SampledFrom([]string{"Energy", "Financials"}).Draw(t, "sector"))}}})
			}
		case 1: // an agreement or a wall
			_, _ = w.door.CreateAgreement(ctx, officer, crm.Agreement{Account: id, Department: rapid.SampledFrom(departments).Draw(t, "department"),
				Effect: rapid.SampledFrom([]crm.Effect{crm.EffectOpen, crm.EffectOpen, crm.EffectWall}).Draw(t, "effect"), From: from, To: soon, Reason: "r"})
		case 2: // a judgement
			_, _ = w.door.Judge(ctx, c, crm.Grant{Entity: "account", Record: id, Kind: rapid.SampledFrom([]crm.GrantKind{crm.GrantShare, crm.GrantWithhold}).Draw(t, "kind"),
				Key: rapid.SampledFrom([]string{"s:rep.west@amer", "d:legal", "s:banker@amer"}).Draw(t, "with"), From: from, To: soon, Reason: "r"})
		case 3: // one of them ends
			facts, err := w.store.FactsAbout(ctx, id, id)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range facts.Agreements {
				_, _ = w.door.EndAgreement(ctx, officer, a.ID, "over")
			}
			for _, g := range facts.Grants {
				_, _ = w.door.EndGrant(ctx, officer, g.ID, "over")
			}
		case 4: // somebody is assigned elsewhere
			w.alter("rep.west@amer", func(s *store.SubjectFact) {
				s.Territories = rapid.SampledFrom([][]string{{"US-W"}, {"US-NE"}, {"US"}, nil}).Draw(t, "territories")
				s.Segments = rapid.SampledFrom([][]string{{trees.AllSegments}, {"Energy"}}).Draw(t, "segments")
				s.Departments = rapid.SampledFrom([][]string{{"west-sales"}, {"legal"}, nil}).Draw(t, "departments")
			})
		case 5: // another policy comes into force
			w.put(rapid.SampledFrom(bundles).Draw(t, "bundle"))
		case 6: // the record is deleted, seldom
			if recs, err := w.store.Load(ctx, "account", []crm.RecordID{id}); err == nil && len(gone) < 3 && rapid.IntRange(0, 3).Draw(t, "deleted") == 0 && len(recs) == 1 {
				rs, err := w.door.Delete(ctx, c, access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: id, Version: recs[id].Version}}})
				gone[id] = err == nil && rs[0].Err == nil
			}
		case 7: // time passes
		}
		m.remember(t, ids)
		one := rapid.SampledFrom(m.moments).Draw(t, "moment")
		got, err := w.door.PastWhoSees(ctx, officer, "account", string(id), one.at)
		want, there := one.sees[id]
		if !there {
			if crm.KindOf(err) != crm.NotFound {
				t.Fatalf("%s was not there at %s: %+v, %v", id, one.at, got, err)
			}
			return
		}
		if err != nil || got.Bundle != one.bundle {
			t.Fatalf("at %s: bundle %.12s, want %.12s: %v", one.at, got.Bundle, one.bundle, err)
		}
		said := map[crm.SubjectID][]string{}
		for _, v := range got.Viewers {
			for _, r := range v.Opens {
				said[v.Subject] = append(said[v.Subject], strings.TrimSpace(r.Ground+" "+r.Fact))
			}
			slices.Sort(said[v.Subject])
		}
		asked, visible = asked+1, visible+len(said)
		if diff := cmp.Diff(want, said); diff != "" {
			t.Fatalf("who could see %s at %s: plain OPA then (-), and asked now (+):\n%s", id, one.at, diff)
		}
		subject := rapid.SampledFrom(w.facts.Subjects).Draw(t, "subject").ID
		sights, _, err := w.door.PastSees(ctx, officer, subject, "account", one.at, 1000)
		if err != nil || len(sights) != 1 {
			t.Fatalf("what could %s see at %s: %v", subject, one.at, err)
		}
		var could []crm.RecordID
		for id, by := range one.sees {
			if _, ok := by[subject]; ok {
				could = append(could, id)
			}
		}
		slices.Sort(could)
		if !slices.Equal(could, sights[0].IDs) || sights[0].Total != int64(len(could)) {
			t.Fatalf("what could %s see at %s: plain OPA then %v, asked now %d %v", subject, one.at, could, sights[0].Total, sights[0].IDs)
		}
	})
	t.Logf("%d moments, %d records asked about, %d viewers", len(m.moments), asked, visible)
	if visible == 0 {
		t.Error("nobody could ever see anything")
	}
}

func (w *world) crowdIDs() (ids []crm.RecordID) {
	for _, r := range w.crowd() {
		ids = append(ids, r.ID)
	}
	return ids
}
