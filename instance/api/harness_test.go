package api_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"meridian/instance/access"
	"meridian/instance/api"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/feed"
	"meridian/instance/identity"
	"meridian/instance/load"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
	fleetv1 "meridian/proto/gen/meridian/fleet/v1"
)

func TestMain(m *testing.M) { embeddedtest.Main(m) }

// world is one instance behind a real port: real PostgreSQL, real policy, real
// tokens. It has no plugins; records are placed by pinning.
type world struct {
	t      *testing.T
	url    string
	db     string // URL of the database
	store  *store.Store
	door   *access.Door
	issuer *identity.Issuer
	other  *identity.Issuer // keys this instance does not believe
	hooks  *hooks
	engine *policy.Engine
	down   atomic.Bool // makes a part ill
	log    *logged
	http   *http.Client
}

func open(t *testing.T) *world { return openWith(t, recipe{facts: facts()}) }

// recipe is what an instance is made of; what is left out is what ships.
type recipe struct {
	facts  store.Facts
	defs   []crm.Definition
	bundle *policy.Bundle
	trace  func(context.Context, string)   // hears of every statement
	before func(http.Handler) http.Handler // stands before the API's handler
	conns  int                             // that questions which take long share; so many that none waits if 0
}

// openWith is open by another recipe.
func openWith(t *testing.T, r recipe) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	w := &world{t: t, hooks: &hooks{}, log: &logged{}, db: embeddedtest.Database(t)}
	log := w.slog()
	st, err := store.Open(ctx, store.Config{URL: embeddedtest.App(w.db), OwnerURL: w.db, MaxConns: 8, Instance: "amer", Log: log, Trace: r.trace})
	must(t, err)
	if r.defs == nil {
		r.defs = schema.Common()
	}
	if r.bundle == nil {
		r.bundle = policy.Embedded()
	}
	must(t, st.Install(ctx, r.defs))
	must(t, st.Reconcile(ctx, r.facts))
	engine, err := policy.New(ctx, r.bundle, r.defs...)
	must(t, err)
	door := access.New(access.Config{Instance: "amer", Store: st, Engine: engine, Hooks: w.hooks, Log: log})
	w.store, w.door, w.engine = st, door, engine
	changes := feed.New(st, door, log)

	keys := t.TempDir()
	w.issuer, err = identity.NewIssuer(keys)
	must(t, err)
	w.other, err = identity.NewIssuer(t.TempDir())
	must(t, err)
	verifier, err := identity.NewVerifier(keys+"/jwks.json", "amer")
	must(t, err)

	handler := api.New(api.Config{
		Instance: "amer", Version: "v1.2.3", Door: door, Verifier: verifier, Registry: prometheus.NewRegistry(), Log: log,
		Loads: load.New(door, st, log), Conns: cmp.Or(r.conns, 100),
		Watch: func(ctx context.Context, c crm.Caller, entity, filter string, emit func(api.Event) error) error {
			return changes.Watch(ctx, c, entity, filter, func(e feed.Event) error { return emit(api.Event(e)) })
		},
		Describe: func(context.Context) *fleetv1.DescribeResponse {
			return &fleetv1.DescribeResponse{Instance: "amer", Version: "v1.2.3", Bundle: engine.Digest(), Parts: []*fleetv1.Part{{Name: "database", Ok: !w.down.Load()}}}
		},
	})
	if r.before != nil {
		handler = r.before(handler)
	}
	srv := api.NewServer(handler, log)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	must(t, err)
	w.url = "http://" + listener.Addr().String()
	w.http = &http.Client{Transport: &http.Transport{}}

	done := make(chan struct{}, 3)
	run := func(f func()) {
		go func() {
			defer func() { done <- struct{}{} }()
			f()
		}()
	}
	run(func() { _ = srv.Serve(listener) })
	run(func() { _ = door.Run(ctx) })
	run(func() { _ = changes.Run(ctx) })
	t.Cleanup(func() {
		// Shutdown must end open streams by itself.
		stop, end := context.WithTimeout(context.Background(), 10*time.Second)
		defer end()
		w.http.CloseIdleConnections()
		if err := srv.Shutdown(stop); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		cancel()
		for range cap(done) {
			<-done
		}
		st.Close()
	})
	return w
}

