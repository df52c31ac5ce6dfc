package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"meridian/instance/crm"
	"meridian/instance/store"
)

func TestEveryWriteIsToldOnce(t *testing.T) {
	w := newWorld(t)
	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	woken := 0
	w.OnCommit(func() { woken++ })
	rec := w.create("thing", "US-CA", nil)
	rec = w.must("thing", w.change(everywhere, rec, fields{"count": crm.Integer(1)}))[0]
	w.must("thing", w.removal(everywhere, rec))
	w.write("thing", false, w.change(everywhere, rec, nil)) // refused: nothing to tell
	cs, next, err := w.Changes(t.Context(), head, 10)
	if err != nil || len(cs) != 3 {
		t.Fatalf("%d changes: %v", len(cs), err)
	}
	for i, op := range []crm.Op{crm.OpCreate, crm.OpUpdate, crm.OpDelete} {
		c := cs[i]
		if c.Op != op || c.Kind != crm.ChangeRecord || c.ID != rec.ID || c.Version != int64(i+1) || c.Entity != "thing" || c.Actor != "manager@amer" || c.Execution != "e1" {
			t.Errorf("change %d is %+v", i, c)
		}
	}
	if woken != 3 {
		t.Errorf("readers were woken %d times, want 3", woken)
	}
	if cs, again, err := w.Changes(t.Context(), next, 10); err != nil || len(cs) != 0 || again != next {
		t.Errorf("behind the end there are %d changes, cursor %s: %v", len(cs), again, err)
	}
	for _, bad := range []string{"x", "1", "1:x", ":", "-1:2", "99999999999999999999999:1"} {
		_, _, err := w.Changes(t.Context(), bad, 1)
		wantError(t, err, crm.Invalid, "cursor")
	}
}

// TestNoChangeIsLost: with writers that commit out of order and some that roll
// back, a reader that follows cursors meets every committed change exactly once
// and those of one record in the order of its versions.
func TestNoChangeIsLost(t *testing.T) {
	w := newWorld(t)
	const writers, each = 6, 40
	rollback := errors.New("rolled back on purpose")
	ctx, done := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wants := make(chan map[crm.RecordID]int64, writers)
	create, update := w.creation(everywhere, "thing", "US-CA", nil), w.filter(everywhere, crm.ActionUpdate, "thing")
	for n := range writers {
		wg.Go(func() {
			committed := map[crm.RecordID]int64{}
			for i := range each {
				row := create
				row.ID = crm.NewRecordID()
				row.Set = fields{"count": crm.Integer(int64(i))}
				var versions int64
				err := w.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
					out, err := tx.Write(ctx, store.WriteBatch{Entity: "thing", Rows: []store.Write{row}})
					if err != nil {
						return err
					}
					versions = 1
					if i%3 == n%3 { // a longer transaction, whose entries are older than they commit
						next := store.Write{Op: crm.OpUpdate, ID: row.ID, Base: 1, Set: fields{"name": crm.String("x")}, Governed: out[0].Record.Governed, Pre: update, Post: update}
						if out, err = tx.Write(ctx, store.WriteBatch{Entity: "thing", Rows: []store.Write{next}}); err != nil || out[0].Err != nil {
							return errors.Join(err, out[0].Err)
						}
						versions = 2
					}
					if i%7 == 3 {
						return rollback
					}
					return nil
				})
				if err == nil {
					committed[row.ID] = versions
				} else if !errors.Is(err, rollback) {
					t.Error(err)
				}
			}
			wants <- committed
		})
	}
	got := map[crm.RecordID]int64{}
	read := func(cursor string) string {
		cs, next, err := w.Changes(t.Context(), cursor, 7)
		if err != nil {
			t.Error(err)
		}
		for _, c := range cs {
			if got[c.ID]+1 != c.Version {
				t.Errorf("%s: version %d after %d", c.ID, c.Version, got[c.ID])
			}
			got[c.ID] = c.Version
		}
		return next
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	cursor := ""
	for running := true; running; {
		select {
		case <-finished:
			running = false
		default:
		}
		cursor = read(cursor)
	}
	done()
	for next := read(cursor); next != cursor; next = read(cursor) {
		cursor = next
	}
	total := 0
	for range writers {
		for id, versions := range <-wants {
			total++
			if got[id] != versions {
				t.Errorf("%s: %d of %d versions were told", id, got[id], versions)
			}
		}
	}
	if len(got) != total {
		t.Errorf("%d records were told of, %d committed", len(got), total)
	}
}

