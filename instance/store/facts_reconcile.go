package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/instance/crm/trees"
)

// Reconcile makes the declared facts the facts in force. It is idempotent:
// what is unchanged is not touched, what is gone is ended, nothing is erased.
// Agreements and grants are no configuration and stay as they are.
func (s *Store) Reconcile(ctx context.Context, f Facts) error {
	if err := f.Validate(); err != nil {
		return err
	}
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		// Replicas that start together declare the same, one after the other.
		var now time.Time
		err := t.tx.QueryRow(ctx, `select clock_timestamp() from pg_advisory_xact_lock(hashtext('meridian.reconcile'))`).Scan(&now)
		if err != nil {
			return fmt.Errorf("lock facts: %w", err)
		}
		for _, d := range f.declarations() {
			if err := t.declare(ctx, d, now); err != nil {
				return fmt.Errorf("reconcile %s: %w", d.table, err)
			}
		}
		return nil
	})
}

// declaration is the content a fact table is to have.
type declaration struct {
	table  string
	key    []string // columns that say which fact it is
	values []string // columns that say what is true of it
	rows   []map[string]any
	dated  bool // begins and ends are declared too
}

func (f Facts) declarations() []declaration {
	ds := []declaration{
		{table: "territory", key: []string{"id"}, values: []string{"parent", "name", "level"}, rows: nodeRows(f.Territories)},
		{table: "segment", key: []string{"id"}, values: []string{"parent", "name", "level"}, rows: nodeRows(f.Segments)},
		{table: "department", key: []string{"id"}, values: []string{"parent", "name"}},
		{table: "subject", key: []string{"id"}, values: []string{"kind", "roles", "clearance"}},
		{table: "assignment", key: []string{"subject", "tree", "node"}},
		{table: "relationship", key: []string{"department", "on_department"}, values: []string{"actions"}},
		{table: "contract", key: []string{"id"}, dated: true, values: []string{
			"source", "destination", "entity", "territories", "segments", "departments", "groups", "jurisdictions",
			"purpose", "legal_basis", "arrives_department", "arrives_sensitivity", "begins", "ends"}},
	}
	add := func(i int, row map[string]any) { ds[i].rows = append(ds[i].rows, row) }
	for _, d := range f.Departments {
		add(2, map[string]any{"id": d.ID, "parent": d.Parent, "name": d.Name})
	}
	for _, s := range f.Subjects {
		add(3, map[string]any{"id": s.ID, "kind": s.Kind, "roles": list(s.Roles), "clearance": s.Clearance})
		for _, a := range []struct {
			tree  string
			nodes []string
		}{{"territory", s.Territories}, {"segment", s.Segments}, {"department", s.Departments}} {
			for _, n := range a.nodes {
				add(4, map[string]any{"subject": s.ID, "tree": a.tree, "node": n})
			}
		}
	}
	for _, r := range f.Relationships {
		add(5, map[string]any{"department": r.Department, "on_department": r.On, "actions": list(r.Actions)})
	}
	for _, c := range f.Contracts {
		to := c.To
		if to.IsZero() {
			to = crm.Forever
		}
		add(6, map[string]any{
			"id": c.ID, "source": c.Source, "destination": c.Destination, "entity": c.Entity,
			"territories": list(c.Territories), "segments": list(c.Segments), "departments": list(c.Departments),
			"groups": list(c.Groups), "jurisdictions": list(c.Jurisdictions), "purpose": c.Purpose, "legal_basis": c.LegalBasis,
			"arrives_department": c.Arrives.Department, "arrives_sensitivity": c.Arrives.Sensitivity,
			"begins": c.From.UTC().Format(time.RFC3339Nano), "ends": to.UTC().Format(time.RFC3339Nano),
		})
	}
	return ds
}

func nodeRows(nodes []trees.Node) []map[string]any {
	rows := make([]map[string]any, len(nodes))
	for i, n := range nodes {
		rows[i] = map[string]any{"id": n.ID, "parent": n.Parent, "name": n.Name, "level": n.Level}
	}
	return rows
}

