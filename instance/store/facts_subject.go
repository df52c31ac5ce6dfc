package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// about is the SQL of the facts in force now, and of those in force at $2 as
// they were recorded at $3.
type about struct{ now, at string }

// aboutTime writes one statement for both: {territory} is the table's rows in
// force, {recorded} that an agreement f was recorded, {activated} that a bundle
// was, {valid} the time.
func aboutTime(sql string) about {
	now, at := []string{"{recorded}", "f.recorded_to = 'infinity'", "{valid}", "statement_timestamp()", "{activated}", "true"},
		[]string{"{recorded}", "f.recorded_from <= $3 and $3 < f.recorded_to", "{valid}", "$2", "{activated}", "at <= $3"}
	for _, table := range []string{"territory", "segment", "department", "subject", "assignment", "relationship", "contract"} {
		now = append(now, "{"+table+"}", "fact."+table+"_now")
		at = append(at, "{"+table+"}", "(select * from fact."+table+
			" where recorded_from <= $3 and $3 < recorded_to and valid_from <= $2 and $2 < valid_to)")
	}
	return about{strings.NewReplacer(now...).Replace(sql), strings.NewReplacer(at...).Replace(sql)}
}

// row runs the statement for id, now if at is nil.
func (a about) row(ctx context.Context, q queries, id string, at *policy.Moment) pgx.Row {
	if at == nil {
		return q.QueryRow(ctx, a.now, id)
	}
	return q.QueryRow(ctx, a.at, id, at.Valid, at.Recorded)
}

// areasSQL are the agreements about areas that name one of the departments, and
// are not over: each with the ids of its subtrees. A root that is in no tree any
// more stands for itself, so that a wall does not fall with its node.
func areasSQL(departments string) string {
	return `
  agreed as (
    select * from fact.agreement f where {recorded} and f.account is null and f.valid_to > {valid} and f.department in (select ` + departments + `)),
  area_territory(agreement, id) as (
    select f.id, f.territory from agreed f where f.territory <> ''
    union
    select p.agreement, n.id from {territory} n join area_territory p on n.parent = p.id),
  area_segment(agreement, id) as (
    select f.id, f.segment from agreed f where f.segment <> ''
    union
    select p.agreement, n.id from {segment} n join area_segment p on n.parent = p.id),
  area(list) as (
    select coalesce(jsonb_agg(jsonb_build_object(
      'ID', f.id, 'Department', f.department, 'Effect', f.effect, 'Actions', f.actions, 'Groups', f.groups,
      'AnyTerritory', f.territory = '', 'AnySegment', f.segment = '', 'OnDepartment', f.on_department, 'From', f.valid_from, 'To', f.valid_to,
      'Territories', array(select t.id from area_territory t where t.agreement = f.id order by t.id collate "C"),
      'Segments', array(select s.id from area_segment s where s.agreement = f.id order by s.id collate "C")) order by f.id), 'null')
    from agreed f)`
}

// subjectSQL loads a subject in one statement, so that trees, assignments,
// relationships and the stamp are of one snapshot. Territories and segments
// open everything below them; a member of a department is one of its parents'.
var subjectSQL = aboutTime(`
with recursive
  me as (select id, kind, roles, clearance from {subject} x where id = $1),
  mine as (select a.tree, a.node from {assignment} a join me on me.id = a.subject),
  territory(id) as (
    select t.id from {territory} t join mine on mine.tree = 'territory' and mine.node = t.id
    union
    select c.id from {territory} c join territory p on c.parent = p.id),
  segment(id, root) as (
    select s.id, s.parent = '' from {segment} s join mine on mine.tree = 'segment' and mine.node = s.id
    union
    select c.id, false from {segment} c join segment p on c.parent = p.id),
  department(id, parent) as (
    select d.id, d.parent from {department} d join mine on mine.tree = 'department' and mine.node = d.id
    union
    select p.id, p.parent from {department} p join department c on c.parent = p.id),` + areasSQL("id from department") + "," + deniedSQL + `
select me.kind, me.roles, me.clearance,
  array(select id from territory order by id collate "C"),
  array(select id from segment group by id order by id collate "C"),
  coalesce((select bool_or(root) from segment), false),
  array(select id from department order by id collate "C"),
  (select coalesce(jsonb_agg(jsonb_build_object('department', r.on_department, 'actions', r.actions) order by r.on_department, r.department), '[]')
     from {relationship} r where r.department in (select id from department)),
  (select list from area), (select list from denied),
  coalesce((select digest from meridian.activation where {activated} order by seq desc limit 1), ''),
  coalesce((select max(seq) from meridian.activation where {activated}), 0),
  a.stamp * 2 + (a.boundary <= statement_timestamp())::int
from meridian.access_stamp a left join me on true`)

// Subject loads who id is under the facts in force, with the access stamp they
// hold under; false if this instance does not know them.
func (s *Store) Subject(ctx context.Context, id crm.SubjectID) (crm.Subject, bool, error) {
	return s.SubjectAt(ctx, id, nil)
}

// SubjectAt loads who id was, or will be, at a moment; now if at is nil.
func (s *Store) SubjectAt(ctx context.Context, id crm.SubjectID, at *policy.Moment) (crm.Subject, bool, error) {
	return subjectAt(ctx, s.pool, s.instance, id, at)
}

// SubjectAt loads as Store.SubjectAt does, with what the transaction changed.
func (t *Tx) SubjectAt(ctx context.Context, id crm.SubjectID, at *policy.Moment) (crm.Subject, bool, error) {
	return subjectAt(ctx, t.tx, t.s.instance, id, at)
}

