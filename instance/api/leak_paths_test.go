package api_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"meridian/instance/crm"
)

// probe is one request of a cell. It is made for the target and for a record
// that never was, and both must come to the same.
type probe struct {
	method, path, body string
	header             []string // name and value by turns
	field              string   // asks about this field's value: also compared where only the field is hidden
	alone              bool     // does not name the record: searched, not compared
	null               bool     // asks whether the field is null; on a record seen without it counts are known
	counts             int
}

// way is a registered path as the matrix tries it.
type way struct {
	shows  bool // answers with values of records that one may read: tried on open ones too, or the matrix would prove nothing
	probes func(l *leakWorld, s *scenario, a *aim) []probe
}

type object = map[string]any

func inJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// rpc is a unary call in Connect's JSON.
func rpc(procedure string, body object) probe {
	return probe{method: "POST", path: procedure, body: inJSON(body), header: []string{"Content-Type", "application/json", "Connect-Protocol-Version", "1"}}
}

func get(path string) probe { return probe{method: "GET", path: path} }

func sent(method, path string, body object, header ...string) probe {
	return probe{method: method, path: path, body: inJSON(body), header: append([]string{"Content-Type", "application/json"}, header...)}
}

func (p probe) text() string { return p.method + " " + p.path + " " + p.body }

func (p probe) about(field string) probe { p.field = field; return p }

func (p probe) general() probe { p.alone = true; return p }

// wire is a value in the JSON of RPC messages.
func wire(v crm.Value) object {
	switch v.Type() {
	case crm.TypeList:
		return object{"list": object{"values": v.List()}}
	case crm.TypeInteger:
		return object{"integer": v.Text()}
	}
	return object{string(v.Type()): v.Text()}
}

func wires(fields map[string]crm.Value) object {
	out := object{}
	for name, v := range fields {
		out[name] = wire(v)
	}
	return out
}

// question is a filter that asks for a field's value.
type question struct{ field, filter string }

// questions asks for one text and one other value of each group in every way
// the filter language has.
func (l *leakWorld) questions(a *aim) []question {
	var out []question
	seen := map[string]bool{}
	for _, f := range l.defs[a.entity].Fields {
		mark, ok := a.marks[f.Name]
		kind := f.Group + " " + string(f.Type)
		if !ok || seen[kind] {
			continue
		}
		seen[kind] = true
		lit := "'" + mark + "'"
		if f.Type == crm.TypeDecimal || f.Type == crm.TypeInteger {
			lit = mark
		}
		add := func(format string, args ...any) { out = append(out, question{f.Name, fmt.Sprintf(format, args...)}) }
		if f.Type == crm.TypeString || f.Type == crm.TypeList {
			add("%s contains '%s'", f.Name, mark[2:9])
		}
		if f.Type == crm.TypeList {
			continue
		}
		add("%s = %s", f.Name, lit)
		add("%s in (%s)", f.Name, lit)
		add("%s >= %s and %s <= %s", f.Name, lit, f.Name, lit)
		add("not (%s != %s or %s is null)", f.Name, lit, f.Name)
	}
	return out
}

// referrers are the fields that may name a record of an entity.
func (l *leakWorld) referrers(entity string) (out []struct{ entity, field string }) {
	for _, e := range l.entities {
		for _, f := range l.defs[e].Fields {
			if f.Reference == entity {
				out = append(out, struct{ entity, field string }{e, f.Name})
			}
		}
	}
	return out
}

// lists are the queries of a listing or counting path, made by ask.
func (l *leakWorld) lists(s *scenario, a *aim, ask func(filter, sort string) probe) []probe {
	key := l.defs[a.entity].Key
	out := []probe{ask(key+" = '"+a.key+"'", "")}
	for _, q := range l.questions(a) {
		out = append(out, ask(q.filter, q.field).about(q.field))
	}
	for _, f := range l.defs[a.entity].Fields {
		if a.marks[f.Name] == "" || f.Group == "core" || f.Type == crm.TypeList {
			continue
		}
		// On a record that is seen without the field, it is null; how many say so is known.
		null, not := ask(key+" = '"+a.key+"' and "+f.Name+" is null", ""), ask(key+" = '"+a.key+"' and "+f.Name+" is not null", "")
		null.field, null.null, not.field, not.null = f.Name, true, f.Name, true
		if s.masks(f.Group) { // something is left of it
			not.counts = 1
		} else {
			null.counts = 1
		}
		out = append(out, null, not)
	}
	return append(out, ask("", "").general(), ask("", "-"+key).general())
}

