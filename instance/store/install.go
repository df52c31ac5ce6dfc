package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// historyColumns are what a version has beside the record's own columns. No
// field may have their names.
var historyColumns = []string{"op", "at", "actor", "execution", "steps"}

// Install makes the tables of new definitions and extends those of known ones.
// Columns are only ever added: a field that is gone from its definition keeps
// its column, a field that changed its type is refused. Replicas that install
// together wait for one another.
func (s *Store) Install(ctx context.Context, defs []crm.Definition) error {
	s.installing.Lock()
	defer s.installing.Unlock()
	for _, d := range defs {
		if err := d.Validate(); err != nil {
			return err
		}
		for _, f := range d.Fields {
			if slices.Contains(historyColumns, f.Name) {
				return crm.FieldErrorf(f.Name, "entity %s: the name is a column of its history; choose another", d.Entity)
			}
		}
	}
	err := s.asOwner(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtext('meridian.install'))"); err != nil {
			return err
		}
		for _, d := range defs {
			if err := install(ctx, tx, newTable(d), s.instance); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return pgErr(err, "install definitions")
	}
	ts := s.entities.Load()
	for _, d := range defs {
		ts = ts.with(newTable(d))
	}
	s.entities.Store(ts)
	return nil
}

// restore reads what an earlier Install left.
func (s *Store) restore(ctx context.Context) error {
	rows, err := s.pool.Query(ctx, "select body from meridian.definition order by entity")
	if err != nil {
		return pgErr(err, "read definitions")
	}
	defs, err := pgx.CollectRows(rows, pgx.RowTo[crm.Definition])
	if err != nil {
		return pgErr(err, "read definitions")
	}
	ts := s.entities.Load()
	for _, d := range defs {
		ts = ts.with(newTable(d))
	}
	s.entities.Store(ts)
	return nil
}

func install(ctx context.Context, tx pgx.Tx, t *table, home string) error {
	have, err := existingColumns(ctx, tx, t.def.Entity)
	if err != nil {
		return err
	}
	ddl := t.create()
	if len(have) > 0 {
		if ddl, err = t.extend(have); err != nil {
			return err
		}
	}
	words, err := searchColumns(ctx, tx, t)
	if err != nil {
		return err
	}
	for _, stmt := range slices.Concat(ddl, t.indexes(home), t.search(words)) {
		if _, err := tx.Exec(ctx, stmt); err != nil {
			return fmt.Errorf("entity %s: %q: %w", t.def.Entity, stmt, err)
		}
	}
	body, err := json.Marshal(t.def)
	if err != nil {
		return fmt.Errorf("entity %s: %w", t.def.Entity, err)
	}
	_, err = tx.Exec(ctx, `insert into meridian.definition as d (entity, body) values ($1, $2::jsonb)
		on conflict (entity) do update set body = excluded.body, installed = now() where d.body <> excluded.body`, t.def.Entity, string(body))
	return err
}

// existingColumns are the columns of the entity's live table with their types,
// none if there is no table.
func existingColumns(ctx context.Context, tx pgx.Tx, entity string) (map[string]string, error) {
	rows, err := tx.Query(ctx, `select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a
		where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped`, "record."+quoted(entity))
	if err != nil {
		return nil, err
	}
	have := map[string]string{}
	var name, typ string
	_, err = pgx.ForEachRow(rows, []any{&name, &typ}, func() error {
		have[name] = typ
		return nil
	})
	return have, err
}

// searchColumns are the columns of the live table that are searched, with the
// SQL they were made from.
func searchColumns(ctx context.Context, tx pgx.Tx, t *table) (map[string]string, error) {
	rows, err := tx.Query(ctx, `select a.attname, coalesce(col_description(a.attrelid, a.attnum), '') from pg_attribute a
		where a.attrelid = to_regclass($1) and a.attgenerated = 's' and not a.attisdropped`, t.live)
	if err != nil {
		return nil, err
	}
	have := map[string]string{}
	var name, sql string
	_, err = pgx.ForEachRow(rows, []any{&name, &sql}, func() error {
		have[name] = sql
		return nil
	})
	return have, err
}

