package api_test

import (
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
)

// whole makes every probe of every cell. By default the cells of a path take
// its probes in turn, each cell one: a minute's work.
var whole = os.Getenv("LEAK_MATRIX") == "whole"

// few are the probes a cell takes by default.
const few = 1

// cell tries one path and answers how many answers it had.
func (m *matrix) cell(s *scenario, path string, w way, target, twin *aim) (n int) {
	open, partial := s.reads()
	shown := open || partial
	secret := map[string]bool{}
	for _, f := range m.hidden(s, target.entity) {
		secret[f.Name] = true
	}
	real, never := w.probes(m.leakWorld, s, target), w.probes(m.leakWorld, s, twin)
	var turns []int // the probes that ask for something hidden
	for i, p := range real {
		switch {
		case p.alone:
			if m.first(s, p) {
				m.searchAll(s, path, p)
			}
			n++
		case !shown || secret[p.field]:
			turns = append(turns, i)
		}
	}
	if shown && w.shows && !watches(path) {
		n++
		if a := m.send(m.t.Context(), s.subject, real[0]); !a.says(target.key) {
			m.leak(s, target.entity, path, "does not show what it should to %s: %d %s", real[0].text(), a.status, a.body)
		} else {
			m.search(s, path, real[0].text(), target.entity, a)
		}
	}
	if !m.every && len(turns) > few {
		from := turn(s, path, target.entity) % len(turns)
		turns = append(turns[from:], turns[:from]...)[:few]
	}
	for _, i := range turns {
		n += 2
		m.compare(s, path, real[i], never[i], target, twin)
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
func (m *matrix) searchAll(s *scenario, path string, p probe) {
	a := m.send(m.t.Context(), s.subject, p)
	for _, entity := range m.entities {
		m.search(s, path, p.text(), entity, a)
	}
}

// search looks for what the subject may not see of its target of an entity.
// What it said itself is no news.
func (m *matrix) search(s *scenario, path, where, entity string, a heard) {
	target := s.targets[entity]
	if target == nil || impossible(s.ground, m.defs[entity], s.cond) != "" {
		return
	}
	news := func(mark string) bool { return mark != "" && !strings.Contains(where, mark) && a.says(mark) }
	if open, partial := s.reads(); !open && !partial && (news(string(target.id)) || news(target.nonce)) {
		m.leak(s, entity, path, "the record is in the answer to %s: %d %s", where, a.status, a.body)
	}
	for _, f := range m.hidden(s, entity) {
		if mark := target.marks[f.Name]; news(mark) {
			m.leak(s, entity, path, "%s of field %s is in the answer to %s: %d %s", mark, f.Name, where, a.status, a.body)
		}
	}
}

// compare makes a probe for the target and for a record that never was.
func (m *matrix) compare(s *scenario, path string, real, never probe, target, twin *aim) {
	_, partial := s.reads()
	var a, b heard
	for range 3 { // what was not cached the first time is then
		a, b = m.send(m.t.Context(), s.subject, real), m.send(m.t.Context(), s.subject, never)
		if slices.Equal(a.statements, b.statements) && a.plain(target) == b.plain(twin) {
			break
		}
	}
	for _, f := range m.hidden(s, target.entity) {
		mark := target.marks[f.Name]
		if mark != "" && !strings.Contains(real.text(), mark) && a.says(mark) {
			m.leak(s, target.entity, path, "%s of field %s is in the answer to %s: %d %s", mark, f.Name, real.text(), a.status, a.body)
		}
	}
	if partial && real.null {
		if n := a.number(target); n != real.counts {
			m.leak(s, target.entity, path, "%s answers %d records, want %d: %s", real.text(), n, real.counts, a.body)
		}
		return
	}
	if x, y := a.plain(target), b.plain(twin); x != y {
		m.leak(s, target.entity, path, "%s\nanswers\n%s\nand of a record that never was\n%s", real.text(), x, y)
	}
	if !partial && !slices.Equal(a.statements, b.statements) {
		m.leak(s, target.entity, path, "%s\nruns\n%s\nand of a record that never was\n%s", real.text(), strings.Join(a.statements, "\n"), strings.Join(b.statements, "\n"))
	}
}

// watches tells the paths that answer when something happens: see watched.
func watches(path string) bool {
	return strings.HasSuffix(path, ":watch") || strings.HasSuffix(path, "FeedService/Watch")
}
