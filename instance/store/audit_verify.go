package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// What can be wrong with the decision log.
const (
	Changed   = "changed"   // it is there and says something else
	Dropped   = "dropped"   // the chain holds it, the log does not
	Inserted  = "inserted"  // the log holds it, the chain does not
	Reordered = "reordered" // it stands where another stood
	Truncated = "truncated" // the newest part is gone
	Unsigned  = "unsigned"  // its signature is missing or another's
)

// AuditBreak is the first place where the log does not fit its chain.
type AuditBreak struct {
	Kind     string
	Root     int64
	Writer   string
	Batch    int64
	Decision int64
	Text     string
}

// Audit is what a verification found.
type Audit struct {
	Break      *AuditBreak // nil when the log is whole
	Head       string      // the newest root, to be noted elsewhere
	HeadAt     time.Time
	Roots      int64
	Batches    int64
	Decisions  int64 // recomputed
	Removed    int64 // by retention
	Pending    int64 // not sealed yet
	SignedFrom int64 // the oldest root with a signature, 0 without
}

// pageOfRoots is how many roots are recomputed at a time.
const pageOfRoots = 20

// VerifyDecisions recomputes the chain of the decision log from its first link
// to its newest, every decision that is kept, and looks for decisions that no
// batch holds, all as of one moment. anchor, if given, is a head that was noted
// before; the chain must still hold it.
//
// It finds whatever was done to decisions, batches or roots by somebody who
// did not make all later hashes anew. Against who does, and against cutting
// off the newest roots together with all that belongs to them, only an anchor
// or, as long as the key stays secret, the signatures help.
func (s *Store) VerifyDecisions(ctx context.Context, anchor string) (Audit, error) {
	sequence, hash, err := parseAnchor(anchor)
	if err != nil {
		return Audit{}, err
	}
	v := verifier{s: s, anchor: sequence, anchored: hash, writers: map[string]*auditBatch{}}
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		v.tx = tx
		return v.run(ctx)
	})
	return v.found, pgErr(err, "verify the decision log")
}

// verifier walks the chain once.
type verifier struct {
	s        *Store
	tx       pgx.Tx
	anchor   int64
	anchored []byte

	through int64 // rows of roots up to here were removed
	root    auditRoot
	writers map[string]*auditBatch // the newest of each, lists left out
	found   Audit
}

func (v *verifier) run(ctx context.Context) error {
	if err := v.tx.QueryRow(ctx, "select coalesce(max(removed_through), 0) from meridian.decision_root").Scan(&v.through); err != nil {
		return err
	}
	for {
		rows, err := v.tx.Query(ctx, rootSQL+" where sequence > $1 order by sequence limit $2", v.root.Sequence, pageOfRoots)
		if err != nil {
			return err
		}
		roots, err := pgx.CollectRows(rows, scanRoot)
		if err != nil {
			return err
		}
		if len(roots) == 0 {
			break
		}
		if v.found.Break, err = v.page(ctx, roots); err != nil || v.found.Break != nil {
			return err
		}
	}
	v.found.Head, v.found.HeadAt = v.root.anchor(), v.root.At.UTC()
	b, err := v.end(ctx)
	v.found.Break = b
	return err
}

