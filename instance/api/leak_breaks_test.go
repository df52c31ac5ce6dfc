package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"meridian/instance/crm"
)

// A matrix that finds nothing may be blind. Breaks are ways to break the
// instance on purpose, in the test's process only: a handler around the real
// one behaves as an instance would that forgot policy on one path. The matrix
// must find each.
//
//	go test ./instance/api -run TestTheMatrixFindsBreaks        every break over a slice of the matrix
//	LEAK_BREAK=count go test ./instance/api -run TestNothingLeaks    must fail
type aBreak struct {
	what  string
	paths []string // where the matrix finds it
	wrap  func(l *leakWorld, next http.Handler) http.Handler
}

// allSeeing makes paths forget who asks: they answer what somebody is shown
// who sees everything.
func allSeeing(what string, paths ...string) aBreak { return seeingAs(maker, what, paths...) }

// seeingAs makes paths answer what somebody else is answered.
func seeingAs(who crm.SubjectID, what string, paths ...string) aBreak {
	return aBreak{what: what, paths: paths, wrap: func(l *leakWorld, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if at(r, paths) {
				r.Header.Set("Authorization", "Bearer "+l.tokens[who])
			}
			next.ServeHTTP(w, r)
		})
	}}
}

// at tells whether a request takes one of the registered paths.
func at(r *http.Request, paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		method, pattern, rest := strings.Cut(p, " ")
		if !rest {
			return r.URL.Path == p
		}
		pattern = regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(pattern), `[^/:]+`)
		return r.Method == method && regexp.MustCompile("^"+pattern+"$").MatchString(r.URL.Path)
	})
}

func breaks() map[string]aBreak {
	const restList, restOne = "/api/v1/{entity}", "/api/v1/{entity}/{id}"
	return map[string]aBreak{
		"get":     allSeeing("get forgets the filter", recordService+"Get", "GET "+restOne),
		"list":    allSeeing("lists forget the filter", recordService+"List", "GET "+restList),
		"count":   allSeeing("counts forget the filter", recordService+"Count", "GET "+restList+":count"),
		"history": allSeeing("history forgets the filter", recordService+"History", "GET "+restOne+"/history"),
		"explain": seeingAs("officer@amer", "explanations are given to everybody", "GET "+restOne+"/explain", policyService+"Explain", policyService+"ExplainRecord"),
		"write":   allSeeing("updates forget who writes", recordService+"Update", "PATCH "+restOne),
		"watch":   allSeeing("watches forget the filter", "GET "+restList+":watch", "/meridian.feed.v1.FeedService/Watch"),
		"masks": {"who may see a record is shown all its groups", []string{recordService + "Get", "GET " + restOne}, func(l *leakWorld, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !at(r, []string{recordService + "Get", "GET " + restOne}) {
					next.ServeHTTP(w, r)
					return
				}
				own := asked(next, r, "")
				if strings.Contains(own.Body.String(), "not_found") {
					replay(w, own)
					return
				}
				replay(w, asked(next, r, l.tokens[maker]))
			})
		}},
		"replay": {"an idempotency key answers whoever names it", []string{recordService + "Update"}, func(_ *leakWorld, next http.Handler) http.Handler {
			var answers sync.Map // by request, whoever made it
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body) // of a test
				r.Body = io.NopCloser(bytes.NewReader(body))
				if !bytes.Contains(body, []byte("idempotency_key")) {
					next.ServeHTTP(w, r)
					return
				}
				a, known := answers.Load(r.URL.Path + string(body))
				if !known {
					a = asked(next, r, "")
					answers.Store(r.URL.Path+string(body), a)
				}
				replay(w, a.(*httptest.ResponseRecorder))
			})
		}},
		"statements": {"a record that is there costs one statement more", []string{recordService + "Get", "GET " + restOne}, func(l *leakWorld, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if l.named(r) != nil {
					l.trace.told(r.Context(), "select 1")
				}
				next.ServeHTTP(w, r)
			})
		}},
		"text": {"refusals say a little more of what is there", []string{"PATCH " + restOne, "DELETE " + restOne, "GET " + restOne}, func(l *leakWorld, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				a := asked(next, r, "")
				if a.Code == http.StatusNotFound && l.named(r) != nil {
					body := bytes.ReplaceAll(a.Body.Bytes(), []byte(`"not found"`), []byte(`"not found for you"`))
					a.Body = bytes.NewBuffer(body)
				}
				replay(w, a)
			})
		}},
		"etag": {"the version of a hidden record is in a header", []string{"GET " + restOne}, func(l *leakWorld, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if a := l.named(r); a != nil {
					w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprint(a.version)))
				}
				next.ServeHTTP(w, r)
			})
		}},
		"order": {"lists are sorted by what is withheld", []string{recordService + "List"}, func(l *leakWorld, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !at(r, []string{recordService + "List"}) {
					next.ServeHTTP(w, r)
					return
				}
				own := asked(next, r, "")
				body, _ := io.ReadAll(r.Body) // of a test
				r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte(`"limit":2`), []byte(`"limit":1000`), 1)))
				replay(w, sortedAs(own, asked(next, r, l.tokens[maker])))
			})
		}},
	}
}