const (
	recordService = "/meridian.record.v1.RecordService/"
	policyService = "/meridian.policy.v1.PolicyService/"
	auditService  = "/meridian.policy.v1.AuditService/"
	impactService = "/meridian.policy.v1.ImpactService/"
	factService   = "/meridian.policy.v1.FactService/"
	glassService  = "/meridian.policy.v1.EmergencyService/"
	loadService   = "/meridian.facade.v1.LoadService/"
)

// calls is a way that names no record: whatever it answers is searched.
func calls(p ...probe) way {
	for i := range p {
		p[i].alone = true
	}
	return way{probes: func(*leakWorld, *scenario, *aim) []probe { return p }}
}

// empty is a way that takes an empty message.
func empty(procedure string) way { return calls(rpc(procedure, object{})) }

// ways is the matrix's side of the registry: a path that is served and not
// here fails the test.
func ways() map[string]way {
	out := map[string]way{}
	for _, part := range []map[string]way{recordWays(), policyWays(), glassWays(), bundleWays(), restWays(), loadWays(), otherWays()} {
		for path, w := range part {
			out[path] = w
		}
	}
	return out
}

// streamed is a call of a server stream in Connect's JSON: a message is a byte
// of flags, four of its length, and its text.
func streamed(procedure string, body object) probe {
	text := inJSON(body)
	p := rpc(procedure, body)
	p.body = string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))) + text
	p.header[1] = "application/connect+json"
	return p
}

// searches look for words of every text that the target has, made by ask.
func (l *leakWorld) searches(s *scenario, a *aim, ask func(words, filter string) probe) []probe {
	out := []probe{ask(a.key, "")}
	seen := map[string]bool{}
	for _, f := range l.defs[a.entity].Fields {
		mark, ok := a.marks[f.Name]
		if !ok || f.Type != crm.TypeString || seen[f.Group] {
			continue
		}
		seen[f.Group] = true
		for _, words := range []string{mark, mark[:9], `"` + mark + `"`, a.key + " " + mark, a.key + " -" + mark, mark + " -nonesuch"} {
			out = append(out, ask(words, "").about(f.Name))
		}
		out = append(out, ask(mark, f.Name+" = '"+mark+"'").about(f.Name))
	}
	return append(out, ask("mk", "").general(), ask("nonesuch", "").general())
}

// aggregates count, sum and group by every kind of value that the target has.
func (l *leakWorld) aggregates(s *scenario, a *aim, ask func(by, measure, filter string) probe) []probe {
	key := l.defs[a.entity].Key
	only := key + " = '" + a.key + "'"
	out := []probe{ask(key, "count", only)}
	seen := map[string]bool{}
	for _, f := range l.defs[a.entity].Fields {
		kind := f.Group + " " + string(f.Type)
		if a.marks[f.Name] == "" || f.Type == crm.TypeList || seen[kind] {
			continue
		}
		seen[kind] = true
		out = append(out, ask(f.Name, "count", only).about(f.Name), ask(key, "max("+f.Name+")", only).about(f.Name), ask(key, "distinct("+f.Name+")", "").general())
		if f.Type == crm.TypeDecimal || f.Type == crm.TypeInteger {
			out = append(out, ask(key, "sum("+f.Name+")", only).about(f.Name), ask("home", "avg("+f.Name+")", only).about(f.Name))
		}
	}
	for _, q := range l.questions(a) {
		out = append(out, ask("home", "count", q.filter).about(q.field))
	}
	return append(out, ask(key, "count", "").general(), ask("created:day", "max(updated)", "").general())
}