func (v *verifier) page(ctx context.Context, roots []*auditRoot) (*AuditBreak, error) {
	first, last := roots[0].Sequence, roots[len(roots)-1].Sequence
	rows, err := v.tx.Query(ctx, `select writer, sequence, root, decisions, ids, leaves, records::text[], content, previous, hash
		from meridian.decision_batch where root between $1 and $2 order by root, writer, sequence`, first, last)
	if err != nil {
		return nil, err
	}
	batches := map[int64][]*auditBatch{}
	var ids []int64
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var b auditBatch
		var records []string
		err := row.Scan(&b.Writer, &b.Sequence, &b.Root, &b.Decisions, &b.IDs, &b.Leaves, &records, &b.Content, &b.Previous, &b.Hash)
		b.Records = parsedIDs(records)
		batches[b.Root] = append(batches[b.Root], &b)
		ids = append(ids, b.IDs...)
		return struct{}{}, err
	})
	if err != nil {
		return nil, err
	}
	rows, err = v.tx.Query(ctx, decisionSQL+" where d.id = any($1)", ids)
	if err != nil {
		return nil, err
	}
	logged := make(map[int64]Decision, len(ids))
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		d, err := toDecision(row)
		logged[d.ID] = d
		return struct{}{}, err
	})
	if err != nil {
		return nil, err
	}
	for _, r := range roots {
		if b := v.checkRoot(r, batches[r.Sequence], logged); b != nil {
			return b, nil
		}
	}
	return nil, nil
}

// checkRoot goes from the smallest to the largest, so that what was changed is
// named and not only that something was.
func (v *verifier) checkRoot(r *auditRoot, batches []*auditBatch, logged map[int64]Decision) *AuditBreak {
	bad := func(kind, format string, args ...any) *AuditBreak {
		return &AuditBreak{Kind: kind, Root: r.Sequence, Text: fmt.Sprintf(format, args...)}
	}
	if r.Sequence != v.root.Sequence+1 {
		b := bad(Dropped, "root %d is missing", v.root.Sequence+1)
		b.Root = v.root.Sequence + 1
		return b
	}
	for _, b := range batches {
		if broken := v.checkBatch(b, logged); broken != nil {
			return broken
		}
	}
	switch {
	case len(batches) < r.Batches:
		return bad(Dropped, "root %d seals %d batches, %d are there", r.Sequence, r.Batches, len(batches))
	case len(batches) > r.Batches:
		return bad(Inserted, "root %d seals %d batches, %d are there", r.Sequence, r.Batches, len(batches))
	case !bytes.Equal(r.Previous, v.root.Hash):
		return bad(Changed, "root %d does not follow root %d", r.Sequence, v.root.Sequence)
	case !bytes.Equal(r.Hash, r.hash(batches)):
		return bad(Changed, "root %d is not what its hash says", r.Sequence)
	case r.Sequence == v.anchor && !bytes.Equal(r.Hash, v.anchored):
		return bad(Changed, "root %d is not the one that was noted: the chain was made anew", r.Sequence)
	}
	if b := v.checkSignature(r); b != nil {
		return b
	}
	v.root = *r
	v.found.Roots++
	return nil
}

func (v *verifier) checkSignature(r *auditRoot) *AuditBreak {
	if len(r.Signature) > 0 && v.found.SignedFrom == 0 {
		v.found.SignedFrom = r.Sequence
	}
	if v.s.auditKey == nil || v.found.SignedFrom == 0 || r.signed(v.s.auditKey) {
		return nil
	}
	return &AuditBreak{Kind: Unsigned, Root: r.Sequence, Text: fmt.Sprintf("root %d does not bear this instance's signature", r.Sequence)}
}

// checkBatch compares a batch with the one before it and with its decisions.
func (v *verifier) checkBatch(b *auditBatch, logged map[int64]Decision) *AuditBreak {
	bad := func(kind, format string, args ...any) *AuditBreak {
		return &AuditBreak{Kind: kind, Root: b.Root, Writer: b.Writer, Batch: b.Sequence, Text: fmt.Sprintf(format, args...)}
	}
	last := v.writers[b.Writer]
	if last == nil {
		last = &auditBatch{}
	}
	switch {
	case b.Sequence != last.Sequence+1:
		missing := bad(Dropped, "batch %d of %q is missing", last.Sequence+1, b.Writer)
		missing.Batch = last.Sequence + 1
		return missing
	case !bytes.Equal(b.Previous, last.Hash):
		return bad(Changed, "batch %d of %q does not follow batch %d", b.Sequence, b.Writer, last.Sequence)
	case !bytes.Equal(b.Hash, b.hash()):
		return bad(Changed, "batch %d of %q is not what its hash says", b.Sequence, b.Writer)
	}
	if b.Root > v.through {
		if broken := checkDecisions(b, logged, bad); broken != nil {
			return broken
		}
		v.found.Decisions += int64(b.Decisions)
	} else {
		v.found.Removed += int64(b.Decisions)
	}
	v.found.Batches++
	v.writers[b.Writer] = &auditBatch{Sequence: b.Sequence, Hash: b.Hash}
	return nil
}

