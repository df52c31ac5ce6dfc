package store

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The second belt. The app role that the store's connections log in with sees
// no record: row-level security shows it none, and it may write none. What is
// behind the door is reached as one of two roles that a statement steps into
// for itself alone. So a statement that forgot its filter finds nothing; one that
// means harm can step in too, and is no matter of this belt. The policies of the two roles are constant, so the planner
// drops them: they cost nothing and hide no index behind "not leakproof".

// doorway is a reason to reach records, and the role that may.
type doorway struct {
	suffix string // of the role's name behind the app role's
}

// Every statement on record.* or history.* goes by one of these. All but
// filtered read or change rows that no policy.Filter has picked: whoever adds
// one says here why that is right.
var (
	// filtered statements carry a policy.Filter.
	filtered = doorway{readSuffix}

	// preImages are what access decides on, for itself alone.
	preImages = doorway{readSuffix}
	// ownKeys finds this instance's records by key, for access to decide on.
	ownKeys = doorway{readSuffix}
	// idsToJudge are ids alone: which records to ask a filter about next.
	idsToJudge = doorway{readSuffix}
	// sizes are how many records there are, for who compares policies.
	sizes = doorway{readSuffix}
	// pastVersions are what access decides on about a past date, for itself alone.
	pastVersions = doorway{readSuffix}

	// changes lock rows with the filter beside them, and store post-images that
	// carry the filter of their action.
	changes = doorway{writeSuffix}
	// followers take over what their account became under a change.
	followers = doorway{writeSuffix}
	// arrivals are what other instances sent under a contract.
	arrivals = doorway{writeSuffix}
)

// open is the statement that steps through, close the one that steps back out.
// Both end with the transaction at the latest.
func (d doorway) open(s *Store) string {
	return "select set_config('role', " + literal(s.app+d.suffix) + ", true)"
}

const closeDoorSQL = "select set_config('role', 'none', true)"

// openPlanned steps through and says how to plan, in one statement.
func (d doorway) openPlanned(s *Store, planSQL string) string {
	return planSQL + ", " + strings.TrimPrefix(d.open(s), "select ")
}

// door is q behind the door: each statement or batch sent through it steps in
// before and out after, in the same round trip.
func (s *Store) door(q queries, by doorway) queries {
	if s.app == "" { // one role does all
		return q
	}
	_, inTx := q.(pgx.Tx)
	return behind{s: s, q: q, by: by, inTx: inTx}
}

// pass brackets a part of a batch. A batch that sets a savepoint does so
// before: who rolls back to it is out of the door again.
func (s *Store) pass(b *pgx.Batch, by doorway, statements func()) {
	if s.app == "" {
		statements()
		return
	}
	b.Queue(by.open(s))
	statements()
	b.Queue(closeDoorSQL)
}

// behind sends statements through the door.
type behind struct {
	s    *Store
	q    queries
	by   doorway
	inTx bool // the transaction goes on: step out again
}

func (d behind) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if len(b.QueuedQueries) > 0 && (b.QueuedQueries[0].SQL == samePlanSQL || b.QueuedQueries[0].SQL == ownPlanSQL) {
		b.QueuedQueries[0].SQL = d.by.openPlanned(d.s, b.QueuedQueries[0].SQL)
		if d.inTx {
			b.Queue(closeDoorSQL)
		}
		return d.q.SendBatch(ctx, b)
	}
	inside := &pgx.Batch{QueuedQueries: append([]*pgx.QueuedQuery{{SQL: d.by.open(d.s)}}, b.QueuedQueries...)}
	if d.inTx {
		inside.Queue(closeDoorSQL)
	}
	results := d.q.SendBatch(ctx, inside)
	_, _ = results.Exec() // of open; its error is every later result's too
	return results
}

func (d behind) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	b := &pgx.Batch{}
	b.Queue(sql, args...)
	results := d.SendBatch(ctx, b)
	rows, err := results.Query()
	if err != nil {
		return rows, errors.Join(err, ignoreClosed(results))
	}
	return &batchRows{Rows: rows, results: results}, nil
}

// ignoreClosed ends a batch whose error is known.
func ignoreClosed(results pgx.BatchResults) error {
	_ = results.Close()
	return nil
}

func (d behind) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := d.Query(ctx, sql, args...)
	return oneRow{rows, err}
}

func (d behind) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	b := &pgx.Batch{}
	b.Queue(sql, args...)
	results := d.SendBatch(ctx, b)
	tag, err := results.Exec()
	if closed := results.Close(); err == nil {
		err = closed
	}
	return tag, err
}

// batchRows are the rows of a batch's one query; the batch ends with them.
type batchRows struct {
	pgx.Rows
	results pgx.BatchResults
	closed  bool
	err     error
}

func (r *batchRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

func (r *batchRows) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.Rows.Close()
	r.err = r.results.Close()
}

func (r *batchRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

// oneRow is what QueryRow answers.
type oneRow struct {
	rows pgx.Rows
	err  error
}

func (r oneRow) Scan(targets ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(targets...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
