package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"meridian/policy"
)

// Breakdown counts what a filter shows, in all and by place.
type Breakdown struct {
	Total       int64
	Territories map[string]int64
	Segments    map[string]int64
	Stamp       int64
}

// Breakdown counts the records of an entity that f shows.
func (s *Store) Breakdown(ctx context.Context, entity string, f policy.Filter) (Breakdown, error) {
	b := Breakdown{Territories: map[string]int64{}, Segments: map[string]int64{}}
	t, err := s.table(entity)
	if err != nil {
		return b, err
	}
	args := &policy.Args{}
	batch := &pgx.Batch{}
	batch.Queue(`select grouping(r.territory) = 0, grouping(r.segment) = 0, coalesce(r.territory, ''), coalesce(r.segment, ''), count(*)
		from `+t.live+` r where (`+f.Where(args)+`) group by grouping sets ((), (r.territory), (r.segment))`, args.Values()...).Query(func(rows pgx.Rows) error {
		var byTerritory, bySegment bool
		var territory, segment string
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&byTerritory, &bySegment, &territory, &segment, &n}, func() error {
			switch {
			case byTerritory:
				b.Territories[territory] = n
			case bySegment:
				b.Segments[segment] = n
			default:
				b.Total = n
			}
			return nil
		})
		return err
	})
	batch.Queue("select stamp * 2 + (boundary <= statement_timestamp())::int from meridian.access_stamp").QueryRow(func(row pgx.Row) error { return row.Scan(&b.Stamp) })
	return b, pgErr(s.door(s.pool, filtered).SendBatch(ctx, batch).Close(), "count %s by place", entity)
}
