package api_test

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// watcher is an open watch on the entity of one target.
type watcher struct {
	path string
	mu   sync.Mutex
	got  bytes.Buffer
}

func (w *watcher) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.Write(b)
}

func (w *watcher) heard() heard {
	w.mu.Lock()
	defer w.mu.Unlock()
	return heard{body: w.got.String()}.searchable()
}

// watchAll opens a watch for every target, on the two roads by turns, and waits
// until each is set: of the just revoked while they still see theirs.
func (l *leakWorld) watchAll(t *testing.T, just bool) {
	t.Helper()
	n := 0
	for _, s := range l.scenarios {
		for entity := range s.targets {
			if (s.cond == revoked) != just {
				continue
			}
			if impossible(s.ground, l.defs[entity], s.cond) != "" {
				continue
			}
			n++
			sse := &watcher{path: "GET /api/v1/{entity}:watch"}
			if l.every || n%2 == 0 {
				l.watchOne(t, s, sse, get("/api/v1/"+entity+":watch"))
				s.watched[entity] = append(s.watched[entity], sse)
			}
			if !l.every && n%2 == 0 {
				continue
			}
			const procedure = "/meridian.feed.v1.FeedService/Watch"
			message := inJSON(object{"entity": entity})
			frame := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(message)))...)
			connect := &watcher{path: procedure}
			l.watchOne(t, s, connect, probe{method: "POST", path: procedure, body: string(frame) + message,
				header: []string{"Content-Type", "application/connect+json", "Connect-Protocol-Version", "1"}})
			s.watched[entity] = append(s.watched[entity], connect)
		}
	}
	l.until(t, "ready", func(_ *scenario, _ string, w *watcher) bool { return w.heard().says("ready") })
}

func (l *leakWorld) watchOne(t *testing.T, s *scenario, w *watcher, p probe) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), p.method, l.url+p.path, strings.NewReader(p.body))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+l.tokens[s.subject])
	for i := 0; i+1 < len(p.header); i += 2 {
		req.Header.Set(p.header[i], p.header[i+1])
	}
	go func() {
		resp, err := l.http.Do(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		b := make([]byte, 4096)
		for {
			n, err := resp.Body.Read(b)
			_, _ = w.Write(b[:n]) // to memory
			if err != nil {
				return // the test is over
			}
		}
	}()
}

// watching is how many watches a cell has.
func (l *leakWorld) watching(s *scenario, entity, path string) (n int) {
	for _, w := range s.watched[entity] {
		if w.path == path {
			n++
		}
	}
	return n
}

// until waits for every watcher.
func (l *leakWorld) until(t *testing.T, what string, done func(*scenario, string, *watcher) bool) {
	t.Helper()
	end := time.Now().Add(leakDeadline)
	for _, s := range l.scenarios {
		for entity, ws := range s.watched {
			for _, w := range ws {
				for !done(s, entity, w) {
					if time.Now().After(end) {
						t.Fatalf("%s, %s, %s: the watch is not %s: %q", w.path, s.slug(), entity, what, w.heard().body)
					}
					time.Sleep(5 * time.Millisecond)
				}
			}
		}
	}
}

// watched changes every target and looks at what the watchers hear of it: who
// may see it, the change; nobody else, that there was one.
func (l *matrix) watched(t *testing.T) {
	t.Helper()
	for _, entity := range l.entities {
		key := l.defs[entity].Key
		for _, last := range []bool{false, true} { // the decoys after all targets: who hears of them has heard of the targets
			var rows []access.UpdateRow
			for _, s := range l.scenarios {
				a := s.targets[entity]
				if last {
					a = s.decoys[entity]
				}
				if a == nil || s.watched[entity] == nil {
					continue
				}
				rows = append(rows, access.UpdateRow{ID: a.id, Version: a.version, Fields: map[string]crm.Value{key: crm.String(a.key + "-later")}})
			}
			if len(rows) == 0 {
				continue
			}
			results, err := l.door.Update(t.Context(), crm.Caller{Subject: maker}, access.UpdateRequest{Entity: entity, Rows: rows})
			must(t, err)
			for _, r := range results {
				must(t, r.Err)
			}
		}
	}
	l.until(t, "told of the decoy", func(s *scenario, entity string, w *watcher) bool {
		return !l.seesDecoys(s) || w.heard().says(s.decoys[entity].key+"-later")
	})
	for _, s := range l.scenarios {
		open, partial := s.reads()
		for entity, ws := range s.watched {
			target := s.targets[entity]
			for _, w := range ws {
				got := w.heard()
				if (open || partial) != got.says(target.key+"-later") {
					l.leak(s, entity, w.path, "heard %q", got.body)
				}
				if !open && !partial && s.cond != revoked && got.says(string(target.id)) { // who saw it is told that it is gone
					l.leak(s, entity, w.path, "heard of the record: %q", got.body)
				}
				if s.cond == revoked {
					continue // what it saw while it was open it may have heard; not the change
				}
				for _, f := range l.hidden(s, entity) {
					if mark := target.marks[f.Name]; mark != "" && got.says(mark) {
						l.leak(s, entity, w.path, "heard %s of field %s: %q", mark, f.Name, got.body)
					}
				}
			}
		}
	}
}

// seesDecoys tells whether the subject reads anything at all.
func (l *leakWorld) seesDecoys(s *scenario) bool {
	return s.ground != "load" && (s.ground != "catalogue" || s.cond != denied && s.cond != revoked)
}
