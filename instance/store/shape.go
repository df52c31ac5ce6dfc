package store

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"meridian/policy"
)

// shape is the form of a statement over a filter.
type shape int

const (
	// oneScan tests all grounds on each row it meets, in order. Right for a
	// subject who sees much: the page is soon full.
	oneScan shape = iota
	// unionOfGrounds follows an index per ground and orders what it finds. Right
	// for a subject who sees little: one scan would walk the table to find it.
	unionOfGrounds
	// windowFirst is one scan over the next few thousand rows, and the union if
	// that does not fill the page. For subjects in between, where the better
	// shape depends on whether their rows lie apart or together.
	windowFirst
	// unionOfFew is unionOfGrounds where all that the subject sees is so little
	// that the caller's filter may be tested on each row of it.
	unionOfFew
)

const (
	window       = 4000             // rows that the first try of windowFirst meets
	few          = 5000             // rows that are soon tested one by one
	sampled      = 2000             // rows that an estimate looks at
	shapesKept   = 4096             // estimates remembered
	shapeExpires = 30 * time.Second // an estimate that is out of date costs time, never rows
)

// estimate is how much of a table a filter shows.
type estimate struct {
	rows    float64 // of the table
	visible float64 // of 1
	// together says that a window did not fill a page: the rows lie together,
	// elsewhere in the order.
	together bool
	key      uint64
	expires  time.Time
}

// forPage is the shape of a page. Filling it from one scan reads about
// limit/visible rows, all of them at worst; the union reads visible·rows, each
// at about twice the cost. In between neither is bounded by the other.
func (e estimate) forPage(byID bool) shape {
	seen := e.visible * e.rows
	switch {
	case !byID: // one scan has to read and order everything
		return e.forAll()
	case e.visible >= 0.2:
		return oneScan
	case seen <= min(few, math.Sqrt(50*e.rows)):
		return unionOfFew
	case e.together || seen <= math.Sqrt(50*e.rows):
		return unionOfGrounds
	}
	return windowFirst
}

// forAll is the shape of a statement that needs all visible rows.
func (e estimate) forAll() shape {
	if e.visible < 0.2 {
		return unionOfGrounds
	}
	return oneScan
}

// estimates remembers, per filter, how much it shows. Its zero value is ready.
type estimates struct {
	mu   sync.Mutex
	seed maphash.Seed
	by   map[uint64]estimate
}

// estimate says how much r.Filter shows of the table. An estimate that fails is
// no reason to fail the read: one scan is always right, only sometimes slow.
func (s *Store) estimate(ctx context.Context, t *table, f policy.Filter) estimate {
	args := &policy.Args{}
	where := f.Where(args)
	key := s.estimates.key(t, where, args)
	if e, ok := s.estimates.get(key); ok {
		return e
	}
	e, err := s.sample(ctx, t, where, args)
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "estimate of a filter failed", "entity", t.def.Entity, "error", err)
	}
	if err != nil {
		return estimate{visible: 1}
	}
	e.key = key
	s.estimates.put(e)
	return e
}

// sample tests the filter on some blocks of the table. It needs no statistics
// and does not trust the planner, who guesses a half for every subquery.
func (s *Store) sample(ctx context.Context, t *table, where string, args *policy.Args) (estimate, error) {
	var e estimate
	var known float64
	err := s.pool.QueryRow(ctx, `select greatest(reltuples, pg_relation_size(oid) / 500, 1)::float8, greatest(reltuples, 0)::float8
		from pg_class where oid = to_regclass($1)`, t.live).Scan(&e.rows, &known)
	if err != nil {
		return e, pgErr(err, "size of %s", t.def.Entity)
	}
	if e.rows > 2*known+1000 && s.analyzing.TryLock() { // a load has just been here: plans are made for a smaller table
		_, err := s.pool.Exec(ctx, "select meridian.analyze($1)", t.def.Entity)
		s.analyzing.Unlock()
		if err != nil {
			return e, pgErr(err, "analyze %s", t.def.Entity)
		}
	}
	percent := min(100, 100*sampled/e.rows)
	var met, seen float64
	err = s.door(s.pool, filtered).QueryRow(ctx, fmt.Sprintf("select count(*), count(*) filter (where %s) from (select * from %s tablesample system (%f) limit %d) r",
		where, t.live, percent, 5*sampled), args.Values()...).Scan(&met, &seen)
	if err != nil {
		return e, pgErr(err, "estimate a filter on %s", t.def.Entity)
	}
	e.visible = seen / max(met, 1)
	return e, nil
}

// key names a filter by what it says. The facts behind it are left out: they
// change who sees a record, hardly how many there are.
func (c *estimates) key(t *table, where string, args *policy.Args) uint64 {
	c.mu.Lock()
	if c.by == nil {
		c.seed, c.by = maphash.MakeSeed(), map[uint64]estimate{}
	}
	seed := c.seed
	c.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(seed)
	write := func(s string) { _, _ = h.WriteString(s); _ = h.WriteByte(0) } // neither can fail
	write(t.live)
	write(where)
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
	return h.Sum64()
}

func (c *estimates) get(key uint64) (estimate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.by[key]
	return e, ok && time.Now().Before(e.expires)
}

func (c *estimates) put(e estimate) {
	e.expires = time.Now().Add(shapeExpires)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.by) >= shapesKept {
		clear(c.by) // they are cheap to make again
	}
	c.by[e.key] = e
}
