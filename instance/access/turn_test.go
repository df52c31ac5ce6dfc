package access_test

import (
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// TestSuspendingAndEndingDoNotDeadlock: while the keeper suspends many shares in
// one transaction others end them; everybody takes their turn.
func TestSuspendingAndEndingDoNotDeadlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ids []string
	for range 40 {
		rec := w.account("CA", "Energy")
		g, err := w.door.Judge(t.Context(), caller("rep.west@amer"), crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.east@amer", Reason: "r"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, g.ID)
	}
	w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Territories = []string{"US-NE"} }) // all rest on nothing now
	before := w.deadlocks()
	var all sync.WaitGroup
	all.Go(func() {
		if _, _, err := w.door.ReviewGrants(t.Context(), nil); err != nil && crm.KindOf(err) != crm.Unavailable { // it comes back
			t.Errorf("the keeper: %v", err)
		}
	})
	for n := range 4 {
		all.Go(func() {
			for i := len(ids) - 1 - n; i >= 0; i -= 4 { // the other way round
				if _, err := w.door.EndGrant(t.Context(), caller("officer.a@amer"), ids[i], "over"); err != nil && crm.KindOf(err) != crm.Unavailable {
					t.Errorf("end %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	if after := w.deadlocks(); after > before {
		t.Errorf("%d deadlocks", after-before)
	}
}

func (w *world) deadlocks() (n int64) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(w.t.Context()) }()
	if err := conn.QueryRow(w.t.Context(), "select deadlocks from pg_stat_database where datname = current_database()").Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}
