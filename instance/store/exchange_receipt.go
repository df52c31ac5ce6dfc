package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Range is a range of numbers of a stream, both ends included.
type Range struct{ First, Last int64 }

// Receipt says what of a stream a destination applied: every number of the
// epoch up to Applied, but those that are missing.
type Receipt struct {
	Epoch, Applied int64
	Missing        []Range // in order, none beyond Applied
}

// missingMost bounds a receipt. What does not fit is not acknowledged yet.
const missingMost = 1000

// ErrReceipt says why a receipt cannot be: nothing is acknowledged by it.
var ErrReceipt = errors.New("the receipt cannot be")

// Receipt is what of a stream in is applied. Applications do not wait for the
// disk; this does, so that no crash undoes what the source is told.
func (s *Store) Receipt(ctx context.Context, stream string) (r Receipt, err error) {
	err = s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		// The position is read before what is missing of it: what is applied in
		// between is applied.
		var b pgx.Batch
		b.Queue("set local synchronous_commit = on")
		b.Queue(`insert into meridian.exchange_told as t (stream, epoch, sequence) select stream, epoch, sequence from meridian.exchange_inbox where stream = $1
			on conflict (stream) do update set epoch = excluded.epoch, sequence = excluded.sequence, told_at = clock_timestamp()
			returning t.epoch, t.sequence`, stream).
			Query(func(rows pgx.Rows) error {
				_, err := pgx.ForEachRow(rows, []any{&r.Epoch, &r.Applied}, func() error { return nil })
				return err // a stream of which nothing was read yet has no row
			})
		if err := t.tx.SendBatch(ctx, &b).Close(); err != nil {
			return pgErr(err, "what is applied of %s", stream)
		}
		rows, err := t.tx.Query(ctx, `select lower(n), upper(n) - 1 from (
				select unnest(range_agg(m.n)) from (
					select int8range(sequence, sequence, '[]') from meridian.exchange_parked
						where stream = $1 and epoch = $2 and sequence between 1 and $3
					union all
					select int8range(first, case when last = 0 then $3 else least(last, $3) end, '[]') from meridian.exchange_gap
						where stream = $1 and epoch = $2 and closed is null and first <= $3) m(n)) x(n)
			order by 1 limit $4`, stream, r.Epoch, r.Applied, missingMost+1)
		if err != nil {
			return pgErr(err, "what is missing of %s", stream)
		}
		r.Missing, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Range])
		return pgErr(err, "what is missing of %s", stream)
	})
	if len(r.Missing) > missingMost {
		r.Applied, r.Missing = r.Missing[missingMost].First-1, r.Missing[:missingMost]
	}
	return r, err
}

// sound says whether the receipt can be about a stream out that is at sequence
// in epoch.
func (r Receipt) sound(epoch, sequence int64) error {
	switch {
	case r.Epoch != epoch:
		return fmt.Errorf("%w: it is of epoch %d, and this is %d", ErrReceipt, r.Epoch, epoch)
	case r.Applied < 1 || r.Applied > sequence:
		return fmt.Errorf("%w: it is about number %d, and %d were sent", ErrReceipt, r.Applied, sequence)
	case len(r.Missing) > missingMost:
		return fmt.Errorf("%w: it names %d ranges", ErrReceipt, len(r.Missing))
	}
	after := int64(0)
	for _, m := range r.Missing {
		if m.First <= after || m.Last < m.First || m.Last > r.Applied {
			return fmt.Errorf("%w: %d to %d are no numbers that it can miss", ErrReceipt, m.First, m.Last)
		}
		after = m.Last
	}
	return nil
}

