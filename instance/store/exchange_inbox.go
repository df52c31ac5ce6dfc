package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"meridian/instance/crm"
)

// Inbox is how far a stream in is.
type Inbox struct {
	Stream, Source, Entity string
	Epoch, Sequence        int64 // last applied or parked
	NextOffset             int64 // where to read on
	EndOffset              int64 // of the topic, as last seen
}

// Inbox reads a stream's position; the first time it begins at the start.
func (s *Store) Inbox(ctx context.Context, stream, source, entity string) (Inbox, error) {
	in := Inbox{Stream: stream, Source: source, Entity: entity}
	err := s.pool.QueryRow(ctx, `insert into meridian.exchange_inbox (stream, source, entity) values ($1, $2, $3)
		on conflict (stream) do update set source = excluded.source returning epoch, sequence, next_offset, end_offset`,
		stream, source, entity).Scan(&in.Epoch, &in.Sequence, &in.NextOffset, &in.EndOffset)
	return in, pgErr(err, "inbox of %s", stream)
}

// MoveInbox moves a position with the rows that were applied, or answers
// ErrFenced. The commit does not wait for the disk: undone by a crash of the
// server, rows and position are undone together and read again.
func (t *Tx) MoveInbox(ctx context.Context, from, to Inbox) error {
	var b pgx.Batch
	fenced := false
	b.Queue("set local synchronous_commit = off")
	b.Queue(`update meridian.exchange_inbox set epoch = $5, sequence = $6, next_offset = $7, end_offset = $8,
			applied_at = case when $6 <> $3 or $5 <> $2 then clock_timestamp() else applied_at end, error = ''
		where stream = $1 and epoch = $2 and sequence = $3 and next_offset = $4`,
		from.Stream, from.Epoch, from.Sequence, from.NextOffset, to.Epoch, to.Sequence, to.NextOffset, to.EndOffset).
		Exec(func(tag pgconn.CommandTag) error {
			fenced = tag.RowsAffected() != 1
			return nil
		})
	if err := t.tx.SendBatch(ctx, &b).Close(); err != nil {
		return pgErr(err, "move inbox of %s", from.Stream)
	}
	if fenced {
		return ErrFenced
	}
	return nil
}

// FailInbox shows operators why a stream in does not flow; "" clears it.
func (s *Store) FailInbox(ctx context.Context, stream, text string) error {
	_, err := s.pool.Exec(ctx, "update meridian.exchange_inbox set error = $2 where stream = $1 and error <> $2", stream, text)
	return pgErr(err, "inbox of %s", stream)
}

// Inboxes lists all positions.
func (s *Store) Inboxes(ctx context.Context) ([]Inbox, error) {
	rows, err := s.pool.Query(ctx, "select stream, source, entity, epoch, sequence, next_offset, end_offset from meridian.exchange_inbox order by stream")
	if err != nil {
		return nil, pgErr(err, "inboxes")
	}
	ins, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Inbox])
	return ins, pgErr(err, "inboxes")
}

// HeldSince lists records that are held under a contract since an epoch before
// the given one.
func (s *Store) HeldSince(ctx context.Context, contract string, before int64, limit int) ([]crm.RecordID, error) {
	ids, err := recordIDs(s.pool.Query(ctx, `select record_id::text from meridian.holding
		where contract = $1 and held and epoch < $2 order by record_id limit $3`, contract, before, limit))
	return ids, pgErr(err, "holdings of %s", contract)
}

// StreamIn is a stream in as operators see it.
type StreamIn struct {
	Inbox
	AppliedAt        *time.Time
	Error            string
	Parked, Gaps     int64
	Holdings         int64 // records held from this source
	OldestGapPending *time.Time
	ToldAt           *time.Time // when the source was told last what is applied
}

// StreamsIn lists all streams in.
func (s *Store) StreamsIn(ctx context.Context) ([]StreamIn, error) {
	rows, err := s.pool.Query(ctx, `select stream, source, entity, epoch, sequence, next_offset, end_offset, applied_at, error,
		(select count(*) from meridian.exchange_parked p where p.stream = i.stream),
		(select count(*) from meridian.exchange_gap g where g.stream = i.stream and g.closed is null),
		(select count(distinct record_id) from meridian.holding h where h.home = i.source and h.entity = i.entity and h.held),
		(select min(opened) from meridian.exchange_gap g where g.stream = i.stream and g.closed is null),
		(select told_at from meridian.exchange_told t where t.stream = i.stream)
		from meridian.exchange_inbox i order by stream`)
	if err != nil {
		return nil, pgErr(err, "streams in")
	}
	streams, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (in StreamIn, err error) {
		return in, row.Scan(&in.Stream, &in.Source, &in.Entity, &in.Epoch, &in.Sequence, &in.NextOffset, &in.EndOffset,
			&in.AppliedAt, &in.Error, &in.Parked, &in.Gaps, &in.Holdings, &in.OldestGapPending, &in.ToldAt)
	})
	return streams, pgErr(err, "streams in")
}

// OpenGap names numbers of a stream that did not come. A last of zero is open:
// nobody knows how many.
func (t *Tx) OpenGap(ctx context.Context, stream string, epoch, first, last int64) error {
	_, err := t.tx.Exec(ctx, `insert into meridian.exchange_gap (stream, epoch, first, last) values ($1, $2, $3, $4)
		on conflict (stream, epoch, first) do update set last = excluded.last, closed = null, requested = null, opened = now()`, stream, epoch, first, last)
	return pgErr(err, "open a gap in %s", stream)
}

