package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Decision is one line of the decision log: pointers to what was asked,
// decided and answered. It holds no customer data, so it can be kept when
// records are gone, and replayed while they and their facts are there.
type Decision struct {
	ID        int64     // in the log; given there
	Writer    string    // the replica that decided; given there
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
	return logDecisions(ctx, s.pool, s.replica, ds)
}

// LogDecisions appends to the decision log within the transaction that the
// decisions are about.
func (t *Tx) LogDecisions(ctx context.Context, ds []Decision) error {
	return logDecisions(ctx, t.tx, t.s.replica, ds)
}

func logDecisions(ctx context.Context, q queries, writer string, ds []Decision) error {
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
			  (at, subject, action, entity, allowed, records, versions, refused, found, facts, reasons, bundle, stamp, execution, writer)
			values (coalesce($1, clock_timestamp()), $2, $3, $4, $5, $6::uuid[], $7, $8::uuid[], $9, $10, $11, $12, $13, $14, $15)`,
			at, string(d.Subject), d.Action, d.Entity, d.Allowed, idTexts(d.Records), versions, idTexts(d.Refused), d.Found,
			list(d.Facts), list(d.Reasons), d.Bundle, d.Stamp, d.Execution, writer)
	}
	return pgErr(q.SendBatch(ctx, batch).Close(), "log decisions")
}

// decisionColumns are those of meridian.decision_log d in the order
// scanDecision takes them.
const (
	decisionColumns = `d.id, d.writer, d.at, d.subject, d.action, d.entity, d.allowed, d.records::text[], d.versions, d.refused::text[], d.found,
		d.facts, d.reasons, d.bundle, d.stamp, d.execution`
	decisionSQL = "select " + decisionColumns + " from meridian.decision_log d"
)

// scanDecision reads a decision, and what stands behind its columns.
func scanDecision(row pgx.CollectableRow, behind ...any) (d Decision, err error) {
	var subject string
	var records, refused []string
	err = row.Scan(append([]any{&d.ID, &d.Writer, &d.At, &subject, &d.Action, &d.Entity, &d.Allowed, &records, &d.Versions, &refused, &d.Found,
		&d.Facts, &d.Reasons, &d.Bundle, &d.Stamp, &d.Execution}, behind...)...)
	d.At, d.Subject, d.Records, d.Refused = d.At.UTC(), crm.SubjectID(subject), parsedIDs(records), parsedIDs(refused)
	return d, err
}

func toDecision(row pgx.CollectableRow) (Decision, error) { return scanDecision(row) }

// Decisions lists what was decided under one execution ID, in order.
func (s *Store) Decisions(ctx context.Context, execution string) ([]Decision, error) {
	rows, err := s.pool.Query(ctx, decisionSQL+" where d.execution = $1 order by d.id", execution)
	if err != nil {
		return nil, pgErr(err, "list decisions")
	}
	ds, err := pgx.CollectRows(rows, toDecision)
	return ds, pgErr(err, "list decisions")
}

// DecisionQuery says which decisions: those that fit every field that is set.
type DecisionQuery struct {
	Record       crm.RecordID // answered, written or refused
	Subject      crm.SubjectID
	Action       string
	Execution    string
	Since, Until time.Time // half-open
	Before       int64     // an id: only older ones
	Limit        int
}

// FindDecisions lists decisions, newest first. Who asks about a record does
// not read the whole log: a batch knows whom it concerns, and what no batch
// has yet is little.
func (s *Store) FindDecisions(ctx context.Context, q DecisionQuery) ([]Decision, error) {
	var where []string
	var args []any
	must := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	if q.Record != "" {
		must(`array[?::text::uuid] && (d.records || d.refused) and d.id in (
			select unnest(b.ids) from meridian.decision_batch b where b.records @> array[?::text::uuid]
			union all select u.id from meridian.decision_log u, meridian.decision_seal s where (u.xid, u.id) > (s.xid, s.id))`, string(q.Record))
	}
	if q.Subject != "" {
		must("d.subject = ?", string(q.Subject))
	}
	if q.Action != "" {
		must("d.action = ?", q.Action)
	}
	if q.Execution != "" {
		must("d.execution = ?", q.Execution)
	}
	if !q.Since.IsZero() {
		must("d.at >= ?", q.Since)
	}
	if !q.Until.IsZero() {
		must("d.at < ?", q.Until)
	}
	if q.Before > 0 {
		must("d.id < ?", q.Before)
	}
	sql := decisionSQL
	if len(where) > 0 {
		sql += " where " + strings.Join(where, " and ")
	}
	args = append(args, q.Limit)
	rows, err := s.pool.Query(ctx, sql+" order by d.id desc limit $"+strconv.Itoa(len(args)), args...)
	if err != nil {
		return nil, pgErr(err, "find decisions")
	}
	ds, err := pgx.CollectRows(rows, toDecision)
	return ds, pgErr(err, "find decisions")
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
