package store

import (
	"context"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"meridian/instance/crm"
)

// ErrFenced says that somebody else moved a position meanwhile: undo, read it
// again, go on from there.
var ErrFenced = errors.New("another process moved the position")

// Relay is how far the relay of this instance read the outbox.
type Relay struct {
	Cursor string
	Epoch  int64 // of this instance as an origin; rises when its database was restored
}

// Relay reads the relay's position; the first time, it begins behind all that
// is committed.
func (s *Store) Relay(ctx context.Context) (Relay, error) {
	r, _, err := s.relay(ctx)
	if !errors.Is(err, pgx.ErrNoRows) {
		return r, pgErr(err, "read relay")
	}
	head, err := s.Head(ctx)
	if err != nil {
		return Relay{}, err
	}
	if _, err := s.pool.Exec(ctx, "insert into meridian.exchange_relay (cursor, epoch) values ($1, 1) on conflict do nothing", head); err != nil {
		return Relay{}, pgErr(err, "begin relay")
	}
	r, _, err = s.relay(ctx)
	return r, pgErr(err, "read relay")
}

// relay also tells whether the position lies in the future of this server:
// then the database was restored and what follows from positions is void.
func (s *Store) relay(ctx context.Context) (r Relay, restored bool, err error) {
	var now string
	err = s.pool.QueryRow(ctx, "select cursor, epoch, pg_snapshot_xmax(pg_current_snapshot())::text from meridian.exchange_relay").Scan(&r.Cursor, &r.Epoch, &now)
	if err != nil {
		return r, false, err
	}
	xid, _, err := splitCursor(r.Cursor)
	if err != nil {
		return r, false, err
	}
	at, err := strconv.ParseUint(xid, 10, 64)
	if err != nil {
		return r, false, err
	}
	end, err := strconv.ParseUint(now, 10, 64)
	return r, at > end, err
}

// Restored reports whether the database was restored since the relay last ran
// and, if so, begins a new epoch: what was stored but not sent is dropped, and
// every contract is looked at from the start, because nobody knows any more what
// its destination got. What it has not acknowledged to have given back counts as
// held, and is taken back again.
func (s *Store) Restored(ctx context.Context) (bool, error) {
	r, restored, err := s.relay(ctx)
	if errors.Is(err, pgx.ErrNoRows) || (err == nil && !restored) {
		return false, nil
	}
	if err != nil {
		return false, pgErr(err, "read relay")
	}
	head, err := s.Head(ctx)
	if err != nil {
		return false, err
	}
	return true, s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		if err := t.MoveRelay(ctx, r, Relay{Cursor: head, Epoch: r.Epoch + 1}, nil); err != nil {
			return err
		}
		_, err := t.tx.Exec(ctx, `with a as (delete from meridian.exchange_envelope),
			b as (update meridian.exchange_stream set sent = sequence, acknowledged = int8multirange(int8range(1, sequence + 1))),
			c as (update meridian.egress_holding h set digest = '', held = h.held or not exists (
				select from meridian.egress e where e.record_id = h.record_id and e.contract = h.contract and e.exposure = h.exposure and `+acknowledgedSQL("e")+` is not null))
			update meridian.exchange_contract set sweep = 'held', after = $1::text::uuid, snapshot = -1`, string(crm.NoAccount))
		return pgErr(err, "begin an epoch")
	})
}

// MoveRelay moves the position, or answers ErrFenced. Only one transaction at
// a time holds it. On the way it drops the bytes that Kafka has by now.
func (t *Tx) MoveRelay(ctx context.Context, from, to Relay, sent map[string]int64) error {
	var b pgx.Batch
	fenced := false
	b.Queue("update meridian.exchange_relay set cursor = $3, epoch = $4 where cursor = $1 and epoch = $2", from.Cursor, from.Epoch, to.Cursor, to.Epoch).
		Exec(func(tag pgconn.CommandTag) error {
			fenced = tag.RowsAffected() != 1
			return nil
		})
	queueSent(&b, sent)
	if err := t.tx.SendBatch(ctx, &b).Close(); err != nil {
		return pgErr(err, "move relay")
	}
	if fenced {
		return ErrFenced
	}
	return nil
}

// Backlog counts what the relay has still to look at: changes it has not read,
// records that are due, and of the given contracts those that are being looked
// at from the start or are not served yet. It is zero when all is relayed.
func (s *Store) Backlog(ctx context.Context, contracts []string) (int64, error) {
	r, _, err := s.relay(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, pgErr(err, "read relay")
	}
	xid, pos, err := splitCursor(r.Cursor)
	if err != nil {
		return 0, err
	}
	var n int64
	err = s.pool.QueryRow(ctx, `select (select count(*) from meridian.outbox where (xid, pos) > ($1::text::xid8, $2::bigint))
		+ (select count(*) from meridian.exchange_due) + (select count(*) from meridian.exchange_repair)
		+ (select count(*) from meridian.exchange_contract where sweep <> '')
		+ (select count(*) from unnest($3::text[]) c where c not in (select contract from meridian.exchange_contract))`, xid, pos, contracts).Scan(&n)
	return n, pgErr(err, "count backlog")
}

