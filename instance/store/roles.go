package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Behind the app role's name stand the roles it may step into: to read records,
// to write them, and to keep the views of BI tools.
const (
	readSuffix  = "_read"
	writeSuffix = "_write"
	biSuffix    = "_bi"
)

// appGrants are what the app role may do with the tables of schema meridian, and
// those of schema fact that differ from the others there. A table without a
// line stops the store from opening: whoever adds one says here what the code
// does with it, and no more. What is proof is only added to.
var appGrants = map[string]string{
	"meridian.access_stamp":      "select update", // update is also what locks it
	"meridian.activation":        "select insert",
	"meridian.bi_view":           "select insert update delete",
	"meridian.boundary_clock":    "select update",
	"meridian.bundle":            "select insert",
	"meridian.decision_batch":    "select insert",
	"meridian.decision_log":      "select insert",
	"meridian.decision_root":     "select insert",
	"meridian.decision_seal":     "select update",
	"meridian.declared":          "select insert update delete",
	"meridian.definition":        "select",
	"meridian.egress":            "select insert",
	"meridian.egress_holding":    "select insert update",
	"meridian.egress_receipt":    "select insert",
	"meridian.emergency":         "select insert",
	"meridian.emergency_review":  "select insert",
	"meridian.exchange_contract": "select insert update",
	"meridian.exchange_due":      "select insert update delete",
	"meridian.exchange_envelope": "select insert delete",
	"meridian.exchange_gap":      "select insert update",
	"meridian.exchange_inbox":    "select insert update",
	"meridian.exchange_parked":   "select insert update delete",
	"meridian.exchange_relay":    "select insert update",
	"meridian.exchange_repair":   "select insert update delete",
	"meridian.exchange_stream":   "select insert update",
	"meridian.exchange_told":     "select insert update",
	"meridian.holding":           "select",
	"meridian.idempotency":       "select insert update delete",
	"meridian.load":              "select insert update",
	"meridian.load_reject":       "select insert",
	"meridian.officer_key":       "select",
	"meridian.outbox":            "select insert delete",
	"meridian.proposal":          "select insert",
	"meridian.secret":            "select insert",
	"meridian.shadow":            "select insert update",
	"meridian.shadow_difference": "select insert update",
	"meridian.shadow_ground":     "select insert update",
	"meridian.signature":         "select insert",
	"meridian.tombstone":         "select",
}

// appColumns are what it may do with some columns only: enrol a key that officers
// signed for, and revoke one. Whose a key is, and since when, it cannot say.
var appColumns = map[string]map[string]string{
	"meridian.officer_key": {
		"insert": "id subject department public_key proposal valid_to",
		"update": "revoked_at revoked_by reason",
	},
}

// Beside records and their history, statements behind the door touch these.
var (
	readGrants  = map[string]string{"meridian.access_stamp": "select", "meridian.tombstone": "select", "meridian.egress_holding": "select"}
	writeGrants = map[string]string{
		"meridian.access_stamp": "select", "meridian.tombstone": "select insert", "meridian.holding": "select insert update", "meridian.outbox": "insert",
	}
	biGrants = map[string]string{"meridian.access_stamp": "select", "meridian.bi_view": "select"}
)

// appFunctions run with the owner's rights; the app role alone may call them.
var appFunctions = []string{"meridian.analyze(text)", "meridian.remove_decisions(bigint,bigint)", "meridian.requeue_decisions()"}

// right is one privilege of one role.
type right struct{ kind, on, column, role, verb string }

func (r right) String() string {
	what := r.verb
	if r.column != "" {
		what += " (" + r.column + ")"
	}
	return what + " on " + r.kind + " " + r.on + " for " + r.role
}

// sql grants the right, or takes it.
func (r right) sql(give bool) string {
	verb, to, kind := "grant ", " to ", r.kind
	if !give {
		verb, to = "revoke ", " from "
	}
	what, on := r.verb, r.on
	switch kind {
	case "column":
		what, kind, on = what+" ("+quoted(r.column)+")", "table", qualified(on)
	case "table", "schema":
		on = qualified(on)
	}
	return verb + what + " on " + kind + " " + on + to + quoted(r.role)
}

// qualified quotes a name with its schema.
func qualified(name string) string { return pgx.Identifier(strings.SplitN(name, ".", 2)).Sanitize() }

// relation is a table or view of the instance's schemas.
type relation struct {
	schema, name string
	table        bool
	recorded     bool // has recorded_to: a fact that is ended, never changed
	guarded      bool // row-level security is on
	policies     []string
}

