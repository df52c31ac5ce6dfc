package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// LoadState is where a load is in its life.
type LoadState string

// The states of a load.
const (
	LoadApplying            LoadState = "applying"
	LoadComplete            LoadState = "complete"
	LoadCompleteWithRejects LoadState = "complete_with_rejects"
	LoadHalted              LoadState = "halted"
)

// Balance counts what became of the records of a load. It closes when Read is
// the sum of the others; the table refuses a row that does not.
type Balance struct{ Read, Inserted, Updated, Unchanged, Rejected, Filtered int64 }

// LoadPosition is how far the source has been read.
type LoadPosition struct{ Record, Offset int64 }

// LoadProgress is how far the facade says it is; Total 0 when unknown.
type LoadProgress struct {
	Done, Total int64
	Unit        string
}

// Load is one run over one file or extract.
type Load struct {
	ID             string
	Feed           string
	Entity         string
	File           string
	SHA256         string
	Mapping        string
	MappingVersion int
	ControlCount   int64 // -1: the sender does not say
	DryRun         bool
	State          LoadState
	By             crm.SubjectID
	Error          string
	Balance        Balance
	Position       LoadPosition
	Progress       LoadProgress
	Started        time.Time
	Touched        time.Time
	Finished       time.Time // zero until it is
	RunAt          time.Time // when this run began or was resumed
	RunDone        int64     // Progress.Done then
}

// LoadReject is a record that was not taken.
type LoadReject struct {
	Number   int64
	ByStore  bool // refused by this instance, not by the facade
	Code     string
	Field    string
	Message  string
	Original []byte // of the facade's own rejects
}

// LoadAdvance moves a load by one batch.
type LoadAdvance struct {
	Load     string
	From     int64 // the record position the batch starts at
	To       LoadPosition
	Delta    Balance
	Progress LoadProgress
	Rejects  []LoadReject
}

const loadColumns = `id::text, feed, entity, file, sha256, mapping, mapping_version, control_count, dry_run, state, actor, error,
	rows_read, inserted, updated, unchanged, rejected, filtered, position_record, position_offset,
	progress_done, progress_total, progress_unit, started_at, touched_at, finished_at, run_at, run_done`

func scanLoad(row pgx.CollectableRow) (Load, error) {
	var l Load
	var finished *time.Time
	err := row.Scan(&l.ID, &l.Feed, &l.Entity, &l.File, &l.SHA256, &l.Mapping, &l.MappingVersion, &l.ControlCount, &l.DryRun, &l.State, &l.By, &l.Error,
		&l.Balance.Read, &l.Balance.Inserted, &l.Balance.Updated, &l.Balance.Unchanged, &l.Balance.Rejected, &l.Balance.Filtered,
		&l.Position.Record, &l.Position.Offset, &l.Progress.Done, &l.Progress.Total, &l.Progress.Unit,
		&l.Started, &l.Touched, &finished, &l.RunAt, &l.RunDone)
	if finished != nil {
		l.Finished = *finished
	}
	return l, err
}

// BeginLoad stores a new load. If one of the same content and mapping is under
// way or done, that one is the answer and found is true; one under way is
// marked as resumed when its own identity asks.
func (s *Store) BeginLoad(ctx context.Context, l Load) (stored Load, found bool, err error) {
	err = s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		// Two may begin the same content at once: the unique index lets one
		// insert, and the other then finds it.
		rows, err := t.tx.Query(ctx, `insert into meridian.load (id, feed, entity, file, sha256, mapping, mapping_version, control_count, dry_run, state, actor)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'applying', $10) on conflict do nothing returning `+loadColumns,
			l.ID, l.Feed, l.Entity, l.File, l.SHA256, l.Mapping, l.MappingVersion, l.ControlCount, l.DryRun, string(l.By))
		if err != nil {
			return err
		}
		stored, err = pgx.CollectExactlyOneRow(rows, scanLoad)
		if err == nil || !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		found = true
		rows, err = t.tx.Query(ctx, `update meridian.load
			set run_at = case when state = 'applying' and actor = $6 then now() else run_at end,
			    run_done = case when state = 'applying' and actor = $6 then progress_done else run_done end
			where feed = $1 and sha256 = $2 and mapping = $3 and mapping_version = $4 and dry_run = $5
			  and (state = 'applying' or (state in ('complete', 'complete_with_rejects') and not dry_run))
			returning `+loadColumns, l.Feed, l.SHA256, l.Mapping, l.MappingVersion, l.DryRun, string(l.By))
		if err != nil {
			return err
		}
		stored, err = pgx.CollectExactlyOneRow(rows, scanLoad)
		if errors.Is(err, pgx.ErrNoRows) { // it ended as halted in between
			return &crm.Error{Kind: crm.Unavailable, Msg: "the load is just being closed; try again", RetryAfter: 100 * time.Millisecond}
		}
		return err
	})
	if err != nil {
		return Load{}, false, pgErr(err, "begin load of feed %s", l.Feed)
	}
	return stored, found, nil
}

