package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

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

// OutboxKept is how long a change can be read at least, counted from when it
// could be read first. Readers with a cursor of their own in memory, watchers
// and the like, follow within milliseconds; one that could not read for nearly
// as long must look at everything again.
const OutboxKept = 5 * time.Minute

// trimBatch bounds the changes that one statement removes.
const trimBatch = 10_000

// TrimOutbox removes the changes before mark, a head of the feed that is at
// least OutboxKept old, but none that the relay has not read: the relay's
// cursor is stored and may be far behind. Without a relay there is nobody to
// wait for; one that begins later begins at the head. It answers the mark of
// the next call. The empty mark removes nothing.
func (s *Store) TrimOutbox(ctx context.Context, mark string) (next string, err error) {
	if next, err = s.Head(ctx); err != nil || mark == "" {
		return next, err
	}
	xid, pos, err := splitCursor(mark)
	if err != nil {
		return "", err
	}
	for {
		tag, err := s.pool.Exec(ctx, `
			with read as (select split_part(cursor, ':', 1)::xid8 as xid, split_part(cursor, ':', 2)::bigint as pos from meridian.exchange_relay)
			delete from meridian.outbox where (xid, pos) in (
				select o.xid, o.pos from meridian.outbox o left join read on true
				where (o.xid, o.pos) < ($1::text::xid8, $2::bigint) and (read.xid is null or (o.xid, o.pos) <= (read.xid, read.pos))
				order by o.xid, o.pos limit $3)`, xid, pos, trimBatch)
		if err != nil {
			return "", pgErr(err, "trim the outbox")
		}
		if tag.RowsAffected() < trimBatch {
			return next, nil
		}
	}
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
