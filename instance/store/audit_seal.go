package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// maxSealed bounds the decisions of one root, and with them what sealing
	// and verifying hold in memory.
	maxSealed = 2000
	// maxRemoved bounds the roots whose rows one transaction removes.
	maxRemoved = 500
)

// chainHead is where the chain goes on, held by a lock until the transaction
// ends: sealing and removing take turns.
type chainHead struct {
	xid  string // how far decisions are sealed: behind (xid, id)
	id   int64
	root auditRoot // the newest; zero before the first
	now  time.Time
	lost bool // the position lies in the future of this server
}

func lockChain(ctx context.Context, tx pgx.Tx) (h chainHead, err error) {
	err = tx.QueryRow(ctx, `select xid::text, id, clock_timestamp(), xid > pg_snapshot_xmax(pg_current_snapshot())
		from meridian.decision_seal for update`).Scan(&h.xid, &h.id, &h.now, &h.lost)
	if err != nil {
		return h, err
	}
	rows, err := tx.Query(ctx, rootSQL+" order by sequence desc limit 1")
	if err != nil {
		return h, err
	}
	roots, err := pgx.CollectRows(rows, scanRoot)
	if err == nil && len(roots) == 1 {
		h.root = *roots[0]
	}
	return h, err
}

// rootSQL reads roots in the order scanRoot takes them.
const rootSQL = "select sequence, at, removed_through, batches, previous, hash, signature from meridian.decision_root"

func scanRoot(row pgx.CollectableRow) (*auditRoot, error) {
	var r auditRoot
	err := row.Scan(&r.Sequence, &r.At, &r.RemovedThrough, &r.Batches, &r.Previous, &r.Hash, &r.Signature)
	return &r, err
}

// next begins the root behind the head.
func (h chainHead) next() auditRoot {
	previous := h.root.Hash
	if previous == nil {
		previous = []byte{}
	}
	return auditRoot{Sequence: h.root.Sequence + 1, At: h.now, Previous: previous}
}

// SealDecisions binds decisions that are not in the chain yet, oldest first,
// into one root, and tells how many; call it until it answers none. Like the
// feed it stays behind the oldest open transaction, so that a decision which
// commits late is not skipped. Two that seal at once wait for one another.
func (s *Store) SealDecisions(ctx context.Context) (sealed int, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		sealed, err = s.sealDecisions(ctx, tx)
		return err
	})
	return sealed, pgErr(err, "seal decisions")
}

func (s *Store) sealDecisions(ctx context.Context, tx pgx.Tx) (int, error) {
	h, err := lockChain(ctx, tx)
	if err != nil {
		return 0, err
	}
	if h.lost {
		return 0, h.recover(ctx, tx) // sealed by the next call, behind this transaction
	}
	batches, last, err := h.gather(ctx, tx)
	if err != nil {
		return 0, err
	}
	unsigned := s.auditKey != nil && len(h.root.Signature) == 0 // the key is new: its first word
	if len(batches) == 0 && !unsigned {
		return 0, nil
	}
	root := h.next()
	for _, b := range batches {
		var sequence int64
		previous := []byte{}
		err := tx.QueryRow(ctx, "select sequence, hash from meridian.decision_batch where writer = $1 order by sequence desc limit 1", b.Writer).
			Scan(&sequence, &previous)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return 0, err
		}
		b.close(root.Sequence, sequence+1, previous)
	}
	root.close(batches, s.auditKey)
	var sealed int
	var q pgx.Batch
	queueRoot(&q, root)
	for _, b := range batches {
		sealed += b.Decisions
		q.Queue(`insert into meridian.decision_batch (writer, sequence, root, decisions, ids, leaves, records, content, previous, hash)
			values ($1, $2, $3, $4, $5, $6, $7::uuid[], $8, $9, $10)`,
			b.Writer, b.Sequence, b.Root, b.Decisions, b.IDs, b.Leaves, idTexts(b.Records), b.Content, b.Previous, b.Hash)
	}
	q.Queue("update meridian.decision_seal set xid = $1::text::xid8, id = $2", last.xid, last.id)
	return sealed, tx.SendBatch(ctx, &q).Close()
}

func queueRoot(q *pgx.Batch, r auditRoot) {
	q.Queue(`insert into meridian.decision_root (sequence, at, removed_through, batches, previous, hash, signature) values ($1, $2, $3, $4, $5, $6, $7)`,
		r.Sequence, r.At, r.RemovedThrough, r.Batches, r.Previous, r.Hash, r.Signature)
	q.Queue("update meridian.decision_seal set root = $1", r.Sequence)
}

// gather reads what is to be sealed, in batches by writer in the order of
// their names, and the position behind it.
func (h chainHead) gather(ctx context.Context, tx pgx.Tx) ([]*auditBatch, chainHead, error) {
	rows, err := tx.Query(ctx, "select "+decisionColumns+`, d.xid::text from meridian.decision_log d
		where (d.xid, d.id) > ($1::text::xid8, $2::bigint) and d.xid < pg_snapshot_xmin(pg_current_snapshot())
		order by d.xid, d.id limit $3`, h.xid, h.id, maxSealed)
	if err != nil {
		return nil, h, err
	}
	byWriter := map[string]*auditBatch{}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		d, err := scanDecision(row, &h.xid)
		h.id = d.ID
		b := byWriter[d.Writer]
		if b == nil {
			b = &auditBatch{Writer: d.Writer}
			byWriter[d.Writer] = b
		}
		b.add(d)
		return struct{}{}, err
	})
	var batches []*auditBatch
	for _, writer := range slices.Sorted(maps.Keys(byWriter)) {
		batches = append(batches, byWriter[writer])
	}
	return batches, h, err
}

// recover begins anew after the database was restored into a server that
// counts its transactions from the start: what the chain holds stays behind
// the position, everything else comes after it, whatever its number was.
func (h chainHead) recover(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "select meridian.requeue_decisions()")
	return err
}

// RemoveDecisions removes the rows of decisions that were sealed longer than
// kept ago: whole roots from the old end. Their hashes stay and a root notes
// it, so the chain is still verified from its first link. It tells how many
// roots it emptied; call it until it answers none.
func (s *Store) RemoveDecisions(ctx context.Context, kept time.Duration) (emptied int64, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		emptied, err = s.removeDecisions(ctx, tx, kept)
		return err
	})
	return emptied, pgErr(err, "remove decisions")
}

func (s *Store) removeDecisions(ctx context.Context, tx pgx.Tx, kept time.Duration) (int64, error) {
	h, err := lockChain(ctx, tx)
	if err != nil {
		return 0, err
	}
	var from, to int64
	err = tx.QueryRow(ctx, `
		with removed as (select coalesce(max(removed_through), 0) as through from meridian.decision_root),
		old as (select sequence, at, batches from meridian.decision_root, removed where sequence > through order by sequence limit $1)
		select through, coalesce((select max(sequence) from old where at < $2 and batches > 0 -- a note of removal alone is nothing to remove
			and not exists (select from old young where young.sequence < old.sequence and young.at >= $2)), 0) from removed`,
		maxRemoved, h.now.Add(-kept)).Scan(&from, &to)
	if err != nil || to == 0 {
		return 0, err
	}
	root := h.next()
	root.RemovedThrough = to
	root.close(nil, s.auditKey)
	var q pgx.Batch
	queueRoot(&q, root)
	q.Queue("select meridian.remove_decisions($1, $2)", from, to)
	return to - from, tx.SendBatch(ctx, &q).Close()
}
