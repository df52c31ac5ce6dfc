package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Changes reads the feed after cursor, in the order of transactions; "" begins
// at the oldest entry. It stays behind the oldest open transaction: a serial
// number alone would skip what commits late. next is where to go on.
func (s *Store) Changes(ctx context.Context, cursor string, limit int) (cs []crm.Change, next string, err error) {
	xid, pos, err := splitCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.pool.Query(ctx, `select xid::text || ':' || pos, kind, entity, coalesce(record_id::text, ''), version, op, at, actor, execution
		from meridian.outbox where (xid, pos) > ($1::text::xid8, $2::bigint) and xid < pg_snapshot_xmin(pg_current_snapshot())
		order by xid, pos limit $3`, xid, pos, limit)
	if err != nil {
		return nil, "", pgErr(err, "read changes")
	}
	cs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c crm.Change, err error) {
		err = row.Scan(&c.Cursor, &c.Kind, &c.Entity, &c.ID, &c.Version, &c.Op, &c.At, &c.Actor, &c.Execution)
		c.At = c.At.UTC()
		return c, err
	})
	if err != nil {
		return nil, "", pgErr(err, "read changes")
	}
	next = fmt.Sprintf("%s:%d", xid, pos)
	if len(cs) > 0 {
		next = cs[len(cs)-1].Cursor
	}
	return cs, next, nil
}

// Head is the cursor behind everything that Changes can hand out now.
func (s *Store) Head(ctx context.Context) (cursor string, err error) {
	err = s.pool.QueryRow(ctx, "select pg_snapshot_xmin(pg_current_snapshot())::text || ':0'").Scan(&cursor)
	return cursor, pgErr(err, "read head of the feed")
}

// splitCursor reads "xid:pos".
func splitCursor(cursor string) (xid string, pos int64, err error) {
	if cursor == "" {
		return "0", 0, nil
	}
	xid, rest, _ := strings.Cut(cursor, ":")
	if _, err := strconv.ParseUint(xid, 10, 64); err == nil {
		if pos, err = strconv.ParseInt(rest, 10, 64); err == nil && pos >= 0 {
			return xid, pos, nil
		}
	}
	return "", 0, crm.FieldErrorf("cursor", "is not a cursor of this feed; begin without one")
}
