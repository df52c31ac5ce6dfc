package store_test

import (
	"meridian/instance/crm"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// query runs SQL beside the store, as a test's own eyes and hands, and scans
// each row.
func (w *world) query(sql string, args []any, each func(pgx.CollectableRow) error) {
	w.t.Helper()
	if w.raw == nil {
		pool, err := pgxpool.New(w.t.Context(), w.url)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(pool.Close)
		w.raw = pool
	}
	rows, err := w.raw.Query(w.t.Context(), sql, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if each != nil {
			if err := each(rows); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if rows.Err() != nil {
		w.t.Fatalf("%s: %v", sql, rows.Err())
	}
}

// number is the one number that a query answers.
func (w *world) number(sql string, args ...any) (n int64) {
	w.t.Helper()
	w.query(sql, args, func(r pgx.CollectableRow) error { return r.Scan(&n) })
	return n
}

// agree opens an account to a department.
func (w *world) agree(account crm.RecordID, department string, actions, groups []string) {
	w.t.Helper()
	w.exec(`insert into fact.agreement (id, account, department, effect, actions, groups, document, reason, given_by, recorded_by, valid_from, valid_to)
		values (gen_random_uuid(), $1, $2, 'open', $3, $4, '', 'test', 'test', 'test', now() - interval '1 day', now() + interval '1 day')`,
		string(account), department, actions, groups)
}

// everyID is the ids of all live records of an entity, in order.
func (w *world) everyID(entity string) []crm.RecordID {
	w.t.Helper()
	ids := []crm.RecordID{}
	w.query("select id::text from record."+entity+" order by id", nil, func(r pgx.CollectableRow) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, crm.RecordID(id))
		return err
	})
	return ids
}