// TestTrimOutbox: what goes was readable since the last call, and the relay has
// read it, however far behind it is.
func TestTrimOutbox(t *testing.T) {
	w := newWorld(t)
	trim := func(mark string) string {
		t.Helper()
		next, err := w.TrimOutbox(t.Context(), mark)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	left := func() (n int64) { return w.number("select count(*) from meridian.outbox") }
	told := func(cursor string) []crm.Change {
		t.Helper()
		cs, _, err := w.Changes(t.Context(), cursor, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return cs
	}
	before := left()
	w.create("thing", "US-CA", nil)
	mark := trim("")
	if n := left(); n != before+1 {
		t.Errorf("the first call left %d of %d changes; it does not know yet what is old", n, before+1)
	}

	// An entry that began before the mark and commits after it is not old,
	// neither is what it holds back.
	opened, err := w.raw.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened.Exec(t.Context(), "insert into meridian.outbox (kind, record_id) values ('record', $1)", string(crm.NewRecordID())); err != nil {
		t.Fatal(err)
	}
	held := w.create("thing", "US-CA", nil)
	mark = trim(mark)
	if n := left(); n != 1 { // the committed one; the open one is not to be seen
		t.Errorf("%d changes are left behind the open transaction, want 1", n)
	}
	if err := opened.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	mark = trim(mark)
	if cs := told(""); len(cs) != 2 || cs[1].ID != held.ID {
		t.Errorf("when the transaction had ended %d changes were to be read, want 2", len(cs))
	}

	// A relay that stands still keeps what it has not read.
	relay, err := w.Relay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unread := w.create("thing", "US-CA", nil)
	mark = trim(trim(mark))
	if cs := told(relay.Cursor); len(cs) != 1 || cs[0].ID != unread.ID || left() != 1 {
		t.Errorf("%d changes are left, the relay finds %d, want its one", left(), len(cs))
	}
	to := relay
	to.Cursor = told(relay.Cursor)[0].Cursor
	if err := w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error { return tx.MoveRelay(ctx, relay, to, nil) }); err != nil {
		t.Fatal(err)
	}
	trim(mark)
	if n := left(); n != 0 {
		t.Errorf("%d changes are left that everybody has read", n)
	}
	if cs := told(to.Cursor); len(cs) != 0 {
		t.Errorf("behind the relay there are %d changes", len(cs))
	}
	again := w.create("thing", "US-CA", nil)
	if cs := told(to.Cursor); len(cs) != 1 || cs[0].ID != again.ID {
		t.Errorf("after trimming the next change is told as %v", cs)
	}
	_, err = w.TrimOutbox(t.Context(), "nonsense")
	wantError(t, err, crm.Invalid, "cursor")
}

func TestIdempotencyKeys(t *testing.T) {
	w := newWorld(t)
	call := func(subject crm.SubjectID, key, hash string) (prior string, found bool, err error) {
		err = w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			p, f, err := tx.Idempotent(ctx, subject, key, hash)
			if err != nil || f {
				prior, found = string(p), f
				return err
			}
			return tx.SaveIdempotent(ctx, subject, key, hash, []byte("answer to "+string(subject)))
		})
		return prior, found, err
	}
	if _, found, err := call("a", "k", "h"); found || err != nil {
		t.Errorf("a fresh key was found: %v", err)
	}
	if prior, found, err := call("a", "k", "h"); !found || prior != "answer to a" || err != nil {
		t.Errorf("a replay got %q, %v, %v", prior, found, err)
	}
	if _, found, err := call("b", "k", "h"); found || err != nil {
		t.Errorf("the key of another identity was found: %v", err)
	}
	_, _, err := call("a", "k", "other")
	wantError(t, err, crm.Conflict, "idempotency_key")

	// Of concurrent calls with one key one does the work; the others get its answer.
	work := make(chan bool, 8)
	var wg sync.WaitGroup
	for range cap(work) {
		wg.Go(func() {
			_, found, err := call("c", "k", "h")
			if err != nil {
				t.Error(err)
			}
			work <- !found
		})
	}
	wg.Wait()
	close(work)
	worked := 0
	for did := range work {
		if did {
			worked++
		}
	}
	if worked != 1 {
		t.Errorf("%d of 8 calls did the work", worked)
	}
	// A key whose transaction failed is free again.
	failed := fmt.Errorf("failed")
	err = w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if _, _, err := tx.Idempotent(ctx, "d", "k", "h"); err != nil {
			return err
		}
		return failed
	})
	if _, found, _ := call("d", "k", "h"); found || !errors.Is(err, failed) {
		t.Errorf("the key of a failed call was kept: %v", err)
	}
	w.exec("update meridian.idempotency set at = now() - interval '3 days' where subject = 'a'")
	if err := w.ForgetKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.number("select count(*) from meridian.idempotency where subject = 'a'"); n != 0 {
		t.Error("an old key is still there")
	}
}