func recordWays() map[string]way {
	return map[string]way{
		recordService + "Get": {true, func(_ *leakWorld, s *scenario, a *aim) []probe {
			ids := []string{string(a.id)}
			out := []probe{rpc(recordService+"Get", object{"entity": a.entity, "ids": ids})}
			if d := s.decoys[a.entity]; d != nil {
				out = append(out, rpc(recordService+"Get", object{"entity": a.entity, "ids": []string{string(d.id), string(a.id), string(a.id)}}))
			}
			return append(out,
				rpc(recordService+"Get", object{"entity": a.entity, "ids": []string{strings.ToUpper(string(a.id))}}),
				rpc(recordService+"Get", object{"entity": "account", "ids": ids}), rpc(recordService+"Get", object{"entity": "lead", "ids": ids}))
		}},
		recordService + "List": {true, func(l *leakWorld, s *scenario, a *aim) []probe {
			out := l.lists(s, a, func(filter, sort string) probe {
				return rpc(recordService+"List", object{"entity": a.entity, "filter": filter, "sort": sort, "limit": 1000})
			})
			if c := s.cursor[a.entity]; c != "" {
				out = append(out, rpc(recordService+"List", object{"entity": a.entity, "sort": "-" + l.defs[a.entity].Key, "limit": 1, "cursor": c}).general())
			}
			for _, r := range l.referrers(a.entity) {
				out = append(out, rpc(recordService+"List", object{"entity": r.entity, "filter": r.field + " = '" + string(a.id) + "'"}))
			}
			return append(out, rpc(recordService+"List", object{"entity": a.entity, "cursor": a.key}), rpc(recordService+"List", object{"entity": a.entity, "filter": a.key}))
		}},
		recordService + "Count": {false, func(l *leakWorld, s *scenario, a *aim) []probe {
			return l.lists(s, a, func(filter, _ string) probe {
				return rpc(recordService+"Count", object{"entity": a.entity, "filter": filter})
			})
		}},
		recordService + "Search": {true, func(l *leakWorld, s *scenario, a *aim) []probe {
			return l.searches(s, a, func(words, filter string) probe {
				return rpc(recordService+"Search", object{"entity": a.entity, "query": words, "filter": filter, "limit": 1000})
			})
		}},
		recordService + "Aggregate": {true, func(l *leakWorld, s *scenario, a *aim) []probe {
			return l.aggregates(s, a, func(by, measure, filter string) probe {
				return rpc(recordService+"Aggregate", object{"entity": a.entity, "by": []string{by}, "measures": []string{measure}, "filter": filter, "limit": 1000})
			})
		}},
		recordService + "Export": {true, func(l *leakWorld, s *scenario, a *aim) []probe {
			return l.lists(s, a, func(filter, _ string) probe {
				return streamed(recordService+"Export", object{"entity": a.entity, "filter": filter})
			})
		}},
		recordService + "Create": {false, createProbes},
		recordService + "Update": {false, updateProbes},
		recordService + "Delete": {false, func(_ *leakWorld, s *scenario, a *aim) []probe {
			del := func(version int64, more ...object) probe {
				rows := append([]object{{"id": a.id, "version": fmt.Sprint(version)}}, more...)
				return rpc(recordService+"Delete", object{"entity": a.entity, "records": rows, "atomic": len(more) > 0})
			}
			out := []probe{del(a.version), del(a.version + 40), del(0), del(-1)}
			if d := s.decoys[a.entity]; d != nil {
				out = append(out, del(a.version, object{"id": d.id, "version": "999"}))
			}
			return out
		}},
		recordService + "History": {true, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			past := func(limit int, before int) probe {
				return rpc(recordService+"History", object{"entity": a.entity, "id": a.id, "limit": limit, "before_version": fmt.Sprint(before)})
			}
			return []probe{past(0, 0), past(1, 2), past(-1, 0), past(0, -1), past(1000, 99)}
		}},
	}
}

