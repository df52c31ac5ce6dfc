package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// DatabaseRoles is what the database says of the roles that the instance uses.
type DatabaseRoles struct {
	Apart   bool     // the instance serves with a role of its own; otherwise nothing more is known
	Missing []string // rights without which it cannot serve
	Extra   []string // rights that it does not need
}

// DatabaseRoles compares what the instance's roles may do with what they need.
func (s *Store) DatabaseRoles(ctx context.Context) (DatabaseRoles, error) {
	if s.app == "" {
		return DatabaseRoles{}, nil
	}
	r := DatabaseRoles{Apart: true}
	b, err := readBelt(ctx, s.pool, s.app, s.instance)
	if err != nil {
		return r, pgErr(err, "look at the database roles")
	}
	for _, m := range b.missing() {
		r.Missing = append(r.Missing, m.String())
	}
	for _, x := range b.extra() {
		r.Extra = append(r.Extra, x.String())
	}
	for _, rel := range b.relations {
		if (rel.schema == "record" || rel.schema == "history") && !rel.guarded {
			r.Missing = append(r.Missing, "row-level security of "+rel.full())
		}
	}
	more, err := s.beyond(ctx, b.roles())
	r.Extra = append(r.Extra, more...)
	return r, pgErr(err, "look at the database roles")
}

// beyond is what the roles may do outside the instance's tables.
func (s *Store) beyond(ctx context.Context, roles []string) ([]string, error) {
	rows, err := s.pool.Query(ctx, `
		select 'role ' || r.rolname || ' is ' || a.what from pg_roles r cross join lateral (values
		    ('superuser', r.rolsuper), ('createdb', r.rolcreatedb), ('createrole', r.rolcreaterole), ('bypassrls', r.rolbypassrls), ('replication', r.rolreplication)
		  ) a(what, has) where r.rolname = any($1) and a.has
		union all
		select 'role ' || r.rolname || ' belongs to ' || g.rolname from pg_auth_members m join pg_roles r on r.oid = m.member join pg_roles g on g.oid = m.roleid
		  where r.rolname = any($1) and not g.rolname = any($1)
		union all
		select 'role ' || r.rolname || ' owns ' || c.oid::regclass from pg_class c join pg_roles r on r.oid = c.relowner join pg_namespace n on n.oid = c.relnamespace
		  where r.rolname = any($1) and n.nspname not like 'bi\_%'
		union all
		select lower(w.verb) || ' on database ' || d.datname || ' for ' || r.rolname from pg_roles r cross join pg_database d cross join (values ('CREATE'), ('TEMPORARY')) w(verb)
		  where r.rolname = any($1) and not r.rolsuper and d.datname = current_database() and has_database_privilege(r.oid, d.oid, w.verb)
		union all
		select 'execute on function ' || p.oid::regprocedure || ' for ' || r.rolname from pg_roles r cross join pg_proc p join pg_namespace n on n.oid = p.pronamespace
		  where r.rolname = $1[1] and not r.rolsuper and n.nspname = 'pg_catalog' and has_function_privilege(r.oid, p.oid, 'execute')
		    and p.proname in ('pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file', 'lo_import', 'lo_export')
		union all
		select lower(a.privilege_type) || ' on table ' || n.nspname || '.' || c.relname || ' for public'
		  from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join aclexplode(c.relacl) a
		  where a.grantee = 0 and n.nspname in ('meridian', 'fact', 'record', 'history')
		order by 1`, roles)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// String says it in one line for an operator.
func (r DatabaseRoles) String() string {
	switch {
	case !r.Apart:
		return "warning: one role owns the tables and serves; see docs/database.md"
	case len(r.Missing) > 0:
		return fmt.Sprintf("%d rights are missing, the first: %s; start the instance again, which grants them", len(r.Missing), r.Missing[0])
	case len(r.Extra) > 0:
		return fmt.Sprintf("warning: %d rights too many, the first: %s", len(r.Extra), r.Extra[0])
	}
	return "roles have what they need, and no more"
}