func (r relation) full() string { return r.schema + "." + r.name }

const relationsSQL = `select n.nspname, c.relname, c.relkind in ('r', 'p'),
		exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'recorded_to' and not a.attisdropped), c.relrowsecurity,
		array(select p.polname || ' for ' || coalesce((select g.rolname from pg_roles g where g.oid = any(p.polroles)), 'public') from pg_policy p where p.polrelid = c.oid)
	from pg_class c join pg_namespace n on n.oid = c.relnamespace
	where n.nspname in ('meridian', 'fact', 'record', 'history') and c.relkind in ('r', 'v', 'p') order by 1, 2`

// rightsSQL lists what is granted to some roles, here and in this database.
const rightsSQL = `
	select 'schema', n.nspname, '', g.rolname, lower(a.privilege_type)
	  from pg_namespace n cross join aclexplode(n.nspacl) a join pg_roles g on g.oid = a.grantee where g.rolname = any($1)
	union all
	select 'table', n.nspname || '.' || c.relname, '', g.rolname, lower(a.privilege_type)
	  from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join aclexplode(c.relacl) a join pg_roles g on g.oid = a.grantee where g.rolname = any($1)
	union all
	select 'column', n.nspname || '.' || c.relname, t.attname, g.rolname, lower(a.privilege_type)
	  from pg_attribute t join pg_class c on c.oid = t.attrelid join pg_namespace n on n.oid = c.relnamespace
	  cross join aclexplode(t.attacl) a join pg_roles g on g.oid = a.grantee where g.rolname = any($1)
	union all
	select 'function', n.nspname || '.' || p.proname || '(' || replace(oidvectortypes(p.proargtypes), ', ', ',') || ')', '', g.rolname, lower(a.privilege_type)
	  from pg_proc p join pg_namespace n on n.oid = p.pronamespace cross join aclexplode(p.proacl) a join pg_roles g on g.oid = a.grantee where g.rolname = any($1)`

// belt is what the roles have, and what they are to have.
type belt struct {
	app       string
	bi        bool // the role that keeps BI views is there
	home      string
	relations []relation
	has, want []right
}

// readBelt compares the roles' rights with what they need.
func readBelt(ctx context.Context, q queries, app, home string) (*belt, error) {
	b := &belt{app: app, home: home}
	if err := q.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", app+biSuffix).Scan(&b.bi); err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, relationsSQL)
	if err != nil {
		return nil, err
	}
	b.relations, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r relation, err error) {
		return r, row.Scan(&r.schema, &r.name, &r.table, &r.recorded, &r.guarded, &r.policies)
	})
	if err != nil {
		return nil, err
	}
	if rows, err = q.Query(ctx, rightsSQL, b.roles()); err != nil {
		return nil, err
	}
	b.has, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r right, err error) {
		return r, row.Scan(&r.kind, &r.on, &r.column, &r.role, &r.verb)
	})
	if err != nil {
		return nil, err
	}
	b.has = slices.DeleteFunc(b.has, func(r right) bool { // the views of BI tools, and their schemas, are its own
		return r.role == app+biSuffix && strings.HasPrefix(r.on, biSchema(""))
	})
	for _, r := range b.relations {
		for _, p := range r.policies {
			name, role, _ := strings.Cut(p, " for ")
			b.has = append(b.has, right{policyKind, r.full(), "", role, name})
		}
	}
	return b, b.wanted()
}

func (b *belt) roles() []string {
	roles := []string{b.app, b.app + readSuffix, b.app + writeSuffix}
	if b.bi {
		roles = append(roles, b.app+biSuffix)
	}
	return roles
}

func (b *belt) wanted() error {
	for _, schema := range []string{"meridian", "fact", "record", "history"} {
		for _, role := range b.roles() {
			b.want = append(b.want, right{"schema", schema, "", role, "usage"})
		}
	}
	for _, f := range appFunctions {
		b.want = append(b.want, right{"function", f, "", b.app, "execute"})
	}
	for _, r := range b.relations {
		if err := b.wantedOn(r); err != nil {
			return err
		}
	}
	return nil
}