// createProbes take the target's key and name the target, where the subject
// may not create; what a taken key says where they may is
// TestATakenKeySaysNoMore's.
func createProbes(l *leakWorld, s *scenario, a *aim) []probe {
	create := func(entity string, fields map[string]crm.Value, key string, place object) probe {
		row := object{"fields": wires(fields)}
		for k, v := range place {
			row[k] = v
		}
		return rpc(recordService+"Create", object{"entity": entity, "records": []object{row}, "idempotency_key": key})
	}
	if s.ground == "load" && s.cond == allowed {
		return nil
	}
	var out []probe
	if s.ground != "load" || s.cond == denied {
		out = append(out, create(a.entity, a.fields, "", object{"territory": "US-CA", "segment": "all"}),
			create(a.entity, a.fields, a.replay, object{"territory": "US-CA"}))
	}
	if s.reader() {
		out = append(out, create(a.entity, a.fields, "", object{"territory": s.away, "segment": "all"}))
	}
	for _, r := range l.referrers(a.entity) {
		refs := map[string]crm.RecordID{"account_id": l.anyAccount(s)}
		refs[r.field] = a.id
		b := invent(l.defs[r.entity], refs)
		steady(l.defs[r.entity], b)
		out = append(out, create(r.entity, b.fields, "", nil))
	}
	return out
}

// reader tells whether the subject cannot create at the targets' place.
func (s *scenario) reader() bool {
	return s.ground == "relationship" || s.ground == "agreement" || s.ground == "share" || s.ground == "emergency" || s.cond == denied
}

// anyAccount is an account that the subject may refer to.
func (l *leakWorld) anyAccount(s *scenario) crm.RecordID {
	if d := s.decoys["account"]; d != nil {
		return d.id
	}
	return l.scenarios[0].decoys["account"].id
}

// steady makes values that are no markers, the same in every request.
func steady(def crm.Definition, a *aim) {
	for name := range a.marks {
		if f, _ := def.Field(name); f.Type == crm.TypeString {
			a.fields[name] = crm.String("steady")
		} else if !f.Required {
			delete(a.fields, name)
		}
	}
}

func updateProbes(l *leakWorld, s *scenario, a *aim) []probe {
	key := l.defs[a.entity].Key
	update := func(row object) probe {
		row["id"] = a.id
		return rpc(recordService+"Update", object{"entity": a.entity, "records": []object{row}})
	}
	v, wrong := fmt.Sprint(a.version), fmt.Sprint(a.version+40)
	some := object{key: object{"string": a.key}}
	out := []probe{
		update(object{"version": v, "fields": some}), update(object{"version": wrong, "fields": some}),
		update(object{"fields": some}), update(object{"version": v}),
		update(object{"version": v, "fields": object{"nonesuch": object{"string": a.key}}}),
		update(object{"version": v, "fields": object{key: object{"boolean": true}}}),
		update(object{"version": v, "territory": s.own, "segment": "all"}), update(object{"version": v, "unpin": true}),
	}
	for _, f := range l.defs[a.entity].Fields {
		if a.marks[f.Name] != "" && f.Group != "core" {
			// A guess that is right must hear what one that is wrong hears.
			out = append(out, update(object{"version": v, "fields": object{f.Name: wire(a.fields[f.Name])}}).about(f.Name))
		}
	}
	// The maker's own request, to the byte: its answer is the maker's.
	out = append(out, l.touch(a, a.request))
	if own := s.touched[a.entity]; own != "" { // and one of theirs, from when it was open
		out = append(out, l.touch(a, own).general())
	}
	if d := s.decoys[a.entity]; d != nil && s.reader() {
		// Naming the target from a record of one's own, at a version that is over:
		// the answer is about one's own record alone.
		out = append(out, rpc(recordService+"Update", object{"entity": a.entity, "records": []object{{"id": d.id, "version": "777", "fields": some}}}))
	}
	for _, r := range l.referrers(a.entity) {
		if d := s.decoys[r.entity]; d != nil && s.ground != "load" {
			out = append(out, rpc(recordService+"Update", object{"entity": r.entity, "records": []object{{
				"id": d.id, "version": fmt.Sprint(d.version), "fields": object{r.field: object{"reference": a.id}},
			}}}))
		}
	}
	return out
}

// factEdit is a change that would open the world to whoever may make it.
func factEdit(subject crm.SubjectID) object {
	return object{"edits": []object{{"do": "assign", "kind": "territory", "id": "001", "subject": subject}}, "reason": "r"}
}

