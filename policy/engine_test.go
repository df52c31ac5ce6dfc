package policy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/policy"

	"github.com/google/go-cmp/cmp"
)

func embedded(t testing.TB) *policy.Engine {
	t.Helper()
	e, err := policy.New(t.Context(), policy.Embedded())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var (
	rep = crm.Subject{
		ID: "rep.west@amer", Kind: crm.KindPerson, Instance: "amer", Roles: []string{"rep"}, Clearance: 2,
		Territories: []string{"US-W", "US-CA"}, Segments: []string{"all", "Financials"}, AllSegments: true,
		Departments: []string{"us-sales"}, Keys: []string{"s:rep.west@amer", "d:us-sales"}, Stamp: 7,
	}
	banker = crm.Subject{
		ID: "banker@finserv", Kind: crm.KindPerson, Instance: "finserv", Roles: []string{"reader"},
		Territories: []string{"001", "US-CA"}, Segments: []string{"Financials"}, Departments: []string{"banking"}, Keys: []string{"s:banker@finserv", "d:banking"},
	}
	loader  = crm.Subject{ID: "loader@amer", Kind: crm.KindService, Instance: "amer", Roles: []string{"loader"}}
	officer = crm.Subject{ID: "officer.a@amer", Kind: crm.KindPerson, Instance: "amer", Roles: []string{"officer"}, Territories: []string{"US-CA"}, Segments: []string{"Financials"}}
	emea    = crm.Subject{
		ID: "emea", Kind: crm.KindInstance, Instance: "emea", Departments: []string{"emea/dach-sales"}, Keys: []string{"d:emea/dach-sales"},
		Groups: []string{"core"}, Jurisdictions: []string{"US"},
	}
)

// The filters of the shipped bundle, as SQL. Branches that cannot hold for a
// subject are not there.
func TestEmbeddedFilters(t *testing.T) {
	e := embedded(t)
	const inForce = " and f.valid_from <= statement_timestamp() and statement_timestamp() < f.valid_to)"
	const shared = `exists (select from fact."grant" f where f.record = r.id and f.recorded_to = 'infinity' and (f.kind = `
	for _, c := range []struct {
		name             string
		s                crm.Subject
		a                crm.Action
		include          []string
		unclosed, reveal string // of the group commercial
	}{
		{"a loader writes at home", loader, crm.ActionUpdate, []string{`r.home = $1::text`}, "true", `(($2::text = any(r.withheld)) is not true)`},
		{"a loader reads nothing", loader, crm.ActionRead, nil, "false", "false"},
		{"an officer reads nothing", officer, crm.ActionRead, nil, "false", "false"},
		{"nobody publishes but an instance", rep, crm.ActionPublish, nil, "false", "false"},
		{"a reader does not write", banker, crm.ActionUpdate, nil, "false", "false"},
		{"a rep deletes in the territory", rep, crm.ActionDelete,
			[]string{`(r.territory = any($1::text[]) and r.sensitivity <= $2::bigint and (r.segment = $3::text or r.segment = any($4::text[])))`},
			`not exists (select from fact.agreement f where f.account = r.account and f.recorded_to = 'infinity' and (f.effect = $5::text and f.department = any($6::text[])` + inForce + `) and not ` +
				shared + `$7::text and f.key = any($8::text[]) and f.suspended = $9::boolean` + inForce + `)`,
			`(($10::text = any(r.withheld)) is not true)`},
	} {
		f, err := e.Filter(t.Context(), c.s, c.a, "account", []string{"core", "commercial"})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var a policy.Args
		include, unclosed := f.Branches(&a)
		if diff := cmp.Diff(c.include, include); diff != "" {
			t.Errorf("%s: include (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(c.unclosed, unclosed); diff != "" {
			t.Errorf("%s: unclosed (-want +got):\n%s", c.name, diff)
		}
		if got := f.Reveals("commercial", &a); got != c.reveal {
			t.Errorf("%s: reveals\n got %s\nwant %s", c.name, got, c.reveal)
		}
		if got := f.Reveals("unheard_of", &a); got != "false" {
			t.Errorf("%s: an unknown group is revealed by %s", c.name, got)
		}
		if f.Stamp() != c.s.Stamp || f.Digest() != e.Digest() {
			t.Errorf("%s: stamp %d, digest %s", c.name, f.Stamp(), f.Digest())
		}
	}
}

func TestWhereIsAnyBranchThatIsUnclosed(t *testing.T) {
	f, err := embedded(t).Filter(t.Context(), rep, crm.ActionRead, "account", nil)
	if err != nil {
		t.Fatal(err)
	}
	var a, b policy.Args
	include, unclosed := f.Branches(&a)
	if len(include) != 3 { // territory with steward, agreement, share
		t.Errorf("%d branches: %q", len(include), include)
	}
	closed := "((" + strings.ReplaceAll(strings.TrimPrefix(unclosed, "not "), " and not exists", " or exists") + ") is not true)"
	if want := "((" + strings.Join(include, " or ") + ") and " + closed + ")"; f.Where(&b) != want {
		t.Errorf(" got %s\nwant %s", f.Where(&b), want)
	}
}

// Long lists are hashed where many rows are met, and only there: the same rows
// either way, as the oracle proves.
func TestLongListsAreHashedForManyRows(t *testing.T) {
	f, err := embedded(t).Filter(t.Context(), wide(), crm.ActionRead, "account", groupNames)
	if err != nil {
		t.Fatal(err)
	}
	for many, want := range map[bool]string{false: "r.territory = any($2::text[])", true: "r.territory in (select unnest($2::text[]))"} {
		a := &policy.Args{}
		if many {
			a.ForMany()
		}
		if got := f.Where(a) + f.Reveals("commercial", a); strings.Count(got, want) != 2 || strings.Contains(got, "unnest") != many {
			t.Errorf("for many %t: %s", many, got)
		}
	}
}

// The values of a filter are bound once per statement, whatever the order of
// the calls, and a statement may have other values before them.
func TestArgsAreShared(t *testing.T) {
	f, err := embedded(t).Filter(t.Context(), rep, crm.ActionRead, "contact", groupNames)
	if err != nil {
		t.Fatal(err)
	}
	var once, often policy.Args
	once.Add("first", "text")
	often.Add("first", "text")
	f.Where(&once)
	for range 3 {
		f.Where(&often)
	}
	if diff := cmp.Diff(once.Values(), often.Values()); diff != "" || once.Values()[0] != "first" {
		t.Error(diff)
	}
}

func TestUnassignedIsNoMembership(t *testing.T) {
	s := rep
	s.Territories = append([]string{crm.Unassigned}, rep.Territories...)
	s.Segments = append([]string{crm.Unassigned}, rep.Segments...)
	s.Departments = []string{crm.Unassigned}
	s.Relationships = []crm.Relationship{{Department: crm.Unassigned, Actions: []string{"read"}}}
	f, err := embedded(t).Filter(t.Context(), s, crm.ActionRead, "account", nil)
	if err != nil {
		t.Fatal(err)
	}
	var a policy.Args
	if where := f.Where(&a); strings.Contains(where, "r.department") {
		t.Errorf("the absent department opens: %s", where)
	}
	for _, v := range a.Values() {
		if l, ok := v.([]string); ok && slices.Contains(l, crm.Unassigned) {
			t.Errorf("the reserved id is sought in %q", l)
		}
	}
	if s.Territories[0] != crm.Unassigned {
		t.Error("the caller's subject was changed")
	}
}

// A subject is never given the filter of another, even if both were loaded
// under the same name and stamp.
func TestCacheTellsSubjectsApart(t *testing.T) {
	e := embedded(t)
	sql := func(s crm.Subject, a crm.Action, entity string, groups ...string) string {
		f, err := e.Filter(t.Context(), s, a, entity, groups)
		if err != nil {
			t.Fatal(err)
		}
		var args policy.Args
		out := f.Where(&args)
		for _, g := range groupNames {
			out += f.Reveals(g, &args)
		}
		return out + fmt.Sprint(args.Values(), f.Stamp())
	}
	base := sql(rep, crm.ActionRead, "contact", "core")
	changes := map[string]func(*crm.Subject){
		"stamp":       func(s *crm.Subject) { s.Stamp++ },
		"kind":        func(s *crm.Subject) { s.Kind = crm.KindInstance },
		"role":        func(s *crm.Subject) { s.Roles = nil },
		"clearance":   func(s *crm.Subject) { s.Clearance++ },
		"territories": func(s *crm.Subject) { s.Territories = []string{"US-WUS-CA"} },
		"segments":    func(s *crm.Subject) { s.Segments = []string{"all"} },
		"stewardship": func(s *crm.Subject) { s.AllSegments = false },
		"departments": func(s *crm.Subject) { s.Departments = nil },
		"keys":        func(s *crm.Subject) { s.Keys = nil },
		"relationships": func(s *crm.Subject) {
			s.Relationships = []crm.Relationship{{Department: "tax", Actions: []string{"read"}}}
		},
	}
	for name, change := range changes {
		s := rep
		change(&s)
		if sql(s, crm.ActionRead, "contact", "core") == base {
			t.Errorf("another %s, the same filter", name)
		}
	}
	for name, other := range map[string]string{
		"action": sql(rep, crm.ActionDelete, "contact", "core"),
		"entity": sql(rep, crm.ActionRead, "account", "core"),
		"groups": sql(rep, crm.ActionRead, "contact", "core", "commercial"),
	} {
		if other == base {
			t.Errorf("another %s, the same filter", name)
		}
	}
	if sql(rep, crm.ActionRead, "contact", "core") != base {
		t.Error("the same question, another filter")
	}
}

func TestEngineIsSafeForConcurrentUse(t *testing.T) {
	e := embedded(t)
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			for n := range int64(5) {
				s := rep
				s.Stamp = i*n + 1 // some together, some alone
				f, err := e.Filter(t.Context(), s, crm.ActionRead, "account", groupNames)
				var a policy.Args
				if err != nil || f.Where(&a) == "false" || f.Stamp() != s.Stamp {
					t.Errorf("stamp %d: %v", s.Stamp, err)
				}
				g := crm.Governed{Territory: "US-CA", Segment: "Financials", Account: uuids[0], Sensitivity: 2}
				if d, err := e.Explain(t.Context(), s, crm.ActionRead, crm.Record{Entity: "account", ID: uuids[0], Governed: g}, policy.Facts{}, noon, groupNames); err != nil || !d.Allowed {
					t.Errorf("explain: %v %v", d, err)
				}
				if ok, err := e.Permit(t.Context(), officer, "policy.read"); err != nil || !ok {
					t.Errorf("permit: %v %v", ok, err)
				}
			}
		})
	}
	wg.Wait()
}

