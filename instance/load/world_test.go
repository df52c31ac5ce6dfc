package load_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"

	"crypto/sha256"

	"github.com/jackc/pgx/v5"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/load"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(facadeVariable); config != "" {
		os.Exit(beFacade(config)) // this process is the facade of an end-to-end test
	}
	embeddedtest.Main(m)
}

// world is an instance, amer, with the parts that a load touches: real
// PostgreSQL, the shipped entities and policy, no plugins.
type world struct {
	*load.Service
	t     testing.TB
	store *store.Store
	door  *access.Door
	url   string
}

var engine = sync.OnceValues(func() (*policy.Engine, error) { return policy.New(context.Background(), policy.Embedded()) })

// Who loads and who looks on.
var (
	loader = crm.Caller{Subject: "loader@amer", Execution: "00000000000000000000000000000001"}
	other  = crm.Caller{Subject: "loader2@amer", Execution: "00000000000000000000000000000002"}
	ops    = crm.Caller{Subject: "ops@amer", Execution: "00000000000000000000000000000003"}
	rep    = crm.Caller{Subject: "rep@amer", Execution: "00000000000000000000000000000004"}
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, url: embeddedtest.Database(t)}
	e, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	if w.store, err = store.Open(t.Context(), store.Config{URL: embeddedtest.App(w.url), OwnerURL: w.url, Instance: "amer"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.store.Close)
	if err := w.store.Install(t.Context(), schema.Common()); err != nil {
		t.Fatal(err)
	}
	err = w.store.Reconcile(t.Context(), store.Facts{
		Territories: trees.Territories(), Segments: trees.Segments(),
		Subjects: []store.SubjectFact{
			{ID: loader.Subject, Kind: crm.KindService, Roles: []string{"loader"}},
			{ID: other.Subject, Kind: crm.KindService, Roles: []string{"loader"}},
			{ID: ops.Subject, Kind: crm.KindPerson, Roles: []string{"ops"}},
			{ID: rep.Subject, Kind: crm.KindPerson, Roles: []string{"rep"}, Clearance: 3, Territories: []string{"US"}, Segments: []string{"all"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.door = access.New(access.Config{Instance: "amer", Store: w.store, Engine: e})
	w.Service = load.New(w.door, w.store, slog.New(slog.DiscardHandler))
	return w
}

// number asks the database, past all doors.
func (w *world) number(sql string, args ...any) (n int) {
	w.t.Helper()
	c, err := pgx.Connect(context.Background(), w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	if err := c.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// begin begins a load of accounts; content stands for the file.
func (w *world) begin(c crm.Caller, content string, change ...func(*facadev1.BeginRequest)) *facadev1.BeginResponse {
	w.t.Helper()
	r := beginRequest(content)
	for _, f := range change {
		f(r)
	}
	resp, err := w.Begin(w.t.Context(), c, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

func beginRequest(content string) *facadev1.BeginRequest {
	sum := sha256.Sum256([]byte(content))
	return &facadev1.BeginRequest{
		Feed: "companies", Entity: "account", File: "companies.csv", Sha256: hex.EncodeToString(sum[:]),
		Mapping: "companies", MappingVersion: 1, ControlCount: -1,
	}
}

func dry(r *facadev1.BeginRequest) { r.DryRun = true }

func text(s string) *recordv1.Value {
	return &recordv1.Value{Kind: &recordv1.Value_String_{String_: s}}
}

// rows makes accounts number from to to; what their fields are beside the key
// and a name is up to change.
func rows(from, to int, change ...func(*facadev1.Row)) []*facadev1.Row {
	var out []*facadev1.Row
	for n := from; n <= to; n++ {
		r := &facadev1.Row{Number: int64(n), Entity: "account", Fields: map[string]*recordv1.Value{
			"source_id": text(fmt.Sprintf("R%d", n)), "name": text(fmt.Sprintf("Company %d", n)), "country": text("US"),
		}}
		for _, f := range change {
			f(r)
		}
		out = append(out, r)
	}
	return out
}

// batch is an Apply of rows up to record to.
func batch(load string, to int, rows ...*facadev1.Row) *facadev1.ApplyRequest {
	return &facadev1.ApplyRequest{
		LoadId: load, Rows: rows, Position: &facadev1.Position{Record: int64(to), Offset: int64(to) * 100},
		Progress: &facadev1.Progress{Done: int64(to) * 100, Total: 1000, Unit: "bytes"},
	}
}

func (w *world) apply(c crm.Caller, r *facadev1.ApplyRequest) *facadev1.ApplyResponse {
	w.t.Helper()
	resp, err := w.Apply(w.t.Context(), c, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

func (w *world) finish(c crm.Caller, load string, read int64) *facadev1.Load {
	w.t.Helper()
	resp, err := w.Finish(w.t.Context(), c, &facadev1.FinishRequest{LoadId: load, Read: read})
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.GetLoad()
}