func facts() store.Facts {
	person := func(id crm.SubjectID, role string, territories, segments, departments []string) store.SubjectFact {
		return store.SubjectFact{ID: id, Kind: crm.KindPerson, Roles: []string{role}, Clearance: 9, Territories: territories, Segments: segments, Departments: departments}
	}
	all := []string{"all"}
	return store.Facts{
		Territories: trees.Territories(), Segments: trees.Segments(),
		Departments: []store.Department{{ID: "sales", Name: "Sales"}, {ID: "legal", Name: "Legal"}},
		Subjects: []store.SubjectFact{
			person("rep.west@amer", "rep", []string{"US-W"}, all, []string{"sales"}),
			person("rep.east@amer", "rep", []string{"US-NE", "US-S"}, all, []string{"sales"}),
			person("manager.us@amer", "manager", []string{"US"}, all, []string{"sales"}),
			person("reader@amer", "reader", []string{"US-W"}, all, nil),
			person("officer.a@amer", "officer", nil, nil, nil),
			{ID: "ops@amer", Kind: crm.KindPerson, Roles: []string{"ops"}},
			{ID: "loader@amer", Kind: crm.KindService, Roles: []string{"loader"}, Clearance: 9, Territories: []string{"001"}, Segments: all},
		},
		Contracts: []crm.Contract{arriving},
	}
}

// arriving is what emea lets this instance hold.
var arriving = crm.Contract{
	ID: "emea-amer", Source: "emea", Destination: "amer", Entity: "account", Territories: []string{"001"}, Segments: []string{"all"},
	Groups: []string{"core"}, Jurisdictions: []string{"*"}, Purpose: "test", LegalBasis: "test", To: crm.Forever,
}

// hooks is the place where plugins would run; a test makes it fail as they do.
type hooks struct{ fail atomic.Pointer[crm.Error] }

func (h *hooks) Run(_ context.Context, _ string, drafts []*access.Draft) {
	if e := h.fail.Load(); e != nil {
		for _, d := range drafts {
			d.Err = e
		}
	}
}

// slog logs everything to where tests look.
func (w *world) slog() *slog.Logger {
	return slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// logged keeps what was logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) token(as crm.SubjectID) string {
	w.t.Helper()
	token, err := w.issuer.Issue(as, "amer", time.Hour)
	must(w.t, err)
	return token
}

// answer is what a REST call got.
type answer struct {
	*http.Response
	raw  string
	body map[string]any
}

// ask makes a REST call. headers are name and value by turns.
func (w *world) ask(as crm.SubjectID, method, path, body string, headers ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	must(w.t, err)
	if as != "" {
		req.Header.Set("Authorization", "Bearer "+w.token(as))
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.http.Do(req)
	must(w.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(w.t, err)
	a := answer{Response: resp, raw: string(raw)}
	if len(raw) > 0 && strings.Contains(resp.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			w.t.Fatalf("%s %s: %s: %v", method, path, raw, err)
		}
	}
	return a
}

// want fails the test unless the answer has the status, and for an error the
// kind and the field.
func (a answer) want(t *testing.T, status int, kindAndField ...string) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s answered %d, want %d: %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.raw)
	}
	if len(a.Header.Get("Execution-Id")) != 32 {
		t.Errorf("Execution-Id %q", a.Header.Get("Execution-Id"))
	}
	if status < 400 {
		return a
	}
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("%s: an error as %s", a.Request.URL.Path, ct)
	}
	if a.body["execution_id"] != a.Header.Get("Execution-Id") || a.body["status"] != float64(status) {
		t.Errorf("problem %s with Execution-Id %s", a.raw, a.Header.Get("Execution-Id"))
	}
	if len(kindAndField) > 0 && a.body["kind"] != kindAndField[0] {
		t.Errorf("%s: kind %v, want %s: %s", a.Request.URL.Path, a.body["kind"], kindAndField[0], a.raw)
	}
	if len(kindAndField) > 1 && a.body["field"] != kindAndField[1] {
		t.Errorf("%s: field %v, want %s: %s", a.Request.URL.Path, a.body["field"], kindAndField[1], a.raw)
	}
	return a
}

// record is the record of an answer about one.
func (a answer) record() map[string]any {
	r, _ := a.body["record"].(map[string]any)
	return r
}

func (a answer) id() string { id, _ := a.record()["id"].(string); return id }

// create makes an account in a territory and answers its id.
func (w *world) create(as crm.SubjectID, key, territory string) string {
	w.t.Helper()
	body := `{"fields":{"source_id":"` + key + `","name":"Company ` + key + `","country":"US","annual_revenue":"1000.50","email":"a@example.com"},"territory":"` + territory + `","segment":"all"}`
	return w.ask(as, http.MethodPost, "/api/v1/account", body).want(w.t, http.StatusCreated).id()
}

// bearer puts a token on every call of a client.
func bearer(token string) connect.ClientOption {
	return connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", "Bearer "+token)
			return next(ctx, req)
		}
	}))
}