func subjectAt(ctx context.Context, q queries, instance string, id crm.SubjectID, at *policy.Moment) (crm.Subject, bool, error) {
	return fresh(ctx, q, func() (crm.Subject, bool, error) {
		subject := crm.Subject{ID: id, Instance: instance}
		var kind *string
		var clearance *int
		var relationships, areas, denials []byte
		err := subjectSQL.row(ctx, q, string(id), at).Scan(&kind, &subject.Roles, &clearance, &subject.Territories,
			&subject.Segments, &subject.AllSegments, &subject.Departments, &relationships, &areas, &denials, &subject.Bundle, &subject.Activation, &subject.Stamp)
		if err != nil {
			return crm.Subject{}, false, pgErr(err, "load subject")
		}
		if kind == nil {
			return subject, false, nil
		}
		if err := json.Unmarshal(relationships, &subject.Relationships); err != nil {
			return crm.Subject{}, false, fmt.Errorf("relationships of a subject: %w", err)
		}
		if err := json.Unmarshal(areas, &subject.Areas); err != nil {
			return crm.Subject{}, false, fmt.Errorf("areas of a subject: %w", err)
		}
		if err := json.Unmarshal(denials, &subject.Denials); err != nil {
			return crm.Subject{}, false, fmt.Errorf("denials of a subject: %w", err)
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
var receiverSQL = aboutTime(`
with recursive
  c as (select * from {contract} x where id = $1),
  territory(id) as (
    select t.id from {territory} t join c on t.id = any (c.territories)
    union
    select n.id from {territory} n join territory p on n.parent = p.id),
  segment(id, root) as (
    select s.id, s.parent = '' from {segment} s join c on s.id = any (c.segments)
    union
    select n.id, false from {segment} n join segment p on n.parent = p.id),` + areasSQL("unnest(c.departments) from c") + "," + deniedSQL + `
select c.destination, array(select id from territory order by id collate "C"), array(select id from segment group by id order by id collate "C"),
  coalesce((select bool_or(root) from segment), false), c.departments, c.groups, c.jurisdictions, c.purpose, c.valid_from, c.valid_to,
  (select list from area), (select list from denied),
  coalesce((select digest from meridian.activation where {activated} order by seq desc limit 1), ''),
  coalesce((select max(seq) from meridian.activation where {activated}), 0),
  a.stamp * 2 + (a.boundary <= statement_timestamp())::int
from meridian.access_stamp a left join c on true`)

// Receiver loads the destination of a contract as the subject that its records
// are published to; false if the contract is not in force.
func (t *Tx) Receiver(ctx context.Context, contract string) (crm.Subject, bool, error) {
	return t.ReceiverAt(ctx, contract, nil)
}

// ReceiverAt loads who the destination was, or will be, at a moment.
func (t *Tx) ReceiverAt(ctx context.Context, contract string, at *policy.Moment) (crm.Subject, bool, error) {
	return receiverAt(ctx, t.tx, contract, at)
}

// ReceiverAt loads as Tx.ReceiverAt does.
func (s *Store) ReceiverAt(ctx context.Context, contract string, at *policy.Moment) (crm.Subject, bool, error) {
	return receiverAt(ctx, s.pool, contract, at)
}

func receiverAt(ctx context.Context, q queries, contract string, at *policy.Moment) (crm.Subject, bool, error) {
	return fresh(ctx, q, func() (crm.Subject, bool, error) {
		subject := crm.Subject{ID: crm.SubjectID("contract:" + contract), Kind: crm.KindInstance}
		var destination, purpose *string
		var from, to *time.Time
		var areas, denials []byte
		err := receiverSQL.row(ctx, q, contract, at).Scan(&destination, &subject.Territories, &subject.Segments,
			&subject.AllSegments, &subject.Departments, &subject.Groups, &subject.Jurisdictions, &purpose, &from, &to, &areas, &denials, &subject.Bundle, &subject.Activation, &subject.Stamp)
		if err != nil {
			return crm.Subject{}, false, pgErr(err, "load contract %s", contract)
		}
		if destination == nil {
			return subject, false, nil
		}
		if err := json.Unmarshal(areas, &subject.Areas); err != nil {
			return crm.Subject{}, false, fmt.Errorf("areas of contract %s: %w", contract, err)
		}
		if err := json.Unmarshal(denials, &subject.Denials); err != nil {
			return crm.Subject{}, false, fmt.Errorf("denials of contract %s: %w", contract, err)
		}
		subject.Instance, subject.Purpose = *destination, *purpose
		subject.From, subject.To = from.UTC(), to.UTC()
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

// SubjectRoles are a subject's roles; false if this instance does not know them.
func (s *Store) SubjectRoles(ctx context.Context, id crm.SubjectID) (roles []string, known bool, err error) {
	err = s.pool.QueryRow(ctx, `select roles from fact.subject_now where id = $1`, string(id)).Scan(&roles)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	return roles, err == nil, pgErr(err, "look up subject")
}

// DepartmentRoles are the roles that some member of a department has. Members
// of the departments below are its members.
func (s *Store) DepartmentRoles(ctx context.Context, id string) ([]string, error) {
	rows, err := s.pool.Query(ctx, `
		with recursive below(id) as (
		  select $1::text union select d.id from fact.department_now d join below b on d.parent = b.id)
		select distinct unnest(s.roles) role from below b
		join fact.assignment_now a on a.tree = 'department' and a.node = b.id
		join fact.subject_now s on s.id = a.subject order by role`, id)
	if err != nil {
		return nil, pgErr(err, "look up a department's roles")
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return roles, pgErr(err, "look up a department's roles")
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
