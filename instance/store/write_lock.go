package store

import (
	"context"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// locked is a record under a row lock, with what the writer's filter says of
// it.
type locked struct {
	rec      crm.Record
	visible  bool
	revealed map[string]bool // of the groups the batch touches
}

// refuses says why the row may not be changed, hidden before all other
// reasons: who may not see a record learns nothing from trying.
func (l *locked) refuses(r Write, instance string) error {
	switch {
	case l == nil || !l.visible:
		return crm.Errorf(crm.NotFound, "not found")
	case l.rec.Home != instance:
		return crm.NotHomeError(l.rec.Home)
	case l.rec.Version != r.Base:
		return crm.Errorf(crm.Stale, "the record is at version %d, the change is based on %d; read it again", l.rec.Version, r.Base)
	}
	for _, g := range r.Touches {
		if !l.revealed[g] {
			return crm.Errorf(crm.Denied, "the fields of group %s are withheld from you on this record; leave them out", g)
		}
	}
	return nil
}

// lockRows locks the rows that the wave updates or deletes and evaluates the
// filter on each as it is now.
func (w *writer) lockRows(ctx context.Context, wave []int) (map[crm.RecordID]*locked, error) {
	byFilter := [][]int{} // rows under one filter; a batch has one, as a rule
	for _, i := range wave {
		r := w.b.Rows[i]
		if r.Op == crm.OpCreate {
			continue
		}
		same := slices.IndexFunc(byFilter, func(rows []int) bool { return reflect.DeepEqual(w.b.Rows[rows[0]].Pre, r.Pre) })
		if same < 0 {
			byFilter = append(byFilter, []int{i})
		} else {
			byFilter[same] = append(byFilter[same], i)
		}
	}
	out := map[crm.RecordID]*locked{}
	for _, rows := range byFilter {
		if err := w.lockUnder(ctx, rows, out); err != nil {
			return nil, pgErr(err, "lock %s", w.b.Entity)
		}
	}
	return out, nil
}

func (w *writer) lockUnder(ctx context.Context, rows []int, out map[crm.RecordID]*locked) error {
	var touched []string
	ids := make([]string, len(rows))
	for n, i := range rows {
		r := w.b.Rows[i]
		ids[n] = string(r.ID)
		for _, g := range r.Touches {
			if !slices.Contains(touched, g) {
				touched = append(touched, g)
			}
		}
	}
	args := &policy.Args{}
	p := newProjection(w.t, w.b.Rows[rows[0]].Pre, args)
	sql := "select " + w.t.selected("r.") + ", (" + p.f.Where(args) + ") is true"
	for _, g := range touched {
		sql += ", (" + p.reveal(g) + ") is true"
	}
	sql += " from " + w.t.live + " r where r.id = any(" + args.Add(ids, "uuid[]") + ") order by r.id for update of r"
	res, err := w.s.door(w.tx, changes).Query(ctx, sql, args.Values()...)
	if err != nil {
		return err
	}
	defer res.Close()
	flags := make([]bool, 1+len(touched))
	row := w.t.scanner(pointers(flags)...)
	for res.Next() {
		if err := row.scan(res); err != nil {
			return err
		}
		l := &locked{rec: row.record(nil), visible: flags[0], revealed: map[string]bool{}}
		for n, g := range touched {
			l.revealed[g] = flags[1+n]
		}
		out[l.rec.ID] = l
	}
	return res.Err()
}

// lockAccounts reads and share-locks the accounts that the wave's records
// follow: their governance cannot change between this read and the commit.
func (w *writer) lockAccounts(ctx context.Context, wave []int) (map[crm.RecordID]crm.Governed, error) {
	if !w.t.follows {
		return nil, nil
	}
	var ids []string
	for _, i := range wave {
		if v, ok := w.b.Rows[i].Set[accountField]; ok && isID(v.Text()) {
			ids = append(ids, v.Text())
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return lockAccounts(ctx, w.s.door(w.tx, changes), ids)
}

func lockAccounts(ctx context.Context, q queries, ids []string) (map[crm.RecordID]crm.Governed, error) {
	rows, err := q.Query(ctx, `select id::text, territory, segment, jurisdiction, sensitivity from record.account
		where id = any($1::uuid[]) order by id for share`, ids)
	if err != nil {
		return nil, pgErr(err, "lock accounts")
	}
	out := map[crm.RecordID]crm.Governed{}
	var id string
	var g crm.Governed
	_, err = pgx.ForEachRow(rows, []any{&id, &g.Territory, &g.Segment, &g.Jurisdiction, &g.Sensitivity}, func() error {
		out[crm.RecordID(id)] = g
		return nil
	})
	return out, pgErr(err, "lock accounts")
}
