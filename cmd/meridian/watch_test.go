package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// watching is an open stream of server-sent events.
type watching struct {
	events chan event
}

type event struct {
	name string
	id   string
	rec  record
}

// watch opens a stream and returns when it is set: what commits from then on
// is heard.
func (f *running) watch(t *testing.T, persona, entity string) *watching {
	t.Helper()
	_, home, _ := strings.Cut(persona, "@")
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.Instances[home]+"/api/v1/"+entity+":watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.Personas[persona])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("watch as %s: %s", persona, res.Status)
	}
	w := &watching{events: make(chan event, 10_000)}
	go func() {
		defer close(w.events)
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		var e event
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "data":
				var data struct {
					ID     string `json:"id"`
					Record record `json:"record"`
				}
				if json.Unmarshal([]byte(value), &data) == nil {
					e.id, e.rec = data.ID, data.Record
				}
			case "":
				if e.name != "" {
					w.events <- e
				}
				e = event{}
			}
		}
	}()
	w.expect(t, "ready", "")
	return w
}

// expect waits for an event about a record; others may come before it.
func (w *watching) expect(t *testing.T, name, id string) event {
	t.Helper()
	start := time.Now()
	deadline := time.After(patience)
	for {
		select {
		case e, open := <-w.events:
			if !open {
				t.Fatalf("the watch ended before %s %s", name, id)
			}
			if e.name == name && (id == "" || e.id == id) {
				t.Logf("watch: %s after %s", name, time.Since(start).Round(time.Millisecond))
				return e
			}
		case <-deadline:
			t.Fatalf("watch: no %s %s after %s", name, id, patience)
		}
	}
}

// silent reports an event about a record among those heard so far.
func (w *watching) silent(t *testing.T, id string) {
	t.Helper()
	for {
		select {
		case e := <-w.events:
			if e.id == id {
				t.Errorf("watch: heard %s of a record that is hidden", e.name)
			}
		default:
			return
		}
	}
}