// list makes an absent list an empty one: fact columns are never null.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// declare brings one table in line. A fact that ends now keeps a row that says
// it held until now; one that changes gets a second row from now on.
func (t *Tx) declare(ctx context.Context, d declaration, now time.Time) error {
	if d.rows == nil {
		d.rows = []map[string]any{}
	}
	rows, err := json.Marshal(d.rows)
	if err != nil {
		return err
	}
	columns := append(append([]string{}, d.key...), d.values...)
	of := func(alias string, names []string) string {
		return alias + "." + strings.Join(names, ", "+alias+".")
	}
	same := fmt.Sprintf("row(%s) = row(%s) and row(%s) is not distinct from row(%s)",
		of("d", d.key), of("f", d.key), of("d", columns), of("f", columns))
	declared := fmt.Sprintf("jsonb_populate_recordset(null::fact.%s, $1::jsonb) d", d.table)
	from, to, lasting := "$2", "$3", "f.valid_to > $2"
	if d.dated {
		from = "greatest($2, d.begins)"
		to = "greatest($2, d.begins, d.ends)"
		// one that expired as declared is still the one declared
		lasting = "(f.valid_to > $2 or f.valid_to = greatest(f.valid_from, f.ends))"
	}
	ended, err := t.tx.Exec(ctx, fmt.Sprintf(`
		with ended as (
		  update fact.%[1]s f set recorded_to = $2
		  where f.recorded_to = 'infinity' and f.valid_to > $2 and not exists (select from %[2]s where %[3]s)
		  returning %[4]s, f.valid_from)
		insert into fact.%[1]s (%[5]s, valid_from, valid_to, recorded_from)
		select %[5]s, valid_from, $2, $2 from ended where valid_from < $2`,
		d.table, declared, same, of("f", columns), strings.Join(columns, ", ")), rows, now)
	if err != nil {
		return err
	}
	begun, err := t.tx.Exec(ctx, fmt.Sprintf(`
		insert into fact.%[1]s (%[5]s, valid_from, valid_to, recorded_from)
		select %[4]s, %[6]s, %[7]s, $2 from %[2]s
		where $3::timestamptz is not null and not exists (
		  select from fact.%[1]s f where f.recorded_to = 'infinity' and %[8]s and %[3]s)`,
		d.table, declared, same, of("d", columns), strings.Join(columns, ", "), from, to, lasting), rows, now, crm.Forever)
	if err != nil {
		return err
	}
	if ended.RowsAffected()+begun.RowsAffected() > 0 {
		t.changed = true
	}
	return nil
}

// EnqueueBoundaries puts a boundary into the outbox for every fact that began
// or ended by time alone since the last call. One replica at a time calls it.
func (s *Store) EnqueueBoundaries(ctx context.Context) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		if err := t.Lazy(ctx); err != nil { // what a crash undoes is announced again
			return err
		}
		var last, now time.Time
		err := t.tx.QueryRow(ctx, `select passed, clock_timestamp() from meridian.boundary_clock for update`).Scan(&last, &now)
		if err != nil {
			return fmt.Errorf("read boundary clock: %w", err)
		}
		batch := &pgx.Batch{}
		batch.Queue(`
			insert into meridian.outbox (kind, entity, record_id, op)
			select distinct 'boundary', case when account is null then '' else 'account' end, account, 'update' from fact.agreement
			where recorded_to = 'infinity' and (valid_from > $1 and valid_from <= $2 or valid_to > $1 and valid_to <= $2)`, last, now)
		batch.Queue(`
			insert into meridian.outbox (kind, entity, record_id, op)
			select distinct 'boundary', entity, record, 'update' from fact."grant"
			where recorded_to = 'infinity' and (valid_from > $1 and valid_from <= $2 or valid_to > $1 and valid_to <= $2)`, last, now)
		batch.Queue(`
			insert into meridian.outbox (kind, entity, record_id, op)
			select 'boundary', '', null, 'update' where fact.next_boundary($1) <= $2`, last, now)
		batch.Queue(`select fact.pass_boundary()`)
		batch.Queue(`update meridian.boundary_clock set passed = $1`, now)
		results := t.tx.SendBatch(ctx, batch)
		for range 3 {
			tag, err := results.Exec()
			if err != nil {
				_ = results.Close() // the transaction is lost anyway
				return fmt.Errorf("enqueue boundaries: %w", err)
			}
			t.changed = t.changed || tag.RowsAffected() > 0
		}
		if err := results.Close(); err != nil {
			return fmt.Errorf("move boundary clock: %w", err)
		}
		return nil
	})
}
