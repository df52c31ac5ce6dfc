package store_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// BenchmarkDiff measures the comparison of two views of one reader, against
// the same comparison written by hand for a reader who sees everything.
func BenchmarkDiff(b *testing.B) {
	n := benchAccounts
	if s := os.Getenv("MERIDIAN_BENCH_ACCOUNTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	w := newWorld(b)
	w.fill(n)
	pool, err := pgxpool.New(b.Context(), w.url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	subjects := benchSubjects()
	world, west := subjects["director of the world"], subjects["rep of US-W"]
	uncleared, walled, us, sector := world, world, west, world
	uncleared.Clearance = -1
	us.Territories = subjects["manager of US"].Territories
	sector.Segments, sector.AllSegments = subjects["banker of a sector"].Segments, false
	walled.Departments = append(slices.Clone(walled.Departments), "d9")
	for _, c := range []struct {
		name          string
		before, after crm.Subject
	}{
		{"nothing changes", world, world},
		{"one wall more, sees all", world, walled},
		{"a territory more", west, us},
		{"nobody becomes everybody", uncleared, world},
		{"all segments instead of a sector", sector, world},
	} {
		b.Run(c.name, func(b *testing.B) {
			view := func(s crm.Subject) store.View { return store.View{Filter: w.filter(s, crm.ActionRead, "account")} }
			var d store.Difference
			for b.Loop() {
				if d, err = w.Diff(b.Context(), "account", view(c.before), view(c.after)); err != nil {
					b.Fatal(err)
				}
			}
			ours := b.Elapsed() / time.Duration(b.N)
			// By hand: both rules in one scan, counts by place.
			byHand := `select territory, segment, count(*) filter (where a and not b), count(*) filter (where b and not a) from (
				select r.territory, r.segment,
				  (r.territory = any($1) and r.segment = any($2) and r.sensitivity <= $3) and not exists (select 1 from fact.agreement f where f.account = r.account and f.recorded_to = 'infinity'
				    and f.effect = 'wall' and f.department = any($4) and f.valid_from <= now() and now() < f.valid_to) as b,
				  (r.territory = any($5) and r.segment = any($6) and r.sensitivity <= $7) and not exists (select 1 from fact.agreement f where f.account = r.account and f.recorded_to = 'infinity'
				    and f.effect = 'wall' and f.department = any($8) and f.valid_from <= now() and now() < f.valid_to) as a
				from record.account r offset 0) r where a <> b group by territory, segment`
			start := time.Now()
			rowsOf(b, pool, byHand, []any{c.before.Territories, c.before.Segments, c.before.Clearance, c.before.Departments,
				c.after.Territories, c.after.Segments, c.after.Clearance, c.after.Departments})
			hand := time.Since(start)
			b.ReportMetric(float64(ours.Milliseconds()), "ms")
			b.ReportMetric(float64(hand.Milliseconds()), "ms-by-hand")
			b.ReportMetric(float64(d.Gained+d.Lost), "records")
		})
	}
}
