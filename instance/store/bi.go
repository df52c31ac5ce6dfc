package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// BIReader is the login of a BI tool and whose sight it has.
type BIReader struct {
	Role     string
	Subject  crm.SubjectID
	Password string // for a role that is not there yet, where the owner may make roles
}

// biSchema is where the views of a login are.
func biSchema(role string) string { return "bi_" + role }

// PrepareBI makes the schemas of the logins' views and removes those of others,
// as the owner. A login that could reach more than its views is refused.
func (s *Store) PrepareBI(ctx context.Context, readers []BIReader) error {
	if len(readers) > 0 && s.app == "" {
		return crm.FieldErrorf("bi", "views need a database with an owner and a role that serves (database.owner_url_file); see docs/database.md")
	}
	if s.app == "" {
		return nil
	}
	err := s.asOwner(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtext('meridian.roles'))"); err != nil {
			return err
		}
		schemas := make([]string, len(readers))
		for i, r := range readers {
			schemas[i] = biSchema(r.Role)
			if err := s.prepareBI(ctx, tx, r); err != nil {
				return err
			}
		}
		return dropOthers(ctx, tx, schemas)
	})
	return pgErr(err, "prepare the views of BI tools")
}

func (s *Store) prepareBI(ctx context.Context, tx pgx.Tx, r BIReader) error {
	var exists, mayMake, keeper bool
	err := tx.QueryRow(ctx, `select exists (select from pg_roles where rolname = $1), (select rolcreaterole or rolsuper from pg_roles where rolname = current_user),
		exists (select from pg_roles where rolname = $2 and pg_has_role($3, oid, 'member'))`, r.Role, s.app+biSuffix, s.app).Scan(&exists, &mayMake, &keeper)
	switch {
	case err != nil:
		return err
	case !keeper:
		return crm.FieldErrorf("bi", "role %s cannot become %s, which keeps the views: have an administrator run the SQL of docs/database.md", s.app, s.app+biSuffix)
	case !exists && (!mayMake || r.Password == ""):
		return crm.FieldErrorf("bi", "there is no role %s: have an administrator make it, as docs/database.md says", r.Role)
	case !exists:
		_, err := tx.Exec(ctx, "create role "+quoted(r.Role)+" login noinherit connection limit 8 password "+quoteLiteral(r.Password)+
			"; do $$ begin execute format('grant connect on database %I to "+quoted(r.Role)+"', current_database()); end $$")
		if err != nil {
			return err
		}
	}
	if err := harmless(ctx, tx, r.Role); err != nil {
		return err
	}
	schema := quoted(biSchema(r.Role))
	for _, sql := range []string{
		"create schema if not exists " + schema,
		"grant usage, create on schema " + schema + " to " + quoted(s.app+biSuffix),
		"grant usage on schema " + schema + " to " + quoted(r.Role),
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// harmless refuses a login that may do more than to read its views.
func harmless(ctx context.Context, tx pgx.Tx, role string) error {
	var what *string
	err := tx.QueryRow(ctx, `select min(x.what) from pg_roles r cross join lateral (
			select 'is a superuser' as what where r.rolsuper
			union all select 'bypasses row-level security' where r.rolbypassrls
			union all select 'may make roles or databases' where r.rolcreaterole or r.rolcreatedb
			union all select 'may replicate' where r.rolreplication
			union all select 'belongs to role ' || g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid
			union all select 'may create in the database' where has_database_privilege(r.oid, current_database(), 'CREATE, TEMPORARY')
			union all select 'may use schema ' || n.nspname from pg_namespace n
			  where n.nspname in ('meridian', 'fact', 'record', 'history') and has_schema_privilege(r.oid, n.oid, 'USAGE, CREATE')
			union all select 'may create in schema public' from pg_namespace n where n.nspname = 'public' and has_schema_privilege(r.oid, n.oid, 'CREATE')
		) x where r.rolname = $1`, role).Scan(&what)
	if err == nil && what != nil {
		err = crm.FieldErrorf("bi", "role %s %s; a BI login may only read its views", role, *what)
	}
	return err
}

// dropOthers removes the views of logins that are no longer configured.
func dropOthers(ctx context.Context, tx pgx.Tx, schemas []string) error {
	rows, err := tx.Query(ctx, `select n.nspname from pg_namespace n join meridian.bi_view v on n.nspname = 'bi_' || v.role where not n.nspname = any($1)`, schemas)
	if err != nil {
		return err
	}
	gone, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, schema := range gone {
		if _, err := tx.Exec(ctx, "drop schema "+quoted(schema)+" cascade"); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, "delete from meridian.bi_view where not 'bi_' || role = any($1)", schemas)
	return err
}

// ShowBI makes the views of a login those of subject: one per entity, of what
// its filter shows. No filters, no views. It tells whether their text changed;
// if not, only the stamp they hold under moves on.
func (s *Store) ShowBI(ctx context.Context, role string, subject crm.Subject, filters map[string]policy.Filter) (changed bool, err error) {
	var ddl []string
	bundle := ""
	ts := s.entities.Load()
	for _, entity := range ts.names {
		f, ok := filters[entity]
		if !ok {
			continue
		}
		bundle = f.Digest()
		view, err := ts.byEntity[entity].biView(role, f)
		if err != nil {
			return false, err
		}
		name := quoted(biSchema(role)) + "." + quoted(entity)
		ddl = append(ddl, view, "grant select on "+name+" to "+quoted(role))
	}
	sum := sha256.Sum256([]byte(strings.Join(ddl, "\n")))
	digest := hex.EncodeToString(sum[:])
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var last string
		// Two that lead for a moment take turns; the row and the views are of one hand.
		err := tx.QueryRow(ctx, `insert into meridian.bi_view as v (role, subject, stamp, digest, bundle) values ($1, $2, $3, '', $4)
			on conflict (role) do update set stamp = $3, subject = $2, bundle = $4, generated = clock_timestamp() returning digest`,
			role, string(subject.ID), subject.Stamp, bundle).Scan(&last)
		if err != nil || last == digest {
			return err
		}
		changed = true
		if _, err := tx.Exec(ctx, "update meridian.bi_view set digest = $2 where role = $1", role, digest); err != nil {
			return err
		}
		return s.replaceViews(ctx, tx, role, ddl)
	})
	return changed, pgErr(err, "views of %s", role)
}

