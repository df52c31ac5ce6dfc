package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// give records a judgement, at once or when its turn comes.
func give(ctx context.Context, tx *store.Tx) (crm.Grant, error) {
	return tx.AddGrant(ctx, crm.Grant{Entity: "thing", Record: crm.NewRecordID(), Kind: crm.GrantShare, Key: "s:a@amer", Reason: "test",
		By: "b@amer", From: time.Now(), To: crm.Forever})
}

// recordedFrom is when the current row of a judgement was recorded.
func (w *world) recordedFrom(id string) (at time.Time) {
	w.t.Helper()
	w.query(`select recorded_from from fact."grant" where id = $1 and recorded_to = 'infinity'`, []any{id}, func(r pgx.CollectableRow) error { return r.Scan(&at) })
	return at
}

// TestRecordedInTurn: who waited for somebody else's change of facts has recorded
// theirs after it, as the stamp says, not when they began to wait.
func TestRecordedInTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reconcile(family())
	record := map[string]func(context.Context, *store.Tx) (string, error){
		"judgement": func(ctx context.Context, tx *store.Tx) (string, error) { g, err := give(ctx, tx); return g.ID, err },
		"edit": func(ctx context.Context, tx *store.Tx) (string, error) {
			_, err := tx.Edit(ctx, []store.Edit{{Do: store.EditRename, Kind: "territory", ID: "DE", Name: "Deutschland"}}, "b@amer", "test")
			return "", err
		},
	}
	for name, f := range record {
		second, last, id := make(chan error, 1), "", ""
		watch := w.connect(w.url)
		err := w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if _, err := give(ctx, tx); err != nil {
				return err
			}
			go func() {
				second <- w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
					id, err = f(ctx, tx)
					return err
				})
			}()
			for waits := false; !waits; {
				if err := watch.QueryRow(ctx, `select exists (select from pg_locks l join pg_stat_activity a using (pid)
					where a.datname = current_database() and not l.granted)`).Scan(&waits); err != nil {
					return err
				}
			}
			g, err := give(ctx, tx) // while the other waits
			last = g.ID
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-second; err != nil {
			t.Fatal(err)
		}
		at := w.recordedFrom(last)
		var then time.Time
		if id != "" {
			then = w.recordedFrom(id)
		} else {
			w.query("select recorded_from from fact.territory where id = 'DE' and recorded_to = 'infinity'", nil, func(r pgx.CollectableRow) error { return r.Scan(&then) })
		}
		if !then.After(at) {
			t.Errorf("%s that waited was recorded at %v, before what it waited for, %v", name, then, at)
		}
	}
}

// TestRecordedTimesIncrease, of one fact, whatever the clock does: here what is
// recorded last was recorded an hour from now.
func TestRecordedTimesIncrease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reconcile(family())
	var g crm.Grant
	var a crm.Agreement
	var n store.Denial
	tx := func(f func(context.Context, *store.Tx) error) {
		t.Helper()
		if err := w.Tx(t.Context(), f); err != nil {
			t.Error(err)
		}
	}
	tx(func(ctx context.Context, tx *store.Tx) (err error) {
		if g, err = give(ctx, tx); err != nil {
			return err
		}
		if a, err = tx.AddAgreement(ctx, crm.Agreement{Account: crm.NewRecordID(), Department: "sales", Effect: crm.EffectWall, By: "b@amer", From: time.Now(), To: crm.Forever}); err != nil {
			return err
		}
		n, err = tx.AddDenial(ctx, store.Denial{ID: "d", Subject: "a@amer", Reason: "test", By: "b@amer"}, time.Hour)
		return err
	})
	tables := []string{"territory", "subject", "assignment", "contract", "agreement", `"grant"`, "denial"}
	for _, table := range tables {
		w.exec("update fact." + table + " set recorded_from = clock_timestamp() + interval '1 hour' where recorded_to = 'infinity'")
	}
	tx(func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.EndGrant(ctx, g.ID, "b@amer", "test")
		return err
	})
	tx(func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.EndAgreement(ctx, a.ID, "b@amer", "test")
		return err
	})
	tx(func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.EndDenial(ctx, n.ID, "b@amer", "test")
		return err
	})
	w.edited(store.Edit{Do: store.EditRename, Kind: "territory", ID: "DE", Name: "Deutschland"}, store.Edit{Do: store.EditEnd, Kind: "subject", ID: "clerk"})
	changed := family()
	changed.Contracts[0].Purpose = "something else"
	w.reconcile(changed)
	for _, table := range tables {
		key := "id"
		if table == "assignment" {
			key = "subject, tree, node"
		}
		overlaps := w.number(`select count(*) from (select recorded_from, recorded_to, lag(recorded_to) over (partition by ` + key + `, valid_from order by recorded_from, recorded_to) before
			from fact.` + table + `) f where f.recorded_from < f.before or f.recorded_to <= f.recorded_from`)
		if n := w.number("select count(*) from fact." + table + " where recorded_to < 'infinity'"); n == 0 || overlaps > 0 {
			t.Errorf("%s: of %d rows that ended %d do not follow one another", table, n, overlaps)
		}
	}
}
