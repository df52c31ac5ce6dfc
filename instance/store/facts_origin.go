package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// factTable is a table of facts that configuration and officers share.
type factTable struct {
	name   string
	key    []string // columns that say which fact it is
	values []string // columns that say what is true of it
}

var (
	territoryFacts    = factTable{"territory", []string{"id"}, []string{"parent", "name", "level"}}
	segmentFacts      = factTable{"segment", []string{"id"}, []string{"parent", "name", "level"}}
	departmentFacts   = factTable{"department", []string{"id"}, []string{"parent", "name"}}
	subjectFacts      = factTable{"subject", []string{"id"}, []string{"kind", "roles", "clearance"}}
	assignmentFacts   = factTable{"assignment", []string{"subject", "tree", "node"}, nil}
	relationshipFacts = factTable{"relationship", []string{"department", "on_department"}, []string{"actions"}}

	factTables = []factTable{territoryFacts, segmentFacts, departmentFacts, subjectFacts, assignmentFacts, relationshipFacts}
)

// of writes columns of an alias: f.subject, f.tree.
func of(alias string, columns []string) string {
	return alias + "." + strings.Join(columns, ", "+alias+".")
}

// object is an SQL expression for columns of an alias as one JSON object.
func object(alias string, columns []string) string {
	var parts []string
	for _, c := range columns {
		parts = append(parts, "'"+c+"', "+alias+"."+c)
	}
	return "jsonb_build_object(" + strings.Join(parts, ", ") + ")"
}

// word is a canonical form of JSON, so that equal values are equal strings.
func word(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and lists of them
	}
	return string(text)
}

func canonical(raw []byte) (string, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", err
	}
	return word(v), nil
}

// facts are the timelines of a table by their keys' canonical form.
type facts map[string]timeline

// facts loads what is recorded of the facts with these keys; of all if keys is
// nil.
func (t *Tx) facts(ctx context.Context, table factTable, keys []string) (facts, error) {
	which := ""
	var args []any
	if keys != nil {
		which = " and (" + of("f", table.key) + ") in (select " + of("d", table.key) + " from jsonb_populate_recordset(null::fact." + table.name + ", $1::jsonb) d)"
		named, err := table.rows(keys)
		if err != nil {
			return nil, err
		}
		args = append(args, named)
	}
	rows, err := t.tx.Query(ctx, fmt.Sprintf(`
		select jsonb_build_array(%s), %s, f.valid_from, f.valid_to, f.origin, f.recorded_by, f.reason, f.recorded_from
		from fact.%s f where f.recorded_to = 'infinity' and f.valid_from < f.valid_to%s order by f.valid_from`,
		of("f", table.key), object("f", table.values), table.name, which), args...)
	if err != nil {
		return nil, pgErr(err, "read facts of %s", table.name)
	}
	out := facts{}
	var key, content []byte
	var s span
	_, err = pgx.ForEachRow(rows, []any{&key, &content, &s.from, &s.to, &s.origin, &s.act.by, &s.act.reason, &s.recorded}, func() error {
		k, err := canonical(key)
		if err != nil {
			return err
		}
		if s.content, err = canonical(content); err != nil {
			return err
		}
		s.from, s.to, s.recorded = s.from.UTC(), s.to.UTC(), s.recorded.UTC()
		out[k] = append(out[k], s)
		return nil
	})
	return out, pgErr(err, "read facts of %s", table.name)
}

// rows are keys as records of the table.
func (f factTable) rows(keys []string) (string, error) {
	out := make([]map[string]string, 0, len(keys))
	for _, k := range keys {
		row, err := f.keyed(k)
		if err != nil {
			return "", err
		}
		out = append(out, row)
	}
	return word(out), nil
}

// keyed is a key as columns.
func (f factTable) keyed(key string) (map[string]string, error) {
	var parts []string
	if err := json.Unmarshal([]byte(key), &parts); err != nil || len(parts) != len(f.key) {
		return nil, fmt.Errorf("%q is no key of %s", key, f.name)
	}
	row := map[string]string{}
	for i, c := range f.key {
		row[c] = parts[i]
	}
	return row, nil
}

