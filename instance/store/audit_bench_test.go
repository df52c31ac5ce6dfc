package store_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// BenchmarkAudit tells what the chain costs a decision: log and log-plain are
// the insert with and without what the chain needs (requests pay the
// difference), seal and verify happen beside them. A decision of a get has one
// record, one of a list fifty.
func BenchmarkAudit(b *testing.B) {
	for name, records := range map[string]int{"get": 1, "list": 50} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			var ids []crm.RecordID
			w.query("select gen_random_uuid()::text from generate_series(1, $1)", []any{records}, func(r pgx.CollectableRow) error {
				var id string
				err := r.Scan(&id)
				ids = append(ids, crm.RecordID(id))
				return err
			})
			d := store.Decision{Subject: "rep.west@amer", Action: "list", Entity: "account", Allowed: true, Records: ids,
				Versions: make([]int64, records), Bundle: "0123456789abcdef", Execution: "0123456789abcdef0123456789abcdef"}
			batch := make([]store.Decision, 100) // what a journal flushes
			for i := range batch {
				batch[i] = d
			}
			log := func(b *testing.B) {
				for range 20 { // connections and caches warm
					if err := w.LogDecisions(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ResetTimer()
				for range b.N {
					if err := w.LogDecisions(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(batch)), "us/decision")
			}
			b.Run("log", log)
			b.Run("seal", func(b *testing.B) {
				sealed := 0
				for range b.N {
					b.StopTimer()
					if err := w.LogDecisions(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					sealed += w.seal(w.Store)
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(sealed), "us/decision")
			})
			b.Run("verify", func(b *testing.B) {
				var read int64
				for range b.N {
					a, err := w.VerifyDecisions(b.Context(), "")
					if err != nil || a.Break != nil {
						b.Fatal(a.Break, err)
					}
					read += a.Decisions
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(read), "us/decision")
			})
			// The same insert without the chain's index and transaction number.
			w.exec("drop index meridian.decision_by_transaction, meridian.decision_by_time")
			w.exec("alter table meridian.decision_log alter column xid set default '0'")
			b.Run("log-plain", log)
		})
	}
}
