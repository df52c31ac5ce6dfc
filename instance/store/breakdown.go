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

func newBreakdown() Breakdown {
	return Breakdown{Territories: map[string]int64{}, Segments: map[string]int64{}}
}

// A breakdown is one scan over rows r: these columns, and the groups they are of.
const (
	byPlaceColumns = `grouping(r.territory) = 0, grouping(r.segment) = 0, coalesce(r.territory, ''), coalesce(r.segment, ''), count(*)`
	byPlaceGroups  = `group by grouping sets ((), (r.territory), (r.segment))`
)

// Breakdown counts the records of an entity that f shows.
func (s *Store) Breakdown(ctx context.Context, entity string, f policy.Filter) (Breakdown, error) {
	b := newBreakdown()
	t, err := s.table(entity)
	if err != nil {
		return b, err
	}
	args := &policy.Args{}
	batch := &pgx.Batch{}
	batch.Queue("select "+byPlaceColumns+" from "+t.live+" r where ("+f.Where(args)+") "+byPlaceGroups, args.Values()...).Query(func(rows pgx.Rows) error {
		return b.read(rows, func(bool) {})
	})
	batch.Queue("select stamp * 2 + (boundary <= statement_timestamp())::int from meridian.access_stamp").QueryRow(func(row pgx.Row) error { return row.Scan(&b.Stamp) })
	return b, pgErr(s.door(s.pool, filtered).SendBatch(ctx, batch).Close(), "count %s by place", entity)
}

// read takes the rows of a breakdown. What stands behind its columns is scanned
// into more, and each is told of every row, and whether that counts all.
func (b *Breakdown) read(rows pgx.Rows, each func(all bool), more ...any) error {
	var byTerritory, bySegment bool
	var territory, segment string
	var n int64
	_, err := pgx.ForEachRow(rows, append([]any{&byTerritory, &bySegment, &territory, &segment, &n}, more...), func() error {
		switch {
		case byTerritory:
			b.Territories[territory] = n
		case bySegment:
			b.Segments[segment] = n
		default:
			b.Total = n
		}
		each(!byTerritory && !bySegment)
		return nil
	})
	return err
}
