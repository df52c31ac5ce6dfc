package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// maxPage is the most rows one List returns, whatever it is asked for.
const maxPage = 1000

// List reads one page of what r.Filter shows and r.Where asks for, in the
// order of r.Sort, by id without one; what r.Search finds, best match first.
func (s *Store) List(ctx context.Context, r Read) (Page, error) {
	t, err := s.table(r.Entity)
	if err != nil {
		return Page{}, err
	}
	if r.IDs != nil { // they drive the plan
		return s.listAs(ctx, t, r, oneScan)
	}
	e := s.estimate(ctx, t, r.Filter)
	shape := e.forPage(len(r.Sort) == 0 && r.Search == nil)
	page, err := s.listAs(ctx, t, r, shape)
	if shape != windowFirst || err != nil || page.Next != "" {
		return page, err
	}
	e.together = true
	s.estimates.put(e)
	return s.listAs(ctx, t, r, unionOfGrounds)
}

func (s *Store) listAs(ctx context.Context, t *table, r Read, shape shape) (Page, error) {
	l, err := s.listing(t, r, shape)
	if err != nil {
		return Page{}, err
	}
	return s.page(ctx, s.pool, l)
}

// listing is the statement of a page.
type listing struct {
	t     *table
	args  *policy.Args
	order order
	limit int
	plan  string // which plan it has
	sql   string
	shown *showing
}

// listing writes the statement of a page in the given shape.
func (s *Store) listing(t *table, r Read, shape shape) (listing, error) {
	l := listing{t: t, args: &policy.Args{}, limit: min(max(r.Limit, 1), maxPage), plan: planSQL(r, shape)}
	if r.IDs == nil {
		l.args.ForMany()
	}
	p := newProjection(t, r.Filter, l.args)
	var err error
	if r.Search != nil {
		l.order = p.ranked(*r.Search)
	} else if l.order, err = newOrder(p, r.Sort); err != nil {
		return l, err
	}
	var b strings.Builder
	shown, showing := p.shown()
	l.shown = showing
	b.WriteString("select " + p.selected() + shown)
	for i := range l.order.keys {
		b.WriteString(", (" + l.order.sql(i) + ")::text")
	}
	limit := " limit " + strconv.Itoa(l.limit+1)
	switch shape {
	case oneScan, windowFirst:
		wanted, err := s.wanted(p, r, l.order, shape)
		if err != nil {
			return l, err
		}
		if shape == oneScan {
			b.WriteString(" from " + t.live + " r where (" + p.f.Where(l.args) + ") and " + wanted)
			b.WriteString(" order by " + l.order.by(l.order.sql, "r.id") + limit)
			break
		}
		b.WriteString(" from (select * from " + t.live + " r where " + wanted + " order by r.id limit " + strconv.Itoa(window) + ") r")
		b.WriteString(" where (" + p.f.Where(l.args) + ") order by r.id" + limit)
	case unionOfGrounds, unionOfFew:
		// The page is chosen by id and key alone; only its rows are read whole.
		union, err := s.union(p, r, shape)
		if err != nil {
			return l, err
		}
		b.WriteString(" from " + t.live + " r join (" + union + " order by " + l.order.by(alias, "id") + limit + ") u on u.id = r.id")
		b.WriteString(" order by " + l.order.by(func(i int) string { return "u." + alias(i) }, "r.id") + limit)
	}
	l.sql = b.String()
	return l, nil
}

func alias(i int) string { return "k" + strconv.Itoa(i) }

// planSQL says which plan a read of many rows has. A filter of the caller's is
// planned for its values: what share of the table it selects, no rule of thumb
// knows. Where few rows are seen anyway it is tested on each of them: planning
// would cost more.
func planSQL(r Read, shape shape) string {
	if r.Where != nil && r.IDs == nil && shape != unionOfFew {
		return ownPlanSQL
	}
	return samePlanSQL
}