// asked is what next answers, to the holder of another token if one is given.
func asked(next http.Handler, r *http.Request, token string) *httptest.ResponseRecorder {
	body, _ := io.ReadAll(r.Body) // of a test
	r.Body = io.NopCloser(bytes.NewReader(body))
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	again.Header.Del("Accept-Encoding") // so that it can be read here
	if token != "" {
		again.Header.Set("Authorization", "Bearer "+token)
	}
	out := httptest.NewRecorder()
	next.ServeHTTP(out, again)
	return out
}

func replay(w http.ResponseWriter, a *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), a.Header())
	w.Header().Del("Content-Length")
	w.WriteHeader(a.Code)
	_, _ = w.Write(a.Body.Bytes()) // to a test
}

// named is the target that a request names by its id, nil if it names none.
func (l *leakWorld) named(r *http.Request) *aim {
	body, _ := io.ReadAll(r.Body) // of a test
	r.Body = io.NopCloser(bytes.NewReader(body))
	for _, s := range l.scenarios {
		for _, a := range s.targets {
			if a.id != "" && (strings.Contains(r.URL.Path, string(a.id)) || bytes.Contains(body, []byte(a.id))) {
				return a
			}
		}
	}
	return nil
}

// sortedAs is an answer of a list with its records in the order that another
// answer has them in.
func sortedAs(own, other *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	type list struct {
		Records    []map[string]any `json:"records"`
		NextCursor string           `json:"nextCursor,omitempty"`
	}
	var mine, theirs list
	if json.Unmarshal(own.Body.Bytes(), &mine) != nil || json.Unmarshal(other.Body.Bytes(), &theirs) != nil {
		return own
	}
	place := map[any]int{}
	for i, rec := range theirs.Records {
		place[rec["id"]] = i
	}
	slices.SortStableFunc(mine.Records, func(a, b map[string]any) int { return place[a["id"]] - place[b["id"]] })
	body, err := json.Marshal(mine)
	if err != nil {
		return own
	}
	own.Body = bytes.NewBuffer(body)
	return own
}

// breakOnPurpose puts a break in force from now on.
func (l *leakWorld) breakOnPurpose(t *testing.T, name string) {
	t.Helper()
	b, ok := breaks()[name]
	if !ok {
		t.Fatalf("LEAK_BREAK knows no %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(breaks())), " "))
	}
	t.Logf("broken on purpose: %s", b.what)
	h := b.wrap(l, l.next)
	l.broken.Store(&h)
}

// breakable is the handler that a break stands before.
func (l *leakWorld) breakable(next http.Handler) http.Handler {
	l.next = next
	return l.trace.follow(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := l.broken.Load(); h != nil {
			(*h).ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// TestTheMatrixFindsBreaks breaks the instance in every way there is, over a
// slice of the matrix: one entity, one ground, every condition. Unbroken the
// slice is clean; broken it is not, at the paths that are broken.
func TestTheMatrixFindsBreaks(t *testing.T) {
	if os.Getenv("LEAK_BREAK") != "" {
		t.Skip("LEAK_BREAK is for TestNothingLeaks")
	}
	l := newLeakWorld(t, "share")
	l.warm(t)
	l.revoke()
	l.every = true
	slice := func(paths []string, sorted bool) *matrix {
		all := ways()
		some := map[string]way{}
		for _, p := range paths {
			some[p] = all[p]
		}
		m := l.matrix(some)
		m.try(l.scenarios, []string{"account"})
		if sorted {
			m.ordered(t)
		}
		return m
	}
	var paths []string
	for _, b := range breaks() {
		paths = append(paths, b.paths...)
	}
	if m := slice(paths, true); len(m.found) > 0 {
		t.Fatalf("unbroken, the slice has leaks: %v", m.found[0])
	}
	names := slices.Sorted(maps.Keys(breaks()))
	names = append(slices.DeleteFunc(names, func(n string) bool { return n == "write" }), "write") // last: it does write
	for _, name := range names {
		b := breaks()[name]
		t.Run(name, func(t *testing.T) {
			if name == "watch" {
				l.brokenWatch(t, b)
				return
			}
			l.breakOnPurpose(t, name)
			defer l.broken.Store(nil)
			l.made.Clear()
			m := slice(b.paths, name == "order")
			for _, p := range b.paths {
				if !slices.ContainsFunc(m.found, func(k leak) bool { return k.path == p }) {
					t.Errorf("%s: the matrix does not find it at %s", b.what, p)
				}
			}
			for _, k := range m.found {
				if !slices.Contains(b.paths, k.path) {
					t.Errorf("found where nothing is broken: %v", k)
				}
			}
			t.Logf("%s: %d leaks found in %d cells", b.what, len(m.found), m.cells.Load())
		})
	}
}

// brokenWatch opens the watches of a world of their own, broken.
func (l *leakWorld) brokenWatch(t *testing.T, b aBreak) {
	t.Helper()
	own := newLeakWorld(t, "share")
	own.breakOnPurpose(t, "watch")
	for _, s := range own.scenarios {
		s.targets = map[string]*aim{"account": s.targets["account"]}
	}
	own.watchAll(t, false)
	m := own.matrix(ways())
	m.watched(t)
	for _, p := range b.paths {
		if !slices.ContainsFunc(m.found, func(k leak) bool { return k.path == p }) {
			t.Errorf("%s: the matrix does not find it at %s", b.what, p)
		}
	}
	t.Logf("%s: %d leaks found", b.what, len(m.found))
}