// CloseGaps takes the numbers first to last, which were repaired or will never
// come, out of the open gaps.
func (t *Tx) CloseGaps(ctx context.Context, stream string, epoch, first, last int64) error {
	_, err := t.tx.Exec(ctx, `with covered as (
			update meridian.exchange_gap set closed = clock_timestamp()
			where stream = $1 and epoch <= $2 and closed is null and first >= $3 and last <> 0 and last <= $4),
		rest as (
			update meridian.exchange_gap set closed = clock_timestamp()
			where stream = $1 and epoch = $2 and closed is null and first between $3 and $4 and last > $4 returning last)
		insert into meridian.exchange_gap (stream, epoch, first, last, requested) select $1, $2, $4 + 1, last, now() from rest
		on conflict (stream, epoch, first) do update set last = excluded.last, closed = null`, stream, epoch, first, last)
	return pgErr(err, "close gaps in %s", stream)
}

// SettleGaps closes the gaps of unknown size that a stream has passed: had they
// been real, the next number would have named them.
func (t *Tx) SettleGaps(ctx context.Context, stream string, epoch, sequence int64) error {
	_, err := t.tx.Exec(ctx, `update meridian.exchange_gap set closed = clock_timestamp()
		where stream = $1 and closed is null and last = 0 and (epoch < $2 or first <= $3)`, stream, epoch, sequence)
	return pgErr(err, "settle gaps in %s", stream)
}

// Gap is an open gap of a stream in.
type Gap struct{ Epoch, First, Last int64 }

// ClaimGaps marks the open gaps whose repair was not asked for since a while
// as asked for now, and returns them.
func (s *Store) ClaimGaps(ctx context.Context, stream string, again time.Duration) ([]Gap, error) {
	rows, err := s.pool.Query(ctx, `update meridian.exchange_gap set requested = clock_timestamp()
		where stream = $1 and closed is null and (requested is null or requested < clock_timestamp() - $2::interval)
		returning epoch, first, last`, stream, again)
	if err != nil {
		return nil, pgErr(err, "gaps in %s", stream)
	}
	gaps, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Gap])
	return gaps, pgErr(err, "gaps in %s", stream)
}

// Parked is an envelope that could not be applied.
type Parked struct {
	Stream, Contract, Key     string
	Epoch, Sequence, Exposure int64
	Reason                    string
	Body                      []byte
}

// Park keeps an envelope aside with the reason. A later one about the same
// record takes its place: it says more, also when it cannot be read and nobody
// knows its exposure.
func (t *Tx) Park(ctx context.Context, p Parked) error {
	_, err := t.tx.Exec(ctx, `insert into meridian.exchange_parked as p (stream, contract, key, epoch, sequence, exposure, reason, body)
		values ($1, $2, $3, $4, $5, $6, $7, $8)
		on conflict (stream, contract, key) do update set epoch = excluded.epoch, sequence = excluded.sequence, exposure = excluded.exposure,
			reason = excluded.reason, body = excluded.body, tries = p.tries + 1, parked_at = clock_timestamp()
		where (p.epoch, p.sequence) <= (excluded.epoch, excluded.sequence)`,
		p.Stream, p.Contract, p.Key, p.Epoch, p.Sequence, p.Exposure, p.Reason, p.Body)
	return pgErr(err, "park an envelope of %s", p.Stream)
}

// Unpark drops what is parked of a record up to an envelope that was applied: a
// retraction leaves no parked copy either, not even one of which nobody can read
// the contract.
func (t *Tx) Unpark(ctx context.Context, ps []Parked) error {
	var b pgx.Batch
	for _, p := range ps {
		b.Queue("delete from meridian.exchange_parked where stream = $1 and contract in ($2, '') and key = $3 and (epoch, sequence) <= ($4, $5)",
			p.Stream, p.Contract, p.Key, p.Epoch, p.Sequence)
	}
	return pgErr(t.tx.SendBatch(ctx, &b).Close(), "unpark")
}

// UnparkBefore drops what is parked under a contract since an epoch before the
// given one.
func (s *Store) UnparkBefore(ctx context.Context, stream, contract string, epoch int64) error {
	_, err := s.pool.Exec(ctx, "delete from meridian.exchange_parked where stream = $1 and contract in ($2, '') and epoch < $3", stream, contract, epoch)
	return pgErr(err, "unpark of %s", stream)
}

// ParkedIn lists what is parked of a stream, oldest first.
func (s *Store) ParkedIn(ctx context.Context, stream string, limit int) ([]Parked, error) {
	rows, err := s.pool.Query(ctx, `select stream, contract, key, epoch, sequence, exposure, reason, body
		from meridian.exchange_parked where stream = $1 order by parked_at, key limit $2`, stream, limit)
	if err != nil {
		return nil, pgErr(err, "parked of %s", stream)
	}
	ps, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Parked])
	return ps, pgErr(err, "parked of %s", stream)
}

// HasParked reports whether any key of a stream is parked: only then does an
// applied row have to look whether it frees one.
func (s *Store) HasParked(ctx context.Context, stream string) (bool, error) {
	var has bool
	err := s.pool.QueryRow(ctx, "select exists (select from meridian.exchange_parked where stream = $1)", stream).Scan(&has)
	return has, pgErr(err, "parked of %s", stream)
}
