package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

const agreementColumns = `id::text, coalesce(account::text, ''), territory, segment, on_department, department, effect, actions, groups, valid_from, valid_to, document, reason, given_by, ended`

func scanAgreement(row pgx.CollectableRow) (crm.Agreement, error) {
	var a crm.Agreement
	var account, effect, by string
	err := row.Scan(&a.ID, &account, &a.Territory, &a.Segment, &a.OnDepartment, &a.Department, &effect, &a.Actions, &a.Groups, &a.From, &a.To, &a.Document, &a.Reason, &by, &a.Ended)
	a.Account, a.Effect, a.By = crm.RecordID(account), crm.Effect(effect), crm.SubjectID(by)
	a.From, a.To = a.From.UTC(), a.To.UTC()
	return a, err
}

// Agreements lists the agreements in force or to come; with all, every one as
// it was recorded last.
func (s *Store) Agreements(ctx context.Context, all bool) ([]crm.Agreement, error) {
	rows, err := s.pool.Query(ctx, `select `+agreementColumns+` from fact.agreement
		where recorded_to = 'infinity' and ($1 or valid_to > statement_timestamp()) order by valid_from, id`, all)
	if err != nil {
		return nil, pgErr(err, "list agreements")
	}
	as, err := pgx.CollectRows(rows, scanAgreement)
	return as, pgErr(err, "list agreements")
}

// AddAgreement records a new agreement. Its id is given here.
func (t *Tx) AddAgreement(ctx context.Context, a crm.Agreement) (crm.Agreement, error) {
	a.ID = string(crm.NewRecordID())
	rows, err := t.tx.Query(ctx, `
		insert into fact.agreement (id, account, territory, segment, on_department, department, effect, actions, groups, valid_from, valid_to,
		  document, reason, given_by, recorded_by)
		values ($1, nullif($2, '')::uuid, $12, $13, $14, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) returning `+agreementColumns,
		a.ID, string(a.Account), a.Department, string(a.Effect), list(a.Actions), list(a.Groups), a.From, a.To, a.Document, a.Reason, string(a.By),
		a.Territory, a.Segment, a.OnDepartment)
	return oneFact(t, rows, err, scanAgreement, "add agreement")
}

// EndAgreement ends an agreement now. The row that said otherwise stays, with
// the end of its recorded time.
func (t *Tx) EndAgreement(ctx context.Context, id string, by crm.SubjectID, reason string) (crm.Agreement, error) {
	now, err := t.closeFact(ctx, "fact.agreement", id)
	if err != nil {
		return crm.Agreement{}, err
	}
	rows, err := t.tx.Query(ctx, `
		insert into fact.agreement (id, account, territory, segment, on_department, department, effect, actions, groups, document, reason, given_by,
		  ended, end_reason, recorded_by, valid_from, valid_to, recorded_from)
		select id, account, territory, segment, on_department, department, effect, actions, groups, document, reason, given_by,
		  true, $3, $4, least(valid_from, $2), $2, $2
		from fact.agreement where id = $1 and recorded_to = $2 returning `+agreementColumns, id, now, reason, string(by))
	return oneFact(t, rows, err, scanAgreement, "end agreement")
}

const grantColumns = `id::text, entity, record::text, kind, key, groups, reason, valid_from, valid_to, given_by, ended, suspended, reviewed_by, review`

func scanGrant(row pgx.CollectableRow) (crm.Grant, error) {
	var g crm.Grant
	var record, kind, by, reviewed string
	err := row.Scan(&g.ID, &g.Entity, &record, &kind, &g.Key, &g.Groups, &g.Reason, &g.From, &g.To, &by, &g.Ended,
		&g.Suspended, &reviewed, &g.Review)
	g.Record, g.Kind, g.By, g.ReviewedBy = crm.RecordID(record), crm.GrantKind(kind), crm.SubjectID(by), crm.SubjectID(reviewed)
	g.From, g.To = g.From.UTC(), g.To.UTC()
	return g, err
}

// Grants lists the judgements in force or to come about one record.
func (s *Store) Grants(ctx context.Context, entity string, record crm.RecordID) ([]crm.Grant, error) {
	rows, err := s.pool.Query(ctx, `select `+grantColumns+` from fact."grant"
		where recorded_to = 'infinity' and entity = $1 and record = $2 and valid_to > statement_timestamp() order by valid_from, id`,
		entity, string(record))
	if err != nil {
		return nil, pgErr(err, "list grants")
	}
	gs, err := pgx.CollectRows(rows, scanGrant)
	return gs, pgErr(err, "list grants")
}

// Grant is one judgement as it was recorded last.
func (s *Store) Grant(ctx context.Context, id string) (crm.Grant, error) {
	rows, err := s.pool.Query(ctx, `select `+grantColumns+` from fact."grant" where recorded_to = 'infinity' and id = $1`, id)
	if err != nil {
		return crm.Grant{}, pgErr(err, "read grant")
	}
	g, err := pgx.CollectExactlyOneRow(rows, scanGrant)
	return g, pgErr(err, "read grant")
}

// AddGrant records a new judgement. Its id is given here.
func (t *Tx) AddGrant(ctx context.Context, g crm.Grant) (crm.Grant, error) {
	g.ID = string(crm.NewRecordID())
	rows, err := t.tx.Query(ctx, `
		insert into fact."grant" (id, entity, record, kind, key, groups, reason, valid_from, valid_to, given_by, recorded_by)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) returning `+grantColumns,
		g.ID, g.Entity, string(g.Record), string(g.Kind), g.Key, list(g.Groups), g.Reason, g.From, g.To, string(g.By))
	return oneFact(t, rows, err, scanGrant, "add grant")
}

// EndGrant ends a judgement now.
func (t *Tx) EndGrant(ctx context.Context, id string, by crm.SubjectID, reason string) (crm.Grant, error) {
	return t.succeed(ctx, id, by, reason, `least(valid_from, $2), $2, suspended, suspended_under, reviewed_by, review, true, $4`)
}

// closeFact ends the recorded time of an agreement's or a grant's current row
// and says when: after the row was locked, and later than it began whatever the
// clock does, so that times never run backwards.
func (t *Tx) closeFact(ctx context.Context, table, id string) (now time.Time, err error) {
	var ended bool
	if err := t.takeTurn(ctx); err != nil {
		return now, err
	}
	err = t.tx.QueryRow(ctx, `select ended or valid_to <= clock_timestamp() from `+table+`
		where id = $1 and recorded_to = 'infinity' for update`, id).Scan(&ended)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return now, crm.Errorf(crm.NotFound, "not found")
	case err != nil:
		return now, pgErr(err, "lock fact")
	case ended:
		return now, crm.Errorf(crm.Conflict, "it has ended already")
	}
	err = t.tx.QueryRow(ctx, `update `+table+` set recorded_to = greatest(clock_timestamp(), recorded_from + interval '1 microsecond')
		where id = $1 and recorded_to = 'infinity' returning recorded_to`, id).Scan(&now)
	return now, pgErr(err, "end fact")
}

// oneFact reads the one row that an insert returned. The trigger has put the
// change into the outbox.
func oneFact[T any](t *Tx, rows pgx.Rows, err error, scan pgx.RowToFunc[T], what string) (T, error) {
	var zero T
	if err != nil {
		return zero, pgErr(err, "%s", what)
	}
	fact, err := pgx.CollectExactlyOneRow(rows, scan)
	if err != nil {
		return zero, pgErr(err, "%s", what)
	}
	t.changed = true
	return fact, nil
}
