package api_test

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// An answer about several records tells by their order, by where its pages end,
// by counts and sums. So the same questions are asked before and after the
// maker changed what the subject may not see, and the answers must be the same:
// hidden records jump over the decoys and back, withheld values change places,
// and so do values of which the masks leave the same.

// across are the questions of a path about all records of an entity. field is
// one that is hidden, or masked, on some of them; "" if whole records are.
func across() map[string]func(l *leakWorld, s *scenario, entity, field string) []probe {
	lists := func(ask func(entity, sort string) probe) func(*leakWorld, *scenario, string, string) []probe {
		return func(l *leakWorld, _ *scenario, entity, field string) []probe {
			by := cmp.Or(field, l.defs[entity].Key)
			return []probe{ask(entity, by), ask(entity, "-"+by)}
		}
	}
	return map[string]func(*leakWorld, *scenario, string, string) []probe{
		recordService + "List": lists(func(entity, sort string) probe {
			return rpc(recordService+"List", object{"entity": entity, "sort": sort, "limit": 2})
		}),
		"GET /api/v1/{entity}": lists(func(entity, sort string) probe {
			return get("/api/v1/" + entity + "?limit=2&sort=" + url.QueryEscape(sort))
		}),
		recordService + "Count": func(l *leakWorld, _ *scenario, entity, field string) []probe {
			by := cmp.Or(field, l.defs[entity].Key)
			return []probe{rpc(recordService+"Count", object{"entity": entity, "filter": by + " is not null"})}
		},
		"GET /api/v1/{entity}:count": func(l *leakWorld, _ *scenario, entity, field string) []probe {
			by := cmp.Or(field, l.defs[entity].Key)
			return []probe{get("/api/v1/" + entity + ":count?filter=" + url.QueryEscape("not "+by+" is null"))}
		},
	}
}

// later is what differs in a record that was written in between.
var later = regexp.MustCompile(`"(version|updated)": ?"?[^",}]*"?,?|"bundle": ?"[^"]*",?`)

// told is all that the pages of a question tell, from the first to the last.
func (l *leakWorld) told(s *scenario, p probe) string {
	var all strings.Builder
	for range 12 { // more pages than there are records
		a := l.send(l.t.Context(), s.subject, p)
		next := cursorOf.FindStringSubmatch(a.body)
		if next != nil { // sealed: how long it is, is all there is to see
			a.body = strings.ReplaceAll(a.body, next[1], fmt.Sprint(len(next[1])))
		}
		fmt.Fprintln(&all, a.status, later.ReplaceAllString(a.anytime(), ""))
		if next == nil {
			break
		}
		p = p.from(next[1])
	}
	return all.String()
}

// from is the same question from a cursor on.
func (p probe) from(cursor string) probe {
	if p.method == "GET" {
		path, _, _ := strings.Cut(p.path, "&cursor=")
		p.path = path + "&cursor=" + url.QueryEscape(cursor)
		return p
	}
	body, _, _ := strings.Cut(strings.TrimSuffix(p.body, "}"), `,"cursor":`)
	p.body = body + `,"cursor":` + inJSON(cursor) + "}"
	return p
}

// standing is a question that is asked twice.
type standing struct {
	s            *scenario
	path, entity string
	probe        probe
	before       string
}

// ordered asks the standing questions, changes what is hidden and asks again.
func (m *matrix) ordered(t *testing.T) {
	t.Helper()
	var asked []*standing
	for _, s := range m.scenarios {
		for _, entity := range m.entities {
			if s.targets[entity] == nil || impossible(s.ground, m.defs[entity], s.cond) != "" {
				continue
			}
			asked = append(asked, m.questionsAcross(s, entity)...)
		}
	}
	m.parallel(len(asked), func(i int) { asked[i].before = m.told(asked[i].s, asked[i].probe) })
	undo := m.shuffle(t)
	m.parallel(len(asked), func(i int) {
		q := asked[i]
		m.answers.Add(2)
		if after := m.told(q.s, q.probe); after != q.before {
			m.leak(q.s, q.entity, q.path, "%s\nanswers\n%s\nand when only hidden values are others\n%s", q.probe.text(), q.before, after)
		}
	})
	undo()
}

// questionsAcross are the standing questions of one scenario and entity: all
// of them, or one in turn.
func (m *matrix) questionsAcross(s *scenario, entity string) (out []*standing) {
	open, partial := s.reads()
	fields := []string{""}
	if partial {
		fields = nil
		for _, f := range m.hidden(s, entity) {
			if f.Type != crm.TypeList && s.targets[entity].marks[f.Name] != "" {
				fields = append(fields, f.Name)
			}
		}
	}
	if open {
		return nil
	}
	for _, path := range m.paths {
		ask := across()[path]
		if ask == nil {
			continue
		}
		var here []*standing
		for _, field := range fields {
			for _, p := range ask(m.leakWorld, s, entity, field) {
				here = append(here, &standing{s: s, path: path, entity: entity, probe: p})
			}
		}
		if !m.every && len(here) > few {
			at := turn(s, path, entity) % len(here)
			here = here[at : at+1]
		}
		out = append(out, here...)
	}
	return out
}

// shuffle changes what subjects may not see, and answers how to take it back.
func (m *matrix) shuffle(t *testing.T) (undo func()) {
	t.Helper()
	type place struct {
		a     *aim
		field string
	}
	was := map[place]crm.Value{}
	set := map[*aim]map[string]crm.Value{}
	to := func(a *aim, f crm.Field, v crm.Value) {
		if set[a] == nil {
			set[a] = map[string]crm.Value{}
		}
		set[a][f.Name], was[place{a, f.Name}] = v, a.fields[f.Name]
	}
	for _, s := range m.scenarios {
		open, partial := s.reads()
		for entity, target := range s.targets {
			if open || impossible(s.ground, m.defs[entity], s.cond) != "" {
				continue
			}
			if !partial { // over all decoys, or before them
				key, _ := m.defs[entity].Field(m.defs[entity].Key)
				front := map[bool]string{true: "aa-", false: "zz-"}[turn(s, "", entity)%2 == 0]
				to(target, key, crm.String(front+target.key))
				continue
			}
			like := s.like(entity)
			for _, f := range m.hidden(s, entity) {
				if _, ok := target.fields[f.Name]; ok && f.Type != crm.TypeReference {
					for i, a := range like {
						to(a, f, like[(i+1)%len(like)].fields[f.Name])
					}
				}
			}
		}
	}
	m.write(t, set)
	return func() {
		for at, v := range was {
			set[at.a][at.field] = v
		}
		m.write(t, set)
	}
}

// write has the maker set fields of records, and keeps their versions.
func (m *matrix) write(t *testing.T, set map[*aim]map[string]crm.Value) {
	t.Helper()
	for _, entity := range m.entities {
		var rows []access.UpdateRow
		var aims []*aim
		for a, fields := range set {
			if a.entity == entity {
				rows, aims = append(rows, access.UpdateRow{ID: a.id, Version: a.version, Fields: fields}), append(aims, a)
			}
		}
		for at := range slices.Chunk(indices(len(rows)), 1000) {
			first, end := at[0], at[len(at)-1]+1
			results, err := m.door.Update(t.Context(), crm.Caller{Subject: maker}, access.UpdateRequest{Entity: entity, Rows: rows[first:end]})
			must(t, err)
			for i, r := range results {
				must(t, r.Err)
				aims[first+i].version = r.Record.Version
			}
		}
	}
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// parallel calls do for 0 to n-1, a few at a time.
func (m *matrix) parallel(n int, do func(int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range 6 {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}
