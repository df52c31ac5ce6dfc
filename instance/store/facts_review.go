package store

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// Shares that rest on their giver alone: in force or to come, not suspended,
// and no officer answers for them.
const unreviewedShare = `g.recorded_to = 'infinity' and g.kind = 'share' and not g.suspended and g.reviewed_by = '' and not g.ended
	and g.valid_to > statement_timestamp()`

// Givers lists who gave shares that may have to be suspended.
func (s *Store) Givers(ctx context.Context) ([]crm.SubjectID, error) {
	rows, err := s.pool.Query(ctx, `select distinct given_by from fact."grant" g where `+unreviewedShare+` order by given_by`)
	if err != nil {
		return nil, pgErr(err, "list givers")
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[crm.SubjectID])
	return ids, pgErr(err, "list givers")
}

// SharesBy lists the shares of one giver that may have to be suspended.
func (s *Store) SharesBy(ctx context.Context, giver crm.SubjectID) ([]crm.Grant, error) {
	rows, err := s.pool.Query(ctx, `select `+grantColumns+` from fact."grant" g where `+unreviewedShare+` and given_by = $1 order by id`, string(giver))
	return grants(rows, err, "list shares of a giver")
}

// SharesAbout lists the shares that may have to be suspended about some records
// and about the children of those that are accounts.
func (s *Store) SharesAbout(ctx context.Context, ids []crm.RecordID) ([]crm.Grant, error) {
	rows, err := s.sharesAbout(ctx, grantColumns, unreviewedShare, ids)
	return grants(rows, err, "list shares about records")
}

// sharesAbout selects columns of the shares about records and about the
// children of those that are accounts.
func (s *Store) sharesAbout(ctx context.Context, columns, which string, ids []crm.RecordID, args ...any) (pgx.Rows, error) {
	selects := []string{`select ` + columns + ` from fact."grant" g where ` + which + ` and g.record = any($1::uuid[])`}
	for _, def := range s.Definitions() {
		t, err := s.table(def.Entity)
		if err != nil {
			return nil, err
		}
		selects = append(selects, `select `+columns+` from fact."grant" g where `+which+` and g.entity = `+literal(def.Entity)+
			` and g.record in (select r.id from `+t.live+` r where r.account = any($1::uuid[]))`)
	}
	return s.door(s.pool, idsToJudge).Query(ctx, strings.Join(selects, " union ")+" order by 1", append([]any{idTexts(ids)}, args...)...)
}

// SharedWith lists the records, and their accounts, that shares with one of the
// keys are about, whether they hold, are to come or are suspended.
func (s *Store) SharedWith(ctx context.Context, keys []string) ([]crm.RecordID, error) {
	const shared = `select g.record as id from fact."grant" g where g.recorded_to = 'infinity' and g.kind = 'share' and not g.ended
		and g.valid_to > statement_timestamp() and g.key = any($1::text[])`
	selects := []string{shared}
	for _, def := range s.Definitions() {
		t, err := s.table(def.Entity)
		if err != nil {
			return nil, err
		}
		selects = append(selects, `select r.account from `+t.live+` r where r.id in (`+shared+` and g.entity = `+literal(def.Entity)+`)`)
	}
	rows, err := s.door(s.pool, idsToJudge).Query(ctx, `select id::text from (`+strings.Join(selects, " union ")+`) s order by 1`, keys)
	if err != nil {
		return nil, pgErr(err, "list what is shared")
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[crm.RecordID])
	return ids, pgErr(err, "list what is shared")
}

// WaitingShare is a share that the keeper suspended and no officer has reviewed.
type WaitingShare struct {
	crm.Grant
	Under string    // the bundle in force then; empty if nobody noted it
	Since time.Time // when it was suspended
}

// WaitingShares lists the shares that the keeper suspended and that no officer
// has reviewed: all, or if about is not nil those about some records and about
// the children of those that are accounts. Now is the database's time.
func (s *Store) WaitingShares(ctx context.Context, about []crm.RecordID) (waiting []WaitingShare, now time.Time, err error) {
	const which = `g.recorded_to = 'infinity' and g.kind = 'share' and g.suspended and g.reviewed_by = '' and not g.ended and g.valid_to > statement_timestamp()`
	const columns = grantColumns + `, suspended_under, recorded_from, statement_timestamp()`
	var rows pgx.Rows
	if about == nil {
		rows, err = s.pool.Query(ctx, `select `+columns+` from fact."grant" g where `+which+` order by id`)
	} else {
		rows, err = s.sharesAbout(ctx, columns, which, about)
	}
	if err != nil {
		return nil, now, pgErr(err, "list suspended shares")
	}
	waiting, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (w WaitingShare, err error) {
		w.Grant, err = scanGrant(withMore{row, []any{&w.Under, &w.Since, &now}})
		return w, err
	})
	return waiting, now, pgErr(err, "list suspended shares")
}

// withMore is a row that has more columns behind those that are asked for.
type withMore struct {
	pgx.CollectableRow
	more []any
}

func (r withMore) Scan(dest ...any) error { return r.CollectableRow.Scan(append(dest, r.more...)...) }

