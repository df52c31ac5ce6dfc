package access_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/access"
	"meridian/instance/access/accesstest"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
)

func TestMain(m *testing.M) { embeddedtest.Main(m) }

// shipped is the engine of the shipped bundle, compiled once.
var shipped = sync.OnceValues(func() (*policy.Engine, error) {
	return policy.New(context.Background(), policy.Embedded())
})

// world is the instance amer with its facts, on a database of its own.
type world struct {
	t     testing.TB
	url   string
	store *store.Store
	door  *access.Door
	facts store.Facts
	hooks *placer
	n     atomic.Int64

	trusted []store.TrustedKey // by the operator
}

func newWorld(t testing.TB) *world {
	t.Helper()
	url := embeddedtest.Database(t)
	s, err := store.Open(t.Context(), store.Config{URL: embeddedtest.App(url), OwnerURL: url, MaxConns: 8, Instance: "amer"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Install(t.Context(), schema.Common()); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, url: url, store: s, hooks: &placer{}, facts: amer(), trusted: accesstest.Trusted()}
	w.trust()
	w.reconcile()
	return w
}

// trust does what a start does with the operator's keys.
func (w *world) trust() {
	w.t.Helper()
	if err := w.store.TrustKeys(w.t.Context(), w.trusted); err != nil {
		w.t.Fatal(err)
	}
	engine, err := shipped()
	if err != nil {
		w.t.Fatal(err)
	}
	w.door = access.New(access.Config{Instance: "amer", Store: w.store, Engine: engine, Hooks: w.hooks, Officers: w.trusted})
}

// amer is the world most tests begin with.
func amer() store.Facts {
	everywhere := []string{trees.World}
	all := []string{trees.AllSegments}
	person := func(id crm.SubjectID, role string, territories, segments []string, departments ...string) store.SubjectFact {
		return store.SubjectFact{ID: id, Kind: crm.KindPerson, Roles: []string{role}, Clearance: 3,
			Territories: territories, Segments: segments, Departments: departments}
	}
	return store.Facts{
		Territories: trees.Territories(),
		Segments:    trees.Segments(),
		Departments: []store.Department{
			{ID: "sales", Name: "Sales"}, {ID: "west-sales", Parent: "sales", Name: "Sales, West"},
			{ID: "legal", Name: "Legal"}, {ID: "credit", Name: "Credit"},
		},
		Subjects: []store.SubjectFact{
			person("rep.west@amer", "rep", []string{"US-W"}, all, "west-sales"),
			person("rep.east@amer", "rep", []string{"US-NE", "US-S"}, all),
			person("manager.us@amer", "manager", []string{"US"}, all, "sales"),
			person("rep.energy@amer", "rep", []string{"US"}, []string{"Energy"}),
			person("banker@amer", "reader", everywhere, []string{"Financials"}),
			person("lawyer@amer", "rep", nil, nil, "legal"),
			person("analyst@amer", "rep", nil, nil, "credit"),
			person("officer.a@amer", "officer", nil, nil),
			person("ops@amer", "ops", nil, nil),
			{ID: "loader@amer", Kind: crm.KindService, Roles: []string{"loader"}},
		},
		Relationships: []store.RelationshipFact{{Department: "credit", On: "west-sales", Actions: []string{"read", "update"}}},
		Contracts: []crm.Contract{{
			ID: "amer-finserv-account", Source: "amer", Destination: "finserv", Entity: "account", Territories: everywhere,
			Segments: []string{"Financials"}, Groups: []string{"core"}, Jurisdictions: []string{"*"}, Purpose: "banking",
		}, {
			ID: "amer-emea-account", Source: "amer", Destination: "emea", Entity: "account", Departments: []string{"emea/dach-sales"},
			Groups: []string{"core", "commercial"}, Jurisdictions: []string{"US"},
		}, {
			ID: "emea-amer-account", Source: "emea", Destination: "amer", Entity: "account", Territories: everywhere, Segments: all,
			Groups: []string{"core", "commercial"}, Jurisdictions: []string{"*"}, Arrives: crm.Arrival{Department: "west-sales", Sensitivity: 2},
		}},
	}
}

func (w *world) reconcile() {
	w.t.Helper()
	if err := w.store.Reconcile(w.t.Context(), w.facts); err != nil {
		w.t.Fatal(err)
	}
}

// alter changes one subject's facts.
func (w *world) alter(id crm.SubjectID, f func(*store.SubjectFact)) {
	w.t.Helper()
	i := slices.IndexFunc(w.facts.Subjects, func(s store.SubjectFact) bool { return s.ID == id })
	w.facts.Subjects = slices.Clone(w.facts.Subjects)
	f(&w.facts.Subjects[i])
	w.reconcile()
}

// placer stands for the plugins of an instance: it places accounts as the
// territory-assignment plugin does, and refuses or breaks where a test says so.
type placer struct {
	mu     sync.Mutex
	refuse func(*access.Draft) error
	seen   []access.Draft
}

func (p *placer) Run(_ context.Context, _ string, drafts []*access.Draft) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range drafts {
		p.seen = append(p.seen, *d)
		if p.refuse != nil {
			if d.Err = p.refuse(d); d.Err != nil {
				continue
			}
		}
		inputs := []string{"country", "state", "sector", "industry_group", "industry"}
		wanted := d.Op == crm.OpCreate || d.Reassign || slices.ContainsFunc(inputs, func(f string) bool { return slices.Contains(d.Changed, f) })
		if d.Entity != "account" || d.Op == crm.OpDelete || !wanted {
			continue
		}
		text := func(name string) string { return d.Fields[name].Text() }
		if !d.Governed.Pinned || d.Governed.Territory == crm.Unassigned {
			d.Governed.Territory = trees.TerritoryOf(text("country"), text("state"))
		}
		if !d.Governed.Pinned || d.Governed.Segment == crm.Unassigned {
			d.Governed.Segment = trees.SegmentOf(text("sector"), text("industry_group"), text("industry"))
		}
	}
}

