package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"meridian/instance/crm"
)

// heard is a whole answer, and the statements that were run for it.
type heard struct {
	status     int
	header     http.Header
	body       string
	statements []string
	hay        string // all of it in lower case, what is encoded there decoded as well
}

// send makes a probe as a subject.
func (l *leakWorld) send(ctx context.Context, as crm.SubjectID, p probe) heard {
	req, err := http.NewRequestWithContext(ctx, p.method, l.url+p.path, strings.NewReader(p.body))
	if err != nil {
		return heard{body: err.Error()}
	}
	req.Header.Set("Authorization", "Bearer "+l.tokens[as])
	for i := 0; i+1 < len(p.header); i += 2 {
		req.Header.Set(p.header[i], p.header[i+1])
	}
	name, told := l.trace.begin()
	req.Header.Set(traceHeader, name)
	resp, err := l.http.Do(req)
	if err != nil {
		return heard{body: err.Error(), statements: told()}
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := io.Copy(&body, resp.Body); err != nil {
		body.WriteString(err.Error())
	}
	return heard{status: resp.StatusCode, header: resp.Header, body: body.String(), statements: told()}.searchable()
}

// number is how many records an answer of a list or a count has of a target.
func (a heard) number(target *aim) int {
	if m := countOf.FindStringSubmatch(a.body); m != nil {
		n := 0
		_, _ = fmt.Sscan(m[1], &n) // digits
		return n
	}
	if strings.Contains(a.body, `"exact"`) {
		return 0 // Connect leaves out a count of none
	}
	return min(1, strings.Count(a.body, target.key))
}

var (
	cursorOf    = regexp.MustCompile(`"next_?[cC]ursor": ?"([^"]+)"`)
	countOf     = regexp.MustCompile(`"count": ?"?(\d+)`)
	executionID = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	encoded     = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}=*`)
	detailValue = regexp.MustCompile(`"value": ?"([A-Za-z0-9+/]+)=*"`)
	executions  = regexp.MustCompile(`[0-9a-f]{32}`)
)

// says looks for a marker in status, headers and body, as it is and in
// whatever is encoded there.
func (a heard) says(mark string) bool { return strings.Contains(a.hay, strings.ToLower(mark)) }

// searchable makes the hay that says searches.
func (a heard) searchable() heard {
	var all strings.Builder
	_ = a.header.Write(&all) // to memory
	all.WriteString(a.body)
	text := all.String()
	for _, word := range encoded.FindAllString(text, -1) {
		word = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(word)
		if plain, err := base64.RawStdEncoding.DecodeString(word); err == nil {
			all.WriteByte('\n')
			all.Write(plain)
		}
	}
	a.hay = strings.ToLower(all.String())
	return a
}

// anytime is the body without what differs from call to call.
func (a heard) anytime() string {
	body := detailValue.ReplaceAllStringFunc(a.body, func(v string) string {
		plain, err := base64.RawStdEncoding.DecodeString(detailValue.FindStringSubmatch(v)[1])
		if err != nil {
			return v
		}
		return executions.ReplaceAllString(string(plain), "<execution>")
	})
	return executionID.ReplaceAllString(body, "<execution>")
}

// plain is the answer without what differs from call to call, and with the
// names of the record asked for replaced.
func (a heard) plain(of *aim) string {
	h := a.header.Clone()
	for _, name := range []string{"Date", "Execution-Id", "Traceparent"} {
		h.Del(name)
	}
	var out strings.Builder
	fmt.Fprintln(&out, a.status)
	_ = h.Write(&out) // to memory
	out.WriteString(a.anytime())
	names := []string{string(of.id), "<id>", strings.ToUpper(string(of.id)), "<ID>", of.grant, "<grant>", of.agreed, "<agreed>"}
	for field, mark := range of.marks {
		names = append(names, mark, "<"+field+">")
	}
	return strings.ReplaceAll(strings.NewReplacer(names...).Replace(out.String()), of.nonce, "<nonce>")
}

const traceHeader = "X-Leak-Trace"

type traceKey struct{}

// statements collects the statements of each request: a header names it, its
// context carries the name to the store.
type statements struct {
	n    atomic.Int64
	open sync.Map // name: *statementList
}

type statementList struct {
	mu   sync.Mutex
	list []string
}

func (s *statements) begin() (name string, end func() []string) {
	name = fmt.Sprint(s.n.Add(1))
	l := &statementList{}
	s.open.Store(name, l)
	return name, func() []string {
		s.open.Delete(name)
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.list
	}
}

func (s *statements) follow(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l, ok := s.open.Load(r.Header.Get(traceHeader)); ok {
			r = r.WithContext(context.WithValue(r.Context(), traceKey{}, l))
		}
		next.ServeHTTP(w, r)
	})
}

func (s *statements) told(ctx context.Context, sql string) {
	if l, ok := ctx.Value(traceKey{}).(*statementList); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.list = append(l.list, sql)
	}
}
