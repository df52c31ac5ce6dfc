package store

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// asOf is the table as it was: of every record, or of those whose ids are
// bound, the newest version that was recorded by then, unless that says it was
// deleted. What another instance took back has left the history too, and is
// not in it. The alias is r.
func (t *table) asOf(args *policy.Args, at policy.Moment, ids []crm.RecordID) string {
	of := "h.at <= " + args.Add(at.Recorded, "timestamptz")
	if ids != nil {
		of += " and h.id = any(" + args.Add(texts(ids), "uuid[]") + ")"
	}
	return "(select * from (select distinct on (h.id) " + t.list("h.") + ", h.op from " + t.past + " h where " + of +
		" order by h.id, h.version desc) v where v.op <> 'delete') r"
}

// PastBreakdown counts what a filter showed at a moment.
type PastBreakdown struct {
	Breakdown
	Grounds map[string]int64
	IDs     []crm.RecordID // the first of them
}

// PastBreakdown counts the records of an entity that f showed at a moment, and
// those that each ground alone opened, and lists the first ids.
func (s *Store) PastBreakdown(ctx context.Context, entity, home string, f policy.Filter, grounds []policy.GroundFilter, at policy.Moment, ids int) (PastBreakdown, error) {
	b := PastBreakdown{Breakdown: newBreakdown(), Grounds: map[string]int64{}}
	t, err := s.table(entity)
	if err != nil {
		return b, err
	}
	args := policy.NewArgs(&at).ForMany()
	opened, counted, where := "", "", ""
	counts := make([]int64, len(grounds))
	for i, g := range grounds {
		n := strconv.Itoa(i)
		opened += ", (" + g.Filter.Where(args) + ") is true as g" + n
		counted += ", count(*) filter (where g" + n + ")"
	}
	if shows := f.Where(args); home != "" {
		where = "r.home = " + args.Add(home, "text") + " and (" + shows + ")"
	} else {
		where = shows
	}
	sql := "with seen as materialized (select r.id, r.territory, r.segment" + opened + " from " + t.asOf(args, at, nil) + " where (" + where + "))" +
		" select " + byPlaceColumns + ", case when grouping(r.territory, r.segment) = 3 then array(select id::text from seen order by id limit " + strconv.Itoa(ids) + ") end" +
		counted + " from seen r " + byPlaceGroups
	rows, err := s.door(s.pool, filtered).Query(ctx, sql, args.Values()...)
	if err != nil {
		return b, pgErr(err, "count %s of the past", entity)
	}
	var first []string
	err = b.read(rows, func(all bool) {
		if !all {
			return
		}
		b.IDs = parsedIDs(first)
		for i, g := range grounds {
			if counts[i] > 0 {
				b.Grounds[g.Ground] = counts[i]
			}
		}
	}, append([]any{&first}, pointers(counts)...)...)
	return b, pgErr(err, "count %s of the past", entity)
}

// PastVersion is a record as it was at a moment, unmasked and unfiltered, for
// access only; false if it was not there.
func (s *Store) PastVersion(ctx context.Context, entity string, id crm.RecordID, at policy.Moment) (crm.Record, bool, error) {
	t, err := s.table(entity)
	if err != nil {
		return crm.Record{}, false, err
	}
	args := &policy.Args{}
	rows, err := s.door(s.pool, pastVersions).Query(ctx, "select "+t.selected("r.")+" from "+t.asOf(args, at, []crm.RecordID{id}), args.Values()...)
	if err != nil {
		return crm.Record{}, false, pgErr(err, "past version of %s", entity)
	}
	recs, err := collect(rows, t.scanner())
	rec, ok := recs[id]
	return rec, ok, pgErr(err, "past version of %s", entity)
}

// PastByKey finds the records that had the keys at a moment, as FindByKey does
// those that have them now.
func (s *Store) PastByKey(ctx context.Context, entity string, keys []string, at policy.Moment) (map[string]crm.RecordID, error) {
	t, err := s.table(entity)
	if err != nil {
		return nil, err
	}
	if t.def.Key == "" {
		return nil, crm.FieldErrorf("entity", "%s has no key to find records by", entity)
	}
	args := &policy.Args{}
	key := "r." + quoted(t.def.Key)
	sql := "select " + key + ", r.id::text from " + t.asOf(args, at, nil) + " where " + key + " = any(" + args.Add(keys, "text[]") + ") and r.home = " + args.Add(s.instance, "text")
	rows, err := s.door(s.pool, pastVersions).Query(ctx, sql, args.Values()...)
	if err != nil {
		return nil, pgErr(err, "find %s of the past by key", entity)
	}
	found := make(map[string]crm.RecordID, len(keys))
	var k, id string
	_, err = pgx.ForEachRow(rows, []any{&k, &id}, func() error {
		found[k] = crm.RecordID(id)
		return nil
	})
	return found, pgErr(err, "find %s of the past by key", entity)
}

// CountDecisions counts the decisions of a time, half-open.
func (s *Store) CountDecisions(ctx context.Context, since, until time.Time) (n int64, err error) {
	err = s.pool.QueryRow(ctx, "select count(*) from meridian.decision_log where at >= $1 and at < $2", since, until).Scan(&n)
	return n, pgErr(err, "count decisions")
}

// SubjectIDsAt lists whom this instance knew at a moment.
func (s *Store) SubjectIDsAt(ctx context.Context, at policy.Moment) ([]crm.SubjectID, error) {
	rows, err := s.pool.Query(ctx, `select distinct id collate "C" from fact.subject
		where recorded_from <= $2 and $2 < recorded_to and valid_from <= $1 and $1 < valid_to order by 1`, at.Valid, at.Recorded)
	if err != nil {
		return nil, pgErr(err, "list subjects of the past")
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[crm.SubjectID])
	return ids, pgErr(err, "list subjects of the past")
}

// ContractsAt lists the contracts that were in force at a moment.
func (s *Store) ContractsAt(ctx context.Context, at policy.Moment) ([]crm.Contract, error) {
	rows, err := s.pool.Query(ctx, `select `+contractColumns+` from fact.contract
		where recorded_from <= $2 and $2 < recorded_to and valid_from <= $1 and $1 < valid_to order by id`, at.Valid, at.Recorded)
	if err != nil {
		return nil, pgErr(err, "list contracts of the past")
	}
	cs, err := pgx.CollectRows(rows, scanContract)
	return cs, pgErr(err, "list contracts of the past")
}

// FirstActivation is what was put in force first; the zero Activation if this
// database names no bundle.
func (s *Store) FirstActivation(ctx context.Context) (Activation, error) {
	rows, err := s.pool.Query(ctx, "select "+activationColumns+" from meridian.activation order by seq limit 1")
	if err != nil {
		return Activation{}, pgErr(err, "first activation")
	}
	as, err := pgx.CollectRows(rows, scanActivation)
	if err != nil || len(as) == 0 {
		return Activation{}, pgErr(err, "first activation")
	}
	return as[0], nil
}
