package store

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// EgressHolding is what a destination holds of one record under one contract.
type EgressHolding struct {
	Exposure int64 // number of its latest disclosure or retraction
	Held     bool
	Digest   []byte // of the projection it got last
}

// EgressHoldings reads the holdings of some records under a contract.
func (t *Tx) EgressHoldings(ctx context.Context, contract string, ids []crm.RecordID) (map[crm.RecordID]EgressHolding, error) {
	rows, err := t.tx.Query(ctx, `select record_id::text, exposure, held, digest from meridian.egress_holding
		where contract = $1 and record_id = any($2::uuid[])`, contract, uuidTexts(ids))
	if err != nil {
		return nil, pgErr(err, "holdings of %s", contract)
	}
	holdings := make(map[crm.RecordID]EgressHolding, len(ids))
	var id crm.RecordID
	var h EgressHolding
	_, err = pgx.ForEachRow(rows, []any{&id, &h.Exposure, &h.Held, &h.Digest}, func() error {
		h.Digest = append([]byte(nil), h.Digest...)
		holdings[id] = h
		return nil
	})
	return holdings, pgErr(err, "holdings of %s", contract)
}

// StreamOut is how far a stream out is.
type StreamOut struct {
	Stream, Destination, Entity string
	Sequence, Sent              int64 // last stored, last that Kafka has
	StoredAt                    *time.Time
	Error                       string
	Holdings                    int64 // records the destination holds
}

// LockStream reads a stream's numbers for this transaction to go on from.
func (t *Tx) LockStream(ctx context.Context, stream, destination, entity string) (sequence int64, err error) {
	err = t.tx.QueryRow(ctx, `insert into meridian.exchange_stream (stream, destination, entity) values ($1, $2, $3)
		on conflict (stream) do update set entity = excluded.entity returning sequence`, stream, destination, entity).Scan(&sequence)
	return sequence, pgErr(err, "stream %s", stream)
}

// Envelope is one message as it is sent. About a record it says what it
// discloses.
type Envelope struct {
	Sequence   int64
	Key        string
	Body       []byte
	Disclosure *Disclosure // nil for what is about the stream itself
}

// Disclosure is a line of the ledger.
type Disclosure struct {
	Contract, Entity  string
	ID                crm.RecordID
	Version, Exposure int64
	Operation         crm.Op
	Groups            []string
	Bundle, Execution string
	Digest            []byte // of the projection; empty when the record leaves
}

// Holds reports whether the destination holds the record after it.
func (d Disclosure) Holds() bool { return d.Operation == crm.OpUpsert || d.Operation == crm.OpSnapshot }

// StoreEnvelopes keeps envelopes numbered on from the stream's sequence, with
// their lines in the ledger and what the destination holds after them.
func (t *Tx) StoreEnvelopes(ctx context.Context, stream string, epoch int64, es []Envelope) error {
	if len(es) == 0 {
		return nil
	}
	var (
		sequences                                                   []int64
		keys                                                        []string
		bodies                                                      [][]byte
		seqs, versions, exposures                                   []int64
		contracts, entities, ids, operations, groups, bundles, exes []string
		held                                                        []bool
		digests                                                     [][]byte
	)
	for _, e := range es {
		sequences, keys, bodies = append(sequences, e.Sequence), append(keys, e.Key), append(bodies, e.Body)
		d := e.Disclosure
		if d == nil {
			continue
		}
		seqs, versions, exposures = append(seqs, e.Sequence), append(versions, d.Version), append(exposures, d.Exposure)
		contracts, entities, ids = append(contracts, d.Contract), append(entities, d.Entity), append(ids, string(d.ID))
		operations, groups = append(operations, string(d.Operation)), append(groups, strings.Join(d.Groups, ","))
		bundles, exes = append(bundles, d.Bundle), append(exes, d.Execution)
		held, digests = append(held, d.Holds()), append(digests, append([]byte{}, d.Digest...))
	}
	var b pgx.Batch
	b.Queue(`insert into meridian.exchange_envelope (stream, sequence, key, body)
		select $1, e.sequence, e.key, e.body from unnest($2::bigint[], $3::text[], $4::bytea[]) as e (sequence, key, body)`, stream, sequences, keys, bodies)
	b.Queue(`update meridian.exchange_stream set sequence = $2, stored_at = clock_timestamp() where stream = $1`, stream, sequences[len(sequences)-1])
	b.Queue(`insert into meridian.egress (stream, epoch, sequence, contract, entity, record_id, version, exposure, operation, groups, bundle, execution, at)
		select $1, $2, d.sequence, d.contract, d.entity, d.id::uuid, d.version, d.exposure, d.operation,
			case when d.groups = '' then '{}' else string_to_array(d.groups, ',') end, d.bundle, d.execution, clock_timestamp()
		from unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[])
			as d (sequence, contract, entity, id, version, exposure, operation, groups, bundle, execution)`,
		stream, epoch, seqs, contracts, entities, ids, versions, exposures, operations, groups, bundles, exes)
	// A record may come twice in one batch under one contract: the last counts.
	b.Queue(`insert into meridian.egress_holding (contract, record_id, stream, exposure, held, digest)
		select distinct on (h.contract, h.id) h.contract, h.id::uuid, $1, h.exposure, h.held, h.digest
		from unnest($2::text[], $3::text[], $4::bigint[], $5::boolean[], $6::bytea[]) as h (contract, id, exposure, held, digest)
		order by h.contract, h.id, h.exposure desc
		on conflict (contract, record_id) do update set stream = excluded.stream, exposure = excluded.exposure, held = excluded.held, digest = excluded.digest`,
		stream, contracts, ids, exposures, held, digests)
	return pgErr(t.tx.SendBatch(ctx, &b).Close(), "keep envelopes of %s", stream)
}