// SuspendedGrants lists what waits for an officer's review.
func (s *Store) SuspendedGrants(ctx context.Context) ([]crm.Grant, error) {
	rows, err := s.pool.Query(ctx, `select `+grantColumns+` from fact."grant"
		where recorded_to = 'infinity' and suspended and not ended and valid_to > statement_timestamp() order by valid_from, id`)
	return grants(rows, err, "list suspended grants")
}

func grants(rows pgx.Rows, err error, what string) ([]crm.Grant, error) {
	if err != nil {
		return nil, pgErr(err, "%s", what)
	}
	gs, err := pgx.CollectRows(rows, scanGrant)
	return gs, pgErr(err, "%s", what)
}

// SuspendGrant suspends a judgement until an officer reviews it or its giver
// could give it again. One that ended or was reviewed meanwhile is a conflict.
func (t *Tx) SuspendGrant(ctx context.Context, id string, by crm.SubjectID, why, under string) (crm.Grant, error) {
	if err := t.expectGrant(ctx, id, `not suspended and reviewed_by = ''`, "it is suspended or reviewed already"); err != nil {
		return crm.Grant{}, err
	}
	return t.succeed(ctx, id, by, why, `valid_from, valid_to, true, $5, '', $4, ended, end_reason`, under)
}

// ResumeGrant lets a suspended judgement hold again that no officer has
// reviewed. It rests on its giver as before.
func (t *Tx) ResumeGrant(ctx context.Context, id string, by crm.SubjectID, why string) (crm.Grant, error) {
	if err := t.expectGrant(ctx, id, `suspended and reviewed_by = ''`, "it is not suspended, or reviewed already"); err != nil {
		return crm.Grant{}, err
	}
	return t.succeed(ctx, id, by, why, `valid_from, valid_to, false, '', '', $4, ended, end_reason`)
}

// ReinstateGrant lets a suspended judgement hold again, on the word of by.
func (t *Tx) ReinstateGrant(ctx context.Context, id string, by crm.SubjectID, why string) (crm.Grant, error) {
	if err := t.expectGrant(ctx, id, `suspended`, "it is not suspended"); err != nil {
		return crm.Grant{}, err
	}
	return t.succeed(ctx, id, by, why, `valid_from, valid_to, false, '', $3, $4, ended, end_reason`)
}

// expectGrant locks a judgement's current row and refuses one that is not as
// its caller believes.
func (t *Tx) expectGrant(ctx context.Context, id, condition, otherwise string) error {
	var holds bool
	if err := t.takeTurn(ctx); err != nil {
		return err
	}
	rows, err := t.tx.Query(ctx, `select `+condition+` from fact."grant" where id = $1 and recorded_to = 'infinity' for update`, id)
	if err != nil {
		return pgErr(err, "lock grant")
	}
	if holds, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool]); err != nil {
		return pgErr(err, "lock grant")
	}
	if !holds {
		return crm.Errorf(crm.Conflict, "%s", otherwise)
	}
	return nil
}

// succeed ends the recorded time of a judgement's current row and adds its
// successor: changes are valid_from, valid_to, suspended, suspended_under,
// reviewed_by, review, ended and end_reason over the old row, $2 now, $3 by, $4
// why and $5 on more.
func (t *Tx) succeed(ctx context.Context, id string, by crm.SubjectID, why, changes string, more ...any) (crm.Grant, error) {
	now, err := t.closeFact(ctx, `fact."grant"`, id)
	if err != nil {
		return crm.Grant{}, err
	}
	rows, err := t.tx.Query(ctx, `
		insert into fact."grant" (id, entity, record, kind, key, groups, reason, given_by, recorded_by, recorded_from,
		  valid_from, valid_to, suspended, suspended_under, reviewed_by, review, ended, end_reason)
		select id, entity, record, kind, key, groups, reason, given_by, $3::text, $2::timestamptz, `+changes+`
		from fact."grant" where id = $1 and recorded_to = $2 and $4::text is not null returning `+grantColumns,
		append([]any{id, now, string(by), why}, more...)...)
	return oneFact(t, rows, err, scanGrant, "change grant")
}

// Regiven lists, of the judgements about records (with their accounts) by
// giver's keys, those that giver may owe their own sight to: later shares of
// the same record reach the giver. Flips are supposed; nil for what is recorded.
func (s *Store) Regiven(ctx context.Context, of []crm.Grant, accounts []crm.RecordID, keys []string, flips *policy.Flips) (map[string]bool, error) {
	ids, records := make([]string, len(of)), make([]string, len(of))
	for i, g := range of {
		ids[i], records[i] = g.ID, string(g.Record)
	}
	rows, err := s.pool.Query(ctx, `
		select distinct g.id::text from unnest($1::uuid[], $2::uuid[], $3::uuid[]) g(id, record, account)
		join fact."grant" o on o.record in (g.record, g.account) and o.id > g.id and o.key = any($4)
		where o.recorded_to = 'infinity' and o.kind = 'share' and o.suspended = (o.id::text = any($5))`, ids, records, idTexts(accounts), keys, flips.IDs())
	if err != nil {
		return nil, pgErr(err, "look for shares given back")
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	out := make(map[string]bool, len(found))
	for _, id := range found {
		out[id] = true
	}
	return out, pgErr(err, "look for shares given back")
}
