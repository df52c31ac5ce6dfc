package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

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
	ids, err := recordIDs(s.door(q, idsToJudge).Query(ctx, "select id::text from "+liveTable(entity)+" where account = $1::text::uuid limit $2", string(account), limit+1))
	if err != nil {
		return nil, pgErr(err, "records of an account")
	}
	if len(ids) > limit {
		return nil, fmt.Errorf("more than %d records of %s belong to one account", limit, entity)
	}
	return ids, nil
}

// Moment tells which changes were over when it was taken: who looks at records
// after it has seen them, although the feed may still have to hand them out
// because an older transaction is open. The zero Moment is before everything.
type Moment struct {
	min, max uint64 // below min all are over, from max on none is
	open     map[uint64]bool
}

// Moment takes the moment of now.
func (s *Store) Moment(ctx context.Context) (Moment, error) {
	var text string
	if err := s.pool.QueryRow(ctx, "select pg_current_snapshot()::text").Scan(&text); err != nil {
		return Moment{}, pgErr(err, "read the moment")
	}
	m := Moment{open: map[uint64]bool{}}
	parts := strings.SplitN(text, ":", 3) // xmin:xmax:xip,xip
	if len(parts) != 3 {
		return Moment{}, fmt.Errorf("snapshot %q has not three parts", text)
	}
	var errs [2]error
	m.min, errs[0] = strconv.ParseUint(parts[0], 10, 64)
	m.max, errs[1] = strconv.ParseUint(parts[1], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return Moment{}, err
	}
	for xip := range strings.SplitSeq(parts[2], ",") {
		if xip == "" {
			continue
		}
		xid, err := strconv.ParseUint(xip, 10, 64)
		if err != nil {
			return Moment{}, err
		}
		m.open[xid] = true
	}
	return m, nil
}

// Saw reports whether the change at cursor was over.
func (m Moment) Saw(cursor string) bool {
	text, _, err := splitCursor(cursor)
	if err != nil {
		return false
	}
	xid, err := strconv.ParseUint(text, 10, 64)
	return err == nil && (xid < m.min || xid < m.max && !m.open[xid])
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
