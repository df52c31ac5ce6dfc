package store_test

import (
	"context"
	"errors"
	"flag"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
)

func TestMain(m *testing.M) {
	// Every check of a property is a handful of transactions: fewer than rapid's
	// hundred are enough in a plain run. -rapid.checks asks for more.
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
	embeddedtest.Main(m) // parses the flags
}

// thing has a field of every type, in three groups.
var thing = crm.Definition{Entity: "thing", Label: "Thing", Plural: "Things", Governed: crm.GovernedOwn, Key: "code", Fields: []crm.Field{
	{Name: "code", Type: crm.TypeString, Unique: true, Indexed: true, Group: "core"},
	{Name: "name", Type: crm.TypeString, Indexed: true, Group: "core"},
	{Name: "count", Type: crm.TypeInteger, Indexed: true, Group: "core"},
	{Name: "listed", Type: crm.TypeBoolean, Group: "core"},
	{Name: "order", Type: crm.TypeDate, Indexed: true, Group: "core"}, // a reserved word
	{Name: "seen", Type: crm.TypeTimestamp, Group: "core"},
	{Name: "tags", Type: crm.TypeList, Indexed: true, Group: "core"},
	{Name: "other_id", Type: crm.TypeReference, Reference: "thing", Group: "core"},
	{Name: "amount", Type: crm.TypeDecimal, Indexed: true, Group: "commercial", Mask: crm.MaskBand},
	{Name: "closes", Type: crm.TypeDate, Group: "commercial", Mask: crm.MaskYear},
	{Name: "iban", Type: crm.TypeString, Group: "commercial", Mask: crm.MaskLastFour},
	{Name: "terms", Type: crm.TypeString, Group: "commercial"}, // nothing of it is left
	{Name: "secret", Type: crm.TypeString, Group: "personal"},
}}

// world is one instance's database with the shipped entities and thing, and
// the shipped policy.
type world struct {
	*store.Store
	t      testing.TB
	url    string
	engine *policy.Engine
	raw    *pgxpool.Pool
}

// shipped is the engine of the shipped bundle, compiled once per test process.
var shipped = sync.OnceValues(func() (*policy.Engine, error) { return policy.New(context.Background(), policy.Embedded()) })

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, url: embeddedtest.Database(t)}
	var err error
	if w.engine, err = shipped(); err != nil {
		t.Fatal(err)
	}
	w.Store = w.open("amer")
	if err := w.Install(t.Context(), append(schema.Common(), thing)); err != nil {
		t.Fatal(err)
	}
	return w
}

// open opens the database a second time, as a replica or as another instance
// would see it.
func (w *world) open(instance string) *store.Store {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), store.Config{URL: embeddedtest.App(w.url), OwnerURL: w.url, Instance: instance, MaxConns: 8})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

// manager sees and writes everything in the territories.
func manager(territories ...string) crm.Subject {
	return crm.Subject{ID: "manager@amer", Kind: crm.KindPerson, Instance: "amer", Roles: []string{"manager"}, Clearance: 5,
		Territories: territories, Segments: []string{"all", "Energy", "Financials"}, AllSegments: true, Keys: []string{"s:manager@amer"}}
}

var everywhere = manager("US-CA", "US-NY", "DE", crm.Unassigned)

func (w *world) filter(s crm.Subject, a crm.Action, entity string) policy.Filter {
	w.t.Helper()
	d, ok := w.Definition(entity)
	if !ok {
		w.t.Fatalf("no entity %s", entity)
	}
	f, err := w.engine.Filter(w.t.Context(), s, a, entity, d.Groups())
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// read is a Read of everything s may see.
func (w *world) read(s crm.Subject, entity string) store.Read {
	return store.Read{Entity: entity, Filter: w.filter(s, crm.ActionRead, entity), Limit: 1000}
}

func governed(territory string) crm.Governed {
	return crm.Governed{Home: "amer", Territory: territory, Segment: "Energy", Department: crm.Unassigned, Owner: "manager@amer", Jurisdiction: "US"}
}

// fields is shorthand for a row's values.
type fields = map[string]crm.Value

func (w *world) creation(s crm.Subject, entity, territory string, f fields) store.Write {
	return store.Write{Op: crm.OpCreate, ID: crm.NewRecordID(), Set: f, Governed: governed(territory), Post: w.filter(s, crm.ActionCreate, entity)}
}

func (w *world) change(s crm.Subject, r crm.Record, f fields) store.Write {
	return store.Write{Op: crm.OpUpdate, ID: r.ID, Base: r.Version, Set: f, Governed: r.Governed,
		Pre: w.filter(s, crm.ActionUpdate, r.Entity), Post: w.filter(s, crm.ActionUpdate, r.Entity)}
}

func (w *world) removal(s crm.Subject, r crm.Record) store.Write {
	return store.Write{Op: crm.OpDelete, ID: r.ID, Base: r.Version, Pre: w.filter(s, crm.ActionDelete, r.Entity)}
}

// write writes rows in one transaction.
func (w *world) write(entity string, atomic bool, rows ...store.Write) []store.Written {
	w.t.Helper()
	var out []store.Written
	err := w.Tx(w.t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		out, err = tx.Write(ctx, store.WriteBatch{Entity: entity, Rows: rows, Atomic: atomic, Actor: "manager@amer", Exec: "e1"})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// must is write for rows that all succeed.
func (w *world) must(entity string, rows ...store.Write) []crm.Record {
	w.t.Helper()
	var recs []crm.Record
	for i, x := range w.write(entity, false, rows...) {
		if x.Err != nil {
			w.t.Fatalf("row %d: %v", i, x.Err)
		}
		recs = append(recs, x.Record)
	}
	return recs
}

// create creates one record.
func (w *world) create(entity, territory string, f fields) crm.Record {
	w.t.Helper()
	return w.must(entity, w.creation(everywhere, entity, territory, f))[0]
}

func (w *world) list(r store.Read) []crm.Record {
	w.t.Helper()
	p, err := w.List(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Records
}

func (w *world) where(entity, text string) crm.Condition {
	w.t.Helper()
	d, _ := w.Definition(entity)
	c, err := crm.ParseCondition(d, text)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	w.query(sql, args, nil)
}

func wantError(t *testing.T, err error, kind crm.Kind, field string) {
	t.Helper()
	e, ok := errors.AsType[*crm.Error](err)
	if !ok || e.Kind != kind || e.Field != field {
		t.Errorf("got %v, want %s on field %q", err, kind, field)
	}
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}
