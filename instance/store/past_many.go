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

// PastRow names a record as it was: at a moment or, if Upto is set, in the
// newest version up to that one. The facts are those of the moment either way.
type PastRow struct {
	ID     crm.RecordID
	At     time.Time
	Upto   int64
	Buried bool // one that was deleted counts as it was before
}

// momentColumn is where each row of pastRows has its moment.
const momentColumn = `r."at?"`

// pastRows are records as they were, a row r for each that was there: the
// columns of its version, what became of it in the history, which of the rows
// asked for it is ("n?") and the moment it is asked about ("at?").
func (t *table) pastRows(args *policy.Args, rows []PastRow) string {
	ids, at := make([]string, len(rows)), make([]time.Time, len(rows))
	upto, buried := make([]int64, len(rows)), make([]bool, len(rows))
	for i, r := range rows {
		ids[i], at[i], upto[i], buried[i] = string(r.ID), r.At, r.Upto, r.Buried
	}
	return "(select v.*, p.n as \"n?\", p.at as \"at?\" from unnest(" + args.Add(ids, "uuid[]") + ", " + args.Add(at, "timestamptz[]") + ", " +
		args.Add(upto, "bigint[]") + ", " + args.Add(buried, "boolean[]") + ") with ordinality p(id, at, upto, buried, n)" +
		" cross join lateral (select " + t.list("h.") + ", h.op, h.at, h.actor, h.execution from " + t.past + " h where h.id = p.id" +
		" and case when p.upto > 0 then h.version <= p.upto else h.at <= p.at end and not (p.buried and h.op = 'delete') order by h.version desc limit 1) v" +
		" where v.op <> 'delete' offset 0) r"
}

// PastShown says of a record as it was whether two filters showed it, and how
// they differ in its field groups.
type PastShown struct {
	There         bool
	Before, After bool
	Groups        bool     // some are shown differently
	Hides         []string // revealed before, and not after
}

