package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"meridian/instance"
	"meridian/instance/access/accesstest"
	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/embedded"
	"meridian/instance/identity"
)

// world is two instances on embedded servers, as a fleet runs them: durable
// PostgreSQL, Kafka on disc, both plugins as processes.
type world struct {
	dir, bin string
	postgres *embedded.Postgres
	kafka    *embedded.Kafka
	issuer   *identity.Issuer
	nodes    map[string]*node
	client   *http.Client
}

// node is one running instance. Its database has a role that owns the tables,
// which the baselines use, and one that the instance serves with.
type node struct {
	name, url, dsn, app string
	stop                func() error
	pool                *pgxpool.Pool // the baselines' own connections
}

// Personas at every instance.
const (
	rep     = "rep"   // all of the United States, all segments
	west    = "west"  // one state
	guest   = "guest" // no territory: what colleagues share
	loader  = "loader"
	officer = "officer" // compares policies, sees no record
)

func openWorld(ctx context.Context, bin string) (_ *world, err error) {
	dir, err := os.MkdirTemp("", "mrd-bench-")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, bin: bin, nodes: map[string]*node{}, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.bin, err = filepath.Abs(bin); err != nil {
		return nil, err
	}
	if w.issuer, err = identity.NewIssuer(filepath.Join(dir, "keys")); err != nil {
		return nil, err
	}
	if w.postgres, err = embedded.StartPostgres(ctx, filepath.Join(dir, "pg"), embedded.PostgresOptions{}); err != nil {
		return nil, err
	}
	if w.kafka, err = embedded.StartKafka(filepath.Join(dir, "kafka"), 0); err != nil {
		return nil, err
	}
	for _, name := range []string{"amer", "emea"} {
		person := func(id string, territories ...string) instance.Subject {
			return instance.Subject{ID: crm.SubjectID(id + "@" + name), Kind: crm.KindPerson, Roles: []string{"rep"}, Clearance: 3,
				Territories: territories, Segments: []string{"all"}}
		}
		if w.nodes[name], err = w.start(ctx, name, func(c *instance.Config) {
			c.Kafka = instance.Kafka{Brokers: w.kafka.Brokers()}
			c.Plugins = instance.Plugins{Dir: w.bin, Use: []instance.Plugin{{Name: "data-quality"}, {Name: "territory-assignment"}}}
			c.Subjects = []instance.Subject{
				person(rep, "US"), person(west, "US-OR"), person(guest),
				{ID: crm.SubjectID(loader + "@" + name), Kind: crm.KindService, Roles: []string{"loader"}},
				{ID: crm.SubjectID(officer + "@" + name), Kind: crm.KindPerson, Roles: []string{"officer"}},
			}
			c.Contracts = []instance.Contract{contract}
		}); err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
	}
	return w, nil
}

// contract shares the companies of Texas: what benchExchange writes, and
// nothing of the other benchmarks.
var contract = instance.Contract{
	ID: "amer-emea-account", Source: "amer", Destination: "emea", Entity: "account",
	Territories: []string{"US-TX"}, Segments: []string{"all"}, Groups: []string{"core"}, Jurisdictions: []string{"*"},
	Purpose: "benchmark", LegalBasis: "none, invented companies", From: time.Unix(0, 0).UTC(), To: crm.Forever,
}

// start runs an instance on a database of its own. What it exchanges, which
// plugins it has and who is known to it alter says.
func (w *world) start(ctx context.Context, name string, alter func(*instance.Config)) (_ *node, err error) {
	password := rand.Text()
	if err := w.postgres.EnsureDatabase(ctx, name, name, password); err != nil {
		return nil, err
	}
	if err := w.postgres.EnsureApp(ctx, name, name+"_app", password); err != nil {
		return nil, err
	}
	n := &node{name: name, dsn: w.postgres.URL(name, name, password), app: w.postgres.URL(name, name+"_app", password)}
	owner, app := filepath.Join(w.dir, name+".owner.url"), filepath.Join(w.dir, name+".url")
	if err := errors.Join(os.WriteFile(owner, []byte(n.dsn), 0o600), os.WriteFile(app, []byte(n.app), 0o600)); err != nil {
		return nil, err
	}
	free, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := free.Addr().String()
	free.Close()
	n.url = "http://" + address
	c := instance.Config{
		Instance: name, Listen: address,
		Database: instance.Database{URLFile: app, OwnerURLFile: owner, MaxConns: 16},
		Identity: instance.Identity{JWKSFile: filepath.Join(w.dir, "keys", "jwks.json")},
		Audit:    instance.Audit{RetentionDays: 1},
	}
	for _, k := range accesstest.Trusted() { // benchmarks put policies in force
		text, err := signed.EncodePublic(k.Public)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(w.dir, k.Department+".pub")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, err
		}
		c.Policy.Officers = append(c.Policy.Officers, instance.Officer{Subject: k.Subject, Department: k.Department, KeyFile: path})
	}
	alter(&c)
	if err := c.Validate(); err != nil {
		return nil, err
	}
	i, err := instance.Open(ctx, c, "bench", slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- i.Run(running) }()
	n.stop = func() error {
		cancel()
		err := <-ended
		i.Close()
		if n.pool != nil {
			n.pool.Close()
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.stop())
		}
	}()
	// The baselines plan for the values at hand.
	if n.pool, err = n.connect(ctx, "force_custom_plan"); err != nil {
		return nil, err
	}
	return n, w.await(ctx, n)
}

// connect is the baselines' own way to the node's database.
func (n *node) connect(ctx context.Context, planCacheMode string) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(n.dsn)
	if err != nil {
		return nil, err
	}
	c.MaxConns = 16
	c.ConnConfig.RuntimeParams["plan_cache_mode"] = planCacheMode
	c.ConnConfig.RuntimeParams["jit"] = "off"
	return pgxpool.NewWithConfig(ctx, c)
}

// await polls until the instance says it is ready.
func (w *world) await(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/readyz", nil)
		if err != nil {
			return err
		}
		if res, err := w.client.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: %w", n.name, ctx.Err())
		case <-tick.C:
		}
	}
}

func (w *world) close() error {
	var errs []error
	for _, n := range w.nodes {
		if n != nil {
			errs = append(errs, n.stop())
		}
	}
	if w.kafka != nil {
		w.kafka.Stop()
	}
	if w.postgres != nil {
		errs = append(errs, w.postgres.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

func (w *world) token(persona, at string) (string, error) {
	return w.issuer.Issue(crm.SubjectID(persona+"@"+at), at, time.Hour)
}

// request prepares a call as a persona.
func (w *world) request(ctx context.Context, n *node, persona, method, path string, body []byte) (*http.Request, error) {
	token, err := w.token(persona, n.name)
	if err != nil {
		return nil, err
	}
	return newRequest(ctx, token, method, n.url+path, body)
}

func newRequest(ctx context.Context, token, method, url string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// send performs a request and decodes its answer into out.
func (w *world) send(req *http.Request, want int, out any) error {
	res, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != want {
		return fmt.Errorf("%s %s answered %s: %s", req.Method, req.URL.Path, res.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// create creates one account through the API as the rep.
func (w *world) create(ctx context.Context, n *node, fields map[string]crm.Value) error {
	body, err := json.Marshal(map[string]any{"fields": fields})
	if err != nil {
		return err
	}
	req, err := w.request(ctx, n, rep, http.MethodPost, "/api/v1/account", body)
	if err != nil {
		return err
	}
	return w.send(req, http.StatusCreated, nil)
}