// wanted is the SQL of what the caller asks for. Where the grounds drive the
// plan, "is true" hides conditions from the planner, who takes any range for a
// third of the table and reads an index that does not help: the position always,
// as only the order's own index is worth following for it, and the caller's
// filter where the grounds find few rows.
func (s *Store) wanted(p *projection, r Read, o order, shape shape) (string, error) {
	wanted := []string{"true"}
	if r.Where != nil {
		c, err := p.condition(r.Where, false)
		if err != nil {
			return "", err
		}
		if shape == unionOfFew {
			c = "(" + c + ") is true"
		}
		wanted = append(wanted, c)
	}
	if r.Search != nil {
		wanted = append(wanted, p.found(*r.Search))
	}
	if r.IDs != nil {
		wanted = append(wanted, "r.id = any("+p.args.Add(texts(r.IDs), "uuid[]")+")")
	}
	if r.Cursor != "" {
		at, err := s.position(o, r.Cursor)
		if err != nil {
			return "", err
		}
		behind := o.after(p, at)
		if shape == unionOfGrounds || shape == unionOfFew {
			behind += " is true"
		}
		wanted = append(wanted, behind)
	}
	return strings.Join(wanted, " and "), nil
}

// union is the ids of what the filter's grounds open and the read asks for, with
// the values they are ordered by, each row once. The grounds are limited
// together, not one by one: a limit would tempt the planner into walking the
// whole table in order.
func (s *Store) union(p *projection, r Read, shape shape) (string, error) {
	return p.union(func(p *projection) (selected, wanted string, err error) {
		var o order
		if r.Search != nil {
			o = p.ranked(*r.Search)
		} else if o, err = newOrder(p, r.Sort); err != nil {
			return "", "", err
		}
		for i, k := range o.keys {
			selected += ", " + k.sql + " as " + alias(i)
		}
		wanted, err = s.wanted(p, r, o, shape)
		return selected, wanted, err
	})
}

// union is the ids of the filter's grounds with what else a ground selects, of
// the rows that it wants. A row has the same values in every ground: each asks
// only what it does not know.
func (p *projection) union(of func(*projection) (selected, wanted string, err error)) (string, error) {
	include, unclosed := p.f.Branches(p.args)
	if len(include) == 0 {
		selected, wanted, err := of(p)
		return "select r.id" + selected + " from " + p.t.live + " r where false and " + wanted, err
	}
	whole := newProjection(p.t, p.f, &policy.Args{})
	parts := make([]string, len(include))
	for i, ground := range include {
		q := newProjection(p.t, p.f.Branch(i), p.args)
		q.whole = whole
		selected, wanted, err := of(q)
		if err != nil {
			return "", err
		}
		parts[i] = "select r.id" + selected + " from " + p.t.live + " r where (" + ground + ") and " + unclosed + " and " + wanted
	}
	return strings.Join(parts, " union "), nil
}

// page runs a listing, and reads the access stamp after the rows in the same
// batch: what was read under a stamp that moved is for the caller to discard.
func (s *Store) page(ctx context.Context, q queries, l listing) (Page, error) {
	var page Page
	var last position
	more := false
	batch := &pgx.Batch{}
	batch.Queue(l.plan)
	batch.Queue(l.sql, l.args.Values()...).Query(func(rows pgx.Rows) error {
		values := make([]*string, len(l.order.keys))
		row := l.t.scanner(append(l.shown.targets(), pointers(values)...)...)
		for rows.Next() {
			if more = len(page.Records) == l.limit; more {
				continue // the one row that says there is another page
			}
			if err := row.scan(rows); err != nil {
				return err
			}
			rec := row.record(l.shown)
			page.Records = append(page.Records, rec)
			last = position{ID: rec.ID, Values: append(last.Values[:0], values...)}
		}
		return rows.Err()
	})
	batch.Queue(stampSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&page.Stamp, &page.Now) })
	if err := s.door(q, filtered).SendBatch(ctx, batch).Close(); err != nil {
		return Page{}, pgErr(err, "read %s", l.t.def.Entity)
	}
	page.Now = page.Now.UTC()
	if more {
		var err error
		if page.Next, err = s.cursor(l.order, last); err != nil {
			return Page{}, err
		}
	}
	return page, nil
}

