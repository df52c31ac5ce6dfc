package store

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"meridian/instance/crm"
)

// accountEntity is the entity whose governance others may follow, accountField
// the reference field by which a record of another entity names its account.
const (
	accountEntity = "account"
	accountField  = "account_id"
)

// maxIndexedText is the length in bytes that fits an index entry with room to
// spare.
const maxIndexedText = 2000

// column is one column of an entity's tables.
type column struct {
	name  string
	sql   string // name, quoted
	pg    string // type as pg_attribute spells it
	field crm.Field
}

// governance lists the governance columns in the order every statement uses.
var governance = []column{
	{name: "id", pg: "uuid"}, {name: "home", pg: "text"}, {name: "territory", pg: "text"}, {name: "segment", pg: "text"},
	{name: "department", pg: "text"}, {name: "owner", pg: "text"}, {name: "account", pg: "uuid"}, {name: "sensitivity", pg: "integer"},
	{name: "jurisdiction", pg: "text"}, {name: "version", pg: "bigint"}, {name: "pinned", pg: "boolean"}, {name: "withheld", pg: "text[]"},
	{name: "created", pg: "timestamp with time zone"}, {name: "updated", pg: "timestamp with time zone"},
}

// pgTypes says which PostgreSQL type holds a field type.
var pgTypes = map[crm.Type]string{
	crm.TypeString: "text", crm.TypeInteger: "bigint", crm.TypeDecimal: "numeric", crm.TypeBoolean: "boolean",
	crm.TypeTimestamp: "timestamp with time zone", crm.TypeDate: "date", crm.TypeReference: "uuid", crm.TypeList: "text[]",
}

// table is how one entity lies in PostgreSQL. It is immutable.
type table struct {
	def     crm.Definition
	live    string   // record."account"
	past    string   // history."account"
	columns []column // governance, then fields
	groups  []string
	follows bool              // governed from the account that accountField names
	rooted  bool              // has accountField: its account column is what that says
	uniques map[string]string // name of a unique index -> its field
}

// tables are the installed entities by name.
type tables struct {
	byEntity map[string]*table
	names    []string // sorted
}

func newTable(d crm.Definition) *table {
	t := &table{
		def: d, live: "record." + quoted(d.Entity), past: "history." + quoted(d.Entity),
		groups: d.Groups(), uniques: map[string]string{},
	}
	for _, c := range governance {
		c.sql = quoted(c.name)
		t.columns = append(t.columns, c)
	}
	for _, f := range d.Fields {
		t.columns = append(t.columns, column{name: f.Name, sql: quoted(f.Name), pg: pgTypes[f.Type], field: f})
		if f.Unique {
			t.uniques[ruleName(d.Entity, f.Name, "is_unique_at_home")] = f.Name
		}
	}
	f, ok := d.Field(accountField)
	t.rooted = ok && f.Reference == accountEntity && d.Entity != accountEntity
	t.follows = t.rooted && d.Governed == crm.GovernedFromAccount
	return t
}

// with returns the tables with t added or replaced.
func (ts *tables) with(t *table) *tables {
	out := &tables{byEntity: map[string]*table{t.def.Entity: t}}
	for name, old := range ts.byEntity {
		if name != t.def.Entity {
			out.byEntity[name] = old
		}
	}
	for name := range out.byEntity {
		out.names = append(out.names, name)
	}
	slices.Sort(out.names)
	return out
}

// table finds an installed entity.
func (s *Store) table(entity string) (*table, error) {
	ts := s.entities.Load()
	if t, ok := ts.byEntity[entity]; ok {
		return t, nil
	}
	return nil, crm.FieldErrorf("entity", "this instance has no entity %q; it has %s", entity, strings.Join(ts.names, ", "))
}

// Definition is the installed definition of an entity.
func (s *Store) Definition(entity string) (crm.Definition, bool) {
	t, ok := s.entities.Load().byEntity[entity]
	if !ok {
		return crm.Definition{}, false
	}
	return t.def, true
}

// Definitions are all installed definitions, by entity.
func (s *Store) Definitions() []crm.Definition {
	ts := s.entities.Load()
	ds := make([]crm.Definition, len(ts.names))
	for i, name := range ts.names {
		ds[i] = ts.byEntity[name].def
	}
	return ds
}

// list is the columns of the table, each with the alias before it.
func (t *table) list(alias string) string {
	var b strings.Builder
	for i, c := range t.columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(alias + c.sql)
	}
	return b.String()
}

// selected is list in the form that a row scans: money and dates as text,
// because their canonical text is what a Value holds.
func (t *table) selected(alias string) string {
	return t.selectedAs(func(c column) string { return alias + c.sql })
}

// selectedAs is selected with the SQL that stands for each column.
func (t *table) selectedAs(sql func(column) string) string {
	var b strings.Builder
	for i, c := range t.columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(sql(c))
		if c.pg == "numeric" || c.pg == "date" {
			b.WriteString("::text")
		}
	}
	return b.String()
}

// row scans the columns of selected, once per row of a result.
type row struct {
	t       *table
	g       crm.Governed
	id      pgtype.UUID
	account pgtype.UUID
	version int64
	cells   []cell
	targets []any
}

