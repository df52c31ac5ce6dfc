package api_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"meridian/instance/api"
	"meridian/instance/crm"
)

// TestNothingLeaks is the leak matrix: every registered path x every ground x
// every entity x every condition. What the subject of a cell may not see is
// asked for in the ways the path has, and the whole answer (status, headers,
// body) must be that for a record that never was, after the same statements.
// Nothing it may not see occurs in any answer, encoded or not. Where the
// subject may see the record, the paths that show records must show it: a
// matrix that sees nothing proves nothing.
//
// By default a cell takes one of its path's probes, in turn. LEAK_MATRIX=whole
// makes every probe of every cell. LEAK_BREAK=<name> breaks the instance on
// purpose (leak_breaks_test.go) and the test must fail. LEAK_GROUND=<ground>
// keeps to one ground.
func TestNothingLeaks(t *testing.T) {
	began := time.Now()
	l := newLeakWorld(t, os.Getenv("LEAK_GROUND"))
	m := l.matrix(ways())
	m.registered(t)
	l.grounded(t)
	if name := os.Getenv("LEAK_BREAK"); name != "" {
		l.breakOnPurpose(t, name)
	}
	t.Logf("%v: the world is made", time.Since(began))
	l.warm(t)
	l.watchAll(t, true)
	l.revoke()
	l.watchAll(t, false)
	t.Logf("%v: watched and revoked", time.Since(began))
	m.try(l.scenarios, l.entities)
	t.Logf("%v: asked", time.Since(began))
	m.ordered(t)
	t.Logf("%v: sorted", time.Since(began))
	m.watched(t)
	m.books(t)
	m.report(t)
}

// matrix is a run over a world: what is tried, and what was found.
type matrix struct {
	*leakWorld
	ways  map[string]way
	paths []string

	cells, answers atomic.Int64
	mu             sync.Mutex
	found          []leak
	skipped        map[string]int
}

// leak is what somebody learnt who may not.
type leak struct {
	path, ground, entity string
	cond                 condition
	text                 string
}

func (k leak) String() string {
	return fmt.Sprintf("%s, %s, %s, %s: %s", k.path, k.ground, k.entity, k.cond, k.text)
}

func (l *leakWorld) matrix(ways map[string]way) *matrix {
	return &matrix{leakWorld: l, ways: ways, paths: slices.Sorted(maps.Keys(ways)), skipped: map[string]int{}}
}

func (m *matrix) leak(s *scenario, entity, path, format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found = append(m.found, leak{path, s.ground, entity, s.cond, fmt.Sprintf(format, args...)})
}

// report fails the test for every leak, and says how large the matrix was.
func (m *matrix) report(t *testing.T) {
	t.Helper()
	for i, k := range m.found {
		if i == 40 {
			t.Errorf("and %d more", len(m.found)-i)
			break
		}
		t.Error(k)
	}
	var tried []string
	for _, s := range m.scenarios {
		if !slices.Contains(tried, s.ground) {
			tried = append(tried, s.ground)
		}
	}
	t.Logf("%d cells, %d leaks; %d answers compared or searched; %d paths, %d grounds (%s), %d conditions",
		m.cells.Load(), len(m.found), m.answers.Load(), len(m.paths), len(tried), strings.Join(tried, " "), len(conditions))
	for _, why := range slices.Sorted(maps.Keys(m.skipped)) {
		t.Logf("%d combinations cannot be: %s", m.skipped[why], why)
	}
}

// try makes the cells of some scenarios and entities.
func (m *matrix) try(scenarios []*scenario, entities []string) {
	type job struct {
		s      *scenario
		entity string
	}
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range 6 {
		workers.Go(func() {
			for j := range jobs {
				target := j.s.targets[j.entity]
				twin := m.twin(j.s, j.entity)
				for _, path := range m.paths {
					n := m.cell(j.s, path, m.ways[path], target, twin) + m.watching(j.s, j.entity, path)
					if m.answers.Add(int64(n)); n > 0 {
						m.cells.Add(1)
					}
				}
			}
		})
	}
	for _, s := range scenarios {
		for _, entity := range entities {
			if why := impossible(s.ground, m.defs[entity], s.cond); why != "" {
				m.skipped[why] += len(m.paths)
				continue
			}
			jobs <- job{s, entity}
		}
	}
	close(jobs)
	workers.Wait()
}

