package store

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"time"

	"meridian/policy"
)

// shape is the form of a statement over a filter.
type shape int

const (
	// oneScan tests all grounds on each row. Right for a subject who sees much:
	// the first rows in order are soon found.
	oneScan shape = iota
	// unionOfGrounds follows an index per ground. Right for a subject who sees
	// little: one scan would walk the table to find it.
	unionOfGrounds
)

const (
	shapesKept   = 4096             // filters remembered
	shapeExpires = 30 * time.Second // an estimate; facts behind the stamp renew it at once
)

// shapes remembers, per filter, which shape suits it. Its zero value is ready.
type shapes struct {
	mu   sync.Mutex
	seed maphash.Seed
	by   map[uint64]shapeEntry
}

type shapeEntry struct {
	shape   shape
	expires time.Time
}

// shape chooses by counting what the filter's grounds reach, up to the number
// at which one scan becomes cheaper. A failed count is no reason to fail the
// read: one scan is always right, only sometimes slow.
func (s *Store) shape(ctx context.Context, t *table, r Read) shape {
	if r.IDs != nil {
		return oneScan // driven by the ids
	}
	args := &policy.Args{}
	include, exclude := r.Filter.Branches(args)
	if len(include) == 0 {
		return oneScan // constant false
	}
	key := s.shapes.key(t, r.Filter, include, exclude, args)
	if e, ok := s.shapes.get(key); ok {
		return e
	}
	chosen, err := s.probe(ctx, t, include, args)
	if err != nil {
		s.log.WarnContext(ctx, "estimate of a filter failed", "entity", t.def.Entity, "error", err)
		return oneScan
	}
	s.shapes.put(key, chosen)
	return chosen
}

// probe counts rows up to a bound. Of n rows, of which v are visible, one scan
// reads about 50·n/v to fill a page and the union reads v: they meet at
// v = sqrt(50·n), and the union's rows are dearer.
func (s *Store) probe(ctx context.Context, t *table, include []string, args *policy.Args) (shape, error) {
	var rows float64
	if err := s.pool.QueryRow(ctx, "select greatest(reltuples, 0)::float8 from pg_class where oid = to_regclass($1)", t.live).Scan(&rows); err != nil {
		return oneScan, pgErr(err, "size of %s", t.def.Entity)
	}
	bound := int(math.Sqrt(50*max(rows, 10_000))) + 1
	parts := make([]string, len(include))
	for i, ground := range include {
		parts[i] = fmt.Sprintf("(select 1 from %s r where %s limit %d)", t.live, ground, bound)
	}
	var n int
	sql := fmt.Sprintf("select count(*) from (%s limit %d) x", strings.Join(parts, " union all "), bound)
	if err := s.pool.QueryRow(ctx, sql, args.Values()...).Scan(&n); err != nil {
		return oneScan, pgErr(err, "estimate a filter on %s", t.def.Entity)
	}
	if n < bound {
		return unionOfGrounds, nil
	}
	return oneScan, nil
}

// key names a filter by what it says and what it was made from.
func (c *shapes) key(t *table, f policy.Filter, include []string, exclude string, args *policy.Args) uint64 {
	c.mu.Lock()
	if c.by == nil {
		c.seed, c.by = maphash.MakeSeed(), map[uint64]shapeEntry{}
	}
	seed := c.seed
	c.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(seed)
	write := func(s string) { _, _ = h.WriteString(s); _ = h.WriteByte(0) } // neither can fail
	write(t.live)
	write(f.Digest())
	write(exclude)
	for _, ground := range include {
		write(ground)
	}
	for _, v := range args.Values() {
		switch v := v.(type) {
		case string:
			write(v)
		case []string:
			for _, x := range v {
				write(x)
			}
		default:
			write(fmt.Sprint(v))
		}
	}
	maphash.WriteComparable(&h, f.Stamp())
	return h.Sum64()
}

func (c *shapes) get(key uint64) (shape, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.by[key]
	return e.shape, ok && time.Now().Before(e.expires)
}

func (c *shapes) put(key uint64, chosen shape) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.by) >= shapesKept {
		clear(c.by) // estimates are cheap to make again
	}
	c.by[key] = shapeEntry{shape: chosen, expires: time.Now().Add(shapeExpires)}
}
