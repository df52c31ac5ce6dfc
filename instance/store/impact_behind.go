package store

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"meridian/policy"
)

// CountBehind counts the records that the rules of after open, those of before
// do not, and walls, withholdings or denials close under after: all that ends by
// itself.
func (s *Store) CountBehind(ctx context.Context, entity string, before, after View) (n int64, err error) {
	t, err := s.table(entity)
	if err != nil {
		return 0, err
	}
	args := (&policy.Args{}).ForMany()
	before.Filter = before.Filter.Lasting()
	if before.Filter.Same(after.Filter.Lasting()) {
		return 0, nil
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
		return 0, nil
	}
	batch := &pgx.Batch{}
	batch.Queue(custom)
	batch.Queue("select count(*) from ("+strings.Join(parts, " union ")+") r", args.Values()...).QueryRow(func(row pgx.Row) error { return row.Scan(&n) })
	return n, pgErr(s.door(s.pool, filtered).SendBatch(ctx, batch).Close(), "count what is closed for a while in %s", entity)
}
