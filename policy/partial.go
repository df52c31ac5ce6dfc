package policy

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// Partial evaluation is the dear part of a filter, and most of what is known of
// a subject does not change its outcome: a list that rules only seek a column
// in stands in the residual as it was given. Such a value is replaced by a
// handle, which the translator replaces by the value, and the outcome is kept
// for everybody who agrees in the values that the function does read (uses.go).

// handle marks a text that stands for a value. No column and no rule can hold
// its first character.
const handle = "\x00"

// value is what a path such as ask.subject.roles stands for.
func (q *asked) value(path string, fact known, group string) any {
	switch path {
	case "ask.action":
		return string(q.action)
	case "ask.entity":
		return q.entity
	case "group":
		return group
	}
	if name, ok := strings.CutPrefix(path, "ask.subject."); ok {
		return q.subject[name]
	}
	name, _ := strings.CutPrefix(path, "fact.")
	return fact.values[name]
}

// partial is what partial evaluation leaves of a function.
func (q *asked) partial(ctx context.Context, f *function, fact known, group string) (*rego.PartialQueries, error) {
	key := make([]byte, 0, 256)
	for _, path := range f.reads {
		key = encode(key, q.value(path, fact, group))
	}
	if pq, ok := f.outcomes.get(string(key)); ok {
		return pq, nil
	}
	if strings.Contains(string(key), handle+"ask.") || strings.Contains(string(key), handle+"fact.") {
		return nil, fmt.Errorf("a value that is known holds a character that no field can hold")
	}
	pq, err := f.partial.Partial(ctx, rego.EvalParsedInput(q.standIns(f, fact, group)))
	if err = interrupted(ctx, err); err != nil {
		return nil, err
	}
	f.outcomes.put(string(key), pq)
	return pq, nil
}

// standIns is the input of a function: what it reads, and handles for the rest.
func (q *asked) standIns(f *function, fact known, group string) ast.Object {
	stand := func(path string, v any) *ast.Term {
		if slices.Contains(f.reads, path) {
			return term(v)
		}
		if _, list := v.([]string); list {
			return ast.ArrayTerm(ast.StringTerm(handle + path))
		}
		return ast.StringTerm(handle + path)
	}
	all := func(prefix string, values map[string]any) *ast.Term {
		kvs := make([][2]*ast.Term, 0, len(values))
		for name, v := range values {
			kvs = append(kvs, [2]*ast.Term{ast.StringTerm(name), stand(prefix+name, v)})
		}
		return ast.ObjectTerm(kvs...)
	}
	in := input{ask: object(
		"subject", all("ask.subject.", q.subject), "action", stand("ask.action", string(q.action)), "entity", stand("ask.entity", q.entity),
	)}
	if fact.values != nil {
		in.fact = all("fact.", fact.values)
	}
	if group != "" {
		in.group = stand("group", group)
	}
	return in.object()
}

// outcome says what partial evaluation found to hold, or not to hold, whatever
// the row is.
func outcome(pq *rego.PartialQueries) (always, never bool) {
	for _, q := range pq.Queries {
		always = always || len(q) == 0
	}
	return always, len(pq.Queries) == 0
}

// encode appends a value so that no two values look alike.
func encode(b []byte, v any) []byte {
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	texts := func(ss []string) {
		b = binary.AppendUvarint(b, uint64(len(ss)))
		for _, s := range ss {
			text(s)
		}
	}
	switch v := v.(type) {
	case string:
		text(v)
	case bool:
		b = strconv.AppendBool(b, v)
	case int:
		b = binary.AppendVarint(b, int64(v))
	case time.Time:
		text(v.UTC().Format(time.RFC3339Nano))
	case []string:
		texts(v)
	case []crm.Relationship:
		b = binary.AppendUvarint(b, uint64(len(v)))
		for _, r := range v {
			text(r.Department)
			texts(r.Actions)
		}
	default:
		panic(fmt.Sprintf("rules see no %T", v))
	}
	return b
}

// outcomes keeps what partial evaluation left of one function, by the values
// that the function reads.
type outcomes struct {
	mu   sync.RWMutex
	kept map[string]*rego.PartialQueries
}

// maxOutcomes bounds the outcomes kept of a function. Few are needed: one for
// each role, action and the like.
const maxOutcomes = 1024

func (o *outcomes) get(key string) (*rego.PartialQueries, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	pq, ok := o.kept[key]
	return pq, ok
}

func (o *outcomes) put(key string, pq *rego.PartialQueries) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept == nil || len(o.kept) >= maxOutcomes {
		o.kept = map[string]*rego.PartialQueries{}
	}
	o.kept[key] = pq
}