func restWays() map[string]way {
	const entity, one = "/api/v1/{entity}", "/api/v1/{entity}/{id}"
	at := func(a *aim) string { return "/api/v1/" + a.entity + "/" + string(a.id) }
	query := func(a *aim, verb string, pairs ...string) probe {
		q := url.Values{}
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i+1] != "" {
				q.Set(pairs[i], pairs[i+1])
			}
		}
		return get("/api/v1/" + a.entity + verb + "?" + q.Encode())
	}
	body := func(a *aim, place string) object {
		row := object{"fields": a.fields}
		if place != "" {
			row["territory"] = place
		}
		return row
	}
	return map[string]way{
		"GET " + entity: {true, func(l *leakWorld, s *scenario, a *aim) []probe {
			return l.lists(s, a, func(filter, sort string) probe { return query(a, "", "filter", filter, "sort", sort, "limit", "1000") })
		}},
		"GET " + entity + ":count": {false, func(l *leakWorld, s *scenario, a *aim) []probe {
			return l.lists(s, a, func(filter, _ string) probe { return query(a, ":count", "filter", filter) })
		}},
		"GET " + entity + ":search": {true, func(l *leakWorld, s *scenario, a *aim) []probe {
			return l.searches(s, a, func(words, filter string) probe {
				return query(a, ":search", "q", words, "filter", filter, "limit", "1000")
			})
		}},
		"GET " + entity + ":aggregate": {true, func(l *leakWorld, s *scenario, a *aim) []probe {
			return l.aggregates(s, a, func(by, measure, filter string) probe {
				return query(a, ":aggregate", "by", by, "measures", measure, "filter", filter, "limit", "1000")
			})
		}},
		"POST " + entity + ":aggregate": {true, func(l *leakWorld, s *scenario, a *aim) []probe {
			return l.aggregates(s, a, func(by, measure, filter string) probe {
				return sent("POST", "/api/v1/"+a.entity+":aggregate", object{"by": []string{by}, "measures": []string{measure}, "filter": filter, "limit": 1000})
			})
		}},
		"GET " + entity + ":export": {true, func(l *leakWorld, s *scenario, a *aim) []probe {
			turn := 0
			return l.lists(s, a, func(filter, _ string) probe {
				turn++
				return query(a, ":export", "filter", filter, "format", []string{"csv", "ndjson"}[turn%2])
			})
		}},
		"GET " + entity + ":watch": {true, func(l *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{query(a, ":watch", "filter", a.key), query(a, ":watch", "nonesuch", a.key)}
		}},
		"POST " + entity: {false, func(l *leakWorld, s *scenario, a *aim) []probe {
			if s.ground == "load" && s.cond != denied {
				return nil // loaders create anywhere: TestATakenKeySaysNoMore
			}
			return []probe{
				sent("POST", "/api/v1/"+a.entity, body(a, "US-CA")),
				sent("POST", "/api/v1/"+a.entity, object{"records": []object{body(a, "US-CA")}, "atomic": true}),
			}
		}},
		"GET " + one: {true, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{get(at(a)), {method: "HEAD", path: at(a)}, get(at(a) + "?nonesuch=1"), sent("GET", at(a), nil, "If-None-Match", `"1"`), {method: "PUT", path: at(a)}, {method: "OPTIONS", path: at(a)}}
		}},
		"PATCH " + one: {false, func(l *leakWorld, s *scenario, a *aim) []probe {
			key := l.defs[a.entity].Key
			right, wrong := fmt.Sprint(a.version), fmt.Sprint(a.version+40)
			set := object{"fields": object{key: a.key}}
			out := []probe{
				sent("PATCH", at(a), set, "If-Match", right), sent("PATCH", at(a), set, "If-Match", wrong), sent("PATCH", at(a), set),
				sent("PATCH", at(a), set, "If-Match", "*"), sent("PATCH", at(a), object{"nonesuch": 1}, "If-Match", right), sent("PATCH", at(a), object{}, "If-Match", right),
				{method: "PATCH", path: at(a), body: "{", header: []string{"If-Match", right}}, sent("PATCH", at(a), object{"territory": s.own}, "If-Match", right),
				sent("PATCH", at(a), set, "If-Match", right, "Idempotency-Key", ""),
			}
			for _, f := range l.defs[a.entity].Fields {
				if a.marks[f.Name] != "" && f.Group != "core" {
					out = append(out, sent("PATCH", at(a), object{"fields": object{f.Name: a.fields[f.Name]}}, "If-Match", right).about(f.Name))
				}
			}
			return out
		}},
		"DELETE " + one: {false, func(l *leakWorld, _ *scenario, a *aim) []probe {
			del := func(header ...string) probe { return probe{method: "DELETE", path: at(a), header: header} }
			return []probe{del(), del("If-Match", fmt.Sprint(a.version)), del("If-Match", fmt.Sprint(a.version+40)), del("If-Match", "x")}
		}},
		"GET " + one + "/history": {true, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{get(at(a) + "/history"), get(at(a) + "/history?limit=1&before=2"), get(at(a) + "/history?limit=x"), get(at(a) + "/history?before=0"), get(at(a) + "/history?nonesuch=1")}
		}},
		"GET " + one + "/explain": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{get(at(a) + "/explain"), get(at(a) + "/explain?action=delete"), get(at(a) + "/explain?action=fly"), get(at(a) + "/explain?subject=" + string(maker)), get(at(a) + "/explain?nonesuch=1")}
		}},
	}
}

