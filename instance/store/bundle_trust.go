package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// TrustedKey is a key that the operator's configuration vouches for: the root
// from which officers enrol one another.
type TrustedKey struct {
	ID         string
	Subject    crm.SubjectID
	Department string // the one it is declared in if empty
	Public     []byte
	Until      time.Time
}

// TrustKeys makes the operator's keys those that are configured: one that is
// gone from the configuration is revoked. A revoked key stays revoked. The owner
// does it: the role that serves cannot vouch for a key.
func (s *Store) TrustKeys(ctx context.Context, keys []TrustedKey) error {
	err := s.asOwner(ctx, func(tx pgx.Tx) error {
		t := &Tx{tx: tx, s: s}
		if err := t.LockPolicy(ctx); err != nil {
			return err
		}
		ids := make([]string, len(keys))
		for i, k := range keys {
			ids[i] = k.ID
			if k.Department == "" {
				// As declared: officers edit assignments, and would choose whose second
				// signature counts.
				if err := t.tx.QueryRow(ctx, `select coalesce(min((key ->> 2) collate "C"), '') from meridian.declared
					where kind = 'assignment' and key ->> 0 = $1 and key ->> 1 = 'department'`,
					string(k.Subject)).Scan(&k.Department); err != nil {
					return pgErr(err, "look up an officer's department")
				}
			}
			if k.Department == "" {
				return crm.FieldErrorf("policy.officers", "%s belongs to no department, so nobody could be of another", k.Subject)
			}
			// One that ended before this instance ever saw it is kept as over.
			_, err := t.tx.Exec(ctx, `insert into meridian.officer_key (id, subject, department, public_key, valid_from, valid_to)
				values ($1, $2, $3, $4, least(clock_timestamp(), $5::timestamptz - interval '1 microsecond'), $5)
				on conflict (id) do update set subject = excluded.subject, department = excluded.department, valid_to = excluded.valid_to
				where officer_key.proposal = ''
				  and row(officer_key.subject, officer_key.department, officer_key.valid_to) <> row(excluded.subject, excluded.department, excluded.valid_to)`,
				k.ID, string(k.Subject), k.Department, k.Public, k.Until)
			if err != nil {
				return pgErr(err, "trust a key")
			}
		}
		_, err := t.tx.Exec(ctx, `update meridian.officer_key set revoked_at = clock_timestamp(), reason = 'the operator''s configuration does not name it any more'
			where proposal = '' and revoked_at is null and not id = any ($1)`, ids)
		return pgErr(err, "revoke what the operator does not trust any more")
	})
	return pgErr(err, "trust the operator's keys")
}
