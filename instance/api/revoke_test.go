package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"meridian/instance/access"
	"meridian/instance/api"
	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/identity"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
)

const (
	revokeReaders = 64
	revokeRounds  = 3 // of each way to lose access
	guest         = crm.SubjectID("guest@amer")
)

// TestRevocationUnderLoad: 64 readers get, list, filter and look into the
// history of a record on two replicas while access to it ends. No request that
// begins after the change committed is answered with the record, whatever each
// replica has cached, and however access ended.
func TestRevocationUnderLoad(t *testing.T) {
	t.Parallel()
	w := open(t)
	replicas := []server{{w.url, w.token(guest)}, w.replica(guest)}
	fs := facts()
	fs.Subjects = append(fs.Subjects, store.SubjectFact{ID: guest, Kind: crm.KindPerson, Roles: []string{"reader"}, Segments: []string{"all"}, Departments: []string{"legal"}})
	guests := &fs.Subjects[len(fs.Subjects)-1]
	become := func(territories []string, clearance int) {
		t.Helper()
		guests.Territories, guests.Clearance = territories, clearance
		must(t, w.store.Reconcile(t.Context(), fs))
	}
	become(nil, 0)
	caller := func(id crm.SubjectID) crm.Caller { return crm.Caller{Subject: id} }
	agree := func(id string, effect crm.Effect) crm.Agreement {
		t.Helper()
		a, err := w.door.CreateAgreement(t.Context(), caller(officer), crm.Agreement{Account: crm.RecordID(id), Department: "legal", Effect: effect})
		must(t, err)
		return a
	}
	for _, way := range []struct {
		name string
		give func(id string) (take func())
	}{
		{"a share is withdrawn", func(id string) func() {
			g, err := w.door.Judge(t.Context(), caller(manager), crm.Grant{Entity: "account", Record: crm.RecordID(id), Kind: crm.GrantShare, Key: "s:" + string(guest), Reason: "they work on it"})
			must(t, err)
			return func() {
				_, err := w.door.EndGrant(t.Context(), caller(manager), g.ID, "done")
				must(t, err)
			}
		}},
		{"an agreement is ended", func(id string) func() {
			a := agree(id, crm.EffectOpen)
			return func() {
				_, err := w.door.EndAgreement(t.Context(), caller(officer), a.ID, "done")
				must(t, err)
			}
		}},
		{"a wall is set", func(id string) func() {
			agree(id, crm.EffectOpen)
			return func() { agree(id, crm.EffectWall) }
		}},
		{"a colleague withholds", func(id string) func() {
			agree(id, crm.EffectOpen)
			return func() {
				_, err := w.door.Judge(t.Context(), caller(manager), crm.Grant{Entity: "account", Record: crm.RecordID(id), Kind: crm.GrantWithhold, Key: "s:" + string(guest), Reason: "not for them"})
				must(t, err)
			}
		}},
		{"an assignment is ended", func(string) func() {
			become([]string{"US-NE"}, 5)
			return func() { become(nil, 5) }
		}},
		{"the clearance is lowered", func(string) func() {
			become([]string{"US-NE"}, 5)
			return func() { become([]string{"US-NE"}, 4) }
		}},
	} {
		for round := range revokeRounds {
			key := strings.ReplaceAll(way.name, " ", "") + fmt.Sprint(round)
			id := w.ask(manager, http.MethodPost, "/api/v1/account",
				`{"fields":{"source_id":"`+key+`","name":"Secret `+key+`","country":"US"},"territory":"US-NY","segment":"all","sensitivity":5}`).want(t, http.StatusCreated).id()
			take := way.give(id)
			w.loseUnderLoad(replicas, id, "Secret "+key, take)
			become(nil, 0)
			if t.Failed() {
				t.Fatalf("when %s, in round %d", way.name, round)
			}
		}
	}
}

// loseUnderLoad has the readers see the record, takes it from them while they
// go on, and fails the test if any request that began later shows it, or one that began
// before does not. Each reader ends with an answer without the record.
func (w *world) loseUnderLoad(replicas []server, id, mark string, take func()) {
	w.t.Helper()
	paths := []string{
		"/api/v1/account/" + id,
		"/api/v1/account?limit=1000",
		"/api/v1/account?filter=" + url.QueryEscape("name = '"+mark+"'"),
		"/api/v1/account/" + id + "/history",
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: revokeReaders}}
	defer client.CloseIdleConnections()
	var taken atomic.Bool
	var readers, seen sync.WaitGroup
	seen.Add(revokeReaders)
	for i := range revokeReaders {
		readers.Go(func() {
			saw := false
			see := sync.OnceFunc(func() { saw = true; seen.Done() })
			defer see()
			at, path := replicas[i%len(replicas)], paths[i/len(replicas)%len(paths)]
			for {
				late := taken.Load()
				shown, err := shows(w.t.Context(), client, at.token, at.url+path, mark)
				switch {
				case err != nil:
					w.t.Error(err)
					return
				case shown && late:
					w.t.Errorf("GET %s began after the change and shows the record", at.url+path)
					return
				case shown:
					see()
				case !saw: // nobody takes it before all have seen it
					w.t.Errorf("GET %s does not show what was just given", at.url+path)
					return
				case late:
					return
				}
			}
		})
	}
	seen.Wait()
	take()
	taken.Store(true)
	readers.Wait()
}

// shows makes a request and tells whether its answer holds the mark.
func shows(ctx context.Context, client *http.Client, token, target, mark string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return false, err
	}
	switch res.StatusCode {
	case http.StatusOK, http.StatusNotFound:
		return strings.Contains(string(body), mark), nil
	}
	return false, fmt.Errorf("GET %s answered %s: %s", target, res.Status, body)
}

// server is where a reader asks, and the token it takes.
type server struct{ url, token string }

// replica starts another server of the instance over the same database, with
// caches of its own.
func (w *world) replica(as crm.SubjectID) server {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	log := w.slog()
	st, err := store.Open(ctx, store.Config{URL: embeddedtest.App(w.db), OwnerURL: w.db, MaxConns: 8, Instance: "amer", Replica: "second", Log: log})
	must(w.t, err)
	engine, err := policy.New(ctx, policy.Embedded(), schema.Common()...)
	must(w.t, err)
	door := access.New(access.Config{Instance: "amer", Store: st, Engine: engine, Log: log})
	keys := w.t.TempDir()
	issuer, err := identity.NewIssuer(keys)
	must(w.t, err)
	token, err := issuer.Issue(as, "amer", time.Hour)
	must(w.t, err)
	verifier, err := identity.NewVerifier(keys+"/jwks.json", "amer")
	must(w.t, err)
	srv := api.NewServer(api.New(api.Config{Instance: "amer", Version: "v1.2.3", Door: door, Verifier: verifier, Registry: prometheus.NewRegistry(), Log: log}), log)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	must(w.t, err)
	ended := make(chan error, 2)
	go func() { ended <- srv.Serve(listener) }()
	go func() { ended <- door.Run(ctx) }()
	w.t.Cleanup(func() {
		stop, end := context.WithTimeout(context.Background(), 10*time.Second)
		defer end()
		if err := srv.Shutdown(stop); err != nil {
			w.t.Errorf("shutdown of the replica: %v", err)
		}
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil && !errors.Is(err, http.ErrServerClosed) {
				w.t.Errorf("the replica: %v", err)
			}
		}
		st.Close()
	})
	return server{"http://" + listener.Addr().String(), token}
}