// A question that was called off has no answer, and above all no open one.
func TestCancelledQuestionsFail(t *testing.T) {
	e := embedded(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f, err := e.Filter(ctx, rep, crm.ActionRead, "account", groupNames)
	if err == nil || f.Where(&policy.Args{}) != "false" {
		t.Errorf("a filter: %v", err)
	}
	if d, err := e.Explain(ctx, rep, crm.ActionRead, crm.Record{Entity: "account", ID: uuids[0]}, policy.Facts{}, noon, nil); err == nil || d.Allowed {
		t.Errorf("a decision: %v", err)
	}
	if ok, err := e.Permit(ctx, officer, "policy.read"); err == nil || ok {
		t.Errorf("a permit: %v", err)
	}
	if _, err := e.Filter(t.Context(), rep, crm.ActionRead, "account", groupNames); err != nil {
		t.Errorf("asked again: %v", err)
	}
}

func TestExplainNamesGroundsAndFacts(t *testing.T) {
	e := embedded(t)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const account, contact crm.RecordID = "018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002"
	g := crm.Governed{Home: "amer", Territory: "US-NY", Segment: "Energy", Department: crm.Unassigned, Owner: crm.Unassigned, Account: account, Jurisdiction: "US"}
	open := crm.Agreement{ID: "a1", Account: account, Department: "emea/dach-sales", Effect: crm.EffectOpen, From: now.Add(-time.Hour), To: crm.Forever}
	share := crm.Grant{ID: "g1", Record: account, Kind: crm.GrantShare, Key: "s:rep.west@amer", Groups: []string{"core", "commercial"}, From: now, To: now.Add(time.Hour)}
	withhold := share
	withhold.ID, withhold.Kind, withhold.Key = "g2", crm.GrantWithhold, "d:us-sales"
	elsewhere := share
	elsewhere.ID, elsewhere.Record = "g3", "018f0000-0000-7000-8000-000000000009"
	foreign := g
	foreign.Territory, foreign.Segment, foreign.Withheld = "US-CA", "Financials", []string{"commercial"}

	publishing := emea
	publishing.To = crm.Forever
	reason := func(ground, fact string) policy.Reason { return policy.Reason{Ground: ground, Fact: fact} }
	for _, c := range []struct {
		name  string
		s     crm.Subject
		a     crm.Action
		g     crm.Governed
		facts policy.Facts
		now   time.Time
		want  policy.Decision
	}{
		{"nothing opens", rep, crm.ActionRead, g, policy.Facts{Grants: []crm.Grant{elsewhere}}, now, policy.Decision{Withheld: groupNames}},
		{"a share on the account opens the contact", rep, crm.ActionRead, g, policy.Facts{Grants: []crm.Grant{share, elsewhere}}, now,
			policy.Decision{Allowed: true, Opens: []policy.Reason{reason("share", "g1")}, Revealed: []string{"core", "commercial"}, Withheld: []string{"personal"}}},
		{"the share is over at its end", rep, crm.ActionRead, g, policy.Facts{Grants: []crm.Grant{share}}, now.Add(time.Hour), policy.Decision{Withheld: groupNames}},
		{"a withhold wins", rep, crm.ActionRead, g, policy.Facts{Grants: []crm.Grant{share, withhold}}, now,
			policy.Decision{Opens: []policy.Reason{reason("share", "g1")}, Closes: []policy.Reason{reason("withhold", "g2")}, Withheld: groupNames}},
		{"a withheld group of a foreign record stays withheld", banker, crm.ActionRead, foreign, policy.Facts{}, now,
			policy.Decision{Allowed: true, Opens: []policy.Reason{reason("territory", "")}, Revealed: []string{"core", "personal"}, Withheld: []string{"commercial"}}},
		{"an agreement publishes", publishing, crm.ActionPublish, g, policy.Facts{Agreements: []crm.Agreement{open}}, now,
			policy.Decision{Allowed: true, Opens: []policy.Reason{reason("agreement", "a1")}, Revealed: []string{"core"}, Withheld: []string{"commercial", "personal"}}},
	} {
		d, err := e.Explain(t.Context(), c.s, c.a, crm.Record{Entity: "contact", ID: contact, Governed: c.g}, c.facts, c.now, groupNames)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, rs := range [][]policy.Reason{d.Opens, d.Closes} {
			for i := range rs {
				if rs[i].Text == "" {
					t.Errorf("%s: %s has no text", c.name, rs[i].Ground)
				}
				rs[i].Text = ""
			}
		}
		c.want.Digest = e.Digest()
		if diff := cmp.Diff(c.want, d); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestPermit(t *testing.T) {
	e := embedded(t)
	for _, c := range []struct {
		s          crm.Subject
		permission string
		want       bool
	}{
		{officer, "agreement.write", true},
		{rep, "agreement.write", false},
		{rep, "schema.read", true},
		{loader, "load.run", true},
		{crm.Subject{}, "load.run", false},
		{officer, "", false},
	} {
		if got, err := e.Permit(t.Context(), c.s, c.permission); err != nil || got != c.want {
			t.Errorf("%s %s: %v %v, want %v", c.s.ID, c.permission, got, err, c.want)
		}
	}
}