// replaceViews steps into the role that keeps views and makes them anew.
func (s *Store) replaceViews(ctx context.Context, tx pgx.Tx, role string, ddl []string) error {
	if _, err := tx.Exec(ctx, doorway{biSuffix}.open(s)); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind = 'v'", biSchema(role))
	if err != nil {
		return err
	}
	old, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range old {
		if _, err := tx.Exec(ctx, "drop view "+quoted(biSchema(role))+"."+quoted(name)); err != nil {
			return err
		}
	}
	for _, sql := range ddl {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, closeDoorSQL)
	return err
}

// biGovernance are the governance columns that a view shows, as every record
// of the API does.
var biGovernance = []string{"id", "home", "territory", "segment", "department", "owner", "account", "sensitivity", "jurisdiction", "version", "created", "updated"}

// biView is the statement that makes the view of one entity: the rows of the
// filter, the projected values, and the names of the groups that are withheld
// or masked. It shows nothing under another access stamp than the one it was
// made under, nor to a transaction that looks at an older state.
func (t *table) biView(role string, f policy.Filter) (string, error) {
	args := policy.NewArgs(nil)
	p := newProjection(t, f, args)
	var columns []string
	for _, name := range biGovernance {
		columns = append(columns, "r."+quoted(name))
	}
	for _, c := range t.columns[len(governance):] {
		columns = append(columns, p.sight(c).sql()+" as "+c.sql)
	}
	groups := func(shows func(group string) string) string {
		var names []string
		for _, g := range t.groups {
			names = append(names, "case when "+shows(g)+" then "+quoteLiteral(g)+" end")
		}
		return "array_remove(array[" + strings.Join(names, ", ") + "]::text[], null)"
	}
	columns = append(columns,
		groups(func(g string) string { return "(" + p.reveal(g) + " or " + p.mask(g) + ") is not true" })+" as withheld_groups",
		groups(func(g string) string { return "(" + p.reveal(g) + ") is not true and (" + p.mask(g) + ")" })+" as masked_groups")
	sql := "select " + strings.Join(columns, ", ") + " from " + t.live + " r where (" + f.Where(args) + ")" +
		" and (select v.stamp from meridian.bi_view v where v.role = " + quoteLiteral(role) + ") =" +
		" (select a.stamp * 2 + (a.boundary <= statement_timestamp())::int from meridian.access_stamp a)" +
		" and current_setting('transaction_isolation') = 'read committed'"
	sql, err := inlined(sql, args.Values())
	if err != nil {
		return "", err
	}
	return "create view " + quoted(biSchema(role)) + "." + quoted(t.def.Entity) + " with (security_barrier) as " + sql, nil
}

// BIView is the state of a login's views.
type BIView struct {
	Role      string
	Subject   crm.SubjectID
	Fresh     bool // made under the access stamp in force; a stale one shows nothing
	Generated time.Time
	Bundle    string
}

// BIViews lists the logins whose views were made.
func (s *Store) BIViews(ctx context.Context) ([]BIView, error) {
	rows, err := s.pool.Query(ctx, `select v.role, v.subject, v.stamp = a.stamp * 2 + (a.boundary <= statement_timestamp())::int, v.generated, v.bundle
		from meridian.bi_view v, meridian.access_stamp a order by v.role`)
	if err != nil {
		return nil, pgErr(err, "list views")
	}
	vs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[BIView])
	return vs, pgErr(err, "list views")
}
