package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Differing is one record that two views show differently.
type Differing struct {
	ID     crm.RecordID
	Gained bool // seen in the later view alone
	Lost   bool // seen in the earlier view alone
	Later  bool // seen in neither, and in the later one when what closes it today ends
	// Field groups that become shown, hidden or masked on it.
	Shown, Hidden, Masked []string
	Held                  bool // the destination of the contract asked about holds it
}

// EachDiffering tells of every record that two views show differently, in no
// order, out of one statement. For a contract it says what the destination
// holds; "" for a subject. It returns the access stamp that it holds under.
func (s *Store) EachDiffering(ctx context.Context, entity, contract string, before, after View, tell func(Differing) error) (stamp int64, err error) {
	d, from, err := s.differing(ctx, entity, before, after)
	if err != nil {
		return 0, err
	}
	var told error
	batch := &pgx.Batch{}
	if from != "" {
		rows := d.rows(from)
		held := "false"
		if contract != "" {
			held = "exists (select from meridian.egress_holding h where h.record_id = r.id and h.held and h.contract = " + d.args.Add(contract, "text") + ")"
		}
		sql := "select r.id::text, r.how, " + held + " from (" + rows + ") r"
		batch.Queue(custom)
		batch.Queue(sql, d.args.Values()...).Query(func(rows pgx.Rows) error {
			var id crm.RecordID
			var how string
			var held bool
			_, err := pgx.ForEachRow(rows, []any{&id, &how, &held}, func() error {
				told = tell(d.one(id, how, held))
				return told
			})
			return err
		})
	}
	batch.Queue(stampSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&stamp, nil) })
	err = s.door(s.pool, filtered).SendBatch(ctx, batch).Close()
	if told != nil {
		return 0, told
	}
	return stamp, pgErr(err, "compare two views of %s", entity)
}

func (d *differing) one(id crm.RecordID, how string, held bool) Differing {
	out := Differing{ID: id, Gained: how[:1] == gainedRow, Lost: how[:1] == lostRow, Held: held}
	for i, g := range d.t.groups {
		switch how[1+i] {
		case becomesShown:
			out.Shown = append(out.Shown, g)
		case becomesHidden:
			out.Hidden = append(out.Hidden, g)
		case becomesMasked:
			out.Masked = append(out.Masked, g)
		}
	}
	return out
}
