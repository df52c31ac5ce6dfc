package store

import (
	"context"
	"strings"

	"meridian/instance/crm"
	"meridian/policy"
)

// statement stores images in one go: live rows, history, outbox, and for a
// delete the tombstone. It returns id, version, created and updated of the rows
// that were stored; those whose post-image the filter refuses are left out.
func (w *writer) statement(first Write, images []image) (sql string, args []any, err error) {
	a := &policy.Args{}
	if first.Op == crm.OpDelete {
		return w.deleting(a, images), a.Values(), nil
	}
	source, err := w.source(a, images)
	if err != nil {
		return "", nil, err
	}
	if first.Op == crm.OpCreate {
		return w.creating(a, source, first.Post), a.Values(), nil
	}
	return w.updating(a, source, first.Post), a.Values(), nil
}

// source is the images as rows of the table's columns.
func (w *writer) source(a *policy.Args, images []image) (string, error) {
	rows := make([][]*string, len(images))
	steps := extra{name: "steps", pg: "jsonb"}
	for n, img := range images {
		s, err := stepsText(w.b.Rows[img.at].Steps)
		if err != nil {
			return "", err
		}
		rows[n], steps.values = img.texts, append(steps.values, s)
	}
	return w.t.source(a, rows, steps), nil
}

// extra is a column of a source beside the table's.
type extra struct {
	name, pg string
	values   []*string
}

// source is rows of texts as rows of the table's columns in their types, so
// that a filter can be asked about them before anything is stored. A time that
// is not given is now.
func (t *table) source(a *policy.Args, rows [][]*string, more ...extra) string {
	var names, arrays, columns []string
	add := func(name, cast string, values []*string) {
		arrays = append(arrays, a.Add(values, "text[]"))
		names = append(names, name)
		switch name {
		case `"created"`, `"updated"`:
			columns = append(columns, "coalesce(x."+name+cast+", statement_timestamp()) as "+name)
		default:
			columns = append(columns, "x."+name+cast+" as "+name)
		}
	}
	for i, c := range t.columns {
		values := make([]*string, len(rows))
		for n, row := range rows {
			values[n] = row[i]
		}
		add(c.sql, c.cast(), values)
	}
	for _, m := range more {
		add(m.name, "::"+m.pg, m.values)
	}
	return "select " + strings.Join(columns, ", ") + " from unnest(" + strings.Join(arrays, ", ") + ") x(" + strings.Join(names, ", ") + ")"
}

// cast makes the column's type of a text.
func (c column) cast() string {
	switch {
	case c.pg != "text":
		return "::" + c.pg
	case c.field.Name == "":
		return ` collate "C"`
	}
	return ""
}

// creating inserts the images. An id that was used by a record that is gone
// comes back as version 0.
func (w *writer) creating(a *policy.Args, source string, post policy.Filter) string {
	live := "insert into " + w.t.live + " (" + w.t.list("") + ") select " + w.t.list("r.") + " from image r where (" + post.Where(a) +
		") and not exists (select 1 from meridian.tombstone b where b.id = r.id) returning " + w.t.list("")
	return w.recorded(a, "image as ("+source+"), live as ("+live+")", crm.OpCreate, stepsOfImage) +
		" union all select b.id::text, 0, b.at, b.at from meridian.tombstone b join image r on r.id = b.id"
}

const stepsOfImage = "(select i.steps from image i where i.id = l.id)"

// updating writes the whole post-image over the locked row.
func (w *writer) updating(a *policy.Args, source string, post policy.Filter) string {
	var sets []string
	for _, c := range w.t.columns {
		switch c.name {
		case "id", "created":
		case "updated":
			sets = append(sets, "updated = "+laterThan("t.updated"))
		default:
			sets = append(sets, c.sql+" = r."+c.sql)
		}
	}
	live := "update " + w.t.live + " t set " + strings.Join(sets, ", ") + " from image r where t.id = r.id and t.version = r.version - 1 and (" +
		post.Where(a) + ") returning " + w.t.list("t.")
	return w.recorded(a, "image as ("+source+"), live as ("+live+")", crm.OpUpdate, stepsOfImage)
}

// laterThan is a time after the row lock that is later than the last: history
// never stands still or runs backwards, whatever the clock does.
func laterThan(last string) string {
	return "greatest(clock_timestamp(), " + last + " + interval '1 microsecond')"
}

