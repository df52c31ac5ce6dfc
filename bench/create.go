package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/instance/crm/trees"
)

var (
	states     = []string{"CA", "NY", "WA", "MA", "FL", "IL", "OR", "GA", "OH", "PA"}
	industries = func() (out []trees.Node) {
		for _, n := range trees.Segments() {
			if n.Level == "industry" {
				out = append(out, n)
			}
		}
		return out
	}()
)

// accountFields invents the i-th company; it is valid to both plugins.
func accountFields(i int) map[string]crm.Value {
	segment := strings.Split(industries[i%len(industries)].ID, "/")
	return map[string]crm.Value{
		"source_id": crm.String(fmt.Sprintf("BENCH-%07d", i)), "name": crm.String(fmt.Sprintf("Company %d", i)),
		"sector": crm.String(segment[0]), "industry_group": crm.String(segment[1]), "industry": crm.String(segment[2]),
		"country": crm.String("US"), "state": crm.String(states[i%len(states)]), "city": crm.String("Springfield"),
		"postal_code": crm.String("12345"), "website": crm.String(fmt.Sprintf("https://company%d.example.com", i)),
		"size_band": crm.String("Mid Cap"), "annual_revenue": crm.Decimal(fmt.Sprintf("%d.5", 1000+i)),
		"email": crm.String(fmt.Sprintf("office@company%d.example.com", i)), "phone": crm.String("+14155550100"), "tax_id": crm.String(fmt.Sprintf("%09d", i)),
	}
}

// benchCreate compares one create through the API (HTTP, token, policy, both
// plugin processes, history, outbox, decision log) with one hand-written pgx
// transaction that stores the same rows in tables of the same shape.
func benchCreate(ctx context.Context, w *world) ([]measure, error) {
	n := w.nodes["amer"]
	create := func(i int) error { return w.create(ctx, n, accountFields(10_000_000+i)) }
	if err := create(-1); err != nil { // the row that the baseline copies
		return nil, err
	}
	raw, err := newRawWriter(ctx, n)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := interleave(300, create, func(int) error { return raw.write(ctx, 1) })
	if err != nil {
		return nil, err
	}
	return []measure{{
		name: "create one account through the API, both plugins", measured: ours.String(), baseline: "raw pgx transaction " + theirs.String(),
		ratio: ratio(ours.at(0.5), theirs.at(0.5)), limit: 10,
	}}, nil
}

// rawWriter writes rows as a careful developer would by hand: the row, its
// history, an outbox entry and an audit line, in one pipelined transaction,
// into copies of the real tables with their indexes.
type rawWriter struct {
	node    *node
	columns []string // of the account table
	values  []any    // of a real row, as text
}

func newRawWriter(ctx context.Context, n *node) (*rawWriter, error) {
	_, err := n.pool.Exec(ctx, `
		create schema if not exists baseline;
		create table if not exists baseline.account (like record.account including all);
		create table if not exists baseline.history (like history.account including all);
		create table if not exists baseline.outbox (like meridian.outbox including all);
		create table if not exists baseline.decision_log (like meridian.decision_log including all)`)
	if err != nil {
		return nil, err
	}
	r := &rawWriter{node: n}
	rows, err := n.pool.Query(ctx, "select "+strings.Join(accountColumns(), ", ")+" from record.account r order by id desc limit 1")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, fmt.Errorf("no account to copy: %w", rows.Err())
	}
	if r.values, err = rows.Values(); err != nil {
		return nil, err
	}
	for _, f := range rows.FieldDescriptions() {
		r.columns = append(r.columns, f.Name)
	}
	return r, nil
}

// write stores n rows in one transaction and one round trip.
func (r *rawWriter) write(ctx context.Context, n int) error {
	names := make([]string, len(r.columns))
	marks := make([]string, len(r.columns))
	for i, c := range r.columns {
		names[i] = pgx.Identifier{c}.Sanitize()
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	columns, params := strings.Join(names, ", "), strings.Join(marks, ", ")
	return pgx.BeginFunc(ctx, r.node.pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		for range n {
			id := crm.NewRecordID()
			values := append([]any(nil), r.values...)
			for i, c := range r.columns {
				switch c {
				case "id", "account":
					values[i] = string(id)
				case "source_id":
					values[i] = string(id)
				}
			}
			b.Queue("insert into baseline.account ("+columns+") values ("+params+")", values...)
			b.Queue("insert into baseline.history ("+columns+", op, at, actor, execution) values ("+params+fmt.Sprintf(", 'create', $%d, 'bench', '')", len(values)+1), append(values, time.Now())...)
			b.Queue("insert into baseline.outbox (kind, entity, record_id, version, op) values ('record', 'account', $1, 1, 'create')", string(id))
		}
		b.Queue(`insert into baseline.decision_log (subject, action, entity, allowed, records, versions, refused, facts, reasons, bundle, stamp, execution)
			values ('bench', 'create', 'account', true, '{}', '{}', '{}', '{}', '{}', '', 0, '')`)
		return tx.SendBatch(ctx, b).Close()
	})
}