// record makes the database say after where it said before, as of now: rows
// that hold no more keep the time in which they were believed.
func (t *Tx) record(ctx context.Context, table factTable, before, after facts, now time.Time) error {
	var closed, opened []map[string]any
	for key := range after { // later than all that ends, whatever the clock does
		gone, _ := before[key].changes(after[key])
		for _, s := range gone {
			now = latest(now, s.recorded.Add(time.Microsecond))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		named, err := table.keyed(key)
		if err != nil {
			return err
		}
		gone, come := before[key].changes(after[key])
		for _, s := range gone {
			closed = append(closed, join(named, map[string]any{"valid_from": s.from, "recorded_from": s.recorded}))
		}
		for _, s := range come {
			values := map[string]any{}
			if err := json.Unmarshal([]byte(s.content), &values); err != nil {
				return err
			}
			opened = append(opened, join(named, values, map[string]any{
				"valid_from": s.from, "valid_to": s.to, "origin": s.origin, "recorded_by": s.act.by, "reason": s.act.reason, "recorded_from": now,
			}))
		}
	}
	if len(closed) > 0 {
		var same []string
		for _, c := range append(slices.Clone(table.key), "valid_from", "recorded_from") {
			same = append(same, "f."+c+" = d."+c)
		}
		tag, err := t.tx.Exec(ctx, fmt.Sprintf(`update fact.%[1]s f set recorded_to = $2 from jsonb_populate_recordset(null::fact.%[1]s, $1::jsonb) d
			where f.recorded_to = 'infinity' and %s`, table.name, strings.Join(same, " and ")), word(closed), now)
		if err != nil {
			return pgErr(err, "end facts of %s", table.name)
		}
		if int(tag.RowsAffected()) != len(closed) {
			return fmt.Errorf("%d of %d facts of %s were still there to end", tag.RowsAffected(), len(closed), table.name)
		}
	}
	if len(opened) == 0 {
		return nil
	}
	columns := slices.Concat(table.key, table.values, []string{"valid_from", "valid_to", "origin", "recorded_by", "reason", "recorded_from"})
	_, err := t.tx.Exec(ctx, fmt.Sprintf(`insert into fact.%[1]s (%[2]s) select %[3]s from jsonb_populate_recordset(null::fact.%[1]s, $1::jsonb) d`,
		table.name, strings.Join(columns, ", "), of("d", columns)), word(opened))
	t.changed = true
	return pgErr(err, "record facts of %s", table.name)
}

// join makes a row of columns.
func join(key map[string]string, values ...map[string]any) map[string]any {
	out := map[string]any{}
	for c, v := range key {
		out[c] = v
	}
	for _, vs := range values {
		maps.Copy(out, vs)
	}
	return out
}

// lockFacts waits for whoever changes these facts, and says what time it is.
func (t *Tx) lockFacts(ctx context.Context) (now time.Time, err error) {
	if err := t.AwaitStamp(ctx); err != nil { // before the lock, as everybody: who holds it waits for none
		return now, err
	}
	if _, err = t.tx.Exec(ctx, `select pg_advisory_xact_lock(hashtext('meridian.reconcile'))`); err == nil {
		_, err = t.tx.Exec(ctx, `select from meridian.access_stamp for update`) // what others record meanwhile is recorded before
	}
	if err == nil {
		err = t.tx.QueryRow(ctx, `select clock_timestamp()`).Scan(&now)
	}
	return now.UTC(), pgErr(err, "lock facts")
}

// declaration is what the configuration said at the last start.
func (t *Tx) declaration(ctx context.Context, table factTable) (map[string]string, error) {
	rows, err := t.tx.Query(ctx, `select key, content from meridian.declared where kind = $1`, table.name)
	if err != nil {
		return nil, pgErr(err, "read what is declared")
	}
	out := map[string]string{}
	var key, content []byte
	_, err = pgx.ForEachRow(rows, []any{&key, &content}, func() error {
		k, err := canonical(key)
		if err == nil {
			out[k], err = canonical(content)
		}
		return err
	})
	return out, pgErr(err, "read what is declared")
}

// declare follows a configuration where it changed since the last start. What
// officers recorded stays.
func (t *Tx) declare(ctx context.Context, table factTable, is map[string]string, now time.Time) error {
	was, err := t.declaration(ctx, table)
	if err != nil {
		return err
	}
	changed := []string{}
	for key := range is {
		if content, ok := was[key]; !ok || content != is[key] {
			changed = append(changed, key)
		}
	}
	for key := range was {
		if _, ok := is[key]; !ok {
			changed = append(changed, key)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	slices.Sort(changed)
	before, err := t.facts(ctx, table, changed)
	if err != nil {
		return err
	}
	after := facts{}
	var gone, come []map[string]json.RawMessage
	for _, key := range changed {
		content, ok := is[key]
		if !ok {
			after[key] = before[key].declare(nil, now)
			gone = append(gone, map[string]json.RawMessage{"key": json.RawMessage(key)})
			continue
		}
		after[key] = before[key].declare(&content, now)
		come = append(come, map[string]json.RawMessage{"key": json.RawMessage(key), "content": json.RawMessage(content)})
	}
	if err := t.record(ctx, table, before, after, now); err != nil {
		return err
	}
	if len(gone) > 0 {
		_, err = t.tx.Exec(ctx, `delete from meridian.declared m using jsonb_populate_recordset(null::meridian.declared, $2::jsonb) d
			where m.kind = $1 and m.key = d.key`, table.name, word(gone))
	}
	if err == nil && len(come) > 0 {
		_, err = t.tx.Exec(ctx, `insert into meridian.declared (kind, key, content)
			select $1, d.key, d.content from jsonb_populate_recordset(null::meridian.declared, $2::jsonb) d
			on conflict (kind, key) do update set content = excluded.content`, table.name, word(come))
	}
	return pgErr(err, "remember what is declared")
}

// Override is a declared fact beside which an officer's word stands now.
type Override struct {
	Kind string
	Key  []string
	By   crm.SubjectID
}

// Overridden lists the declared facts that officers changed or ended.
func (s *Store) Overridden(ctx context.Context) (out []Override, err error) {
	err = s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		_, now, err := t.Stamp(ctx)
		if err != nil {
			return err
		}
		for _, table := range factTables {
			is, err := t.declaration(ctx, table)
			if err != nil {
				return err
			}
			there, err := t.facts(ctx, table, nil)
			if err != nil {
				return err
			}
			for _, key := range slices.Sorted(maps.Keys(is)) {
				in := there[key].overlapping(now, now.Add(time.Microsecond))
				if len(in) == 1 && in[0].content == is[key] {
					continue
				}
				o := Override{Kind: table.name}
				if err := json.Unmarshal([]byte(key), &o.Key); err != nil {
					return err
				}
				if o.By, err = t.lastWord(ctx, table, key); err != nil {
					return err
				}
				out = append(out, o)
			}
		}
		return nil
	})
	return out, err
}

// lastWord is who recorded a fact last.
func (t *Tx) lastWord(ctx context.Context, table factTable, key string) (by crm.SubjectID, err error) {
	named, err := table.rows([]string{key})
	if err != nil {
		return "", err
	}
	err = t.tx.QueryRow(ctx, fmt.Sprintf(`select f.recorded_by from fact.%[1]s f
		where (%[2]s) in (select %[3]s from jsonb_populate_recordset(null::fact.%[1]s, $1::jsonb) d) order by f.recorded_from desc limit 1`,
		table.name, of("f", table.key), of("d", table.key)), named).Scan(&by)
	return by, pgErr(err, "read facts of %s", table.name)
}
