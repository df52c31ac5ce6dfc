package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// Aggregate works a out of all that List would return in all: a row per group,
// at most r.Limit, and whether there are more. It sees the projected values, so
// that what is withheld counts as absent and what is masked as its mask.
func (s *Store) Aggregate(ctx context.Context, r Read, a crm.Aggregation) (ts []crm.Tally, more bool, stamp int64, err error) {
	t, err := s.table(r.Entity)
	if err != nil {
		return nil, false, 0, err
	}
	shape := s.estimate(ctx, t, r.Filter).forAll()
	r.Cursor, r.Limit = "", min(max(r.Limit, 1), maxPage)
	args := (&policy.Args{}).ForMany()
	q := aggregate{projection: newProjection(t, r.Filter, args), Aggregation: a}
	sql, err := q.sql(shape, r.Limit+1, func(p *projection) (string, error) { return s.wanted(p, r, order{}, shape) })
	if err != nil {
		return nil, false, 0, err
	}
	batch := &pgx.Batch{}
	batch.Queue(planSQL(r, shape))
	batch.Queue(sql, args.Values()...).Query(func(rows pgx.Rows) error {
		cells := make([]*string, len(q.types))
		targets := pointers(cells)
		for rows.Next() {
			if err := rows.Scan(targets...); err != nil {
				return err
			}
			tally, err := q.tally(cells)
			if err != nil {
				return err
			}
			ts = append(ts, tally)
		}
		return rows.Err()
	})
	var now time.Time
	batch.Queue(stampSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&stamp, &now) })
	if err := s.door(s.pool, filtered).SendBatch(ctx, batch).Close(); err != nil {
		return nil, false, 0, pgErr(err, "aggregate %s", r.Entity)
	}
	if more = len(ts) > r.Limit; more {
		ts = ts[:r.Limit]
	}
	return ts, more, stamp, nil
}

// aggregate is an aggregation on its way to SQL.
type aggregate struct {
	*projection
	crm.Aggregation
	types []crm.Type // of the columns: keys, then measures
}

// sql is the statement: the projected values of the rows that are shown, and
// what is worked out of them. Columns have their canonical text.
func (q *aggregate) sql(shape shape, limit int, wanted func(*projection) (string, error)) (string, error) {
	from, err := q.from(shape, wanted)
	if err != nil {
		return "", err
	}
	columns := newProjection(q.t, q.f, &policy.Args{}) // a value bound and not used is an error
	var out, keys strings.Builder
	var orders []string
	for i, b := range q.By {
		s, err := columns.field(b.Field)
		if err != nil {
			return "", err
		}
		typ := s.col.field.Type
		if b.Cut != crm.CutNone {
			typ = crm.TypeDate
		}
		name := fmt.Sprintf("x.k%d", i)
		fmt.Fprintf(&keys, ", %s", name)
		q.add(&out, name, typ)
		orders = append(orders, name)
	}
	for i, m := range q.Measures {
		name, typ := "count(*)", crm.TypeInteger
		if m.Op != "count" {
			s, err := columns.field(m.Field)
			if err != nil {
				return "", err
			}
			name, typ = measured(m.Op, fmt.Sprintf("x.v%d", i), s.col.field.Type)
		}
		q.add(&out, name, typ)
		orders = append(orders, name)
	}
	sql := "select " + strings.TrimPrefix(out.String(), ", ") + " from (" + from + ") x"
	if keys.Len() == 0 {
		return sql, nil
	}
	direction := " asc nulls last"
	if q.Desc {
		direction = " desc nulls last"
	}
	return sql + " group by " + strings.TrimPrefix(keys.String(), ", ") + " order by " + orders[q.Order] + direction + keys.String() +
		fmt.Sprintf(" limit %d", limit), nil
}

// from are the rows that are shown and wanted, with the values to work with.
func (q *aggregate) from(shape shape, wanted func(*projection) (string, error)) (string, error) {
	of := func(p *projection) (selected, condition string, err error) {
		if selected, err = q.values(p); err != nil {
			return "", "", err
		}
		condition, err = wanted(p)
		return selected, condition, err
	}
	if shape == unionOfGrounds {
		return q.union(of)
	}
	selected, condition, err := of(q.projection)
	return "select r.id" + selected + " from " + q.t.live + " r where (" + q.f.Where(q.args) + ") and " + condition, err
}

// values are the projected values, keys first.
func (q *aggregate) values(p *projection) (string, error) {
	var out strings.Builder
	for i, b := range q.By {
		s, err := p.field(b.Field)
		if err != nil {
			return "", err
		}
		value := s.sql()
		switch {
		case b.Cut == crm.CutNone:
		case s.col.field.Type == crm.TypeDate:
			value = fmt.Sprintf("date_trunc('%s', (%s)::timestamp)::date", b.Cut, value)
		default:
			value = fmt.Sprintf("date_trunc('%s', %s, 'UTC')::date", b.Cut, value)
		}
		fmt.Fprintf(&out, ", %s as k%d", value, i)
	}
	for i, m := range q.Measures {
		if m.Op == "count" {
			continue
		}
		s, err := p.field(m.Field)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, ", %s as v%d", s.sql(), i)
	}
	return out.String(), nil
}

// measured is the SQL of a measure that is about a value, and its type.
func measured(op, value string, typ crm.Type) (string, crm.Type) {
	switch op {
	case "distinct":
		return "count(distinct " + value + ")", crm.TypeInteger
	case "sum":
		return "sum(" + value + ")", crm.TypeDecimal
	case "avg":
		return "round(avg(" + value + "), 6)", crm.TypeDecimal
	}
	return op + "(" + value + ")", typ
}

// add selects a column in the text that tally reads.
func (q *aggregate) add(out *strings.Builder, value string, typ crm.Type) {
	q.types = append(q.types, typ)
	switch typ {
	case crm.TypeDecimal:
		value = "trim_scale(" + value + ")"
	case crm.TypeTimestamp:
		value = "to_char(" + value + ` at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
	}
	fmt.Fprintf(out, ", (%s)::text", value)
}

// tally reads a row.
func (q *aggregate) tally(cells []*string) (t crm.Tally, err error) {
	values := make([]crm.Value, len(cells))
	for i, c := range cells {
		switch {
		case c == nil:
		case q.types[i] == crm.TypeDecimal: // a sum may be longer than a value
			values[i] = crm.Decimal(*c)
		default:
			if values[i], err = crm.ParseValue(q.types[i], *c); err != nil {
				return t, fmt.Errorf("aggregate: %w", err)
			}
		}
	}
	return crm.Tally{Keys: values[:len(q.By)], Values: values[len(q.By):]}, nil
}
