package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	serveRows   = 200 // that reads choose from
	serveRounds = 3   // of each side, in turns
	serveRound  = time.Second
)

// benchServe compares creates and single reads through the API, in a closed
// loop at 1 and 16 connections, with bare pgx behind a bare net/http server:
// no token, no policy, no plugins, no decision log.
func benchServe(ctx context.Context, w *world) (out []measure, err error) {
	n := w.nodes["amer"]
	ids, err := createMany(ctx, w, n)
	if err != nil {
		return nil, err
	}
	bare, stop, err := serveBare(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	token, err := w.token(rep, n.name)
	if err != nil {
		return nil, err
	}
	call := func(method, url string, want int, body func(i int) ([]byte, error)) func(int) error {
		return func(i int) error {
			text, err := body(i)
			if err != nil {
				return err
			}
			req, err := newRequest(ctx, token, method, url+pathOf(method, ids[i%len(ids)]), text)
			if err != nil {
				return err
			}
			return w.send(req, want, nil)
		}
	}
	fields := func(i int) ([]byte, error) {
		return json.Marshal(map[string]any{"fields": accountFields(30_000_000 + i)})
	}
	nothing := func(int) ([]byte, error) { return nil, nil }
	for _, what := range []struct {
		name, method string
		want         int
		body         func(int) ([]byte, error)
		limit        float64 // of the ratio at one connection
	}{
		{"read one account", http.MethodGet, http.StatusOK, nothing, 2},
		{"create one account, both plugins", http.MethodPost, http.StatusCreated, fields, 0},
	} {
		for _, connections := range []int{1, 16} {
			ours, theirs, err := closedLoops(connections, call(what.method, n.url, what.want, what.body), call(what.method, bare, what.want, what.body))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", what.name, err)
			}
			m := measure{
				name:     fmt.Sprintf("%s through the API, %d connections", what.name, connections),
				measured: ours.String(), baseline: "bare pgx behind net/http " + theirs.String(), ratio: ratio(ours.times.at(0.5), theirs.times.at(0.5)),
			}
			if connections == 1 {
				m.limit = what.limit
			}
			out = append(out, m)
		}
	}
	return out, nil
}

func pathOf(method, id string) string {
	if method == http.MethodGet {
		return "/api/v1/account/" + id
	}
	return "/api/v1/account"
}

// createMany makes the accounts to read.
func createMany(ctx context.Context, w *world, n *node) (ids []string, err error) {
	for i := range serveRows {
		body, err := json.Marshal(map[string]any{"fields": accountFields(40_000_000 + i)})
		if err != nil {
			return nil, err
		}
		req, err := w.request(ctx, n, rep, http.MethodPost, "/api/v1/account", body)
		if err != nil {
			return nil, err
		}
		var made struct{ Record struct{ ID string } }
		if err := w.send(req, http.StatusCreated, &made); err != nil {
			return nil, err
		}
		ids = append(ids, made.Record.ID)
	}
	return ids, nil
}

// loop is what a closed loop came to.
type loop struct {
	times sample
	took  time.Duration
	cost  usage
}

func (l loop) String() string {
	calls := max(len(l.times), 1)
	return fmt.Sprintf("%.0f/s, %s, CPU %s", float64(len(l.times))/l.took.Seconds(), l.times, round(l.cost.total()/time.Duration(calls)))
}

// closedLoops runs a and b in turns, each over as many connections as asked,
// without a pause between calls.
func closedLoops(connections int, a, b func(i int) error) (as, bs loop, err error) {
	var next atomic.Int64 // every call is another, in every loop
	next.Store(int64(connections) * 1_000_000)
	round := func(into *loop, call func(int) error) error {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var errs []error
		before, start := used(), time.Now()
		for range connections {
			wg.Go(func() {
				var mine sample
				var err error
				for err == nil && time.Since(start) < serveRound {
					began := time.Now()
					if err = call(int(next.Add(1))); err == nil {
						mine = append(mine, time.Since(began))
					}
				}
				mu.Lock()
				defer mu.Unlock()
				into.times, errs = append(into.times, mine...), append(errs, err)
			})
		}
		wg.Wait()
		into.took += time.Since(start)
		into.cost = into.cost.plus(used().since(before))
		return errors.Join(errs...)
	}
	for i := range serveRounds + 1 {
		if i == 1 { // the first round warms up
			as, bs = loop{}, loop{}
		}
		if err := errors.Join(round(&as, a), round(&bs, b)); err != nil {
			return as, bs, err
		}
	}
	return as, bs, nil
}

// serveBare is the baseline's server: it reads a row by its id, and writes one
// in a transaction as rawWriter does.
func serveBare(ctx context.Context, n *node) (url string, stop func() error, err error) {
	raw, err := newRawWriter(ctx, n)
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, body any, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // a client that is gone
	}
	mux.HandleFunc("GET /api/v1/account/{id}", func(w http.ResponseWriter, r *http.Request) {
		rows, err := n.pool.Query(r.Context(), "select * from record.account where id = $1", r.PathValue("id"))
		if err != nil {
			answer(w, 0, nil, err)
			return
		}
		row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
		answer(w, http.StatusOK, row, err)
	})
	mux.HandleFunc("POST /api/v1/account", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Fields map[string]any }
		err := json.NewDecoder(r.Body).Decode(&body)
		if err == nil {
			err = raw.write(r.Context(), 1)
		}
		answer(w, http.StatusCreated, body.Fields, err)
	})
	return serve(ctx, mux)
}

// serve runs a baseline's handler on a port of its own.
func serve(ctx context.Context, handler http.Handler) (url string, stop func() error, err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	return "http://" + l.Addr().String(), func() error {
		err := server.Close()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}