// Acknowledge keeps what a destination says it applied of a stream out, with
// the time; what it said before it need not say again, and an older receipt adds
// nothing. A number that is not missing is still not acknowledged while a later
// one about the same record is missing: it may be only that one which does what
// it said. The error is an ErrReceipt when the receipt cannot be.
func (t *Tx) Acknowledge(ctx context.Context, stream string, r Receipt) error {
	var epoch, sequence int64
	err := t.tx.QueryRow(ctx, "select r.epoch, o.sequence from meridian.exchange_stream o, meridian.exchange_relay r where o.stream = $1 for update of o", stream).
		Scan(&epoch, &sequence)
	if crm.KindOf(pgErr(err, "stream")) == crm.NotFound {
		return fmt.Errorf("%w: nothing was ever sent on this stream", ErrReceipt)
	}
	if err != nil {
		return pgErr(err, "stream %s", stream)
	}
	if err := r.sound(epoch, sequence); err != nil {
		return err
	}
	var missing strings.Builder
	for i, m := range r.Missing {
		if i > 0 {
			missing.WriteByte(',')
		}
		fmt.Fprintf(&missing, "[%d,%d]", m.First, m.Last)
	}
	_, err = t.tx.Exec(ctx, `with said as (
			select int8multirange(int8range(1, $3, '[]')) - missing - acknowledged as n, missing
			from meridian.exchange_stream, cast($4::text as int8multirange) missing where stream = $1),
		waiting as (
			select range_agg(int8range(l.sequence, l.sequence, '[]')) as n
			from said, unnest(said.n) u join meridian.egress l on l.stream = $1 and l.epoch = $2 and l.sequence between lower(u) and upper(u) - 1
			where missing <> '{}' and exists (select from meridian.egress later where later.record_id = l.record_id and later.contract = l.contract
				and later.stream = $1 and later.epoch = $2 and later.sequence > l.sequence and missing @> later.sequence)),
		news as (select said.n - coalesce(waiting.n, '{}') as n from said, waiting),
		kept as (insert into meridian.egress_receipt (stream, epoch, first, last) select $1, $2, lower(u), upper(u) - 1 from news, unnest(news.n) u)
		update meridian.exchange_stream set acknowledged = acknowledged + news.n, acknowledged_at = clock_timestamp() from news where stream = $1 and news.n <> '{}'`,
		stream, r.Epoch, r.Applied, "{"+missing.String()+"}")
	return pgErr(err, "acknowledge %s", stream)
}

// waitsSQL are the ranges of a stream out, o, that are not acknowledged.
const waitsSQL = "unnest(int8multirange(int8range(1, o.sequence + 1)) - o.acknowledged) waits"

// retractionsSQL are the retractions e in a range of a stream out that are the
// last word about their record.
const retractionsSQL = `meridian.egress e join meridian.egress_holding h on h.contract = e.contract and h.record_id = e.record_id and h.exposure = e.exposure
	where e.operation in ('delete', 'retract', 'erase') and e.stream = o.stream and e.epoch = r.epoch and e.sequence between lower(waits) and upper(waits) - 1`

// Unacknowledged is what of a stream out waits for its destination.
type Unacknowledged struct {
	Stream           string
	Messages         int64
	Oldest           *time.Time // of the disclosures and retractions among them
	Retractions      int64
	OldestRetraction *time.Time
	AcknowledgedAt   *time.Time // when anything was acknowledged last
}

// Unacknowledged tells by stream out what waits for its destination.
func (s *Store) Unacknowledged(ctx context.Context) (map[string]Unacknowledged, error) {
	rows, err := s.pool.Query(ctx, `select o.stream, coalesce(sum(upper(waits) - lower(waits)), 0)::bigint, min(first.at),
			coalesce(sum(back.n), 0)::bigint, min(back.at), o.acknowledged_at
		from meridian.exchange_stream o cross join meridian.exchange_relay r
		left join lateral `+waitsSQL+` on true
		left join lateral (select e.at from meridian.egress e where e.stream = o.stream and e.epoch = r.epoch
			and e.sequence between lower(waits) and upper(waits) - 1 order by e.sequence limit 1) first on true
		left join lateral (select count(*) as n, min(e.at) as at from `+retractionsSQL+`) back on true
		group by o.stream, o.acknowledged_at`)
	if err != nil {
		return nil, pgErr(err, "what is not acknowledged")
	}
	by := map[string]Unacknowledged{}
	var u Unacknowledged
	_, err = pgx.ForEachRow(rows, []any{&u.Stream, &u.Messages, &u.Oldest, &u.Retractions, &u.OldestRetraction, &u.AcknowledgedAt}, func() error {
		by[u.Stream] = u
		return nil
	})
	return by, pgErr(err, "what is not acknowledged")
}

// UnacknowledgedRetraction is how long the oldest retraction waits for its
// destination, zero when none does.
func (s *Store) UnacknowledgedRetraction(ctx context.Context) (age time.Duration, err error) {
	err = s.pool.QueryRow(ctx, `select coalesce(clock_timestamp() - min(back.at), '0')
		from meridian.exchange_stream o cross join meridian.exchange_relay r cross join lateral `+waitsSQL+`
		cross join lateral (select e.at from `+retractionsSQL+` order by e.sequence limit 1) back`).Scan(&age)
	return max(0, age), pgErr(err, "the oldest retraction that is not acknowledged")
}