// deleting moves the rows to history and leaves a tombstone. A tombstone has
// the version after the last.
func (w *writer) deleting(a *policy.Args, images []image) string {
	ids := make([]string, len(images))
	for n, img := range images {
		ids[n] = string(img.pre.ID)
	}
	var columns []string
	for _, c := range w.t.columns {
		switch c.name {
		case "version":
			columns = append(columns, "g.version + 1 as version")
		case "updated":
			columns = append(columns, laterThan("g.updated")+" as updated")
		default:
			columns = append(columns, "g."+c.sql)
		}
	}
	with := "gone as materialized (delete from " + w.t.live + " t where t.id = any(" + a.Add(ids, "uuid[]") + ") returning " + w.t.list("t.") +
		"), live as materialized (select " + strings.Join(columns, ", ") + " from gone g), buried as (insert into meridian.tombstone (id, entity, home, version, at, actor, execution)" +
		" select l.id, " + a.Add(w.b.Entity, "text") + ", l.home, l.version, l.updated, " + a.Add(string(w.b.Actor), "text") + ", " + a.Add(w.b.Exec, "text") + " from live l)"
	return w.recorded(a, with, crm.OpDelete, "null::jsonb")
}

// recorded ends a statement: what the CTE live holds goes to history and
// outbox.
func (w *writer) recorded(a *policy.Args, with string, op crm.Op, steps string) string {
	return w.t.record(a, with, "live", string(op), steps, string(w.b.Actor), w.b.Exec) + " select l.id::text, l.version, l.created, l.updated from live l"
}

// record is a with clause that puts the rows of a CTE into history and outbox.
func (t *table) record(a *policy.Args, with, rows, op, steps, actor, exec string) string {
	who, execution, how := a.Add(actor, "text"), a.Add(exec, "text"), a.Add(op, "text")
	return "with " + with + ", past as (insert into " + t.past + " (" + t.list("") + ", op, at, actor, execution, steps) select " + t.list("l.") + ", " +
		how + ", l.updated, " + who + ", " + execution + ", " + steps + " from " + rows + " l), told as (insert into meridian.outbox" +
		" (kind, entity, record_id, version, op, at, actor, execution) select 'record', " + a.Add(t.def.Entity, "text") + ", l.id, l.version, " +
		how + ", l.updated, " + who + ", " + execution + " from " + rows + " l order by l.id)"
}

// follow gives the records governed from the wave's accounts the governance
// their account now has, in this transaction and in one statement per entity.
// Each becomes a new version with its own history and outbox entry, so that
// watchers and other instances hear of what moved out of their sight.
func (w *writer) follow(ctx context.Context, wave []int, pre map[crm.RecordID]*locked) error {
	if w.b.Entity != accountEntity {
		return nil
	}
	var moved []string
	for _, i := range wave {
		x := w.out[i]
		if w.b.Rows[i].Op == crm.OpUpdate && x.Err == nil && placed(pre[x.Record.ID].rec.Governed) != placed(x.Record.Governed) {
			moved = append(moved, string(x.Record.ID))
		}
	}
	return w.followAccounts(ctx, moved, string(w.b.Actor), w.b.Exec)
}

// placement is what a record takes over from its account.
type placement struct {
	territory, segment, jurisdiction string
	sensitivity                      int
}

func placed(g crm.Governed) placement {
	return placement{g.Territory, g.Segment, g.Jurisdiction, g.Sensitivity}
}

func (t *Tx) followAccounts(ctx context.Context, accounts []string, actor, exec string) error {
	if len(accounts) == 0 {
		return nil
	}
	ts := t.s.entities.Load()
	for _, name := range ts.names {
		tab := ts.byEntity[name]
		if !tab.follows {
			continue
		}
		a := &policy.Args{}
		with := "moved as materialized (update " + tab.live + " t set territory = a.territory, segment = a.segment, jurisdiction = a.jurisdiction, sensitivity = a.sensitivity," +
			" version = t.version + 1, updated = " + laterThan("t.updated") + " from record.account a where a.id = any(" + a.Add(accounts, "uuid[]") + ")" +
			" and t.account = a.id and t.home = " + a.Add(t.s.instance, "text") +
			" and (t.territory, t.segment, t.jurisdiction, t.sensitivity) is distinct from (a.territory, a.segment, a.jurisdiction, a.sensitivity)" +
			" returning " + tab.list("t.") + ")"
		sql := tab.record(a, with, "moved", string(crm.OpUpdate), "null::jsonb", actor, exec) + " select count(*) from moved"
		if _, err := t.s.door(t.tx, followers).Exec(ctx, sql, a.Values()...); err != nil {
			return pgErr(err, "let %s follow their account", tab.def.Plural)
		}
	}
	return nil
}