func checkDecisions(b *auditBatch, logged map[int64]Decision, bad func(kind, format string, args ...any) *AuditBreak) *AuditBreak {
	if len(b.IDs) != b.Decisions || len(b.Leaves) != b.Decisions*sha256.Size {
		return bad(Changed, "batch %d of %q holds %d decisions, its list has %d", b.Sequence, b.Writer, b.Decisions, len(b.IDs))
	}
	var concerns []crm.RecordID
	for n, id := range b.IDs {
		d, there := logged[id]
		var broken *AuditBreak
		switch {
		case !there:
			broken = bad(Dropped, "decision %d is missing", id)
		case bytes.Equal(leaf(d), b.leafAt(n)):
			concerns = append(append(concerns, d.Records...), d.Refused...)
			continue
		default:
			broken = bad(Changed, "decision %d is not the one that was sealed", id)
			for other := range b.IDs {
				if other != n && bytes.Equal(leaf(d), b.leafAt(other)) {
					broken = bad(Reordered, "decision %d stands where decision %d was sealed", b.IDs[other], id)
				}
			}
		}
		broken.Decision = id
		return broken
	}
	if !bytes.Equal(b.Content, b.content()) {
		return bad(Reordered, "the decisions of batch %d of %q are not in the order in which they were sealed", b.Sequence, b.Writer)
	}
	slices.Sort(concerns)
	if !slices.Equal(slices.Compact(concerns), b.Records) {
		return bad(Changed, "batch %d of %q concerns other records than its index says", b.Sequence, b.Writer)
	}
	return nil
}

// end looks for what no root leads to.
func (v *verifier) end(ctx context.Context) (*AuditBreak, error) {
	var newest, batches, inserted int64
	err := v.tx.QueryRow(ctx, `
		with sealed as (select unnest(ids) as id from meridian.decision_batch)
		select p.root, (select count(*) from meridian.decision_batch),
			(select count(*) from meridian.decision_log d where (d.xid, d.id) > (p.xid, p.id)),
			coalesce((select min(d.id) from meridian.decision_log d where (d.xid, d.id) <= (p.xid, p.id)
				and not exists (select from sealed where sealed.id = d.id)),
				(select min(d.id) from meridian.decision_log d where d.xid >= pg_snapshot_xmax(pg_current_snapshot())), 0)
		from meridian.decision_seal p`).Scan(&newest, &batches, &v.found.Pending, &inserted)
	if err != nil {
		return nil, err
	}
	head := v.root.Sequence
	switch {
	case head < newest || head < v.anchor:
		return &AuditBreak{Kind: Truncated, Root: head + 1, Text: fmt.Sprintf("the chain ends with root %d, it went to root %d", head, max(newest, v.anchor))}, nil
	case batches != v.found.Batches:
		return &AuditBreak{Kind: Inserted, Text: fmt.Sprintf("%d batches belong to no root", batches-v.found.Batches)}, nil
	case inserted != 0:
		return &AuditBreak{Kind: Inserted, Decision: inserted, Text: fmt.Sprintf("decision %d was put in behind the seal", inserted)}, nil
	case v.s.auditKey != nil && head > 0 && len(v.root.Signature) == 0:
		return &AuditBreak{Kind: Unsigned, Root: head, Text: fmt.Sprintf("the newest root, %d, is not signed", head)}, nil
	}
	return nil, nil
}
