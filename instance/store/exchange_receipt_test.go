package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"meridian/instance/store"
)

// A receipt that would name too many ranges says less, never more: what it does
// not name it does not speak of.
func TestReceiptIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, err := w.Receipt(t.Context(), "s")
	if err != nil || r.Applied != 0 || len(r.Missing) > 0 {
		t.Fatalf("of a stream that was never read: %v, %v", r, err)
	}
	w.exec("insert into meridian.exchange_inbox (stream, source, entity, epoch, sequence) values ('s', 'emea', 'account', 3, 9000)")
	w.exec(`insert into meridian.exchange_gap (stream, epoch, first, last, closed) values
		('s', 3, 3, 5, null), ('s', 3, 6, 7, null), ('s', 3, 100, 200, now()), ('s', 2, 20, 30, null), ('s', 3, 8999, 0, null), ('s', 3, 9001, 0, null)`)
	w.exec(`insert into meridian.exchange_parked (stream, contract, key, epoch, sequence, exposure, reason, body) values
		('s', 'c', 'a', 3, 2, 1, '', ''), ('s', 'c', 'b', 2, 50, 1, '', ''), ('s', '', 'c', 0, 0, 0, '', ''), ('s', 'c', 'd', 3, 9001, 1, '', '')`)
	r, err = w.Receipt(t.Context(), "s")
	want := store.Receipt{Epoch: 3, Applied: 9000, Missing: []store.Range{{First: 2, Last: 7}, {First: 8999, Last: 9000}}}
	if diff := cmp.Diff(want, r); err != nil || diff != "" {
		t.Fatalf("%v, (-want +got):\n%s", err, diff)
	}
	w.exec(`insert into meridian.exchange_parked (stream, contract, key, epoch, sequence, exposure, reason, body)
		select 's', 'c', n::text, 3, 100 + 2 * n, 1, '', '' from generate_series(1, 1500) n`)
	r, err = w.Receipt(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	// {2-7}, then 102, 104, ...: the thousand and first range is 2100.
	if len(r.Missing) != 1000 || r.Applied != 2099 || r.Missing[999] != (store.Range{First: 2098, Last: 2098}) {
		t.Errorf("%d ranges, the last %v, applied %d", len(r.Missing), r.Missing[len(r.Missing)-1], r.Applied)
	}
}

// What was acknowledged stays so, since when it was, in whatever order receipts
// come; and a line waits for later ones about its record that are missing.
func TestAcknowledgedIsAUnion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec("insert into meridian.exchange_relay (cursor, epoch) values ('1:1', 1)")
	w.exec("insert into meridian.exchange_stream (stream, destination, entity, sequence, sent) values ('s', 'emea', 'account', 10, 10)")
	// Number 2 and number 8 are about one record, all others about their own.
	w.exec(`insert into meridian.egress (stream, epoch, sequence, contract, entity, record_id, version, exposure, operation, groups, bundle, execution, at)
		select 's', 1, n, 'c', 'account', lpad((case n when 8 then 2 else n end)::text, 32, '0')::uuid, 1, 1, 'retract', '{}', '', '', now() from generate_series(1, 10) n`)
	acknowledge := func(r store.Receipt) {
		t.Helper()
		if err := w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.Acknowledge(ctx, "s", r) }); err != nil {
			t.Fatal(err)
		}
	}
	acknowledged := func(want string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), w.url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context()) //nolint:errcheck // it only read
		var of, ranges string
		if err := conn.QueryRow(t.Context(), `select acknowledged::text, (select string_agg(first || '-' || last, ' ' order by first) from meridian.egress_receipt)
			from meridian.exchange_stream`).Scan(&of, &ranges); err != nil {
			t.Fatal(err)
		}
		if got := of + " " + ranges; got != want {
			t.Errorf("acknowledged is %s, want %s", got, want)
		}
	}
	acknowledge(store.Receipt{Epoch: 1, Applied: 5, Missing: []store.Range{{First: 2, Last: 3}}})
	acknowledged("{[1,2),[4,6)} 1-1 4-5")
	acknowledge(store.Receipt{Epoch: 1, Applied: 9, Missing: []store.Range{{First: 8, Last: 8}}}) // 2 came, and 8 may have to do its work
	acknowledged("{[1,2),[3,8),[9,10)} 1-1 3-3 4-5 6-7 9-9")
	acknowledge(store.Receipt{Epoch: 1, Applied: 5, Missing: []store.Range{{First: 2, Last: 3}}}) // late
	acknowledge(store.Receipt{Epoch: 1, Applied: 9, Missing: []store.Range{{First: 8, Last: 8}}}) // again
	acknowledged("{[1,2),[3,8),[9,10)} 1-1 3-3 4-5 6-7 9-9")
	err := w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.Acknowledge(ctx, "s", store.Receipt{Epoch: 1, Applied: 11})
	})
	if !errors.Is(err, store.ErrReceipt) {
		t.Errorf("a receipt beyond what was sent: %v", err)
	}
	acknowledge(store.Receipt{Epoch: 1, Applied: 10})
	acknowledged("{[1,11)} 1-1 2-2 3-3 4-5 6-7 8-8 9-9 10-10")
}
