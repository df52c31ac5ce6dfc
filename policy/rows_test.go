package policy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/policy"

	"github.com/jackc/pgx/v5"
)

// rows is a PostgreSQL with the tables that filters speak of.
type rows struct {
	conn     *pgx.Conn
	collated bool // text columns have an order of their own
}

func openRows(t testing.TB) rows {
	conn, err := pgx.Connect(t.Context(), embeddedtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	// A collation that is not by bytes, where there is one, shows whether filters ask for theirs.
	var collation string
	if err := conn.QueryRow(t.Context(), `select coalesce((select 'collate "en-x-icu"' from pg_collation where collname = 'en-x-icu'), '')`).Scan(&collation); err != nil {
		t.Fatal(err)
	}
	schema := "create schema record; create schema fact;"
	for _, d := range definitions {
		columns := ""
		for _, f := range d.Fields {
			columns += `, "` + f.Name + `" ` + columnTypes[f.Type]
		}
		schema += `create table record.` + d.Entity + ` (id uuid primary key, home text not null, territory text not null, segment text not null,
			department text not null, owner text not null, account uuid not null, sensitivity int not null, jurisdiction text not null,
			pinned boolean not null, withheld text[] not null, created timestamptz not null, updated timestamptz not null` + columns + `);`
	}
	schema += `create table fact.agreement (id text, account uuid not null, department text not null, effect text not null, actions text[] not null,
			groups text[] not null, valid_from timestamptz not null, valid_to timestamptz not null, recorded_from timestamptz not null, recorded_to timestamptz not null);
		create index on fact.agreement (account);
		create table fact."grant" (id text, record uuid not null, kind text not null, key text not null, groups text[] not null,
			valid_from timestamptz not null, valid_to timestamptz not null, suspended boolean not null, recorded_from timestamptz not null, recorded_to timestamptz not null);
		create index on fact."grant" (record);`
	if _, err := conn.Exec(t.Context(), strings.ReplaceAll(schema, " text not null", " text "+collation+" not null")); err != nil {
		t.Fatal(err)
	}
	return rows{conn, collation != ""}
}

// columnTypes are the columns of fields, as the store makes them.
var columnTypes = map[crm.Type]string{
	crm.TypeString: "text", crm.TypeInteger: "bigint", crm.TypeDecimal: "numeric", crm.TypeBoolean: "boolean",
	crm.TypeTimestamp: "timestamptz", crm.TypeDate: "date", crm.TypeReference: "uuid", crm.TypeList: "text[]",
}

// load replaces what the tables hold, each by one statement.
func (db rows) load(ctx context.Context, w world) error {
	var b pgx.Batch
	for _, table := range []string{"record.account", "record.contact", "fact.agreement", `fact."grant"`} {
		b.Queue("delete from " + table)
	}
	def := definitions[slices.IndexFunc(definitions, func(d crm.Definition) bool { return d.Entity == w.entity })]
	governance := []string{"uuid", "text", "text", "text", "text", "text", "uuid", "int", "text", "boolean", "text[]", "timestamptz", "timestamptz"}
	for _, f := range def.Fields {
		governance = append(governance, columnTypes[f.Type])
	}
	records := insertion{table: "record." + w.entity, types: governance}
	for _, r := range w.records {
		row := []any{string(r.ID), r.Home, r.Territory, r.Segment, r.Department, r.Owner, string(r.Account), r.Sensitivity, r.Jurisdiction, r.Pinned, r.Governed.Withheld, r.Created, r.Updated}
		for _, f := range def.Fields {
			switch v := r.Fields[f.Name]; {
			case v.IsNull():
				row = append(row, nil)
			case f.Type == crm.TypeList:
				row = append(row, v.List())
			default:
				row = append(row, v.Text())
			}
		}
		records.add(row...)
	}
	agreements := insertion{table: "fact.agreement", types: []string{"text", "uuid", "text", "text", "text[]", "text[]", "timestamptz", "timestamptz", "timestamptz", "timestamptz"}}
	for _, a := range w.agreements {
		agreements.add(a.ID, string(a.Account), a.Department, string(a.Effect), a.Actions, a.Groups, a.From, a.To, w.recorded[a.ID][0], until(w.recorded[a.ID][1]))
	}
	grants := insertion{table: `fact."grant"`, types: []string{"text", "uuid", "text", "text", "text[]", "timestamptz", "timestamptz", "boolean", "timestamptz", "timestamptz"}}
	for _, g := range w.grants {
		grants.add(g.ID, string(g.Record), string(g.Kind), g.Key, g.Groups, g.From, g.To, g.Suspended, w.recorded[g.ID][0], until(w.recorded[g.ID][1]))
	}
	for _, i := range []insertion{records, agreements, grants} {
		i.queue(&b)
	}
	return db.conn.SendBatch(ctx, &b).Close()
}

// insertion is rows of one table, as texts by column.
type insertion struct {
	table   string
	types   []string
	columns [][]*string
}

func (i *insertion) add(values ...any) {
	if i.columns == nil {
		i.columns = make([][]*string, len(values))
	}
	for n, v := range values {
		i.columns[n] = append(i.columns[n], textOf(v))
	}
}

// until is the end of what a fact is recorded for.
func until(t time.Time) any {
	if t.Equal(crm.Forever) {
		return "infinity"
	}
	return t
}

// textOf is a value in PostgreSQL's text form.
func textOf(v any) *string {
	s := fmt.Sprint(v)
	switch v := v.(type) {
	case nil:
		return nil
	case time.Time:
		s = stamp(v)
	case []string:
		quoted := make([]string, len(v))
		for i, e := range v {
			quoted[i] = quote(e)
		}
		s = "{" + strings.Join(quoted, ",") + "}"
	}
	return &s
}

func (i *insertion) queue(b *pgx.Batch) {
	var args []any
	var from, names, list []string
	for n, column := range i.columns {
		args = append(args, column)
		from = append(from, fmt.Sprintf("$%d::text[]", n+1))
		names = append(names, fmt.Sprintf("c%d", n))
		list = append(list, fmt.Sprintf("x.c%d::%s", n, i.types[n]))
	}
	b.Queue("insert into "+i.table+" select "+strings.Join(list, ", ")+" from unnest("+strings.Join(from, ", ")+") x("+strings.Join(names, ", ")+")", args...)
}

// query asks for every row: does the filter show it, and which groups, whole
// and masked.
func (db rows) query(f policy.Filter, a *policy.Args, entity string) string {
	var shown []string
	for _, g := range groupNames {
		reveals := f.Reveals(g, a)
		shown = append(shown, "("+reveals+")", "(not coalesce("+reveals+", false) and ("+f.Masks(g, a)+"))")
	}
	return atNoon("with shown as (select r.id, array[" + strings.Join(shown, ", ") + "] as shows from record." + entity + " r where " + f.Where(a) + ") " +
		"select r.id::text, s.id is not null, coalesce(s.shows, '{}') from record." + entity + " r left join shown s on s.id = r.id")
}

// atNoon sets the database's time, so that cases hit the ends of intervals.
func atNoon(sql string) string {
	return strings.ReplaceAll(sql, "statement_timestamp()", "'"+stamp(noon)+"'::timestamptz")
}

func (db rows) answers(ctx context.Context, entity string, f policy.Filter, at *policy.Moment) (map[crm.RecordID]answer, error) {
	return db.answered(ctx, entity, f, policy.NewArgs(at))
}

// answered puts the question with arguments that may suppose something.
func (db rows) answered(ctx context.Context, entity string, f policy.Filter, a *policy.Args) (map[crm.RecordID]answer, error) {
	sql := db.query(f, a, entity)
	rs, err := db.conn.Query(ctx, sql, a.Values()...)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, sql)
	}
	out := map[crm.RecordID]answer{}
	var id string
	var allowed bool
	var shows []*bool
	_, err = pgx.ForEachRow(rs, []any{&id, &allowed, &shows}, func() error {
		ans := answer{Allowed: allowed}
		for i, yes := range shows {
			switch {
			case yes == nil || !*yes:
			case i%2 == 0:
				ans.Revealed = append(ans.Revealed, groupNames[i/2])
			default:
				ans.Masked = append(ans.Masked, groupNames[i/2])
			}
		}
		slices.Sort(ans.Revealed)
		slices.Sort(ans.Masked)
		out[crm.RecordID(id)] = ans
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, sql)
	}
	return out, nil
}

// branches reads by the UNION plan, as for many rows.
func (db rows) branches(ctx context.Context, entity string, f policy.Filter, at *policy.Moment) ([]string, error) {
	a := policy.NewArgs(at).ForMany()
	include, unclosed := f.Branches(a)
	if len(include) == 0 {
		return []string{}, nil
	}
	var selects []string
	for _, b := range include {
		selects = append(selects, "select r.id from record."+entity+" r where "+b)
	}
	sql := atNoon("select r.id::text from record." + entity + " r where r.id in (" + strings.Join(selects, " union ") + ") and " + unclosed + " order by 1")
	rs, err := db.conn.Query(ctx, sql, a.Values()...)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, sql)
	}
	found, err := pgx.CollectRows(rs, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, sql)
	}
	return found, nil
}
