package store

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"meridian/policy"
)

// DiffRead counts the records that r would find under its own filter and not
// under the other, those the other way round, and those found by both with
// field groups shown otherwise, each with a few ids. It fails, as the read
// would, if the other filter shows a field nowhere that r asks about.
func (s *Store) DiffRead(ctx context.Context, r Read, other policy.Filter) (n Shift, sample DifferenceSample, err error) {
	t, err := s.table(r.Entity)
	if err != nil {
		return n, sample, err
	}
	args := (&policy.Args{}).ForMany()
	apart := policy.Apart(r.Filter, other, args, args)
	if len(apart) == 0 {
		return n, sample, nil
	}
	d := differing{t: t, args: args, before: View{Filter: r.Filter}, after: View{Filter: other}}
	from := d.scan(apart)
	if r.IDs != nil {
		args = (&policy.Args{}).ForMany()
		from = t.live + " r where r.id = any(" + args.Add(texts(r.IDs), "uuid[]") + ")"
	} else if e, err := s.sample(ctx, t, strings.Join(apart, " or "), args); err == nil && e.visible < selective {
		from = d.union(apart)
	}
	r.Cursor, r.IDs = "", nil
	finds := func(f policy.Filter) (string, error) {
		wanted, err := s.wanted(newProjection(t, f, args), r, order{}, oneScan)
		return "((" + f.Where(args) + ") and " + wanted + ") is true", err
	}
	before, err := finds(r.Filter)
	if err != nil {
		return n, sample, err
	}
	after, err := finds(other)
	if err != nil {
		return n, sample, err
	}
	groups := "false"
	for _, g := range t.groups {
		if d.shownApart(g) {
			groups += " or " + level(r.Filter, g, args) + " <> " + level(other, g, args)
		}
	}
	ids := func(kind string) string {
		return "array(select id::text from d where " + kind + " order by id limit " + strconv.Itoa(sampledIDs) + ")"
	}
	sql := `with found as (select r.id, ` + before + ` as "b?", ` + after + ` as "a?", (` + groups + `) is true as "g?" from ` + from + `),
		d as materialized (select id, "a?" and not "b?" as gained, "b?" and not "a?" as lost, "a?" and "b?" as changed from found where "a?" <> "b?" or "a?" and "g?")
		select count(*) filter (where gained), count(*) filter (where lost), count(*) filter (where changed), ` + ids("gained") + ", " + ids("lost") + ", " + ids("changed") + ` from d`
	var gained, lost, changed []string
	batch := &pgx.Batch{}
	batch.Queue(ownPlanSQL)
	batch.Queue(sql, args.Values()...).QueryRow(func(row pgx.Row) error {
		return row.Scan(&n.Gained, &n.Lost, &n.Changed, &gained, &lost, &changed)
	})
	err = s.door(s.pool, filtered).SendBatch(ctx, batch).Close()
	return n, DifferenceSample{Gained: parsedIDs(gained), Lost: parsedIDs(lost), Changed: parsedIDs(changed)}, pgErr(err, "compare two reads of %s", r.Entity)
}
