package access_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// sql runs a statement beside the store.
func (w *world) sql(text string) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(w.t.Context()) }()
	if _, err := conn.Exec(w.t.Context(), text); err != nil {
		w.t.Fatal(err)
	}
}

// TestWhatCannotBeLoggedIsNotAnswered: decisions on reads may wait, but only
// so many, and none is lost while they do. A write waits for no one.
func TestWhatCannotBeLoggedIsNotAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	c := w.called("rep.west@amer")
	w.sql(`alter table meridian.decision_log rename to lost`)
	answered := 0
	var err error
	for err == nil && answered < 5000 {
		if _, err = w.door.Get(t.Context(), c, "account", []crm.RecordID{rec.ID}); err == nil {
			answered++
		}
	}
	if err == nil || answered == 0 {
		t.Fatalf("%d reads were answered, none refused", answered)
	}
	_, err = w.door.Update(t.Context(), c, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{{ID: rec.ID, Version: 1, Fields: w.fields("account", "city", "LA")}}})
	if err == nil {
		t.Error("a write went through without its decision")
	}
	w.sql(`alter table meridian.lost rename to decision_log`)
	w.flush()
	ds, err := w.store.Decisions(t.Context(), c.Execution)
	if err != nil || len(ds) != answered {
		t.Errorf("%d reads answered, %d logged, %v", answered, len(ds), err)
	}
	if got := w.ok(w.get("rep.west@amer", rec)); got.Version != 1 {
		t.Errorf("version %d", got.Version)
	}
}

// TestRunWritesWhileItRuns: decisions do not wait for the end of the process.
func TestRunWritesWhileItRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.door.Run(ctx) }()
	for range 2 {
		c := w.called("rep.west@amer")
		if _, err := w.door.Get(t.Context(), c, "account", []crm.RecordID{rec.ID}); err != nil {
			t.Fatal(err)
		}
		w.until(func() bool {
			ds, err := w.store.Decisions(t.Context(), c.Execution)
			return err != nil || len(ds) == 1
		})
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Run did not end")
	}
}

// TestWhoHasFlushedFindsEverything: a second flush does not return while the
// first is still writing.
func TestWhoHasFlushedFindsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := access.NewJournal(w.store)
	conn, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "lock table meridian.decision_log in exclusive mode"); err != nil {
		t.Fatal(err)
	}
	if err := j.Add(t.Context(), store.Decision{Subject: "rep.west@amer", Action: "read", Entity: "account", Allowed: true}); err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { first <- j.Flush(t.Context()) }()
	for waiting := 0; waiting == 0; { // until the first is at the table
		if err := conn.QueryRow(t.Context(), "select count(*) from pg_locks where not granted").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := j.Flush(soon); err == nil {
		t.Error("the second flush returned before the first had written")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}