func loadWays() map[string]way {
	return map[string]way{
		loadService + "Begin": {false, func(_ *leakWorld, s *scenario, a *aim) []probe {
			if s.ground == "load" {
				return nil // TestATakenKeySaysNoMore
			}
			return []probe{rpc(loadService+"Begin", object{"feed": "f", "entity": a.entity, "file": a.key, "sha256": strings.Repeat("0", 64), "mapping": "m", "dry_run": true})}
		}},
		loadService + "Apply": {false, func(l *leakWorld, s *scenario, a *aim) []probe {
			return []probe{rpc(loadService+"Apply", object{"load_id": a.id, "rows": []object{{"fields": wires(a.fields)}}}), rpc(loadService+"Apply", object{"load_id": a.key})}
		}},
		loadService + "Finish": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc(loadService+"Finish", object{"load_id": a.id})}
		}},
		loadService + "ListLoads": calls(rpc(loadService+"ListLoads", object{}), rpc(loadService+"ListLoads", object{"feed": "f"})),
		loadService + "ListRejects": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc(loadService+"ListRejects", object{"load_id": a.id})}
		}},
	}
}

func otherWays() map[string]way {
	out := map[string]way{
		"/meridian.feed.v1.FeedService/Watch": {true, func(l *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc("/meridian.feed.v1.FeedService/Watch", object{"entity": a.entity, "filter": a.key})}
		}},
		"/meridian.schema.v1.SchemaService/GetEntity": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{rpc("/meridian.schema.v1.SchemaService/GetEntity", object{"entity": a.entity}), rpc("/meridian.schema.v1.SchemaService/GetEntity", object{"entity": a.key})}
		}},
		"GET /problems/{kind}": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{get("/problems/not_found"), get("/problems/" + string(a.id))}
		}},
		"/": {false, func(_ *leakWorld, _ *scenario, a *aim) []probe {
			return []probe{get("/" + string(a.id)), get("/api/v1"), get("/api/v1/" + a.entity + "/" + string(a.id) + "/nonesuch"), get("/api/v2/" + a.entity + "/" + string(a.id)), get("/api/v1/" + a.entity + ":" + a.key)}
		}},
	}
	for _, procedure := range []string{
		"/meridian.schema.v1.SchemaService/ListEntities", "/meridian.exchange.v1.ExchangeService/ListContracts", "/meridian.exchange.v1.ExchangeService/GetStatus",
		"/meridian.exchange.v1.ExchangeService/ListLedger", "/meridian.plugin.v1.CatalogService/ListPlugins", "/meridian.fleet.v1.InstanceService/Describe",
		"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/",
	} {
		out[procedure] = empty(procedure)
	}
	for _, page := range []string{"/openapi.json", "/healthz", "/readyz", "/metrics"} {
		out["GET "+page] = calls(get(page))
	}
	out["GET /{$}"] = calls(get("/"))
	return out
}