// pointers are scan targets for the elements of xs.
func pointers[T any](xs []T) []any {
	ps := make([]any, len(xs))
	for i := range xs {
		ps[i] = &xs[i]
	}
	return ps
}

func texts(ids []crm.RecordID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

// Get reads the records of r.IDs that r.Filter shows, in that order. Those it
// does not show are missing, exactly as absent ones.
func (s *Store) Get(ctx context.Context, r Read) (Page, error) { return s.get(ctx, s.pool, r) }

// Get reads as Store.Get does, inside the transaction.
func (t *Tx) Get(ctx context.Context, r Read) (Page, error) { return t.s.get(ctx, t.tx, r) }

func (s *Store) get(ctx context.Context, q queries, r Read) (Page, error) {
	t, err := s.table(r.Entity)
	if err != nil {
		return Page{}, err
	}
	l := listing{t: t, args: (&policy.Args{}).Supposing(r.Flips), limit: len(r.IDs), plan: samePlanSQL}
	p := newProjection(t, r.Filter, l.args)
	r.Cursor = ""
	wanted, err := s.wanted(p, Read{Where: r.Where, IDs: append([]crm.RecordID{}, r.IDs...)}, l.order, oneScan)
	if err != nil {
		return Page{}, err
	}
	shown, showing := p.shown()
	l.shown = showing
	l.sql = "select " + p.selected() + shown + " from " + t.live + " r where (" + p.f.Where(l.args) + ") and " + wanted
	page, err := s.page(ctx, q, l)
	if err != nil {
		return Page{}, err
	}
	at := make(map[crm.RecordID]int, len(page.Records))
	for i, rec := range page.Records {
		at[rec.ID] = i
	}
	found := page.Records
	page.Records = make([]crm.Record, 0, len(found))
	for _, id := range r.IDs {
		if i, ok := at[id]; ok {
			page.Records = append(page.Records, found[i])
		}
	}
	return page, nil
}

// Count counts what List would return in all.
func (s *Store) Count(ctx context.Context, r Read) (n, stamp int64, err error) {
	stamp, err = s.all(ctx, r, "count(*)", func(rows pgx.Rows) error { return rows.Scan(&n) })
	return n, stamp, err
}

// VisibleIDs lists the ids of all records that List would return, unordered.
func (s *Store) VisibleIDs(ctx context.Context, r Read) (ids []crm.RecordID, stamp int64, err error) {
	stamp, err = s.all(ctx, r, "r.id::text", func(rows pgx.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, crm.RecordID(id))
		return err
	})
	return ids, stamp, err
}

// all selects what from all rows that the read shows, and then the stamp.
func (s *Store) all(ctx context.Context, r Read, what string, each func(pgx.Rows) error) (stamp int64, err error) {
	t, err := s.table(r.Entity)
	if err != nil {
		return 0, err
	}
	r.Cursor = ""
	args := (&policy.Args{}).ForMany()
	p := newProjection(t, r.Filter, args)
	wanted, err := s.wanted(p, r, order{}, oneScan)
	if err != nil {
		return 0, err
	}
	sql := "select " + what + " from " + t.live + " r where (" + p.f.Where(args) + ") and " + wanted
	if r.IDs == nil && s.estimate(ctx, t, r.Filter).forAll() == unionOfGrounds {
		args = (&policy.Args{}).ForMany()
		union, err := newProjection(t, r.Filter, args).union(func(p *projection) (selected, wanted string, err error) {
			wanted, err = s.wanted(p, r, order{}, oneScan)
			return "", wanted, err
		})
		if err != nil {
			return 0, err
		}
		sql = "select " + what + " from (" + union + ") r"
	}
	batch := &pgx.Batch{}
	batch.Queue(planSQL(r, oneScan))
	batch.Queue(sql, args.Values()...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	var now time.Time
	batch.Queue(stampSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&stamp, &now) })
	return stamp, pgErr(s.door(s.pool, filtered).SendBatch(ctx, batch).Close(), "read all %s", r.Entity)
}
