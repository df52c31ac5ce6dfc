package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"meridian/policy"
)

// storeArrivals stores accepted rows in one round trip: holdings, records that
// leave, records that stay.
func (t *Tx) storeArrivals(ctx context.Context, tab *table, rows []ImportWrite, as []arrival) error {
	b := &pgx.Batch{}
	b.Queue("savepoint rows")
	var gone, kept, narrowed, missed []arrival
	for _, a := range as {
		switch {
		case a.keep:
			kept = append(kept, a)
			if a.narrow {
				narrowed = append(narrowed, a)
			}
			if a.missed {
				missed = append(missed, a)
			}
		case !a.isNew:
			gone = append(gone, a)
		}
	}
	t.s.pass(b, arrivals, func() {
		queueHoldings(b, rows, as)
		if len(gone) > 0 {
			queueGone(b, tab, rows, gone)
		}
		if len(missed) > 0 {
			queueForgotten(b, tab, idsOf(rows, missed))
		}
		if len(kept) > 0 {
			queueKept(b, tab, rows, kept)
		}
		if len(narrowed) > 0 {
			b.Queue(tab.scrub(), idsOf(rows, narrowed))
		}
	})
	b.Queue("release savepoint rows")
	return t.tx.SendBatch(ctx, b).Close()
}

func idsOf(rows []ImportWrite, as []arrival) []string {
	ids := make([]string, len(as))
	for i, a := range as {
		ids[i] = string(rows[a.at].ID)
	}
	return ids
}

func queueHoldings(b *pgx.Batch, rows []ImportWrite, as []arrival) {
	columns := make([][]string, 9)
	for _, a := range as {
		r := rows[a.at]
		for i, s := range []string{string(r.ID), r.Contract, r.Entity, r.Governed.Home, strconv.FormatInt(a.holds.epoch, 10), strconv.FormatInt(a.holds.exposure, 10),
			strconv.FormatInt(a.holds.version, 10), arrayLiteral(a.holds.groups), strconv.FormatBool(a.holds.held)} {
			columns[i] = append(columns[i], s)
		}
	}
	args := make([]any, len(columns))
	for i := range columns {
		args[i] = columns[i]
	}
	b.Queue(`insert into meridian.holding as h (record_id, contract, entity, home, epoch, exposure, version, groups, held, until)
		select x.id::uuid, x.contract, x.entity, x.home, x.epoch::bigint, x.exposure::bigint, x.version::bigint, x.groups::text[], x.held::boolean,
			case when not x.held::boolean then clock_timestamp() end
		from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
			x(id, contract, entity, home, epoch, exposure, version, groups, held)
		on conflict (record_id, contract) do update set epoch = excluded.epoch, exposure = excluded.exposure, version = excluded.version,
			groups = excluded.groups, held = excluded.held, home = case when excluded.home = '' then h.home else excluded.home end,
			since = case when h.held then h.since else excluded.since end, until = excluded.until`, args...)
}

// queueGone removes records and all their history. What remains is the
// holding, which has no values.
func queueGone(b *pgx.Batch, tab *table, rows []ImportWrite, gone []arrival) {
	ops, execs := make([]string, len(gone)), make([]string, len(gone))
	for i, a := range gone {
		ops[i], execs[i] = string(rows[a.at].Op), rows[a.at].Exec
	}
	ids := idsOf(rows, gone)
	queueForgotten(b, tab, ids)
	b.Queue(`with gone as (delete from `+tab.live+` t where t.id = any($1::uuid[]) returning t.id, t.version)
		insert into meridian.outbox (kind, entity, record_id, version, op, actor, execution)
		select 'record', $2, g.id, g.version, x.op, '', x.exec from gone g join unnest($1::uuid[], $3::text[], $4::text[]) x(id, op, exec) on x.id = g.id
		order by g.id`, ids, tab.def.Entity, ops, execs)
}

// queueForgotten removes the history of records.
func queueForgotten(b *pgx.Batch, tab *table, ids []string) {
	b.Queue("delete from "+tab.past+" where id = any($1::uuid[])", ids)
}

// queueKept stores records over what was here. A version that came again, with
// other groups, replaces what the history has of it.
func queueKept(b *pgx.Batch, tab *table, rows []ImportWrite, kept []arrival) {
	a := &policy.Args{}
	texts := make([][]*string, len(kept))
	op, exec, contract := extra{name: "op", pg: "text"}, extra{name: "exec", pg: "text"}, extra{name: "contract", pg: "text"}
	for i, k := range kept {
		r := rows[k.at]
		how := string(r.Op)
		texts[i] = k.texts
		op.values, exec.values, contract.values = append(op.values, &how), append(exec.values, &r.Exec), append(contract.values, &r.Contract)
	}
	var onLive, onPast []string
	for _, c := range tab.columns {
		switch c.name {
		case "id":
		case "updated":
			onLive, onPast = append(onLive, "updated = "+laterThan("t.updated")), append(onPast, "updated = excluded.updated")
		default:
			set := c.sql + " = excluded." + c.sql
			onLive, onPast = append(onLive, set), append(onPast, set)
		}
	}
	from := " from live l join image i on i.id = l.id"
	b.Queue("with image as ("+tab.source(a, texts, op, exec, contract)+"), live as (insert into "+tab.live+" as t ("+tab.list("")+") select "+tab.list("r.")+
		" from image r on conflict (id) do update set "+strings.Join(onLive, ", ")+" returning "+tab.list("t.")+
		"), past as (insert into "+tab.past+" ("+tab.list("")+", op, at, actor, execution) select "+tab.list("l.")+", i.op, l.updated, 'contract:' || i.contract, i.exec"+from+
		" on conflict (id, version) do update set "+strings.Join(onPast, ", ")+", op = excluded.op, at = excluded.at, actor = excluded.actor, execution = excluded.execution)"+
		" insert into meridian.outbox (kind, entity, record_id, version, op, at, actor, execution) select 'record', "+a.Add(tab.def.Entity, "text")+
		", l.id, l.version, i.op, l.updated, 'contract:' || i.contract, i.exec"+from+" order by l.id", a.Values()...)
}

// scrub takes the values of groups that are no longer held out of the history
// too.
func (t *table) scrub() string {
	sets := []string{"withheld = l.withheld"}
	for _, c := range t.columns[len(governance):] {
		sets = append(sets, fmt.Sprintf("%s = case when %s = any(l.withheld) then null else h.%s end", c.sql, literal(c.field.Group), c.sql))
	}
	return "update " + t.past + " h set " + strings.Join(sets, ", ") + " from " + t.live + " l where l.id = h.id and h.id = any($1::uuid[])"
}
