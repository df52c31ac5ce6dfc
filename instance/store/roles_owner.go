package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// useOwner says who owns the tables.
func (s *Store) useOwner(c Config, app *pgx.ConnConfig) error {
	if c.OwnerURL == "" {
		s.log.Warn("one database role does everything: give the instance a role of its own (docs/database.md)", "role", app.User)
		return nil
	}
	owner, err := pgx.ParseConfig(c.OwnerURL)
	if err != nil {
		return fmt.Errorf("database owner url: %w", err)
	}
	if owner.User == app.User {
		return crm.FieldErrorf("database", "the owner's URL is of the same role, %s, as the instance's; see docs/database.md for the roles", app.User)
	}
	if owner.Host != app.Host || owner.Port != app.Port || owner.Database != app.Database {
		return crm.FieldErrorf("database", "the owner's URL leads to another database than the instance's")
	}
	owner.RuntimeParams["application_name"] = "meridian/" + c.Instance + "/owner"
	for k, v := range sessionSettings {
		owner.RuntimeParams[k] = v
	}
	s.owner, s.app = owner, app.User
	return nil
}

// prepare brings the schema up to date and sets the roles right, as the owner.
func (s *Store) prepare(ctx context.Context, app *pgx.ConnConfig) error {
	owner := app
	if s.owner != nil {
		owner = s.owner
	}
	if err := migrate(ctx, owner.Copy(), s.log); err != nil || s.owner == nil {
		return err
	}
	return pgErr(s.asOwner(ctx, func(tx pgx.Tx) error { return s.checkDoors(ctx, tx) }), "set up the database roles")
}

// asOwner runs f in a transaction of the owner, and sets the roles right after
// what it made.
func (s *Store) asOwner(ctx context.Context, f func(pgx.Tx) error) error {
	if s.owner == nil {
		return pgx.BeginFunc(ctx, s.pool, f)
	}
	conn, err := pgx.ConnectConfig(ctx, s.owner)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // what counts was committed
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		return fasten(ctx, tx, s.app, s.instance)
	})
}

// checkDoors refuses to open without the roles that only an administrator can
// make.
func (s *Store) checkDoors(ctx context.Context, tx pgx.Tx) error {
	for _, role := range []string{s.app + readSuffix, s.app + writeSuffix} {
		var member, inherits bool
		err := tx.QueryRow(ctx, `select coalesce((select pg_has_role($1, r.oid, 'member') from pg_roles r where r.rolname = $2), false),
			coalesce((select pg_has_role($1, r.oid, 'usage') from pg_roles r where r.rolname = $2), false)`, s.app, role).Scan(&member, &inherits)
		switch {
		case err != nil:
			return err
		case !member:
			return crm.FieldErrorf("database", "role %s cannot become %s: have an administrator run the SQL of docs/database.md", s.app, role)
		case inherits:
			return crm.FieldErrorf("database", "role %s has the rights of %s all the time: have an administrator make it noinherit, as docs/database.md says", s.app, role)
		}
	}
	return nil
}
