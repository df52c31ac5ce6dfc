package store_test

import (
	"context"
	"fmt"
	"testing"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// BenchmarkFollow moves an account with 20,000 contacts: how long its
// transaction takes because they follow.
func BenchmarkFollow(b *testing.B) {
	w := newWorld(b)
	account := w.create("account", "US-CA", fields{"source_id": crm.String("a"), "name": crm.String("A")})
	const children = 20_000
	for i := 0; i < children; i += 1000 {
		var rows []store.Write
		for n := range 1000 {
			rows = append(rows, w.creation(everywhere, "contact", "US-CA", fields{"source_id": crm.String(fmt.Sprint(i + n)), "account_id": crm.Reference(account.ID)}))
		}
		w.must("contact", rows...)
	}
	for i := 0; b.Loop(); i++ {
		move := w.change(everywhere, account, nil)
		move.Governed.Territory = []string{"US-NY", "US-CA"}[i%2]
		err := w.Tx(b.Context(), func(ctx context.Context, tx *store.Tx) error {
			out, err := tx.Write(ctx, store.WriteBatch{Entity: "account", Rows: []store.Write{move}})
			account = out[0].Record
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(children)*float64(b.N)/b.Elapsed().Seconds(), "children/s")
}