// PastShown puts two filters to records as they were, each at its moment. The
// answers are in the order of the rows.
func (s *Store) PastShown(ctx context.Context, entity string, before, after policy.Filter, rows []PastRow) ([]PastShown, error) {
	out := make([]PastShown, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	t, err := s.table(entity)
	if err != nil {
		return nil, err
	}
	args := policy.ArgsOf(momentColumn)
	from := t.pastRows(args, rows)
	d := differing{t: t, args: args, before: View{Filter: before}, after: View{Filter: after}}
	groups, hides := "false", "null::int"
	for i, g := range t.groups {
		if !d.shownApart(g) {
			continue
		}
		was, is := level(before, g, args), level(after, g, args)
		groups += " or " + was + " <> " + is
		hides += ", case when " + was + " = 2 and " + is + " < 2 then " + strconv.Itoa(i) + " end"
	}
	sql := `select r."n?", (` + before.Where(args) + ") is true, (" + after.Where(args) + ") is true, (" + groups + ") is true, array_remove(array[" + hides + "], null) from " + from
	batch := &pgx.Batch{}
	batch.Queue(samePlanSQL)
	batch.Queue(sql, args.Values()...).Query(func(rows pgx.Rows) error {
		var n int64
		var shown PastShown
		var hidden []int
		_, err := pgx.ForEachRow(rows, []any{&n, &shown.Before, &shown.After, &shown.Groups, &hidden}, func() error {
			shown.There, shown.Hides = true, nil
			for _, i := range hidden {
				shown.Hides = append(shown.Hides, t.groups[i])
			}
			out[n-1] = shown
			return nil
		})
		return err
	})
	return out, pgErr(s.door(s.pool, filtered).SendBatch(ctx, batch).Close(), "look at past versions of %s", entity)
}

// PastImages are records as they were, unmasked and unfiltered, for access
// only. The answers are in the order of the rows, nil for what was not there.
func (s *Store) PastImages(ctx context.Context, entity string, rows []PastRow) ([]*crm.Version, error) {
	out := make([]*crm.Version, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	t, err := s.table(entity)
	if err != nil {
		return nil, err
	}
	args := &policy.Args{}
	sql := "select " + t.selected("r.") + `, r."n?", r.op, r.at, r.actor, r.execution from ` + t.pastRows(args, rows)
	batch := &pgx.Batch{}
	batch.Queue(samePlanSQL)
	batch.Queue(sql, args.Values()...).Query(func(rows pgx.Rows) error {
		var n int64
		var op string
		var v crm.Version
		row := t.scanner(&n, &op, &v.At, &v.Actor, &v.Execution)
		for rows.Next() {
			if err := row.scan(rows); err != nil {
				return err
			}
			out[n-1] = &crm.Version{Record: row.record(nil), Op: crm.Op(op), At: v.At.UTC(), Actor: v.Actor, Execution: v.Execution}
		}
		return rows.Err()
	})
	return out, pgErr(s.door(s.pool, pastVersions).SendBatch(ctx, batch).Close(), "past versions of %s", entity)
}

// PastDifference is how two filters differed on an entity at the moments of a
// range in which no fact moved: exactly, at each of them.
type PastDifference struct {
	still DifferenceSample
	Shift            // on records that did not change meanwhile
	moved []pastSpan // on versions that were current for a part of the range
}

// pastSpan is a version that the filters treat differently, from when to when
// it was the newest; the zero time is for ever.
type pastSpan struct {
	id                    crm.RecordID
	since, until          time.Time
	gained, lost, changed bool
}

// At is the difference at one moment of the range, with a few ids.
func (d PastDifference) At(at time.Time) (Shift, DifferenceSample) {
	n := d.Shift
	sample := DifferenceSample{Gained: d.still.Gained, Lost: d.still.Lost, Changed: d.still.Changed}
	for _, m := range d.moved {
		if m.since.After(at) || !m.until.IsZero() && !m.until.After(at) {
			continue
		}
		for _, is := range []struct {
			so  bool
			n   *int64
			ids *[]crm.RecordID
		}{{m.gained, &n.Gained, &sample.Gained}, {m.lost, &n.Lost, &sample.Lost}, {m.changed, &n.Changed, &sample.Changed}} {
			if is.so {
				*is.n, *is.ids = *is.n+1, sampleWith(*is.ids, m.id)
			}
		}
	}
	return n, sample
}

// sampleWith is the sample with an id in its place, without the last if there
// are too many.
func sampleWith(ids []crm.RecordID, id crm.RecordID) []crm.RecordID {
	out := make([]crm.RecordID, 0, len(ids)+1)
	for i, other := range ids {
		if id < other {
			out = append(append(out, id), ids[i:]...)
			return out[:min(len(out), sampledIDs)]
		}
		out = append(out, other)
	}
	return append(out, id)[:min(len(ids)+1, sampledIDs)]
}

// PastDiff compares two filters on an entity at every moment from since to
// until, between which no fact moves. What has not changed since lies in the
// live table, where conditions have their indexes; only the rest is looked for
// in the history.
func (s *Store) PastDiff(ctx context.Context, entity string, before, after policy.Filter, since, until time.Time) (out PastDifference, err error) {
	t, err := s.table(entity)
	if err != nil {
		return out, err
	}
	at := policy.Moment{Valid: since, Recorded: since}
	args := policy.NewArgs(&at).ForMany()
	apart := policy.Apart(before, after, args, args)
	if len(apart) == 0 {
		return out, nil
	}
	d := differing{t: t, args: args, before: View{Filter: before}, after: View{Filter: after}}
	from := d.scan(apart)
	if e, err := s.sample(ctx, t, strings.Join(apart, " or "), args); err == nil && e.visible < selective {
		from = d.union(apart)
	}
	groups := "false"
	for _, g := range t.groups {
		if d.shownApart(g) {
			groups += " or " + level(before, g, args) + " <> " + level(after, g, args)
		}
	}
	says := "(" + before.Where(args) + `) is true as "b?", (` + after.Where(args) + `) is true as "a?", (` + groups + `) is true as "g?"`
	first, last := args.Add(since, "timestamptz"), args.Add(until, "timestamptz")
	sample := func(kind string) string {
		return "array(select id::text from d where whole and " + kind + " order by id limit " + strconv.Itoa(sampledIDs) + ")"
	}
	sql := "with later as materialized (select distinct h.id from " + t.past + " h where h.at > " + first + `),
		versions as (select ` + t.list("h.") + `, h.op, h.at as "since?", lead(h.at) over (partition by h.id order by h.version) as "until?"
		  from ` + t.past + ` h where h.id in (select id from later)),
		asked as (
		  select r.id, null::timestamptz as since, null::timestamptz as until, ` + says + " from " + from + `
		  union all
		  select r.id, r."since?", r."until?", ` + says + ` from versions r
		  where r.op <> 'delete' and r."since?" <= ` + last + ` and (r."until?" is null or r."until?" > ` + first + `)),
		d as materialized (
		  select id, since, until, "a?" and not "b?" as gained, "b?" and not "a?" as lost, "a?" and "b?" and "g?" as changed,
		    coalesce(since, '-infinity') <= ` + first + ` and coalesce(until, 'infinity') > ` + last + ` as whole
		  from asked where ("a?" <> "b?" or "a?" and "g?") and (since is not null or id not in (select id from later)))
		select null::text, null::timestamptz, null::timestamptz, count(*) filter (where gained), count(*) filter (where lost), count(*) filter (where changed), ` +
		sample("gained") + ", " + sample("lost") + ", " + sample("changed") + ` from d where whole
		union all
		select id::text, since, until, gained::int, lost::int, changed::int, null, null, null from d where not whole`
	batch := &pgx.Batch{}
	batch.Queue(ownPlanSQL)
	batch.Queue(sql, args.Values()...).Query(func(rows pgx.Rows) error { return out.read(rows) })
	return out, pgErr(s.door(s.pool, filtered).SendBatch(ctx, batch).Close(), "compare what two filters showed of %s", entity)
}

func (d *PastDifference) read(rows pgx.Rows) error {
	var id *string
	var since, until *time.Time
	var n Shift
	var gained, lost, changed []string
	_, err := pgx.ForEachRow(rows, []any{&id, &since, &until, &n.Gained, &n.Lost, &n.Changed, &gained, &lost, &changed}, func() error {
		if id == nil {
			d.Shift, d.still = n, DifferenceSample{Gained: parsedIDs(gained), Lost: parsedIDs(lost), Changed: parsedIDs(changed)}
			return nil
		}
		span := pastSpan{id: crm.RecordID(*id), since: *since, gained: n.Gained > 0, lost: n.Lost > 0, changed: n.Changed > 0}
		if until != nil {
			span.until = *until
		}
		d.moved = append(d.moved, span)
		return nil
	})
	return err
}

// PastTurns are the times after since, up to until, at which a fact about
// records began, ended or was recorded: between two of them no fact moved.
func (s *Store) PastTurns(ctx context.Context, since, until time.Time) ([]time.Time, error) {
	var each []string
	for _, table := range []string{"agreement", `"grant"`, "denial"} {
		for _, column := range []string{"valid_from", "valid_to", "recorded_from", "recorded_to"} {
			each = append(each, "select "+column+" as at from fact."+table+" where "+column+" > $1 and "+column+" <= $2")
		}
	}
	rows, err := s.pool.Query(ctx, strings.Join(each, " union ")+" order by at", since, until)
	if err != nil {
		return nil, pgErr(err, "when facts moved")
	}
	turns, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	return turns, pgErr(err, "when facts moved")
}