// cell takes one field's value in whichever of its parts fits the type.
type cell struct {
	text pgtype.Text
	num  pgtype.Int8
	yes  pgtype.Bool
	at   pgtype.Timestamptz
	id   pgtype.UUID
	list []string
}

// scanner makes a row of t; more are scanned after the columns.
func (t *table) scanner(more ...any) *row {
	r := &row{t: t, cells: make([]cell, len(t.columns)-len(governance))}
	g := &r.g
	r.targets = []any{&r.id, &g.Home, &g.Territory, &g.Segment, &g.Department, &g.Owner, &r.account, &g.Sensitivity,
		&g.Jurisdiction, &r.version, &g.Pinned, &g.Withheld, &g.Created, &g.Updated}
	for i, c := range t.columns[len(governance):] {
		x := &r.cells[i]
		switch c.field.Type {
		case crm.TypeInteger:
			r.targets = append(r.targets, &x.num)
		case crm.TypeBoolean:
			r.targets = append(r.targets, &x.yes)
		case crm.TypeTimestamp:
			r.targets = append(r.targets, &x.at)
		case crm.TypeReference:
			r.targets = append(r.targets, &x.id)
		case crm.TypeList:
			r.targets = append(r.targets, &x.list)
		default:
			r.targets = append(r.targets, &x.text)
		}
	}
	r.targets = append(r.targets, more...)
	return r
}

func (r *row) scan(rows pgx.Rows) error {
	r.g.Withheld = nil
	for i := range r.cells {
		r.cells[i].list = nil
	}
	return rows.Scan(r.targets...)
}

// record makes the scanned row a record, as it is shown; nil shows all that the
// origin sent.
func (r *row) record(shown *showing) crm.Record {
	rec := crm.Record{
		Entity: r.t.def.Entity, ID: crm.RecordID(r.id.String()), Version: r.version, Governed: r.g,
		Fields: make(map[string]crm.Value, len(r.cells)),
	}
	rec.Account = crm.RecordID(r.account.String())
	if len(r.g.Withheld) == 0 {
		rec.Governed.Withheld = nil
	}
	rec.Created, rec.Updated = r.g.Created.UTC(), r.g.Updated.UTC()
	for i, c := range r.t.columns[len(governance):] {
		reveal, mask := shown.of(c.field.Group)
		if reveal || mask && c.field.Mask != crm.MaskHide {
			rec.Fields[c.name] = r.cells[i].value(c.field.Type)
		}
	}
	if shown == nil {
		return rec
	}
	for _, g := range r.t.groups {
		switch reveal, mask := shown.of(g); {
		case mask:
			rec.Masked = append(rec.Masked, g)
		case !reveal:
			rec.Withheld = append(rec.Withheld, g)
		}
	}
	return rec
}

func (c *cell) value(t crm.Type) crm.Value {
	switch {
	case t == crm.TypeInteger && c.num.Valid:
		return crm.Integer(c.num.Int64)
	case t == crm.TypeBoolean && c.yes.Valid:
		return crm.Boolean(c.yes.Bool)
	case t == crm.TypeTimestamp && c.at.Valid:
		return crm.Timestamp(c.at.Time)
	case t == crm.TypeReference && c.id.Valid:
		return crm.Reference(crm.RecordID(c.id.String()))
	case t == crm.TypeList && c.list != nil:
		return crm.List(c.list...)
	case t == crm.TypeString && c.text.Valid:
		return crm.String(c.text.String)
	case t == crm.TypeDecimal && c.text.Valid:
		return crm.Decimal(c.text.String)
	case t == crm.TypeDate && c.text.Valid:
		return crm.Date(c.text.String)
	}
	return crm.Value{}
}

// text is v as PostgreSQL reads it for the column; nil is null. What cannot be
// stored is refused here, so that the error names the field.
func (c column) text(v crm.Value) (*string, error) {
	if v.IsNull() {
		return nil, nil
	}
	if v.Type() != c.field.Type {
		return nil, crm.FieldErrorf(c.name, "takes a %s, not a %s", c.field.Type, v.Type())
	}
	s := v.Text()
	if v.Type() == crm.TypeList {
		s = arrayLiteral(v.List())
	}
	switch {
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return nil, crm.FieldErrorf(c.name, "the text is not valid UTF-8, or holds a zero byte")
	case v.Type() == crm.TypeReference && !isID(s):
		return nil, crm.FieldErrorf(c.name, "is not a record id (a UUID)")
	case (c.field.Indexed || c.field.Unique) && len(s) > maxIndexedText:
		return nil, crm.FieldErrorf(c.name, "is indexed, so at most %d bytes long", maxIndexedText)
	}
	return &s, nil
}

// arrayLiteral is a list as PostgreSQL reads an array.
func arrayLiteral(list []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

func isID(s string) bool {
	_, err := crm.ParseRecordID(s)
	return err == nil
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// ruleName names an index or constraint after the rule it holds, within the 63
// bytes of an identifier.
func ruleName(entity, field, rule string) string {
	name := entity + "_" + rule
	if field != "" {
		name = entity + "_" + field + "_" + rule
	}
	if len(name) <= 63 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:54] + "_" + hex.EncodeToString(sum[:4])
}

// timestampText is t as PostgreSQL reads it; nil if it is not set.
func timestampText(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(time.RFC3339Nano)
	return &s
}
