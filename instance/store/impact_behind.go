package store

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// CountBehind counts the records that the rules of after open, those of before
// do not, and walls, withholdings or denials close under after: all that ends by
// itself.
func (s *Store) CountBehind(ctx context.Context, entity string, before, after View) (n int64, err error) {
	err = s.behind(ctx, entity, before, after, "count(*)", func(rows pgx.Rows) error { return rows.Scan(&n) })
	return n, err
}

// EachBehind tells of every record that CountBehind counts.
func (s *Store) EachBehind(ctx context.Context, entity string, before, after View, tell func(Differing) error) error {
	return s.behind(ctx, entity, before, after, "r.id::text", func(rows pgx.Rows) error {
		var id crm.RecordID
		if err := rows.Scan(&id); err != nil {
			return err
		}
		return tell(Differing{ID: id, Later: true})
	})
}

func (s *Store) behind(ctx context.Context, entity string, before, after View, selected string, each func(pgx.Rows) error) error {
	t, err := s.table(entity)
	if err != nil {
		return err
	}
	args := (&policy.Args{}).ForMany()
	before.Filter = before.Filter.Lasting()
	if before.Filter.Same(after.Filter.Lasting()) {
		return nil
	}
	known := before.shows(args)
	var parts []string
	for _, behind := range after.Filter.Behind(after.of(args)) {
		part := "select r.id from " + t.live + " r where (" + behind + ") and not (" + known + ")"
		if after.Home != "" {
			part += " and r.home = " + args.Add(after.Home, "text")
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	batch.Queue(custom)
	batch.Queue("select "+selected+" from ("+strings.Join(parts, " union ")+") r", args.Values()...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return pgErr(s.door(s.pool, filtered).SendBatch(ctx, batch).Close(), "find what is closed for a while in %s", entity)
}
