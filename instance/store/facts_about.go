package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// FactsAbout are the agreements and grants recorded about a record, whatever
// their times: an explanation applies those itself.
func (s *Store) FactsAbout(ctx context.Context, id, account crm.RecordID) (policy.Facts, error) {
	return factsAbout(ctx, s.pool, id, account, nil)
}

// FactsAboutAt are those that were recorded about it at a moment.
func (s *Store) FactsAboutAt(ctx context.Context, id, account crm.RecordID, at *policy.Moment) (policy.Facts, error) {
	return factsAbout(ctx, s.pool, id, account, at)
}

// FactsAbout reads as Store.FactsAbout does, inside the transaction.
func (t *Tx) FactsAbout(ctx context.Context, id, account crm.RecordID) (policy.Facts, error) {
	return factsAbout(ctx, t.tx, id, account, nil)
}

// About is a record to read facts about, as they were recorded at a moment.
type About struct {
	ID, Account crm.RecordID
	At          time.Time
}

// FactsAboutMany reads as FactsAboutAt does, of many records in one round trip.
func (s *Store) FactsAboutMany(ctx context.Context, about []About) ([]policy.Facts, error) {
	out := make([]policy.Facts, len(about))
	if len(about) == 0 {
		return out, nil
	}
	batch := &pgx.Batch{}
	batch.Queue(samePlanSQL)
	for i, a := range about {
		f := &out[i]
		queueFactsAbout(batch, a.ID, a.Account, &policy.Moment{Valid: a.At, Recorded: a.At}, f)
	}
	return out, pgErr(s.pool.SendBatch(ctx, batch).Close(), "read facts about records")
}

func factsAbout(ctx context.Context, q queries, id, account crm.RecordID, at *policy.Moment) (policy.Facts, error) {
	var facts policy.Facts
	batch := &pgx.Batch{}
	queueFactsAbout(batch, id, account, at, &facts)
	return facts, pgErr(q.SendBatch(ctx, batch).Close(), "read facts about a record")
}

func queueFactsAbout(batch *pgx.Batch, id, account crm.RecordID, at *policy.Moment, facts *policy.Facts) {
	agreements, grants := []any{string(account)}, []any{string(id), string(account)}
	ofAgreements, ofGrants := "recorded_to = 'infinity'", "recorded_to = 'infinity'"
	if at != nil {
		agreements, grants = append(agreements, at.Recorded), append(grants, at.Recorded)
		ofAgreements, ofGrants = "recorded_from <= $2 and $2 < recorded_to", "recorded_from <= $3 and $3 < recorded_to"
	}
	batch.Queue(`select `+agreementColumns+` from fact.agreement where `+ofAgreements+` and account = $1 order by id`, agreements...).Query(func(rows pgx.Rows) (err error) {
		facts.Agreements, err = pgx.CollectRows(rows, scanAgreement)
		return err
	})
	batch.Queue(`select `+grantColumns+` from fact."grant" where `+ofGrants+` and record in ($1, $2) order by id`, grants...).Query(func(rows pgx.Rows) (err error) {
		facts.Grants, err = pgx.CollectRows(rows, scanGrant)
		return err
	})
}

// Attribute says on whose behalf this transaction changes facts: the feed
// names them.
func (t *Tx) Attribute(ctx context.Context, c crm.Caller) error {
	_, err := t.tx.Exec(ctx, `select set_config('meridian.actor', $1, true), set_config('meridian.execution', $2, true)`,
		string(c.Subject), c.Execution)
	return pgErr(err, "attribute transaction")
}
