package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// subjectSQL loads a subject in one statement, so that trees, assignments,
// relationships and the stamp are of one snapshot. Territories and segments
// open everything below them; a member of a department is one of its parents'.
const subjectSQL = `
with recursive
  me as (select id, kind, roles, clearance from fact.subject_now where id = $1),
  mine as (select a.tree, a.node from fact.assignment_now a join me on me.id = a.subject),
  territory(id) as (
    select t.id from fact.territory_now t join mine on mine.tree = 'territory' and mine.node = t.id
    union
    select c.id from fact.territory_now c join territory p on c.parent = p.id),
  segment(id, root) as (
    select s.id, s.parent = '' from fact.segment_now s join mine on mine.tree = 'segment' and mine.node = s.id
    union
    select c.id, false from fact.segment_now c join segment p on c.parent = p.id),
  department(id, parent) as (
    select d.id, d.parent from fact.department_now d join mine on mine.tree = 'department' and mine.node = d.id
    union
    select p.id, p.parent from fact.department_now p join department c on c.parent = p.id)
select me.kind, me.roles, me.clearance,
  array(select id from territory order by id collate "C"),
  array(select id from segment group by id order by id collate "C"),
  coalesce((select bool_or(root) from segment), false),
  array(select id from department order by id collate "C"),
  (select coalesce(jsonb_agg(jsonb_build_object('department', r.on_department, 'actions', r.actions) order by r.on_department, r.department), '[]')
     from fact.relationship_now r where r.department in (select id from department)),
  a.stamp * 2 + (a.boundary <= statement_timestamp())::int
from meridian.access_stamp a left join me on true`

// Subject loads who id is under the facts in force, with the access stamp they
// hold under; false if this instance does not know them.
func (s *Store) Subject(ctx context.Context, id crm.SubjectID) (crm.Subject, bool, error) {
	return fresh(ctx, s.pool, func() (crm.Subject, bool, error) {
		subject := crm.Subject{ID: id, Instance: s.instance}
		var kind *string
		var clearance *int
		var relationships []byte
		err := s.pool.QueryRow(ctx, subjectSQL, string(id)).Scan(&kind, &subject.Roles, &clearance, &subject.Territories,
			&subject.Segments, &subject.AllSegments, &subject.Departments, &relationships, &subject.Stamp)
		if err != nil {
			return crm.Subject{}, false, pgErr(err, "load subject")
		}
		if kind == nil {
			return subject, false, nil
		}
		if err := json.Unmarshal(relationships, &subject.Relationships); err != nil {
			return crm.Subject{}, false, fmt.Errorf("relationships of a subject: %w", err)
		}
		subject.Kind, subject.Clearance = crm.SubjectKind(*kind), *clearance
		subject.Keys = append(subject.Keys, "s:"+string(id))
		for _, d := range subject.Departments {
			subject.Keys = append(subject.Keys, "d:"+d)
		}
		return subject, true, nil
	})
}

// receiverSQL loads the destination of a contract as a subject: what the
// contract covers is what it may be shown, no more.
const receiverSQL = `
with recursive
  c as (select * from fact.contract_now where id = $1),
  territory(id) as (
    select t.id from fact.territory_now t join c on t.id = any (c.territories)
    union
    select n.id from fact.territory_now n join territory p on n.parent = p.id),
  segment(id, root) as (
    select s.id, s.parent = '' from fact.segment_now s join c on s.id = any (c.segments)
    union
    select n.id, false from fact.segment_now n join segment p on n.parent = p.id)
select c.destination, array(select id from territory order by id collate "C"), array(select id from segment group by id order by id collate "C"),
  coalesce((select bool_or(root) from segment), false), c.departments, c.groups, c.jurisdictions, c.purpose,
  a.stamp * 2 + (a.boundary <= statement_timestamp())::int
from meridian.access_stamp a left join c on true`

// Receiver loads the destination of a contract as the subject that its records
// are published to; false if the contract is not in force.
func (t *Tx) Receiver(ctx context.Context, contract string) (crm.Subject, bool, error) {
	return fresh(ctx, t.tx, func() (crm.Subject, bool, error) {
		subject := crm.Subject{ID: crm.SubjectID("contract:" + contract), Kind: crm.KindInstance}
		var destination, purpose *string
		err := t.tx.QueryRow(ctx, receiverSQL, contract).Scan(&destination, &subject.Territories, &subject.Segments,
			&subject.AllSegments, &subject.Departments, &subject.Groups, &subject.Jurisdictions, &purpose, &subject.Stamp)
		if err != nil {
			return crm.Subject{}, false, pgErr(err, "load contract %s", contract)
		}
		if destination == nil {
			return subject, false, nil
		}
		subject.Instance, subject.Purpose = *destination, *purpose
		subject.Keys = append(subject.Keys, "s:"+*destination)
		for _, d := range subject.Departments {
			subject.Keys = append(subject.Keys, "d:"+d)
		}
		return subject, true, nil
	})
}

