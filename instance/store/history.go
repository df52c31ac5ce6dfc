package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// History lists past versions of the one record in r.IDs, newest first, those
// before version before if that is not zero. They are shown if the record as
// it is now, or was before it was deleted, passes the filter; a version shows
// of a group the least of what today's filter shows of it on that version and
// on the record now.
func (s *Store) History(ctx context.Context, r Read, limit int, before int64) (vs []crm.Version, stamp int64, err error) {
	t, err := s.table(r.Entity)
	if err != nil {
		return nil, 0, err
	}
	if len(r.IDs) != 1 {
		return nil, 0, crm.FieldErrorf("id", "history is read for one record at a time")
	}
	args := &policy.Args{}
	sql, shown := t.historySQL(newProjection(t, r.Filter, args), args.Add(string(r.IDs[0]), "uuid"), before, min(max(limit, 1), maxPage))
	batch := &pgx.Batch{}
	batch.Queue(sql, args.Values()...).Query(func(rows pgx.Rows) error {
		vs, err = t.versions(rows, shown)
		return err
	})
	batch.Queue(stampSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&stamp, nil) })
	if err := s.door(s.pool, filtered).SendBatch(ctx, batch).Close(); err != nil {
		return nil, 0, pgErr(err, "history of %s", r.Entity)
	}
	return vs, stamp, nil
}

func (t *table) historySQL(p *projection, id string, before int64, limit int) (string, *showing) {
	where := "(" + p.f.Where(p.args) + ")"
	showing := p.showing()
	var today, reveals, masks []string
	by := map[string]sight{} // how a version shows a group
	for i, g := range t.groups {
		today = append(today, fmt.Sprintf("(%s) is true as g%d", p.reveal(g), i))
		reveal := fmt.Sprintf("n.g%d and (%s) is true and (%s) is true", i, where, p.reveal(g))
		reveals = append(reveals, reveal)
		if showing.masks[i] {
			today = append(today, fmt.Sprintf("(%s or %s) is true as m%d", p.reveal(g), p.mask(g), i))
			mask := fmt.Sprintf("n.m%d and (%s) is true and (%s or %s) is true", i, where, p.reveal(g), p.mask(g))
			masks = append(masks, mask)
			by[g] = sight{reveal: reveal, mask: mask}
		}
	}
	selected := t.selectedAs(func(c column) string {
		s, masked := by[c.field.Group]
		if !masked || c.field.Mask == crm.MaskHide {
			return "r." + c.sql
		}
		s.col = c
		return s.sql()
	})
	now := "select " + strings.Join(today, ", ") + " from "
	last := "(select " + t.list("h.") + " from " + t.past + " h join meridian.tombstone b on b.id = h.id where h.id = " + id +
		" and h.op <> 'delete' order by h.version desc limit 1) r"
	sql := "with now as materialized (" + now + t.live + " r where r.id = " + id + " and " + where + " union all " + now + last + " where " + where + ")" +
		" select " + selected + ", r.op, r.at, r.actor, r.execution, r.steps::text, " + strings.Join(append(reveals, masks...), ", ") +
		" from " + t.past + " r cross join now n where r.id = " + id
	if before > 0 {
		sql += " and r.version < " + p.args.Add(before, "bigint")
	}
	return sql + fmt.Sprintf(" order by r.version desc limit %d", limit), showing
}

func (t *table) versions(rows pgx.Rows, shown *showing) ([]crm.Version, error) {
	var vs []crm.Version
	var v crm.Version
	var op string
	var steps *string
	row := t.scanner(append([]any{&op, &v.At, &v.Actor, &v.Execution, &steps}, shown.targets()...)...)
	for rows.Next() {
		if err := row.scan(rows); err != nil {
			return nil, err
		}
		one := crm.Version{Record: row.record(shown), Op: crm.Op(op), At: v.At.UTC(), Actor: v.Actor, Execution: v.Execution}
		if steps != nil {
			if err := json.Unmarshal([]byte(*steps), &one.Steps); err != nil {
				return nil, fmt.Errorf("steps of version %d: %w", one.Version, err)
			}
		}
		vs = append(vs, one)
	}
	return vs, rows.Err()
}
