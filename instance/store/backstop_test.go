package store_test

import (
	"context"
	"testing"

	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
)

// TestForgottenFilterShowsNothing: a statement of the serving role that does
// not go by the door finds no record, no version and no count of them.
func TestForgottenFilterShowsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 5 {
		w.create("account", "US-CA", fields{"name": crm.String("n")})
	}
	conn := w.asApp()
	for _, sql := range []string{
		"select count(*) from record.account", "select count(*) from record.account where true or name = 'n'",
		"select count(*) from history.account", "select count(*) from history.account h join record.account r using (id)",
		"select count(*) from (select * from record.account tablesample system (100)) r",
		"select count(*) from record.account r where exists (select from history.account h where h.id = r.id)",
	} {
		var n int
		if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d, %v; want 0", sql, n, err)
		}
	}
	if got := len(w.list(w.read(everywhere, "account"))); got != 5 {
		t.Errorf("by the door %d accounts are seen, want 5", got)
	}
}

// TestDoorClosesBehind: whatever a statement behind the door ends in, the next
// on its connection is outside again.
func TestDoorClosesBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, err := store.Open(t.Context(), store.Config{URL: embeddedtest.App(w.url), OwnerURL: w.url, Instance: "amer", MaxConns: 1}) // every statement on one connection
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	rec := w.create("thing", "US-CA", fields{"code": crm.String("a"), "count": crm.Integer(1)})
	read := w.read(everywhere, "thing")
	one := read
	one.IDs = []crm.RecordID{rec.ID}
	outside := func(after string) {
		t.Helper()
		role, err := s.Role(t.Context())
		if err != nil || role != "none" {
			t.Errorf("after %s the connection is %s, %v; want none", after, role, err)
		}
	}
	outside("opening")
	try := func(what string, f func(ctx context.Context) error, fails bool) {
		t.Helper()
		if err := f(t.Context()); (err != nil) != fails {
			t.Errorf("%s: %v", what, err)
		}
		outside(what)
	}
	try("a page", func(ctx context.Context) error { _, err := s.List(ctx, read); return err }, false)
	try("a get", func(ctx context.Context) error { _, err := s.Get(ctx, one); return err }, false)
	try("a count", func(ctx context.Context) error { _, _, err := s.Count(ctx, read); return err }, false)
	try("a history", func(ctx context.Context) error { _, _, err := s.History(ctx, one, 10, 0); return err }, false)
	try("a load", func(ctx context.Context) error { _, err := s.Load(ctx, "thing", one.IDs); return err }, false)
	try("a search by key", func(ctx context.Context) error { _, err := s.FindByKey(ctx, "thing", []string{"a"}); return err }, false)
	bad := read
	bad.IDs = []crm.RecordID{"no id"}
	try("a page that fails", func(ctx context.Context) error { _, err := s.List(ctx, bad); return err }, true)
	try("a load that fails", func(ctx context.Context) error { _, err := s.Load(ctx, "thing", bad.IDs); return err }, true)

	batch := func(rows ...store.Write) store.WriteBatch {
		return store.WriteBatch{Entity: "thing", Rows: rows, Actor: "manager@amer", Exec: "e"}
	}
	inside := func(what string, f func(ctx context.Context, tx *store.Tx) error) {
		t.Helper()
		try(what, func(ctx context.Context) error {
			return s.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
				if err := f(ctx, tx); err != nil {
					return err
				}
				if role, err := tx.Role(ctx); err != nil || role != "none" {
					t.Errorf("after %s the transaction is %s, %v; want none", what, role, err)
				}
				return nil
			})
		}, false)
	}
	inside("a get in a transaction", func(ctx context.Context, tx *store.Tx) error { _, err := tx.Get(ctx, one); return err })
	inside("a change", func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Write(ctx, batch(w.change(everywhere, rec, fields{"count": crm.Integer(2)})))
		return err
	})
	inside("a batch with a row that is refused", func(ctx context.Context, tx *store.Tx) error {
		out, err := tx.Write(ctx, batch(w.creation(everywhere, "thing", "US-CA", fields{"code": crm.String("b")}),
			w.creation(everywhere, "thing", "US-CA", fields{"code": crm.String("a")})))
		if err == nil && (out[0].Err != nil || out[1].Err == nil) {
			t.Errorf("the batch became %v", out)
		}
		return err
	})
	inside("an import with a row that is refused", func(ctx context.Context, tx *store.Tx) error {
		foreign := governed("DE")
		foreign.Home = "emea"
		long := foreign
		long.Sensitivity = 17
		errs, err := tx.Import(ctx, []store.ImportWrite{
			{Op: crm.OpUpsert, Entity: "thing", ID: crm.NewRecordID(), Version: 1, Contract: "c", Epoch: 1, Exposure: 1, Governed: foreign},
			{Op: crm.OpUpsert, Entity: "thing", ID: crm.NewRecordID(), Version: 1, Contract: "c", Epoch: 1, Exposure: 2, Governed: long},
		})
		if err == nil && (errs[0] != nil || errs[1] == nil) {
			t.Errorf("the import became %v", errs)
		}
		return err
	})
}
