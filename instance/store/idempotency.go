package store

import (
	"context"
	"time"

	"meridian/instance/crm"
)

// keysKept is how long an idempotency key is remembered.
const keysKept = 48 * time.Hour

// Idempotent claims key for subject in this transaction, or finds the answer
// that was given under it. A second call with the same key waits until the
// first has committed. hash names the request: the same key with another
// request is a conflict.
func (t *Tx) Idempotent(ctx context.Context, subject crm.SubjectID, key, hash string) (prior []byte, found bool, err error) {
	tag, err := t.tx.Exec(ctx, `insert into meridian.idempotency (subject, key, hash) values ($1, $2, $3) on conflict do nothing`, string(subject), key, hash)
	if err != nil {
		return nil, false, pgErr(err, "claim idempotency key")
	}
	if tag.RowsAffected() == 1 {
		return nil, false, nil
	}
	var was string
	err = t.tx.QueryRow(ctx, "select hash, answer from meridian.idempotency where subject = $1 and key = $2", string(subject), key).Scan(&was, &prior)
	if err != nil {
		return nil, false, pgErr(err, "read idempotency key")
	}
	if was != hash {
		e := crm.Errorf(crm.Conflict, "the key was used for another request; use a fresh one")
		e.Field = "idempotency_key"
		return nil, false, e
	}
	return prior, true, nil
}

// SaveIdempotent keeps the answer under a key claimed in this transaction. It
// holds ids, not values: a replay reads them again under today's policy.
func (t *Tx) SaveIdempotent(ctx context.Context, subject crm.SubjectID, key, hash string, answer []byte) error {
	_, err := t.tx.Exec(ctx, "update meridian.idempotency set answer = $4 where subject = $1 and key = $2 and hash = $3", string(subject), key, hash, answer)
	return pgErr(err, "save answer under idempotency key")
}

// ForgetKeys removes idempotency keys that are older than two days.
func (s *Store) ForgetKeys(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, "delete from meridian.idempotency where at < now() - $1::interval", keysKept)
	return pgErr(err, "forget idempotency keys")
}
