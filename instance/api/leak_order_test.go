package api_test

import (
	"cmp"
	"fmt"
	neturl "net/url"
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
// hidden records jump over the decoys and back, withheld values change places
// and become equal, and so do values of which the masks leave the same.

// across are the questions of a path about all records of an entity. field is
// one that is hidden, or masked, on some of them; "" if whole records are.
func across() map[string]func(l *leakWorld, entity, field string) []probe {
	const rest = "/api/v1/{entity}"
	url := func(entity, verb string, pairs ...string) probe {
		q := neturl.Values{}
		for i := 0; i < len(pairs); i += 2 {
			q.Set(pairs[i], pairs[i+1])
		}
		return get("/api/v1/" + entity + verb + "?" + q.Encode())
	}
	lists := func(ask func(entity, sort string) probe) func(*leakWorld, string, string) []probe {
		return func(l *leakWorld, entity, field string) []probe {
			by := cmp.Or(field, l.defs[entity].Key)
			return []probe{ask(entity, by), ask(entity, "-"+by)}
		}
	}
	filters := func(ask func(entity, filter string) probe) func(*leakWorld, string, string) []probe {
		return func(l *leakWorld, entity, field string) []probe {
			by := cmp.Or(field, l.defs[entity].Key)
			return []probe{ask(entity, by+" is not null"), ask(entity, "not "+by+" is null"), ask(entity, "")}
		}
	}
	searches := func(ask func(entity, words string) probe) func(*leakWorld, string, string) []probe {
		// Every text of the matrix begins with mk: what is found, and how well it
		// matches, is a matter of the texts that are shown.
		return func(_ *leakWorld, entity, _ string) []probe {
			return []probe{ask(entity, "mk"), ask(entity, "-more mk")}
		}
	}
	aggregates := func(ask func(entity, by string, measures ...string) probe) func(*leakWorld, string, string) []probe {
		return func(l *leakWorld, entity, field string) []probe {
			key := l.defs[entity].Key
			if field == "" { // of the hidden record not even that it changed
				return []probe{ask(entity, key, "count"), ask(entity, "home", "count", "min("+key+")", "max("+key+")"), ask(entity, "home", "max(updated)", "sum(version)"), ask(entity, "home", "max(updated)")}
			}
			out := []probe{ask(entity, field, "count"), ask(entity, "home", "min("+field+")", "max("+field+")", "distinct("+field+")", "count")}
			if f, _ := l.defs[entity].Field(field); f.Type == crm.TypeDecimal || f.Type == crm.TypeInteger {
				out = append(out, ask(entity, "home", "sum("+field+")", "avg("+field+")"), ask(entity, key, "sum("+field+")"))
			}
			return out
		}
	}
	return map[string]func(*leakWorld, string, string) []probe{
		recordService + "List": lists(func(entity, sort string) probe {
			return rpc(recordService+"List", object{"entity": entity, "sort": sort, "limit": 2})
		}),
		"GET " + rest: lists(func(entity, sort string) probe { return url(entity, "", "limit", "2", "sort", sort) }),
		recordService + "Count": filters(func(entity, filter string) probe {
			return rpc(recordService+"Count", object{"entity": entity, "filter": filter})
		}),
		"GET " + rest + ":count": filters(func(entity, filter string) probe { return url(entity, ":count", "filter", filter) }),
		recordService + "Export": filters(func(entity, filter string) probe {
			return streamed(recordService+"Export", object{"entity": entity, "filter": filter})
		}),
		"GET " + rest + ":export": filters(func(entity, filter string) probe { return url(entity, ":export", "format", "ndjson", "filter", filter) }),
		recordService + "Search": searches(func(entity, words string) probe {
			return rpc(recordService+"Search", object{"entity": entity, "query": words, "limit": 2})
		}),
		"GET " + rest + ":search": searches(func(entity, words string) probe { return url(entity, ":search", "q", words, "limit", "2") }),
		recordService + "Aggregate": aggregates(func(entity, by string, measures ...string) probe {
			return rpc(recordService+"Aggregate", object{"entity": entity, "by": []string{by}, "measures": measures})
		}),
		"GET " + rest + ":aggregate": aggregates(func(entity, by string, measures ...string) probe {
			return url(entity, ":aggregate", "by", by, "measures", strings.Join(measures, ","))
		}),
		"POST " + rest + ":aggregate": aggregates(func(entity, by string, measures ...string) probe {
			return sent("POST", "/api/v1/"+entity+":aggregate", object{"by": []string{by}, "measures": measures})
		}),
	}
}

// later is what differs in a record that was written in between.
var later = regexp.MustCompile(`"(version|updated)": ?"?[^",}]*"?,?|"bundle": ?"[^"]*",?`)

// framed is the length before each message of a stream, times in it included.
var framed = regexp.MustCompile(`(?s)\x00.{4}\{`)

// told is all that the pages of a question tell, from the first to the last.
func (l *leakWorld) told(s *scenario, p probe) string {
	var all strings.Builder
	for range 12 { // more pages than there are records
		a := l.send(l.t.Context(), s.subject, p)
		next := cursorOf.FindStringSubmatch(a.body)
		if next != nil { // sealed: how long it is, is all there is to see
			a.body = strings.ReplaceAll(a.body, next[1], fmt.Sprint(len(next[1])))
		}
		fmt.Fprintln(&all, a.status, later.ReplaceAllString(framed.ReplaceAllString(a.anytime(), "{"), ""))
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
		p.path = path + "&cursor=" + neturl.QueryEscape(cursor)
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
			if s.targets[entity] == nil || impossible(s.ground, m.defs[entity], s.cond) != "" || m.everybodys(entity) {
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
			for _, p := range ask(m.leakWorld, entity, field) {
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

// everybodys tells of the catalogue: what is hidden there from the subject of
// one scenario is open to those of the others, who may notice that it changed.
func (m *matrix) everybodys(entity string) bool {
	return m.defs[entity].Governed == crm.GovernedCatalogue
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
			if open || impossible(s.ground, m.defs[entity], s.cond) != "" || m.everybodys(entity) {
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
						v := like[min(i+1, len(like)-1)].fields[f.Name]    // in another order, and fewer that differ
						if f.Type == crm.TypeString && !s.masks(f.Group) { // and of another length, with more words
							v = crm.String(v.Text() + strings.Repeat(" mk more", i+1))
						}
						to(a, f, v)
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
