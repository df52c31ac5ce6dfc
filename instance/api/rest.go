package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"meridian/instance/crm"
)

// call is one REST call, after its token was verified and its entity found.
type call struct {
	*server
	w      http.ResponseWriter
	r      *http.Request
	caller crm.Caller
	def    crm.Definition
	id     crm.RecordID // of the routes about one record
}

// route is a REST path: ServeMux cannot match {entity}:count, so it is split
// by hand.
type route struct {
	entity, verb string // verb: "", or one of verbs
	id, sub      string // sub: "", history or explain
}

const restPrefix = "/api/v1/"

// verbs are what can be done with the records of an entity beside listing them.
var verbs = []string{"count", "watch", "search", "aggregate", "export"}

// parseRoute splits the escaped path, so that an escaped slash stays data.
func parseRoute(escaped string) (route, bool) {
	parts := strings.Split(strings.TrimPrefix(escaped, restPrefix), "/")
	for i, p := range parts {
		plain, err := url.PathUnescape(p)
		if err != nil || plain == "" {
			return route{}, false
		}
		parts[i] = plain
	}
	entity, verb, hasVerb := strings.Cut(parts[0], ":")
	out := route{entity: entity, verb: verb}
	switch len(parts) {
	case 1:
		return out, !hasVerb || slices.Contains(verbs, verb)
	case 2:
		out.id = parts[1]
		return out, !hasVerb
	case 3:
		out.id, out.sub = parts[1], parts[2]
		return out, !hasVerb && (out.sub == "history" || out.sub == "explain")
	}
	return route{}, false
}

// pattern is the route as log, metrics and documentation name it.
func (r route) pattern() string {
	out := restPrefix + "{entity}"
	if r.verb != "" {
		return out + ":" + r.verb
	}
	if r.id != "" {
		out += "/{id}"
	}
	if r.sub != "" {
		out += "/" + r.sub
	}
	return out
}

// operations are all that REST offers: what is not in the table is not served.
var operations = []struct {
	method, pattern string
	do              func(*call) error
}{
	{http.MethodGet, restPrefix + "{entity}", (*call).list},
	{http.MethodPost, restPrefix + "{entity}", (*call).create},
	{http.MethodGet, restPrefix + "{entity}:count", (*call).count},
	{http.MethodGet, restPrefix + "{entity}:watch", (*call).watchSSE},
	{http.MethodGet, restPrefix + "{entity}:search", (*call).search},
	{http.MethodGet, restPrefix + "{entity}:aggregate", (*call).aggregate},
	{http.MethodPost, restPrefix + "{entity}:aggregate", (*call).aggregateBody},
	{http.MethodGet, restPrefix + "{entity}:export", (*call).export},
	{http.MethodGet, restPrefix + "{entity}/{id}", (*call).get},
	{http.MethodPatch, restPrefix + "{entity}/{id}", (*call).update},
	{http.MethodDelete, restPrefix + "{entity}/{id}", (*call).delete},
	{http.MethodGet, restPrefix + "{entity}/{id}/history", (*call).history},
	{http.MethodGet, restPrefix + "{entity}/{id}/explain", (*call).explain},
}

// operations are what can be done at the route, by method.
func (r route) operations() map[string]func(*call) error {
	out := map[string]func(*call) error{}
	for _, o := range operations {
		if o.pattern == r.pattern() {
			out[o.method] = o.do
		}
	}
	return out
}

func (s *server) mountREST() {
	paths := make([]string, len(operations))
	for i, o := range operations {
		paths[i] = o.method + " " + o.pattern
	}
	s.mount(restPrefix, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.rest(w, r); err != nil {
			s.logInternal(r.Context(), err)
			writeProblem(r.Context(), w, err)
		}
	}), paths...)
}

// rest answers one REST call, or says why not. The order is fixed: who asks,
// whether there is such an entity, whether the record may be known of, and
// only then what is wrong with the call.
func (s *server) rest(w http.ResponseWriter, r *http.Request) error {
	rt, known := parseRoute(r.URL.EscapedPath())
	if known {
		name(r.Context(), rt.pattern(), "")
	}
	ctx, err := s.authenticate(r.Context(), r.Header)
	if err != nil {
		return err
	}
	if !known {
		return crm.Errorf(crm.NotFound, "no such path; GET /openapi.json lists them")
	}
	def, err := s.definition(rt.entity)
	if err != nil {
		return err
	}
	name(ctx, rt.pattern(), def.Entity)
	methods := rt.operations()
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	do, ok := methods[method]
	if !ok {
		allow := make([]string, 0, len(methods))
		for m := range methods {
			allow = append(allow, m)
		}
		slices.Sort(allow)
		w.Header().Set("Allow", strings.Join(allow, ", "))
		return httpError(http.StatusMethodNotAllowed, "this path takes %s", strings.Join(allow, ", "))
	}
	c := &call{server: s, w: w, r: r.WithContext(ctx), caller: callerOf(ctx), def: def}
	if rt.id != "" {
		if c.id, err = crm.ParseRecordID(rt.id); err != nil {
			return absent() // a malformed id is an absent one
		}
	}
	return do(c)
}

func (c *call) ctx() context.Context { return c.r.Context() }

// refuse is err, unless the caller may not know of the record: see
// unlessHidden.
func (c *call) refuse(err error) error {
	return c.unlessHidden(c.ctx(), c.def.Entity, c.id, err)
}

// answer sends JSON. Records are the reader's own: no cache may keep them.
func (c *call) answer(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
	// The caller may be gone; there is nobody else to tell.
	_, _ = c.w.Write(append(body, '\n'))
	return nil
}

// query reads the query string: only the parameters it knows, each once.
func (c *call) query(known ...string) (map[string]string, error) {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, crm.Errorf(crm.Invalid, "the query string is not well formed; escape it as in a URL")
	}
	out := make(map[string]string, len(values))
	for k, v := range values {
		switch {
		case !slices.Contains(known, k):
			return nil, crm.FieldErrorf(clip(k), "no such parameter; this path knows %s", strings.Join(known, ", "))
		case len(v) > 1:
			return nil, crm.FieldErrorf(k, "give the parameter once")
		case strings.ContainsRune(v[0], 0) || !utf8.ValidString(v[0]):
			return nil, crm.FieldErrorf(k, "send text in UTF-8 without NUL characters")
		}
		out[k] = v[0]
	}
	return out, nil
}

// number reads a parameter from 1 up, 0 if it is absent. What is above most
// means most.
func number(query map[string]string, key string, most int64) (int64, error) {
	s, ok := query[key]
	if !ok {
		return 0, nil
	}
	if s == "" || strings.Trim(s, "0123456789") != "" || strings.Trim(s, "0") == "" {
		return 0, crm.FieldErrorf(key, "give a whole number from 1 up")
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil { // only digits, so it is out of range
		return most, nil
	}
	return min(n, most), nil
}

// ifMatch reads the version a change is based on: 3, "3" or W/"3" (proxies
// that compress weaken tags). "*" would be a change of who knows what.
func ifMatch(h http.Header) (int64, error) {
	values := h.Values("If-Match")
	if len(values) == 0 {
		return 0, crm.Errorf(crm.PreconditionRequired, "send If-Match with the version you are changing, as in If-Match: 3")
	}
	s := strings.TrimPrefix(strings.TrimSpace(values[0]), "W/")
	if len(s) > 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || len(values) > 1 || strings.Trim(s, "0123456789") != "" {
		return 0, crm.FieldErrorf("If-Match", `name one version, as 3 or "3"`)
	}
	return n, nil
}

// etag is a version as a tag, to be sent back in If-Match.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }
