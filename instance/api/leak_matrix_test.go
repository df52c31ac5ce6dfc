package api_test

import (
	"fmt"
	"hash/fnv"
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
func TestNothingLeaks(t *testing.T) {
	began := time.Now()
	l := newLeakWorld(t)
	matrix := ways()
	l.registered(t, matrix)
	t.Logf("%v: the world is made", time.Since(began))
	l.warm(t)
	l.watchAll(t, true)
	l.revoke()
	l.watchAll(t, false)
	t.Logf("%v: watched and revoked", time.Since(began))

	var cells, answers, leaks atomic.Int64
	leak := func(s *scenario, entity, path, format string, args ...any) {
		if leaks.Add(1) <= 40 {
			t.Errorf("%s, %s, %s, %s: %s", path, s.ground, entity, s.cond, fmt.Sprintf(format, args...))
		}
	}
	type job struct {
		s      *scenario
		entity string
	}
	jobs := make(chan job)
	var workers sync.WaitGroup
	paths := slices.Sorted(maps.Keys(matrix))
	for range 6 {
		workers.Go(func() {
			for j := range jobs {
				target := j.s.targets[j.entity]
				refs := map[string]crm.RecordID{}
				if v, ok := target.fields["account_id"]; ok {
					refs["account_id"] = crm.RecordID(v.Text())
				}
				twin := invent(l.defs[j.entity], refs)
				if _, partial := j.s.reads(); partial {
					twin = target.guess(twin, l.hidden(j.s, j.entity))
				}
				for _, path := range paths {
					n := l.cell(j.s, path, matrix[path], target, twin, leak) + l.watching(j.s, j.entity, path)
					if answers.Add(int64(n)); n > 0 {
						cells.Add(1)
					}
				}
			}
		})
	}
	skipped := map[string]int{}
	for _, s := range l.scenarios {
		for _, entity := range l.entities {
			if why := impossible(s.ground, l.defs[entity], s.cond); why != "" {
				skipped[why] += len(paths)
				continue
			}
			jobs <- job{s, entity}
		}
	}
	close(jobs)
	workers.Wait()
	t.Logf("%v: asked", time.Since(began))
	l.watched(t, leak)
	t.Logf("%d cells, %d leaks; %d answers compared or searched, %d paths", cells.Load(), leaks.Load(), answers.Load(), len(paths))
	for _, why := range slices.Sorted(maps.Keys(skipped)) {
		t.Logf("%d combinations cannot be: %s", skipped[why], why)
	}
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
func (l *leakWorld) registered(t *testing.T, matrix map[string]way) {
	t.Helper()
	served := api.Paths(api.Config{Instance: "amer", Registry: prometheus.NewRegistry(), Log: l.slog()})
	for _, p := range served {
		if _, ok := matrix[p]; !ok {
			t.Errorf("%s is served and missing from the leak matrix: add it to ways", p)
		}
	}
	for p := range matrix {
		if !slices.Contains(served, p) {
			t.Errorf("%s is in the leak matrix and not served", p)
		}
	}
}

// warm fills every cache with what is open now, and lets the just revoked see
// their targets once more: a page, so that they hold its cursor.
func (l *leakWorld) warm(t *testing.T) {
	t.Helper()
	for _, s := range l.scenarios {
		if s.cond != revoked || s.ground == "load" {
			continue
		}
		for entity, target := range s.targets {
			if impossible(s.ground, l.defs[entity], s.cond) != "" {
				continue
			}
			a := l.send(t.Context(), s.subject, rpc(recordService+"Get", object{"entity": entity, "ids": []crm.RecordID{target.id}}))
			if !strings.Contains(a.body, target.key) {
				t.Errorf("%s, %s: closed before it was revoked: %s", s.slug(), entity, a.body)
			}
			page := l.send(t.Context(), s.subject, rpc(recordService+"List", object{"entity": entity, "sort": "-" + l.defs[entity].Key, "limit": 1}))
			if m := cursorOf.FindStringSubmatch(page.body); m != nil {
				s.cursor[entity] = m[1]
			}
		}
	}
}

// whole makes every probe of every cell. By default the cells of a path take
// its probes in turn, each cell one: a minute's work.
var whole = os.Getenv("LEAK_MATRIX") == "whole"

// few are the probes a cell takes by default.
const few = 1

// cell tries one path and answers how many answers it had.
func (l *leakWorld) cell(s *scenario, path string, w way, target, twin *aim, leak func(*scenario, string, string, string, ...any)) (n int) {
	open, partial := s.reads()
	shown := open || partial
	secret := map[string]bool{}
	for _, f := range l.hidden(s, target.entity) {
		secret[f.Name] = true
	}
	real, never := w.probes(l, s, target), w.probes(l, s, twin)
	var turns []int // the probes that ask for something hidden
	for i, p := range real {
		switch {
		case p.alone:
			if l.first(s, p) {
				l.searchAll(s, path, p, leak)
			}
			n++
		case !shown || secret[p.field]:
			turns = append(turns, i)
		}
	}
	if shown && w.shows && !watches(path) {
		n++
		if a := l.send(l.t.Context(), s.subject, real[0]); !a.says(target.key) {
			leak(s, target.entity, path, "does not show what it should to %s: %d %s", real[0].text(), a.status, a.body)
		} else {
			l.search(s, path, real[0].text(), target.entity, a, leak)
		}
	}
	if !whole && len(turns) > few {
		from := turn(s, path, target.entity) % len(turns)
		turns = append(turns[from:], turns[:from]...)[:few]
	}
	for _, i := range turns {
		n += 2
		l.compare(s, path, real[i], never[i], target, twin, leak)
	}
	return n
}

// turn is where a cell begins in its path's probes.
func turn(s *scenario, path, entity string) int {
	h := fnv.New32a()
	fmt.Fprint(h, s.slug(), path, entity)
	return int(h.Sum32() % 1000)
}

// first tells whether the subject has not made the probe yet.
func (l *leakWorld) first(s *scenario, p probe) bool {
	_, made := l.made.LoadOrStore(string(s.subject)+p.text(), true)
	return !made
}

// searchAll makes a probe that names no record and searches its answer for all
// that the subject may not see.
func (l *leakWorld) searchAll(s *scenario, path string, p probe, leak func(*scenario, string, string, string, ...any)) {
	a := l.send(l.t.Context(), s.subject, p)
	for _, entity := range l.entities {
		l.search(s, path, p.text(), entity, a, leak)
	}
}

// search looks for what the subject may not see of its target of an entity.
func (l *leakWorld) search(s *scenario, path, where, entity string, a heard, leak func(*scenario, string, string, string, ...any)) {
	target := s.targets[entity]
	if target == nil || impossible(s.ground, l.defs[entity], s.cond) != "" {
		return
	}
	if open, partial := s.reads(); !open && !partial && (a.says(string(target.id)) || a.says(target.nonce)) {
		leak(s, entity, path, "the record is in the answer to %s: %d %s", where, a.status, a.body)
	}
	for _, f := range l.hidden(s, entity) {
		if mark := target.marks[f.Name]; mark != "" && a.says(mark) {
			leak(s, entity, path, "%s of field %s is in the answer to %s: %d %s", mark, f.Name, where, a.status, a.body)
		}
	}
}

// compare makes a probe for the target and for a record that never was.
func (l *leakWorld) compare(s *scenario, path string, real, never probe, target, twin *aim, leak func(*scenario, string, string, string, ...any)) {
	_, partial := s.reads()
	var a, b heard
	for range 3 { // what was not cached the first time is then
		a, b = l.send(l.t.Context(), s.subject, real), l.send(l.t.Context(), s.subject, never)
		if (real.fact || slices.Equal(a.statements, b.statements)) && a.plain(target) == b.plain(twin) {
			break
		}
	}
	for _, f := range l.hidden(s, target.entity) {
		mark := target.marks[f.Name]
		if mark != "" && !strings.Contains(real.text(), mark) && a.says(mark) {
			leak(s, target.entity, path, "%s of field %s is in the answer to %s: %d %s", mark, f.Name, real.text(), a.status, a.body)
		}
	}
	if partial && real.null {
		if n := a.number(target); n != real.counts {
			leak(s, target.entity, path, "%s answers %d records, want %d: %s", real.text(), n, real.counts, a.body)
		}
		return
	}
	if x, y := a.plain(target), b.plain(twin); x != y {
		leak(s, target.entity, path, "%s\nanswers\n%s\nand of a record that never was\n%s", real.text(), x, y)
	}
	if !partial && !real.fact && !slices.Equal(a.statements, b.statements) {
		leak(s, target.entity, path, "%s\nruns\n%s\nand of a record that never was\n%s", real.text(), strings.Join(a.statements, "\n"), strings.Join(b.statements, "\n"))
	}
}

// watches tells the paths that answer when something happens: see watched.
func watches(path string) bool {
	return strings.HasSuffix(path, ":watch") || strings.HasSuffix(path, "FeedService/Watch")
}
