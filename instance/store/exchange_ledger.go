package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// LedgerQuery selects lines of the ledger; empty fields select all.
type LedgerQuery struct {
	Entity, Destination string
	ID                  crm.RecordID
	Held                bool // only what the destination still holds
	Unacknowledged      bool // only what it should have given back and has not acknowledged
	Limit               int
}

// LedgerLine is one line of the ledger.
type LedgerLine struct {
	Entity           string
	ID               crm.RecordID
	Version          int64
	Destination      string
	Contract, Bundle string
	Operation        string
	Groups           []string
	Stream           string
	Sequence         int64
	At               time.Time
	Held             bool // the destination holds the record, and this line is why
	Execution        string
	Acknowledged     *time.Time
}

// acknowledgedSQL is since when a line of the ledger is acknowledged: since a
// range has its number.
func acknowledgedSQL(line string) string {
	return fmt.Sprintf(`(select a.at from (select last, at from meridian.egress_receipt a
		where a.stream = %[1]s.stream and a.epoch = %[1]s.epoch and a.first <= %[1]s.sequence order by a.first desc limit 1) a where a.last >= %[1]s.sequence)`, line)
}

// acknowledgedAgainSQL is the same for a line e of an epoch that ended before
// its destination said anything: since a line of a later epoch about its record
// is.
var acknowledgedAgainSQL = `case when e.epoch < r.epoch then (select min(` + acknowledgedSQL("l") + `) from meridian.egress l
	where l.record_id = e.record_id and l.contract = e.contract and l.stream = e.stream and l.epoch > e.epoch) end`

// Ledger reads what left, newest first.
func (s *Store) Ledger(ctx context.Context, q LedgerQuery) ([]LedgerLine, error) {
	where, args := []string{"true"}, []any{}
	and := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if q.Entity != "" {
		and("e.entity = $%d", q.Entity)
	}
	if q.Destination != "" {
		and("o.destination = $%d", q.Destination)
	}
	if q.ID != "" {
		and("e.record_id = $%d::text::uuid", string(q.ID))
	}
	const holds = "coalesce(h.held and h.exposure = e.exposure, false)"
	if q.Held {
		where = append(where, holds)
	}
	lines := "meridian.egress e join meridian.exchange_stream o on o.stream = e.stream cross join meridian.exchange_relay r"
	if q.Unacknowledged {
		// From what waits, which is little, not from all that ever left.
		lines = "meridian.exchange_stream o cross join meridian.exchange_relay r cross join lateral " + waitsSQL +
			" cross join lateral (select e.* from " + retractionsSQL + ") e"
	}
	args = append(args, q.Limit)
	rows, err := s.pool.Query(ctx, `select e.entity, e.record_id::text, e.version, o.destination, e.contract, e.bundle, e.operation, e.groups,
		e.stream, e.sequence, e.at, `+holds+`, e.execution, coalesce(`+acknowledgedSQL("e")+`, `+acknowledgedAgainSQL+`)
		from `+lines+`
		left join meridian.egress_holding h on h.contract = e.contract and h.record_id = e.record_id
		where `+strings.Join(where, " and ")+` order by e.at desc, e.stream, e.sequence desc limit $`+fmt.Sprint(len(args)), args...)
	if err != nil {
		return nil, pgErr(err, "ledger")
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[LedgerLine])
	return found, pgErr(err, "ledger")
}