func (t *table) create() []string {
	e := t.def.Entity
	var cols []string
	for _, c := range t.columns {
		cols = append(cols, c.ddl())
	}
	rule := func(name, check string) string {
		return "constraint " + quoted(ruleName(e, "", name)) + " check (" + check + ")"
	}
	live := append(slices.Clone(cols),
		"constraint "+quoted(ruleName(e, "", "id_is_unique"))+" primary key (id)",
		rule("home_is_known", "home <> ''"),
		rule("territory_is_never_empty", "territory <> ''"),
		rule("segment_is_never_empty", "segment <> ''"),
		rule("sensitivity_is_between_0_and_9", "sensitivity between 0 and 9"),
		rule("version_counts_from_1", "version >= 1"),
	)
	if e == accountEntity {
		live = append(live, rule("is_its_own_account", "account = id"))
	}
	past := append(cols,
		"op text not null", "at timestamptz not null", "actor text not null", "execution text not null", "steps jsonb",
		"constraint "+quoted(ruleName(e, "", "version_is_recorded_once"))+" primary key (id, version)",
	)
	return []string{
		"create table " + t.live + " (\n  " + strings.Join(live, ",\n  ") + "\n)",
		"create table " + t.past + " (\n  " + strings.Join(past, ",\n  ") + "\n)",
	}
}

// ddl is the column as create table and add column write it. Policy columns
// are never null and compare by bytes, as Rego does.
func (c column) ddl() string {
	s := c.sql + " " + c.pg
	if c.field.Name != "" {
		return s
	}
	if c.pg == "text" {
		s += ` collate "C"`
	}
	s += " not null"
	if c.name == "withheld" {
		s += " default '{}'"
	}
	return s
}

// extend adds the columns of fields the tables do not have yet.
func (t *table) extend(have map[string]string) ([]string, error) {
	var ddl []string
	for _, c := range t.columns {
		switch typ, ok := have[c.name]; {
		case !ok:
			ddl = append(ddl, "alter table "+t.live+" add column "+c.ddl(), "alter table "+t.past+" add column "+c.ddl())
		case typ != c.pg:
			return nil, crm.FieldErrorf(c.name, "entity %s: the field is stored as %s and cannot become %s; define a new field and move the values",
				t.def.Entity, typ, c.pg)
		}
	}
	return ddl, nil
}

// indexes serve the grounds of the policy, and the fields that ask for one.
// One index orders text upwards; one orders numbers and times downwards, as
// people read them. Both end with the id, as every order does.
func (t *table) indexes(home string) []string {
	e := t.def.Entity
	index := func(kind, field, rule, on string) string {
		return "create " + kind + " if not exists " + quoted(ruleName(e, field, rule)) + " on " + t.live + " " + on
	}
	ddl := []string{
		index("index", "", "by_territory_and_segment", "(territory, segment)"),
		index("index", "", "by_segment", "(segment)"),
		index("index", "", "by_department", "(department)"),
		index("index", "", "by_owner", "(owner)"),
		index("index", "", "by_account", "(account)"),
		index("index", "", "by_home", "(home)"),
		// What changed since a moment; the history grows in the order of time.
		"create index if not exists " + quoted(ruleName(e, "", "history_by_time")) + " on " + t.past + " using brin (at)",
	}
	for _, c := range t.columns[len(governance):] {
		switch {
		case c.field.Unique:
			// Others' records are in their homes' order, not in ours: two that swap
			// a value arrive one after the other.
			ddl = append(ddl, index("unique index", c.name, "is_unique_at_home", "("+c.sql+") where home = "+literal(home)))
			if c.field.Indexed {
				ddl = append(ddl, index("index", c.name, "indexed", "("+c.sql+", id)"))
			}
		case !c.field.Indexed:
		case c.field.Type == crm.TypeList:
			ddl = append(ddl, index("index", c.name, "indexed", "using gin ("+c.sql+")"))
		case c.pg == "numeric" || c.pg == "bigint" || c.pg == "date" || c.pg == pgTypes[crm.TypeTimestamp]:
			ddl = append(ddl, index("index", c.name, "indexed", "("+c.sql+" desc nulls last, id)"))
		default:
			ddl = append(ddl, index("index", c.name, "indexed", "("+c.sql+", id)"))
		}
	}
	return ddl
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
