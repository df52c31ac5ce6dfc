package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// BenchmarkBelt measures what the second belt costs: the same statements over
// the same rows as the serving role, by the door, and as the owner, who needs
// none, in turns. "ratio" is of the medians.
func BenchmarkBelt(b *testing.B) {
	w := newWorld(b)
	w.fill(benchAccounts)
	owner, err := store.Open(b.Context(), store.Config{URL: w.url, Instance: "amer", MaxConns: 4})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(owner.Close)
	subject := benchSubjects()["rep of US-W"]
	page := w.read(subject, "account")
	page.Limit = 50
	one := page
	one.IDs = []crm.RecordID{w.list(page)[0].ID}
	written := 0
	for _, c := range []struct {
		name string
		do   func(s *store.Store) error
	}{
		{"page", func(s *store.Store) error { _, err := s.List(b.Context(), page); return err }},
		{"get", func(s *store.Store) error { _, err := s.Get(b.Context(), one); return err }},
		{"count", func(s *store.Store) error { _, _, err := s.Count(b.Context(), page); return err }},
		{"create", func(s *store.Store) error {
			written++
			return s.Tx(b.Context(), func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.Write(ctx, store.WriteBatch{Entity: "thing", Rows: []store.Write{
					w.creation(everywhere, "thing", "US-CA", fields{"code": crm.String(fmt.Sprint(written))})}})
				return err
			})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var with, without []time.Duration
			run := func(s *store.Store) time.Duration {
				start := time.Now()
				if err := c.do(s); err != nil {
					b.Fatal(err)
				}
				return time.Since(start)
			}
			for b.Loop() {
				with, without = append(with, run(w.Store)), append(without, run(owner))
			}
			slices.Sort(with)
			slices.Sort(without)
			b.ReportMetric(float64(with[len(with)/2].Microseconds()), "us/with")
			b.ReportMetric(float64(without[len(without)/2].Microseconds()), "us/without")
			b.ReportMetric(float64(with[len(with)/2])/float64(without[len(without)/2]), "ratio")
		})
	}
}