// Unsent reads the first limit envelopes that Kafka may not have.
func (s *Store) Unsent(ctx context.Context, stream string, limit int) ([]Envelope, error) {
	rows, err := s.pool.Query(ctx, "select sequence, key, body from meridian.exchange_envelope where stream = $1 order by sequence limit $2", stream, limit)
	if err != nil {
		return nil, pgErr(err, "unsent of %s", stream)
	}
	es, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Envelope, err error) {
		return e, row.Scan(&e.Sequence, &e.Key, &e.Body)
	})
	return es, pgErr(err, "unsent of %s", stream)
}

// Sent drops the bytes that Kafka has, for each stream up to a sequence. Losing
// it to a crash is harmless (they are sent again), so it does not wait for the
// disk.
func (s *Store) Sent(ctx context.Context, sent map[string]int64) error {
	return s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		if err := t.Lazy(ctx); err != nil {
			return err
		}
		var b pgx.Batch
		queueSent(&b, sent)
		return pgErr(t.tx.SendBatch(ctx, &b).Close(), "drop what was sent")
	})
}

func queueSent(b *pgx.Batch, sent map[string]int64) {
	for stream, sequence := range sent {
		b.Queue("delete from meridian.exchange_envelope where stream = $1 and sequence <= $2", stream, sequence)
		b.Queue("update meridian.exchange_stream set sent = greatest(sent, $2), error = '' where stream = $1", stream, sequence)
	}
}

// Lazy lets this transaction's commit not wait for the disk: after a crash of
// the server it may be undone, whole. For what is then simply done again.
func (t *Tx) Lazy(ctx context.Context) error {
	_, err := t.tx.Exec(ctx, "set local synchronous_commit = off")
	return pgErr(err, "lazy commit")
}

// FailStream shows operators why a stream does not flow; "" clears it.
func (s *Store) FailStream(ctx context.Context, stream, text string) error {
	_, err := s.pool.Exec(ctx, "update meridian.exchange_stream set error = $2 where stream = $1 and error <> $2", stream, text)
	return pgErr(err, "stream %s", stream)
}

// StreamsOut lists all streams out.
func (s *Store) StreamsOut(ctx context.Context) ([]StreamOut, error) {
	rows, err := s.pool.Query(ctx, `select stream, destination, entity, sequence, sent, stored_at, error,
		(select count(*) from meridian.egress_holding h where h.stream = o.stream and h.held) from meridian.exchange_stream o order by stream`)
	if err != nil {
		return nil, pgErr(err, "streams out")
	}
	streams, err := pgx.CollectRows(rows, pgx.RowToStructByPos[StreamOut])
	return streams, pgErr(err, "streams out")
}

// AddRepair keeps a range of a stream out that its destination misses. A last
// of zero, or beyond the stream, is its end; a range that is not there yet is
// one number, so that the destination gets an answer.
func (t *Tx) AddRepair(ctx context.Context, stream string, first, last int64) error {
	_, err := t.tx.Exec(ctx, `insert into meridian.exchange_repair (stream, first, last)
		select stream, $2::bigint, greatest($2, case when $3::bigint = 0 then sequence else least($3, sequence) end) from meridian.exchange_stream where stream = $1
		on conflict (stream, first) do update set last = greatest(exchange_repair.last, excluded.last)`, stream, first, last)
	return pgErr(err, "repair of %s", stream)
}

// Repair is a range to repair.
type Repair struct{ First, Last int64 }

// NextRepair takes the next chunk of a stream's repairs: at most limit
// numbers, or false.
func (t *Tx) NextRepair(ctx context.Context, stream string, limit int64) (r Repair, ok bool, err error) {
	err = t.tx.QueryRow(ctx, "delete from meridian.exchange_repair where (stream, first) = (select stream, first from meridian.exchange_repair where stream = $1 order by first limit 1) returning first, last", stream).
		Scan(&r.First, &r.Last)
	if crm.KindOf(pgErr(err, "repair")) == crm.NotFound {
		return r, false, nil
	}
	if err != nil {
		return r, false, pgErr(err, "repair of %s", stream)
	}
	if r.Last-r.First < limit {
		return r, true, nil
	}
	rest := r.First + limit
	_, err = t.tx.Exec(ctx, `insert into meridian.exchange_repair (stream, first, last) values ($1, $2, $3)
		on conflict (stream, first) do update set last = greatest(exchange_repair.last, excluded.last)`, stream, rest, r.Last)
	return Repair{First: r.First, Last: rest - 1}, true, pgErr(err, "repair of %s", stream)
}

// Disclosed lists per contract the records that a range of a stream is about.
func (t *Tx) Disclosed(ctx context.Context, stream string, epoch int64, r Repair) (map[string][]crm.RecordID, error) {
	rows, err := t.tx.Query(ctx, `select distinct contract, record_id::text from meridian.egress
		where stream = $1 and epoch = $2 and sequence between $3 and $4`, stream, epoch, r.First, r.Last)
	if err != nil {
		return nil, pgErr(err, "ledger of %s", stream)
	}
	by := map[string][]crm.RecordID{}
	var contract string
	var id crm.RecordID
	_, err = pgx.ForEachRow(rows, []any{&contract, &id}, func() error {
		by[contract] = append(by[contract], id)
		return nil
	})
	return by, pgErr(err, "ledger of %s", stream)
}
