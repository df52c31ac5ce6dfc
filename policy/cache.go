package policy

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"sync"
	"time"

	"meridian/instance/crm"
)

// cacheSize bounds the filters kept. A filter of a subject of two thousand
// territories holds some 40 kB.
const cacheSize = 2048

// key names a filter within one bundle. It holds a digest of the whole subject
// beside its id, so that two subjects never share a filter because of how they
// were loaded. The stamp is no part of it: most changes of facts leave a
// subject as it was, and translating anew for each would starve everybody
// while many facts change.
type key struct {
	subject crm.SubjectID
	action  crm.Action
	entity  string
	digest  [sha256.Size]byte
}

func keyOf(s crm.Subject, a crm.Action, entity string, groups []string) key {
	b := make([]byte, 0, 16*(32+len(s.Territories)+len(s.Segments)))
	text := func(v string) { // its length first: "ab","c" is not "a","bc"
		b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
	}
	texts := func(vs []string) {
		b = binary.AppendUvarint(b, uint64(len(vs)))
		for _, v := range vs {
			text(v)
		}
	}
	for _, v := range []string{string(s.Kind), s.Instance, strconv.Itoa(s.Clearance), strconv.FormatBool(s.AllSegments), s.Purpose} {
		text(v)
	}
	for _, vs := range [][]string{s.Roles, s.Territories, s.Segments, s.Departments, s.Keys, s.Groups, s.Jurisdictions, groups} {
		texts(vs)
	}
	for _, r := range s.Relationships {
		text(r.Department)
		texts(r.Actions)
	}
	for _, x := range s.Areas {
		for _, v := range []string{
			x.Department, string(x.Effect), strconv.FormatBool(x.AnyTerritory), strconv.FormatBool(x.AnySegment), x.OnDepartment,
			x.From.UTC().Format(time.RFC3339Nano), x.To.UTC().Format(time.RFC3339Nano),
		} {
			text(v)
		}
		for _, vs := range [][]string{x.Actions, x.Groups, x.Territories, x.Segments} {
			texts(vs)
		}
	}
	return key{s.ID, a, entity, sha256.Sum256(b)}
}

// cache keeps the filters used last.
type cache struct {
	mu    sync.Mutex
	size  int
	order *list.List // of entry, the one used last in front
	byKey map[key]*list.Element
}

type entry struct {
	key    key
	filter Filter
}

func newCache(size int) *cache {
	return &cache{size: size, order: list.New(), byKey: map[key]*list.Element{}}
}

func (c *cache) get(k key) (Filter, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[k]
	if !ok {
		return Filter{}, false
	}
	c.order.MoveToFront(e)
	return e.Value.(entry).filter, true
}

func (c *cache) put(k key, f Filter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[k]; ok {
		return
	}
	c.byKey[k] = c.order.PushFront(entry{k, f})
	if c.order.Len() > c.size {
		oldest := c.order.Back()
		delete(c.byKey, oldest.Value.(entry).key)
		c.order.Remove(oldest)
	}
}
