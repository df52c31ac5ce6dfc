package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Reconcile makes the declared facts the facts in force. It is idempotent:
// what is unchanged since the last start is not touched, what is gone is ended,
// nothing is erased. What officers recorded stays and goes before: where they
// changed or ended a declared fact, that holds until the configuration says
// something new about it. Agreements and grants are no configuration.
func (s *Store) Reconcile(ctx context.Context, f Facts) error {
	if err := f.Validate(); err != nil {
		return err
	}
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		// Replicas that start together declare the same, one after the other.
		now, err := t.lockFacts(ctx)
		if err != nil {
			return err
		}
		is := f.declared()
		for _, table := range factTables {
			if err := t.declare(ctx, table, is[table.name], now); err != nil {
				return fmt.Errorf("reconcile %s: %w", table.name, err)
			}
		}
		if err := t.contracts(ctx, f.contractRows(), now); err != nil {
			return fmt.Errorf("reconcile contracts: %w", err)
		}
		return nil
	})
}

// declared is what the configuration says, by table and key.
func (f Facts) declared() map[string]map[string]string {
	out := map[string]map[string]string{}
	add := func(t factTable, values map[string]any, key ...string) {
		if out[t.name] == nil {
			out[t.name] = map[string]string{}
		}
		out[t.name][word(key)] = word(values)
	}
	for _, n := range f.Territories {
		add(territoryFacts, map[string]any{"parent": n.Parent, "name": n.Name, "level": n.Level}, n.ID)
	}
	for _, n := range f.Segments {
		add(segmentFacts, map[string]any{"parent": n.Parent, "name": n.Name, "level": n.Level}, n.ID)
	}
	for _, d := range f.Departments {
		add(departmentFacts, map[string]any{"parent": d.Parent, "name": d.Name}, d.ID)
	}
	for _, s := range f.Subjects {
		add(subjectFacts, map[string]any{"kind": s.Kind, "roles": list(s.Roles), "clearance": s.Clearance}, string(s.ID))
		for _, a := range []struct {
			tree  string
			nodes []string
		}{{"territory", s.Territories}, {"segment", s.Segments}, {"department", s.Departments}} {
			for _, n := range a.nodes {
				add(assignmentFacts, map[string]any{}, string(s.ID), a.tree, n)
			}
		}
	}
	for _, r := range f.Relationships {
		add(relationshipFacts, map[string]any{"actions": list(r.Actions)}, r.Department, r.On)
	}
	return out
}

// signedColumns are what a contract says. It comes from configuration
// alone: both sides sign the same text.
var signedColumns = []string{
	"id", "source", "destination", "entity", "territories", "segments", "departments", "groups", "jurisdictions",
	"purpose", "legal_basis", "arrives_department", "arrives_sensitivity", "begins", "ends",
}

func (f Facts) contractRows() []map[string]any {
	rows := []map[string]any{}
	for _, c := range f.Contracts {
		to := c.To
		if to.IsZero() {
			to = crm.Forever
		}
		rows = append(rows, map[string]any{
			"id": c.ID, "source": c.Source, "destination": c.Destination, "entity": c.Entity,
			"territories": list(c.Territories), "segments": list(c.Segments), "departments": list(c.Departments),
			"groups": list(c.Groups), "jurisdictions": list(c.Jurisdictions), "purpose": c.Purpose, "legal_basis": c.LegalBasis,
			"arrives_department": c.Arrives.Department, "arrives_sensitivity": c.Arrives.Sensitivity,
			"begins": c.From.UTC().Format(time.RFC3339Nano), "ends": to.UTC().Format(time.RFC3339Nano),
		})
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

// contracts brings contracts in line. One that ends now keeps a row that says
// it held until now; one that changes gets a second row from now on.
func (t *Tx) contracts(ctx context.Context, declared []map[string]any, now time.Time) error {
	rows := word(declared)
	same := fmt.Sprintf("row(%s) is not distinct from row(%s)", of("d", signedColumns), of("f", signedColumns))
	names := strings.Join(signedColumns, ", ")
	ended, err := t.tx.Exec(ctx, fmt.Sprintf(`
		with ended as (
		  update fact.contract f set recorded_to = greatest($2, f.recorded_from + interval '1 microsecond')
		  where f.recorded_to = 'infinity' and f.valid_to > $2
		    and not exists (select from jsonb_populate_recordset(null::fact.contract, $1::jsonb) d where %s)
		  returning %s, f.valid_from, f.recorded_to)
		insert into fact.contract (%s, valid_from, valid_to, recorded_from)
		select %s, valid_from, $2, recorded_to from ended where valid_from < $2`, same, of("f", signedColumns), names, names), rows, now)
	if err != nil {
		return err
	}
	// One that expired as declared is still the one declared.
	begun, err := t.tx.Exec(ctx, fmt.Sprintf(`
		insert into fact.contract (%s, valid_from, valid_to, recorded_from)
		select %s, greatest($2, d.begins), greatest($2, d.begins, d.ends),
		  greatest($2, (select max(f.recorded_to) from fact.contract f where f.id = d.id and f.recorded_to < 'infinity')) from jsonb_populate_recordset(null::fact.contract, $1::jsonb) d
		where not exists (
		  select from fact.contract f where f.recorded_to = 'infinity'
		    and (f.valid_to > $2 or f.valid_to = greatest(f.valid_from, f.ends)) and %s)`, names, of("d", signedColumns), same), rows, now)
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
		batch.Queue(`
			insert into meridian.outbox (kind, entity, record_id, op)
			select 'boundary', '', null, 'update' where exists (
			  select from fact.denial where recorded_to = 'infinity' and valid_to > $1 and valid_to <= $2)`, last, now)
		batch.Queue(`select fact.pass_boundary()`)
		batch.Queue(`update meridian.boundary_clock set passed = $1`, now)
		results := t.tx.SendBatch(ctx, batch)
		for range 4 {
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
