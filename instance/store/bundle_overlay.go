package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// deniedSQL are the denials that name everybody or the subject $1 and are not
// over, each with the ids of its subtree.
const deniedSQL = `
  denial as (select * from fact.denial f where {recorded} and f.valid_to > {valid} and f.subject in ('', $1)),
  denied_territory(denial, id) as (
    select f.id, f.territory from denial f where f.territory <> ''
    union
    select p.denial, n.id from {territory} n join denied_territory p on n.parent = p.id),
  denied(list) as (
    select coalesce(jsonb_agg(jsonb_build_object('ID', f.id, 'Account', coalesce(f.account::text, ''), 'AnyPlace', f.territory = '',
      'Territories', array(select t.id from denied_territory t where t.denial = f.id order by t.id collate "C"),
      'From', f.valid_from, 'To', f.valid_to) order by f.id), 'null')
    from denial f)`

// Denial is an emergency overlay as it is recorded.
type Denial struct {
	ID        string // of the statement that was signed
	Account   crm.RecordID
	Territory string
	Subject   crm.SubjectID
	Reason    string
	By        crm.SubjectID
	From, To  time.Time
	Ended     bool // by an officer, not by time
}

const denialColumns = "id, coalesce(account::text, ''), territory, subject, reason, given_by, valid_from, valid_to, ended"

func scanDenial(row pgx.CollectableRow) (d Denial, err error) {
	err = row.Scan(&d.ID, &d.Account, &d.Territory, &d.Subject, &d.Reason, &d.By, &d.From, &d.To, &d.Ended)
	d.From, d.To = d.From.UTC(), d.To.UTC()
	return d, err
}

// AddDenial closes what d names from now on for a time.
func (t *Tx) AddDenial(ctx context.Context, d Denial, lasts time.Duration) (Denial, error) {
	var account *string
	if d.Account != "" {
		id := string(d.Account)
		account = &id
	}
	rows, err := t.tx.Query(ctx, `
		insert into fact.denial (id, account, territory, subject, reason, given_by, recorded_by, valid_from, valid_to, recorded_from)
		select $1, $2::uuid, $3, $4, $5, $6, $6, now, now + $7, now from clock_timestamp() now returning `+denialColumns,
		d.ID, account, d.Territory, string(d.Subject), d.Reason, string(d.By), lasts)
	if err != nil {
		return d, pgErr(err, "record a denial")
	}
	d, err = pgx.CollectExactlyOneRow(rows, scanDenial)
	t.changed = true
	return d, pgErr(err, "record a denial")
}

// EndDenial ends a denial before its time. What it closed until now stays
// recorded.
func (t *Tx) EndDenial(ctx context.Context, id string, by crm.SubjectID, reason string) (Denial, error) {
	rows, err := t.tx.Query(ctx, `
		with now as (select clock_timestamp() as now),
		ended as (
		  update fact.denial f set recorded_to = greatest(now.now, f.recorded_from + interval '1 microsecond') from now
		  where f.recorded_to = 'infinity' and f.id = $1 and f.valid_to > now.now returning f.*)
		insert into fact.denial (id, account, territory, subject, reason, given_by, ended, end_reason, recorded_by, valid_from, valid_to, recorded_from)
		select id, account, territory, subject, reason, given_by, true, $3, $2, valid_from, recorded_to, recorded_to from ended returning `+denialColumns,
		id, string(by), reason)
	if err != nil {
		return Denial{}, pgErr(err, "end a denial")
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDenial)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, crm.Errorf(crm.NotFound, "no denial of this id is in force")
	}
	t.changed = true
	return d, pgErr(err, "end a denial")
}

// Denials lists the denials in force; with all, those that are over too.
func (s *Store) Denials(ctx context.Context, all bool) ([]Denial, error) {
	rows, err := s.pool.Query(ctx, "select "+denialColumns+` from fact.denial
		where recorded_to = 'infinity' and ($1 or valid_to > statement_timestamp()) order by valid_from desc, id`, all)
	if err != nil {
		return nil, pgErr(err, "list denials")
	}
	ds, err := pgx.CollectRows(rows, scanDenial)
	return ds, pgErr(err, "list denials")
}