// fresh loads a subject again when the boundary of a fact passed that nobody
// has taken note of: from then on the stamp tells before from after.
func fresh(ctx context.Context, q queries, load func() (crm.Subject, bool, error)) (crm.Subject, bool, error) {
	subject, known, err := load()
	if err != nil || subject.Stamp%2 == 0 {
		return subject, known, err
	}
	var passed bool
	if err := q.QueryRow(ctx, `select fact.pass_boundary()`).Scan(&passed); err != nil {
		return crm.Subject{}, false, pgErr(err, "pass boundary")
	}
	return load()
}

const contractColumns = `id, source, destination, entity, territories, segments, departments, groups, jurisdictions, purpose, legal_basis,
  arrives_department, arrives_sensitivity, begins, valid_to`

func scanContract(row pgx.CollectableRow) (crm.Contract, error) {
	var c crm.Contract
	err := row.Scan(&c.ID, &c.Source, &c.Destination, &c.Entity, &c.Territories, &c.Segments, &c.Departments, &c.Groups,
		&c.Jurisdictions, &c.Purpose, &c.LegalBasis, &c.Arrives.Department, &c.Arrives.Sensitivity, &c.From, &c.To)
	c.From, c.To = c.From.UTC(), c.To.UTC()
	return c, err
}

// Contracts lists the contracts in force or to come.
func (s *Store) Contracts(ctx context.Context) ([]crm.Contract, error) {
	rows, err := s.pool.Query(ctx, `select `+contractColumns+` from fact.contract
		where recorded_to = 'infinity' and valid_to > statement_timestamp() order by id`)
	if err != nil {
		return nil, pgErr(err, "list contracts")
	}
	cs, err := pgx.CollectRows(rows, scanContract)
	return cs, pgErr(err, "list contracts")
}

// Placed says whether a territory and a segment are nodes of their trees now.
func (s *Store) Placed(ctx context.Context, territory, segment string) (knownTerritory, knownSegment bool, err error) {
	err = s.pool.QueryRow(ctx, `
		select exists (select from fact.territory_now where id = $1), exists (select from fact.segment_now where id = $2)`,
		territory, segment).Scan(&knownTerritory, &knownSegment)
	return knownTerritory, knownSegment, pgErr(err, "look up placement")
}

// HasDepartment says whether this instance has a department.
func (s *Store) HasDepartment(ctx context.Context, id string) (has bool, err error) {
	err = s.pool.QueryRow(ctx, `select exists (select from fact.department_now where id = $1)`, id).Scan(&has)
	return has, pgErr(err, "look up department")
}

// Holds says whether a subject exists, and whether it has a role.
func (s *Store) Holds(ctx context.Context, id crm.SubjectID, role string) (exists, holds bool, err error) {
	err = s.pool.QueryRow(ctx, `select $2 = any (roles) from fact.subject_now where id = $1`, string(id), role).Scan(&holds)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, false, nil
	}
	return err == nil, holds, pgErr(err, "look up subject")
}

// Contract is a contract as this instance signed it; false if it is not in
// force now.
func (t *Tx) Contract(ctx context.Context, id string) (crm.Contract, bool, error) {
	rows, err := t.tx.Query(ctx, `select `+contractColumns+` from fact.contract
		where id = $1 and recorded_to = 'infinity' and valid_from <= statement_timestamp() and statement_timestamp() < valid_to`, id)
	if err != nil {
		return crm.Contract{}, false, pgErr(err, "read contract %s", id)
	}
	c, err := pgx.CollectExactlyOneRow(rows, scanContract)
	if errors.Is(err, pgx.ErrNoRows) {
		return crm.Contract{}, false, nil
	}
	return c, err == nil, pgErr(err, "read contract %s", id)
}

// SubjectIDs lists whom this instance knows now.
func (s *Store) SubjectIDs(ctx context.Context) ([]crm.SubjectID, error) {
	rows, err := s.pool.Query(ctx, `select id from fact.subject_now order by id collate "C"`)
	if err != nil {
		return nil, pgErr(err, "list subjects")
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[crm.SubjectID])
	return ids, pgErr(err, "list subjects")
}
