package access_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
)

// TestPreviewsLetOthersIn: who changes what decides access while a preview loads
// everybody gets their turn long before it has, and the preview says the same.
func TestPreviewsLetOthersIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const crowd = 60
	for i := range crowd {
		w.facts.Subjects = append(w.facts.Subjects, store.SubjectFact{ID: crm.SubjectID(fmt.Sprintf("p.%d@amer", i)), Kind: crm.KindPerson,
			Roles: []string{"rep"}, Clearance: 3, Territories: []string{"US-W"}, Segments: []string{"all"}})
	}
	w.reconcile()
	w.account("CA", "Energy")
	edits := []store.Edit{{Do: store.EditMove, Kind: "territory", ID: "US-CA", Under: "US-S"}}
	want, err := w.door.Reorganise(t.Context(), w.called("officer.a@amer"), edits, "because", false, 0)
	if err != nil || accounts(want.Impacts, "p.7@amer").Lost != 1 {
		t.Fatalf("%+v, %v", want, err)
	}

	other, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close(context.WithoutCancel(t.Context())) })
	watch, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watch.Close(context.WithoutCancel(t.Context())) })
	var supposed, asked bool
	var loads atomic.Int64 // of subjects, since the edits were first made
	turn := make(chan int64, 1)
	ask := func(ctx context.Context) { // as a denial would, whose turn comes after the edits
		go func() {
			_, err := other.Exec(ctx, "begin; lock table meridian.access_stamp in row exclusive mode; select from meridian.access_stamp for update; rollback")
			if err != nil {
				t.Error(err)
			}
			turn <- loads.Load()
		}()
		for waits := false; !waits; {
			if err := watch.QueryRow(ctx, "select exists (select from pg_locks where pid = $1 and not granted)", other.PgConn().PID()).Scan(&waits); err != nil {
				t.Error(err)
				return
			}
		}
	}
	traced, err := store.Open(t.Context(), store.Config{URL: embeddedtest.App(w.url), OwnerURL: w.url, MaxConns: 4, Instance: "amer",
		Trace: func(ctx context.Context, sql string) {
			switch {
			case strings.Contains(sql, "update fact.territory"):
				supposed = true
			case supposed && strings.Contains(sql, "me.kind, me.roles"):
				loads.Add(1)
				if !asked {
					asked = true
					ask(ctx)
				}
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(traced.Close)
	engine, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	door := access.New(access.Config{Instance: "amer", Store: traced, Engine: engine, HoldAtMost: time.Nanosecond})
	got, err := door.Reorganise(t.Context(), w.called("officer.a@amer"), edits, "because", false, 0)
	if err != nil || len(got.Impacts) != len(want.Impacts) || accounts(got.Impacts, "p.7@amer").Lost != 1 || got.Compared != want.Compared {
		t.Fatalf("%+v, %v; want as without anybody else", got, err)
	}
	if n := <-turn; n > crowd/2 {
		t.Errorf("somebody else had to wait until %d of %d were loaded", n, crowd)
	}
}
