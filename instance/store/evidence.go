package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Evidence is all that is kept about what came into force and who signed for
// it, of one moment. The store vouches for none of it: who owns the database
// could have written every line.
type Evidence struct {
	Activations []Activation          // the oldest first
	Keys        map[string]OfficerKey // by id
	Proposals   map[string]Proposal   // by id, with their signatures; without notes and reports
	Rollbacks   []Signature
}

// Evidence reads what is kept about what came into force.
func (s *Store) Evidence(ctx context.Context) (e Evidence, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		e, err = evidence(ctx, tx)
		return err
	})
	return e, pgErr(err, "read what was signed")
}

// Evidence reads as Store.Evidence does, with what the transaction added. It is
// of one moment while the transaction holds LockPolicy.
func (t *Tx) Evidence(ctx context.Context) (Evidence, error) {
	e, err := evidence(ctx, t.tx)
	return e, pgErr(err, "read what was signed")
}

func evidence(ctx context.Context, q queries) (Evidence, error) {
	e := Evidence{Keys: map[string]OfficerKey{}, Proposals: map[string]Proposal{}}
	var err error
	if e.Activations, err = activations(ctx, q, "order by seq"); err != nil {
		return e, err
	}
	keys, err := officerKeys(ctx, q)
	if err != nil {
		return e, err
	}
	for _, k := range keys {
		e.Keys[k.ID] = k
	}
	rows, err := q.Query(ctx, "select id, purpose, about, base, after, content, proposed_by, expires, at from meridian.proposal")
	if err != nil {
		return e, err
	}
	ps, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Proposal, err error) {
		return p, row.Scan(&p.ID, &p.Purpose, &p.About, &p.Base, &p.After, &p.Content, &p.By, &p.Expires, &p.At)
	})
	if err != nil {
		return e, err
	}
	for _, p := range ps {
		e.Proposals[p.ID] = p
	}
	signatures, err := signaturesOf(ctx, q, "purpose in ('propose', 'enroll', 'approve', 'rollback')")
	if err != nil {
		return e, err
	}
	for _, s := range signatures {
		if s.Purpose == "rollback" {
			e.Rollbacks = append(e.Rollbacks, s)
		} else if p, ok := e.Proposals[s.Proposal]; ok {
			p.Signatures = append(p.Signatures, s)
			e.Proposals[s.Proposal] = p
		}
	}
	return e, nil
}