func (p *placer) refusing(f func(*access.Draft) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = f
}

// inForce is the engine that decides.
func (w *world) inForce() *policy.Engine {
	w.t.Helper()
	e, err := w.door.InForce(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func caller(id crm.SubjectID) crm.Caller { return crm.Caller{Subject: id} }

// called is a caller with an execution ID of their own.
func (w *world) called(id crm.SubjectID) crm.Caller {
	return crm.Caller{Subject: id, Execution: fmt.Sprintf("%032x", w.n.Add(1))}
}

// fields makes values of text: decimals and references by the schema's type.
func (w *world) fields(entity string, pairs ...string) map[string]crm.Value {
	w.t.Helper()
	def, ok := w.store.Definition(entity)
	if !ok {
		w.t.Fatalf("no entity %s", entity)
	}
	out := map[string]crm.Value{}
	for i := 0; i < len(pairs); i += 2 {
		f, ok := def.Field(pairs[i])
		if !ok {
			w.t.Fatalf("%s has no field %s", entity, pairs[i])
		}
		v, err := crm.ParseValue(f.Type, pairs[i+1])
		if err != nil {
			w.t.Fatal(err)
		}
		out[pairs[i]] = v
	}
	return out
}

// accountFields is a whole account, with a value in every group.
func (w *world) accountFields(state, sector string, pairs ...string) map[string]crm.Value {
	key := "S" + strconv.FormatInt(w.n.Add(1), 10)
	base := []string{"source_id", key, "name", "Company " + key, "country", "US", "state", state, "sector", sector,
		"annual_revenue", "1000000", "email", "info@example.com", "tax_id", "12-3456789"}
	f := w.fields("account", base...)
	for name, v := range w.fields("account", pairs...) {
		f[name] = v
	}
	return f
}

// account creates an account as the US manager.
func (w *world) account(state, sector string, pairs ...string) crm.Record {
	w.t.Helper()
	return w.create("manager.us@amer", "account", w.accountFields(state, sector, pairs...))
}

func (w *world) create(as crm.SubjectID, entity string, fields map[string]crm.Value) crm.Record {
	w.t.Helper()
	return w.ok(w.door.Create(w.t.Context(), caller(as), access.CreateRequest{Entity: entity, Rows: []access.NewRow{{Fields: fields}}}))
}

// ok is the one record of results that must have one.
func (w *world) ok(rs []access.Result, err error) crm.Record {
	w.t.Helper()
	if err == nil && len(rs) == 1 {
		err = rs[0].Err
	}
	if err != nil || len(rs) != 1 {
		w.t.Fatalf("%d results: %v (%v)", len(rs), err, errors.Unwrap(err))
	}
	return rs[0].Record
}

// refusal is the error of one row that must have failed.
func (w *world) refusal(rs []access.Result, err error) *crm.Error {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	if len(rs) != 1 || rs[0].Err == nil {
		w.t.Fatalf("not refused: %+v", rs)
	}
	e, ok := errors.AsType[*crm.Error](rs[0].Err)
	if !ok {
		w.t.Fatalf("not a crm.Error: %v", rs[0].Err)
	}
	return e
}

func (w *world) get(as crm.SubjectID, rec crm.Record) ([]access.Result, error) {
	return w.door.Get(w.t.Context(), caller(as), rec.Entity, []crm.RecordID{rec.ID})
}

// sees says whether a subject sees a record, and insists that every way of
// reading agrees.
func (w *world) sees(as crm.SubjectID, rec crm.Record) bool {
	w.t.Helper()
	ctx := w.t.Context()
	rs, err := w.get(as, rec)
	if err != nil {
		w.t.Fatal(err)
	}
	got := rs[0].Err == nil
	page, _, err := w.door.List(ctx, caller(as), access.ListRequest{Entity: rec.Entity, IDs: []crm.RecordID{rec.ID}})
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := w.door.Count(ctx, caller(as), rec.Entity, fmt.Sprintf("id = '%s'", rec.ID))
	if err != nil {
		w.t.Fatal(err)
	}
	ids, _, err := w.door.Visible(ctx, caller(as), rec.Entity, "")
	if err != nil {
		w.t.Fatal(err)
	}
	_, historyErr := w.door.History(ctx, caller(as), rec.Entity, rec.ID, 0, 0)
	ways := map[string]bool{
		"get": got, "list": len(page) == 1, "count": n == 1, "visible": slices.Contains(ids, rec.ID), "history": historyErr == nil,
	}
	for way, saw := range ways {
		if saw != got {
			w.t.Fatalf("%s and the record: get says %v, %s says %v", as, got, way, saw)
		}
	}
	if got {
		if diff := cmp.Diff(rs[0].Record, page[0], cmp.AllowUnexported(crm.Value{})); diff != "" {
			w.t.Fatalf("get and list differ: %s", diff)
		}
	}
	return got
}

func (w *world) agree(g crm.Agreement) crm.Agreement {
	w.t.Helper()
	out, err := w.door.CreateAgreement(w.t.Context(), caller("officer.a@amer"), g)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) judge(as crm.SubjectID, g crm.Grant) crm.Grant {
	w.t.Helper()
	if g.Reason == "" {
		g.Reason = "they work on it together"
	}
	out, err := w.door.Judge(w.t.Context(), caller(as), g)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) update(as crm.SubjectID, rec crm.Record, pairs ...string) ([]access.Result, error) {
	w.t.Helper()
	return w.door.Update(w.t.Context(), caller(as), access.UpdateRequest{Entity: rec.Entity, Rows: []access.UpdateRow{
		{ID: rec.ID, Version: rec.Version, Fields: w.fields(rec.Entity, pairs...)},
	}})
}

func wantKind(t testing.TB, err error, kind crm.Kind, field string) {
	t.Helper()
	e, ok := errors.AsType[*crm.Error](err)
	if !ok || e.Kind != kind || e.Field != field {
		t.Errorf("got %v (%+v), want %s %s", err, e, kind, field)
	}
}