// Sweeps of a contract: all its records are looked at again, those the
// destination holds first, so that what has to come back does so at once.
const (
	SweepNone = ""
	SweepHeld = "held"
	SweepHome = "home"
)

// BeginSnapshot marks a sweep that is a snapshot whose first watermark is not
// stored yet.
const BeginSnapshot = -1

// Served is what the relay knows of a contract that it serves or served.
type Served struct {
	Contract, Destination, Entity, Stream string
	Terms                                 string // digest of the contract's terms, "" once it is gone
	Sweep                                 string
	After                                 crm.RecordID // how far the sweep is
	Snapshot                              int64        // first sequence of the snapshot this sweep is, -1 before it begins, 0 if it is none
}

// Served lists all contracts that were ever served.
func (t *Tx) Served(ctx context.Context) ([]Served, error) {
	rows, err := t.tx.Query(ctx, "select contract, destination, entity, stream, terms, sweep, after::text, snapshot from meridian.exchange_contract order by contract")
	if err != nil {
		return nil, pgErr(err, "served contracts")
	}
	served, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Served])
	return served, pgErr(err, "served contracts")
}

// SaveServed keeps what the relay knows of a contract.
func (t *Tx) SaveServed(ctx context.Context, c Served) error {
	_, err := t.tx.Exec(ctx, `insert into meridian.exchange_contract (contract, destination, entity, stream, terms, sweep, after, snapshot)
		values ($1, $2, $3, $4, $5, $6, $7::text::uuid, $8)
		on conflict (contract) do update set terms = excluded.terms, sweep = excluded.sweep, after = excluded.after, snapshot = excluded.snapshot`,
		c.Contract, c.Destination, c.Entity, c.Stream, c.Terms, c.Sweep, string(c.After), c.Snapshot)
	return pgErr(err, "keep contract %s", c.Contract)
}

// HeldAfter lists the next records that a contract's destination holds, by id.
func (t *Tx) HeldAfter(ctx context.Context, contract string, after crm.RecordID, limit int) ([]crm.RecordID, error) {
	ids, err := recordIDs(t.tx.Query(ctx, `select record_id::text from meridian.egress_holding
		where contract = $1 and held and record_id > $2::text::uuid order by record_id limit $3`, contract, string(after), limit))
	return ids, pgErr(err, "holdings of %s", contract)
}

// HomeAfter lists the next records of entity whose home is here, by id.
func (t *Tx) HomeAfter(ctx context.Context, entity string, after crm.RecordID, limit int) ([]crm.RecordID, error) {
	if _, ok := t.s.Definition(entity); !ok {
		return nil, nil
	}
	ids, err := recordIDs(t.s.door(t.tx, idsToJudge).Query(ctx, "select id::text from "+liveTable(entity)+" where home = $1 and id > $2::text::uuid order by id limit $3",
		t.s.instance, string(after), limit))
	return ids, pgErr(err, "records of %s", entity)
}

// Live says which of the ids are live records of entity.
func (t *Tx) Live(ctx context.Context, entity string, ids []crm.RecordID) (map[crm.RecordID]bool, error) {
	live := map[crm.RecordID]bool{}
	if _, ok := t.s.Definition(entity); !ok {
		return live, nil
	}
	found, err := recordIDs(t.s.door(t.tx, idsToJudge).Query(ctx, "select id::text from "+liveTable(entity)+" where id = any($1::uuid[])", uuidTexts(ids)))
	for _, id := range found {
		live[id] = true
	}
	return live, pgErr(err, "live records of %s", entity)
}

// Due is a record to look at again under a contract.
type Due struct {
	ID        crm.RecordID
	Execution string
}

// AddDue keeps records for when their stream takes envelopes again.
func (t *Tx) AddDue(ctx context.Context, contract string, due []Due) error {
	ids, executions := make([]string, len(due)), make([]string, len(due))
	for i, d := range due {
		ids[i], executions[i] = string(d.ID), d.Execution
	}
	_, err := t.tx.Exec(ctx, `insert into meridian.exchange_due (contract, record_id, execution)
		select $1, id::uuid, execution from unnest($2::text[], $3::text[]) as d (id, execution)
		on conflict (contract, record_id) do update set execution = excluded.execution`, contract, ids, executions)
	return pgErr(err, "keep what is due under %s", contract)
}

// TakeDue takes at most limit of them.
func (t *Tx) TakeDue(ctx context.Context, contract string, limit int) ([]Due, error) {
	rows, err := t.tx.Query(ctx, `delete from meridian.exchange_due where contract = $1 and record_id in
		(select record_id from meridian.exchange_due where contract = $1 limit $2) returning record_id::text, execution`, contract, limit)
	if err != nil {
		return nil, pgErr(err, "take what is due under %s", contract)
	}
	due, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Due])
	return due, pgErr(err, "take what is due under %s", contract)
}
