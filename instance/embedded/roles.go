package embedded

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/lib/pq"
)

// AppRoles are an app role and those it may step into, as docs/database.md
// names them: to read records, to write them, to keep the views of BI tools.
func AppRoles(app string) []string {
	return []string{app, app + "_read", app + "_write", app + "_bi"}
}

// EnsureApp makes the role that an instance serves with, and those behind the
// door, unless they are there. It is what an administrator does in production;
// what the roles may do in the database its owner grants.
func (p *Postgres) EnsureApp(ctx context.Context, database, app, password string) error {
	return p.admin(ctx, func(db *sql.DB) error {
		var script strings.Builder
		roles := AppRoles(app)
		for n, role := range roles {
			may := "nologin"
			if n == 0 { // it has the rights of the others only after it stepped in
				may = "login noinherit password " + pq.QuoteLiteral(password)
			}
			found, err := exists(ctx, db, "select from pg_roles where rolname = $1", role)
			if err != nil {
				return err
			}
			verb := "create"
			if found {
				verb = "alter"
			}
			fmt.Fprintf(&script, "%s role %s %s nosuperuser nocreatedb nocreaterole noreplication nobypassrls;\n", verb, pq.QuoteIdentifier(role), may)
			if n > 0 && !found {
				fmt.Fprintf(&script, "grant %s to %s;\n", pq.QuoteIdentifier(role), pq.QuoteIdentifier(app))
			}
		}
		fmt.Fprintf(&script, "grant connect on database %s to %s;", pq.QuoteIdentifier(database), pq.QuoteIdentifier(app))
		if _, err := db.ExecContext(ctx, script.String()); err != nil {
			return fmt.Errorf("make the roles of %s: %w", app, err)
		}
		return nil
	})
}

// EnsureReader makes the login of a BI tool, unless it is there. It can reach
// nothing until the instance shows it the views of its subject.
func (p *Postgres) EnsureReader(ctx context.Context, database, role, password string) error {
	return p.admin(ctx, func(db *sql.DB) error {
		found, err := exists(ctx, db, "select from pg_roles where rolname = $1", role)
		if err != nil {
			return err
		}
		verb := "create"
		if found {
			verb = "alter"
		}
		name := pq.QuoteIdentifier(role)
		script := verb + " role " + name + " login noinherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls connection limit 8 password " +
			pq.QuoteLiteral(password) + ";\ngrant connect on database " + pq.QuoteIdentifier(database) + " to " + name
		for _, setting := range []string{"search_path = " + pq.QuoteIdentifier("bi_"+role), "default_transaction_read_only = on", "statement_timeout = '60s'", "idle_in_transaction_session_timeout = '60s'"} {
			script += ";\nalter role " + name + " in database " + pq.QuoteIdentifier(database) + " set " + setting
		}
		if _, err := db.ExecContext(ctx, script); err != nil {
			return fmt.Errorf("make the role %s: %w", role, err)
		}
		return nil
	})
}
