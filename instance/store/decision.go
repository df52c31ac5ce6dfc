package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Decision is one line of the decision log: pointers to what was asked,
// decided and answered. It holds no customer data, so it can be kept when
// records are gone, and replayed while they and their facts are there.
type Decision struct {
	At        time.Time // when it was decided; now if zero
	Subject   crm.SubjectID
	Action    string // a record action, or a permission
	Entity    string
	Allowed   bool
	Records   []crm.RecordID // answered or written
	Versions  []int64        // of Records, one each, or none
	Refused   []crm.RecordID // asked for and not given
	Found     *int64         // what a count answered
	Facts     []string       // ids of the facts behind it, where known
	Reasons   []string
	Bundle    string // digest of the bundle that decided
	Stamp     int64  // access stamp it was decided under
	Execution string
}

// LogDecisions appends to the decision log.
func (s *Store) LogDecisions(ctx context.Context, ds []Decision) error {
	return logDecisions(ctx, s.pool, ds)
}

// LogDecisions appends to the decision log within the transaction that the
// decisions are about.
func (t *Tx) LogDecisions(ctx context.Context, ds []Decision) error {
	return logDecisions(ctx, t.tx, ds)
}

func logDecisions(ctx context.Context, q queries, ds []Decision) error {
	if len(ds) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, d := range ds {
		at := &d.At
		if d.At.IsZero() {
			at = nil
		}
		versions := d.Versions
		if versions == nil {
			versions = []int64{}
		}
		batch.Queue(`
			insert into meridian.decision_log
			  (at, subject, action, entity, allowed, records, versions, refused, found, facts, reasons, bundle, stamp, execution)
			values (coalesce($1, clock_timestamp()), $2, $3, $4, $5, $6::text[]::uuid[], $7, $8::text[]::uuid[], $9, $10, $11, $12, $13, $14)`,
			at, string(d.Subject), d.Action, d.Entity, d.Allowed, idTexts(d.Records), versions, idTexts(d.Refused), d.Found,
			list(d.Facts), list(d.Reasons), d.Bundle, d.Stamp, d.Execution)
	}
	return pgErr(q.SendBatch(ctx, batch).Close(), "log decisions")
}

// Decisions lists what was decided under one execution ID, in order.
func (s *Store) Decisions(ctx context.Context, execution string) ([]Decision, error) {
	rows, err := s.pool.Query(ctx, `
		select at, subject, action, entity, allowed, records::text[], versions, refused::text[], found, facts, reasons, bundle, stamp, execution
		from meridian.decision_log where execution = $1 order by id`, execution)
	if err != nil {
		return nil, pgErr(err, "list decisions")
	}
	ds, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Decision, error) {
		var d Decision
		var subject string
		var records, refused []string
		err := row.Scan(&d.At, &subject, &d.Action, &d.Entity, &d.Allowed, &records, &d.Versions, &refused, &d.Found,
			&d.Facts, &d.Reasons, &d.Bundle, &d.Stamp, &d.Execution)
		d.At, d.Subject, d.Records, d.Refused = d.At.UTC(), crm.SubjectID(subject), parsedIDs(records), parsedIDs(refused)
		return d, err
	})
	return ds, pgErr(err, "list decisions")
}

func idTexts(ids []crm.RecordID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

func parsedIDs(texts []string) []crm.RecordID {
	out := make([]crm.RecordID, len(texts))
	for i, s := range texts {
		out[i] = crm.RecordID(s)
	}
	return out
}