// twin is a record that never was; where the subject sees the target but for
// some fields, the target with other values in these, of which masks leave the
// same.
func (l *leakWorld) twin(s *scenario, entity string) *aim {
	target := s.targets[entity]
	refs := map[string]crm.RecordID{}
	if v, ok := target.fields["account_id"]; ok {
		refs["account_id"] = crm.RecordID(v.Text())
	}
	twin := invent(l.defs[entity], refs)
	if _, partial := s.reads(); !partial {
		return twin
	}
	var masked []crm.Field
	for _, f := range l.hidden(s, entity) {
		if s.masks(f.Group) {
			masked = append(masked, f)
		}
	}
	twin.alike(target, masked)
	return target.guess(twin, l.hidden(s, entity))
}

// guess is the same record with other values in the hidden fields.
func (a *aim) guess(values *aim, hidden []crm.Field) *aim {
	b := *a
	b.fields, b.marks = maps.Clone(a.fields), maps.Clone(a.marks)
	for _, f := range hidden {
		if mark, ok := values.marks[f.Name]; ok {
			b.fields[f.Name], b.marks[f.Name] = values.fields[f.Name], mark
		}
	}
	return &b
}

// registered fails the test for a path that is served and not tried, or tried
// and not served.
func (m *matrix) registered(t *testing.T) {
	t.Helper()
	served := api.Paths(api.Config{Instance: "amer", Registry: prometheus.NewRegistry(), Log: m.slog()})
	for _, p := range served {
		if _, ok := m.ways[p]; !ok {
			t.Errorf("%s is served and missing from the leak matrix: add it to ways", p)
		}
	}
	for p := range m.ways {
		if !slices.Contains(served, p) {
			t.Errorf("%s is in the leak matrix and not served", p)
		}
	}
}

// grounded fails the test for a ground of the bundle in force that no scenario
// or condition of the matrix stands for.
func (l *leakWorld) grounded(t *testing.T) {
	t.Helper()
	for _, g := range l.engine.Grounds() {
		if !slices.Contains(grounds, g) && closers[g] == "" {
			t.Errorf("policy has a ground %s that the leak matrix does not try: give it scenarios in leak_world_test.go, or a condition in closers", g)
		}
	}
	for _, g := range append(slices.Sorted(maps.Keys(closers)), grounds...) {
		if !slices.Contains(l.engine.Grounds(), g) {
			t.Errorf("the leak matrix tries a ground %s that policy does not have", g)
		}
	}
}

// warm fills every cache with what is open now, and lets the just revoked see
// their targets once more: a page, so that they hold its cursor, and a write of
// their own, so that they can ask for its answer again.
func (l *leakWorld) warm(t *testing.T) {
	t.Helper()
	for _, s := range l.scenarios {
		for entity, target := range s.targets {
			if impossible(s.ground, l.defs[entity], s.cond) != "" || entity == "account" && s.ground == "catalogue" {
				continue
			}
			target.request = "maker-" + target.nonce
			a := l.send(t.Context(), maker, l.touch(target, target.request))
			if !strings.Contains(a.body, target.key) {
				t.Fatalf("%s, %s: the maker cannot touch it: %s", s.slug(), entity, a.body)
			}
			if s.cond != revoked || s.ground == "load" {
				continue
			}
			a = l.send(t.Context(), s.subject, rpc(recordService+"Get", object{"entity": entity, "ids": []crm.RecordID{target.id}}))
			if !strings.Contains(a.body, target.key) {
				t.Errorf("%s, %s: closed before it was revoked: %s", s.slug(), entity, a.body)
			}
			page := l.send(t.Context(), s.subject, rpc(recordService+"List", object{"entity": entity, "sort": "-" + l.defs[entity].Key, "limit": 1}))
			if c := cursorOf.FindStringSubmatch(page.body); c != nil {
				s.cursor[entity] = c[1]
			}
			s.touched[entity] = "own-" + target.nonce
			if a := l.send(t.Context(), s.subject, l.touch(target, s.touched[entity])); a.status != 200 {
				t.Errorf("%s, %s: a write before it was revoked: %s", s.slug(), entity, a.body)
			}
		}
	}
}

// touch is an update that changes nothing, under an idempotency key.
func (l *leakWorld) touch(a *aim, key string) probe {
	field := l.defs[a.entity].Key
	return rpc(recordService+"Update", object{"entity": a.entity, "idempotency_key": key,
		"records": []object{{"id": a.id, "version": fmt.Sprint(a.version), "fields": object{field: object{"string": a.key}}}}})
}
