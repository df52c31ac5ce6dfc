package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Expiry is a fact that begins or ends by time alone.
type Expiry struct {
	At     time.Time
	Kind   string // the table of the fact
	ID     string
	Begins bool
	Text   string
	// Concerns is whom it may concern: a subject's or department's key, a
	// contract's id, or "" for everybody; "key" for what changes no sight.
	Concerns string
}

// expiriesSQL lists begins and ends in ($1, $2], of what holds at all.
const expiriesSQL = `
select b.at, f.kind, f.id, b.begins, f.text, f.concerns from (
  select 'agreement' kind, id::text, valid_from, valid_to, 'd:' || department concerns,
    case effect when 'wall' then 'walls off ' else 'opens ' end
      || coalesce('account ' || account::text, concat_ws(', ', nullif('territory ' || territory, 'territory '), nullif('segment ' || segment, 'segment '), nullif('records of ' || on_department, 'records of ')))
      || case effect when 'wall' then ' from ' else ' to ' end || department text
    from fact.agreement where recorded_to = 'infinity'
  union all select 'grant', id::text, valid_from, valid_to, key, kind || ' of ' || entity || ' ' || record::text || ' with ' || key || ' by ' || given_by
    from fact."grant" where recorded_to = 'infinity' and not suspended
  union all select 'territory', id, valid_from, valid_to, '', name || ' under ' || parent from fact.territory where recorded_to = 'infinity'
  union all select 'segment', id, valid_from, valid_to, '', name || ' under ' || parent from fact.segment where recorded_to = 'infinity'
  union all select 'department', id, valid_from, valid_to, '', name || case parent when '' then '' else ' under ' || parent end
    from fact.department where recorded_to = 'infinity'
  union all select 'subject', id, valid_from, valid_to, 's:' || id, kind || ' with roles ' || array_to_string(roles, ', ') || ', clearance ' || clearance
    from fact.subject where recorded_to = 'infinity'
  union all select 'assignment', subject || ' ' || tree || ' ' || node, valid_from, valid_to, 's:' || subject, subject || ' in ' || tree || ' ' || node
    from fact.assignment where recorded_to = 'infinity'
  union all select 'relationship', department || ' ' || on_department, valid_from, valid_to, 'd:' || department,
    department || ' may ' || array_to_string(actions, ', ') || ' records of ' || on_department from fact.relationship where recorded_to = 'infinity'
  union all select 'contract', id, valid_from, valid_to, 'contract:' || id, entity || ' from ' || source || ' to ' || destination
    from fact.contract where recorded_to = 'infinity'
  union all select 'denial', id, valid_from, valid_to, case subject when '' then '' else 's:' || subject end,
    concat_ws(', ', 'closes account ' || account::text, nullif('closes territory ' || territory, 'closes territory '), nullif('to ' || subject, 'to '))
    from fact.denial where recorded_to = 'infinity'
  union all select 'key', id, valid_from, valid_to, 'key', 'signatures of ' || subject || ' for ' || department from meridian.officer_key where revoked_at is null
) f cross join lateral (values (f.valid_from, true), (f.valid_to, false)) b(at, begins)
where f.valid_from < f.valid_to and b.at > $1 and b.at <= $2
order by b.at, f.kind, f.id, b.begins`

// Expiries lists what begins and ends by time alone after since, up to until.
func (s *Store) Expiries(ctx context.Context, since, until time.Time) ([]Expiry, error) {
	rows, err := s.pool.Query(ctx, expiriesSQL, since, until)
	if err != nil {
		return nil, pgErr(err, "list what begins and ends")
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Expiry, err error) {
		err = row.Scan(&e.At, &e.Kind, &e.ID, &e.Begins, &e.Text, &e.Concerns)
		e.At = e.At.UTC()
		return e, err
	})
	return out, pgErr(err, "list what begins and ends")
}

// boundariesSQL lists when what a subject is made of begins or ends. Agreements
// and denials come with a subject before they begin, and only go away.
const boundariesSQL = `
select distinct b.at from (
  select valid_from, valid_to from fact.territory where recorded_to = 'infinity'
  union all select valid_from, valid_to from fact.segment where recorded_to = 'infinity'
  union all select valid_from, valid_to from fact.department where recorded_to = 'infinity'
  union all select valid_from, valid_to from fact.relationship where recorded_to = 'infinity'
  union all select valid_from, valid_to from fact.subject where recorded_to = 'infinity' and id = $1
  union all select valid_from, valid_to from fact.assignment where recorded_to = 'infinity' and subject = $1
) f cross join lateral (values (f.valid_from), (f.valid_to)) b(at)
where f.valid_from < f.valid_to and b.at > statement_timestamp() and b.at < $2 order by b.at`

// Boundaries are the times to come at which a subject may become another by what
// is recorded now.
func (t *Tx) Boundaries(ctx context.Context, id crm.SubjectID) ([]time.Time, error) {
	rows, err := t.tx.Query(ctx, boundariesSQL, string(id), crm.Forever)
	if err != nil {
		return nil, pgErr(err, "list the boundaries of facts")
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[time.Time])
	return out, pgErr(err, "list the boundaries of facts")
}
