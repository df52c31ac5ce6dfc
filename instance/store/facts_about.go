package store

import (
	"context"

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

func factsAbout(ctx context.Context, q queries, id, account crm.RecordID, at *policy.Moment) (policy.Facts, error) {
	agreements, grants := []any{string(account)}, []any{string(id), string(account)}
	ofAgreements, ofGrants := "recorded_to = 'infinity'", "recorded_to = 'infinity'"
	if at != nil {
		agreements, grants = append(agreements, at.Recorded), append(grants, at.Recorded)
		ofAgreements, ofGrants = "recorded_from <= $2 and $2 < recorded_to", "recorded_from <= $3 and $3 < recorded_to"
	}
	batch := &pgx.Batch{}
	batch.Queue(`select `+agreementColumns+` from fact.agreement where `+ofAgreements+` and account = $1 order by id`, agreements...)
	batch.Queue(`select `+grantColumns+` from fact."grant" where `+ofGrants+` and record in ($1, $2) order by id`, grants...)
	results := q.SendBatch(ctx, batch)
	facts, err := collectFacts(results)
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	return facts, pgErr(err, "read facts about a record")
}

func collectFacts(results pgx.BatchResults) (facts policy.Facts, err error) {
	rows, err := results.Query()
	if err != nil {
		return facts, err
	}
	if facts.Agreements, err = pgx.CollectRows(rows, scanAgreement); err != nil {
		return facts, err
	}
	if rows, err = results.Query(); err != nil {
		return facts, err
	}
	facts.Grants, err = pgx.CollectRows(rows, scanGrant)
	return facts, err
}

// Attribute says on whose behalf this transaction changes facts: the feed
// names them.
func (t *Tx) Attribute(ctx context.Context, c crm.Caller) error {
	_, err := t.tx.Exec(ctx, `select set_config('meridian.actor', $1, true), set_config('meridian.execution', $2, true)`,
		string(c.Subject), c.Execution)
	return pgErr(err, "attribute transaction")
}
