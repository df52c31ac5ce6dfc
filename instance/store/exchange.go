package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// OfAccount lists at most limit ids of entity's records that belong to an
// account. More is an error: who asks has to look at everything instead. An
// entity nobody installed has none.
func (s *Store) OfAccount(ctx context.Context, entity string, account crm.RecordID, limit int) ([]crm.RecordID, error) {
	return ofAccount(ctx, s.pool, s, entity, account, limit)
}

// OfAccount lists as Store.OfAccount does, inside the transaction.
func (t *Tx) OfAccount(ctx context.Context, entity string, account crm.RecordID, limit int) ([]crm.RecordID, error) {
	return ofAccount(ctx, t.tx, t.s, entity, account, limit)
}

func ofAccount(ctx context.Context, q queries, s *Store, entity string, account crm.RecordID, limit int) ([]crm.RecordID, error) {
	if _, ok := s.Definition(entity); !ok {
		return nil, nil
	}
	ids, err := recordIDs(q.Query(ctx, "select id::text from "+liveTable(entity)+" where account = $1::text::uuid limit $2", string(account), limit+1))
	if err != nil {
		return nil, pgErr(err, "records of an account")
	}
	if len(ids) > limit {
		return nil, fmt.Errorf("more than %d records of %s belong to one account", limit, entity)
	}
	return ids, nil
}

// CursorBefore reports whether the feed reached a before b. Neither may come
// from outside: what cannot be read is not before anything.
func CursorBefore(a, b string) bool {
	ax, ap, errA := splitCursor(a)
	bx, bp, errB := splitCursor(b)
	if errA != nil || errB != nil {
		return false
	}
	if len(ax) != len(bx) { // decimal numbers without leading zeros
		return len(ax) < len(bx)
	}
	return ax < bx || ax == bx && ap < bp
}

// liveTable is the quoted name of an entity's table. Only names of installed
// definitions may be given.
func liveTable(entity string) string { return pgx.Identifier{"record", entity}.Sanitize() }

func recordIDs(rows pgx.Rows, err error) ([]crm.RecordID, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[crm.RecordID])
}

// uuidTexts gives ids the form in which they are bound: text that the
// statement casts.
func uuidTexts(ids []crm.RecordID) []string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = string(id)
	}
	return texts
}
