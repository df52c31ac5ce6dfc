package store

import (
	"context"
	"errors"

	"crypto/cipher"
	"github.com/jackc/pgx/v5/pgxpool"
	"meridian/instance/crm"
)

var pending = errors.New("store: being written")

type tables struct{}
type shapes struct{}

func openSeal(ctx context.Context, pool *pgxpool.Pool) (cipher.AEAD, error) { return nil, nil }
func (s *Store) restore(ctx context.Context) error                          { return nil }

// Install makes or extends the tables of the definitions.
func (s *Store) Install(ctx context.Context, defs []crm.Definition) error { return pending }

// Definition is the installed definition of an entity.
func (s *Store) Definition(entity string) (crm.Definition, bool) { return crm.Definition{}, false }

// Definitions are all installed definitions, by entity.
func (s *Store) Definitions() []crm.Definition { return nil }

// List reads one page.
func (s *Store) List(ctx context.Context, r Read) (Page, error) { return Page{}, pending }

// Count counts what List would return in all.
func (s *Store) Count(ctx context.Context, r Read) (n, stamp int64, err error) { return 0, 0, pending }

// Get reads the records of r.IDs that r.Filter shows, in that order.
func (s *Store) Get(ctx context.Context, r Read) (Page, error) { return Page{}, pending }

// Get reads as Store.Get does, inside the transaction.
func (t *Tx) Get(ctx context.Context, r Read) (Page, error) { return Page{}, pending }

// VisibleIDs lists the ids of all records that List would return.
func (s *Store) VisibleIDs(ctx context.Context, r Read) (ids []crm.RecordID, stamp int64, err error) {
	return nil, 0, pending
}

// History lists past versions of the one record in r.IDs, newest first, those
// before version before if that is not zero.
func (s *Store) History(ctx context.Context, r Read, limit int, before int64) (vs []crm.Version, stamp int64, err error) {
	return nil, 0, pending
}

// Load reads records unmasked and unfiltered: pre-images, for access only.
func (s *Store) Load(ctx context.Context, entity string, ids []crm.RecordID) (map[crm.RecordID]crm.Record, error) {
	return nil, pending
}

// Load reads as Store.Load does, inside the transaction.
func (t *Tx) Load(ctx context.Context, entity string, ids []crm.RecordID) (map[crm.RecordID]crm.Record, error) {
	return nil, pending
}

// FindByKey finds this instance's own live records by the entity's key.
func (s *Store) FindByKey(ctx context.Context, entity string, keys []string) (map[string]crm.RecordID, error) {
	return nil, pending
}

// Write stores a batch.
func (t *Tx) Write(ctx context.Context, b WriteBatch) ([]Written, error) { return nil, pending }

// Import applies what other instances sent.
func (t *Tx) Import(ctx context.Context, rows []ImportWrite) ([]error, error) { return nil, pending }

// Idempotent claims a key.
func (t *Tx) Idempotent(ctx context.Context, subject crm.SubjectID, key, hash string) (prior []byte, found bool, err error) {
	return nil, false, pending
}

// SaveIdempotent keeps the answer under a claimed key.
func (t *Tx) SaveIdempotent(ctx context.Context, subject crm.SubjectID, key, hash string, answer []byte) error {
	return pending
}

// Changes reads the feed after cursor.
func (s *Store) Changes(ctx context.Context, cursor string, limit int) (cs []crm.Change, next string, err error) {
	return nil, "", pending
}

// Head is the cursor behind everything that is committed now.
func (s *Store) Head(ctx context.Context) (cursor string, err error) { return "", pending }