// FindLoad finds a load by id.
func (s *Store) FindLoad(ctx context.Context, id string) (Load, bool, error) {
	loads, err := s.loads(ctx, `where id = $1`, id)
	if err != nil || len(loads) == 0 {
		return Load{}, false, err
	}
	return loads[0], true, nil
}

// Loads lists loads, the latest first; an empty feed or identity means any.
func (s *Store) Loads(ctx context.Context, feed string, by crm.SubjectID, limit int) ([]Load, error) {
	return s.loads(ctx, `where ($1 = '' or feed = $1) and ($2 = '' or actor = $2) order by started_at desc, id desc limit $3`, feed, string(by), limit)
}

func (s *Store) loads(ctx context.Context, where string, args ...any) ([]Load, error) {
	rows, err := s.pool.Query(ctx, `select `+loadColumns+` from meridian.load `+where, args...)
	if err != nil {
		return nil, pgErr(err, "read loads")
	}
	loads, err := pgx.CollectRows(rows, scanLoad)
	if err != nil {
		return nil, pgErr(err, "read loads")
	}
	return loads, nil
}

// FinishLoad ends a load that is still applying and answers as it then is.
func (s *Store) FinishLoad(ctx context.Context, id string, state LoadState, reason string) (Load, error) {
	_, err := s.pool.Exec(ctx, `update meridian.load set state = $2, error = $3, finished_at = now(), touched_at = now()
		where id = $1 and state = 'applying'`, id, string(state), reason)
	if err != nil {
		return Load{}, pgErr(err, "finish load %s", id)
	}
	l, ok, err := s.FindLoad(ctx, id)
	if err == nil && !ok {
		err = crm.Errorf(crm.NotFound, "no load %q", id)
	}
	return l, err
}

// AdvanceLoad keeps position, counters and rejects of one batch in the rows'
// transaction. A position that is not From any more is a conflict: nothing of
// the transaction may be kept.
func (t *Tx) AdvanceLoad(ctx context.Context, a LoadAdvance) (Balance, error) {
	var b Balance
	d := a.Delta
	err := t.tx.QueryRow(ctx, `update meridian.load set rows_read = rows_read + $3, inserted = inserted + $4, updated = updated + $5,
			unchanged = unchanged + $6, rejected = rejected + $7, filtered = filtered + $8, position_record = $9, position_offset = $10,
			progress_done = $11, progress_total = $12, progress_unit = $13, touched_at = clock_timestamp()
		where id = $1 and position_record = $2 and state = 'applying'
		returning rows_read, inserted, updated, unchanged, rejected, filtered`,
		a.Load, a.From, d.Read, d.Inserted, d.Updated, d.Unchanged, d.Rejected, d.Filtered, a.To.Record, a.To.Offset,
		a.Progress.Done, a.Progress.Total, a.Progress.Unit,
	).Scan(&b.Read, &b.Inserted, &b.Updated, &b.Unchanged, &b.Rejected, &b.Filtered)
	if errors.Is(err, pgx.ErrNoRows) {
		return Balance{}, crm.Errorf(crm.Conflict, "the load is not at record %d any more; ask where to resume", a.From)
	}
	if err != nil {
		return Balance{}, pgErr(err, "advance load %s", a.Load)
	}
	if err := t.keepRejects(ctx, a.Load, a.Rejects); err != nil {
		return Balance{}, pgErr(err, "keep rejects of load %s", a.Load)
	}
	return b, nil
}

func (t *Tx) keepRejects(ctx context.Context, load string, rs []LoadReject) error {
	if len(rs) == 0 {
		return nil
	}
	_, err := t.tx.CopyFrom(ctx, pgx.Identifier{"meridian", "load_reject"},
		[]string{"load", "number", "by_store", "code", "field", "message", "original"},
		pgx.CopyFromSlice(len(rs), func(i int) ([]any, error) {
			r := rs[i]
			return []any{load, r.Number, r.ByStore, r.Code, r.Field, r.Message, r.Original}, nil
		}))
	return err
}

// LoadRejects lists rejects of a load after a record number, in file order.
func (s *Store) LoadRejects(ctx context.Context, load string, after int64, limit int) ([]LoadReject, error) {
	rows, err := s.pool.Query(ctx, `select number, by_store, code, field, message, original from meridian.load_reject
		where load = $1 and number > $2 order by number limit $3`, load, after, limit)
	if err != nil {
		return nil, pgErr(err, "read rejects of load %s", load)
	}
	rs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[LoadReject])
	if err != nil {
		return nil, pgErr(err, "read rejects of load %s", load)
	}
	return rs, nil
}
