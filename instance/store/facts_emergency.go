package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Emergency is a broken glass: the grant that opens one record to who broke it,
// and what became of it.
type Emergency struct {
	crm.Grant
	Ticket    string
	Execution string    // of the call that broke it
	stamp     int64     // access stamp before it
	Now       time.Time // of the database, when it was looked at

	Verdict       string // "" waits for review
	VerdictReason string
	VerdictBy     crm.SubjectID
	VerdictAt     time.Time
}

// reviewWithin is how long a broken glass may wait for its review.
const reviewWithin = 7 * 24 * time.Hour

// Open says that it still opens its record.
func (e Emergency) Open() bool { return !e.Ended && e.Now.Before(e.To) }

// Overdue says that nobody has reviewed it for too long.
func (e Emergency) Overdue() bool { return e.Verdict == "" && e.Now.Sub(e.From) > reviewWithin }

// BreakGlass opens a record to who broke the glass, from the database's now on.
// It also counts what they hold open beside it and what they opened in the 24
// hours before; nobody else breaks a glass until this transaction ends.
func (t *Tx) BreakGlass(ctx context.Context, e Emergency, lasts time.Duration, stamp int64) (_ Emergency, open, day int, err error) {
	e.ID = string(crm.NewRecordID())
	rows, err := t.tx.Query(ctx, `
		insert into fact."grant" (id, entity, record, kind, key, groups, reason, given_by, recorded_by, valid_from, valid_to, recorded_from)
		select $1, $2, $3, $4, 's:' || $5::text, '{}', $6, $5, $5, now, now + $7, now from clock_timestamp() now returning `+grantColumns,
		e.ID, e.Entity, string(e.Record), string(crm.GrantEmergency), string(e.By), e.Reason, lasts)
	if e.Grant, err = oneFact(t, rows, err, scanGrant, "break the glass"); err != nil {
		return e, 0, 0, err
	}
	// The trigger has locked the access stamp: whoever was before us is seen.
	err = t.tx.QueryRow(ctx, `
		with broken as (
		  insert into meridian.emergency (id, subject, ticket, stamp, execution) values ($1, $2, $3, $4, $5))
		select count(*) filter (where valid_to > statement_timestamp()), count(*) filter (where valid_from > statement_timestamp() - interval '24 hours')
		from fact."grant" where kind = 'emergency' and recorded_to = 'infinity' and given_by = $2 and id <> $1`,
		e.ID, string(e.By), e.Ticket, stamp, e.Execution).Scan(&open, &day)
	e.stamp, e.Now = stamp, e.From
	return e, open, day, pgErr(err, "break the glass")
}

// EmergencyQuery says which broken glass: what fits every field that is set.
type EmergencyQuery struct {
	ID      string
	Subject crm.SubjectID
	Waiting bool // only what nobody has reviewed
	Limit   int
}

const emergencySQL = `select g.id::text, g.entity, g.record::text, g.key, g.reason, g.valid_from, g.valid_to, g.given_by, g.ended,
	e.ticket, e.execution, e.stamp, statement_timestamp(),
	coalesce(r.verdict, ''), coalesce(r.reason, ''), coalesce(r.reviewed_by, ''), coalesce(r.at, 'epoch')
	from meridian.emergency e join fact."grant" g on g.id = e.id and g.recorded_to = 'infinity' left join meridian.emergency_review r on r.emergency = e.id `

func scanEmergency(row pgx.CollectableRow) (e Emergency, err error) {
	err = row.Scan(&e.ID, &e.Entity, &e.Record, &e.Key, &e.Reason, &e.From, &e.To, &e.By, &e.Ended, &e.Ticket, &e.Execution, &e.stamp, &e.Now,
		&e.Verdict, &e.VerdictReason, &e.VerdictBy, &e.VerdictAt)
	e.Kind, e.From, e.To, e.Now, e.VerdictAt = crm.GrantEmergency, e.From.UTC(), e.To.UTC(), e.Now.UTC(), e.VerdictAt.UTC()
	return e, err
}

// Emergencies lists broken glass, newest first.
func (s *Store) Emergencies(ctx context.Context, q EmergencyQuery) ([]Emergency, error) {
	rows, err := s.pool.Query(ctx, emergencySQL+`
		where ($1 = '' or e.id::text = $1) and ($2 = '' or e.subject = $2) and not ($3 and r.emergency is not null)
		order by e.at desc, e.id limit $4`, q.ID, string(q.Subject), q.Waiting, q.Limit)
	if err != nil {
		return nil, pgErr(err, "list broken glass")
	}
	es, err := pgx.CollectRows(rows, scanEmergency)
	return es, pgErr(err, "list broken glass")
}

// EmergenciesWaiting counts what waits for review, and what does for too long.
func (s *Store) EmergenciesWaiting(ctx context.Context) (waiting, overdue int, err error) {
	err = s.pool.QueryRow(ctx, `select count(*), count(*) filter (where e.at < statement_timestamp() - $1::interval)
		from meridian.emergency e where not exists (select from meridian.emergency_review r where r.emergency = e.id)`, reviewWithin).Scan(&waiting, &overdue)
	return waiting, overdue, pgErr(err, "count broken glass")
}

// clockSkew is by how much the clock of a replica, which dates its reads, may
// differ from the database's.
const clockSkew = 10 * time.Second

// EmergencyReads lists up to limit decisions, newest first, that answered the
// record to who broke the glass while it was broken. Which those are the access
// stamp tells, and at the end the clock.
func (s *Store) EmergencyReads(ctx context.Context, e Emergency, limit int) ([]Decision, error) {
	rows, err := s.pool.Query(ctx, decisionSQL+`
		where d.subject = $1 and d.at between $2 and $3 and d.stamp > $4 and $5::text::uuid = any(d.records) order by d.id desc limit $6`,
		string(e.By), e.From.Add(-clockSkew), e.To.Add(clockSkew), e.stamp, string(e.Record), limit)
	if err != nil {
		return nil, pgErr(err, "list reads under broken glass")
	}
	ds, err := pgx.CollectRows(rows, toDecision)
	return ds, pgErr(err, "list reads under broken glass")
}

// ReviewEmergency records what an officer says about a broken glass. It is said
// once.
func (t *Tx) ReviewEmergency(ctx context.Context, id, verdict, reason string, by crm.Caller) error {
	tag, err := t.tx.Exec(ctx, `
		insert into meridian.emergency_review (emergency, subject, verdict, reason, reviewed_by, execution)
		select id, subject, $2, $3, $4, $5 from meridian.emergency where id = $1
		on conflict (emergency) do nothing`, id, verdict, reason, string(by.Subject), by.Execution)
	if err == nil && tag.RowsAffected() == 0 {
		return crm.Errorf(crm.Conflict, "it was reviewed already")
	}
	return pgErr(err, "review broken glass")
}

// Emergency is one broken glass, or not found.
func (s *Store) Emergency(ctx context.Context, id string) (Emergency, error) {
	found, err := s.Emergencies(ctx, EmergencyQuery{ID: id, Limit: 1})
	if err != nil {
		return Emergency{}, err
	}
	if len(found) == 0 {
		return Emergency{}, pgErr(pgx.ErrNoRows, "read broken glass")
	}
	return found[0], nil
}