func (b *belt) wantedOn(r relation) error {
	name := r.full()
	need := func(role, verbs string) {
		for verb := range strings.FieldsSeq(verbs) {
			b.want = append(b.want, right{"table", name, "", role, verb})
		}
	}
	app, read, write, bi := b.app, b.app+readSuffix, b.app+writeSuffix, b.app+biSuffix
	switch r.schema {
	case "record", "history":
		need(app, "select") // of no row: it has no policy
		need(read, "select")
		need(write, "select insert update delete")
		b.wantPolicies(r)
	case "fact":
		need(read, "select")
		need(write, "select")
	}
	if b.bi && r.schema != "meridian" && r.schema != "history" {
		need(bi, "select")
	}
	switch verbs, listed := appGrants[name]; {
	case listed:
		need(app, verbs)
	case r.schema == "fact":
		need(app, "select")
		if r.table {
			need(app, "insert")
		}
		if r.recorded && r.table {
			b.want = append(b.want, right{"column", name, "recorded_to", app, "update"})
		}
	case r.schema == "meridian":
		return crm.Errorf(crm.Internal, "table %s has no line in instance/store/roles.go: say what the running instance does with it", name)
	}
	for verb, columns := range appColumns[name] {
		for column := range strings.FieldsSeq(columns) {
			b.want = append(b.want, right{"column", name, column, app, verb})
		}
	}
	need(read, readGrants[name])
	need(write, writeGrants[name])
	if b.bi {
		need(bi, biGrants[name])
	}
	return nil
}

// policyKind is the kind of a right that a row-level policy gives.
const policyKind = "policy"

// policies are what the roles may do to which rows. The history of a record of
// this instance is only added to, whoever asks: what an import may change or
// remove is others' records.
func (b *belt) policies(schema string) map[right]string {
	read, write := b.app+readSuffix, b.app+writeSuffix
	name := func(role, verb string) right { return right{kind: policyKind, role: role, verb: b.app + "_" + verb} }
	all, foreign := "true", "home <> "+literal(b.home)
	ps := map[right]string{name(read, "read"): "for select to " + quoted(read) + " using (" + all + ")"}
	if schema == "record" {
		ps[name(write, "write")] = "for all to " + quoted(write) + " using (" + all + ") with check (" + all + ")"
		if b.bi {
			bi := b.app + biSuffix
			ps[name(bi, "bi")] = "for select to " + quoted(bi) + " using (" + all + ")"
		}
		return ps
	}
	ps[name(write, "look")] = "for select to " + quoted(write) + " using (" + all + ")"
	ps[name(write, "add")] = "for insert to " + quoted(write) + " with check (" + all + ")"
	ps[name(write, "replace")] = "for update to " + quoted(write) + " using (" + foreign + ") with check (" + foreign + ")"
	ps[name(write, "remove")] = "for delete to " + quoted(write) + " using (" + foreign + ")"
	return ps
}

func (b *belt) wantPolicies(r relation) {
	for p := range b.policies(r.schema) {
		p.on = r.full()
		b.want = append(b.want, p)
	}
}

// sql gives a right or takes it.
func (b *belt) sql(r right, give bool) string {
	if r.kind != policyKind {
		return r.sql(give)
	}
	if !give {
		return "drop policy " + quoted(r.verb) + " on " + qualified(r.on)
	}
	schema, _, _ := strings.Cut(r.on, ".")
	key := r
	key.on = ""
	return "create policy " + quoted(r.verb) + " on " + qualified(r.on) + " " + b.policies(schema)[key]
}

// missing is what the roles lack, extra what they have too much.
func (b *belt) missing() []right {
	return slices.DeleteFunc(slices.Clone(b.want), func(r right) bool { return slices.Contains(b.has, r) })
}

func (b *belt) extra() []right {
	return slices.DeleteFunc(slices.Clone(b.has), func(r right) bool { return slices.Contains(b.want, r) })
}

// fasten gives the roles what they need and takes the rest, in the owner's
// transaction. Nothing is touched that is right.
func fasten(ctx context.Context, tx pgx.Tx, app, home string) error {
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtext('meridian.roles'))"); err != nil {
		return err
	}
	b, err := readBelt(ctx, tx, app, home)
	if err != nil {
		return err
	}
	var ddl []string
	for _, r := range b.relations {
		if (r.schema == "record" || r.schema == "history") && !r.guarded {
			ddl = append(ddl, "alter table "+qualified(r.full())+" enable row level security")
		}
	}
	for _, r := range b.extra() {
		if r.kind != policyKind || slices.Contains(b.roles(), r.role) { // others' policies are the administrator's
			ddl = append(ddl, b.sql(r, false))
		}
	}
	for _, r := range b.missing() {
		ddl = append(ddl, b.sql(r, true))
	}
	if len(ddl) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, strings.Join(ddl, ";\n")); err != nil {
		return fmt.Errorf("set up the roles: %w", err)
	}
	return nil
}
