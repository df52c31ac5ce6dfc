package embedded

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq" // embedded-postgres brings it; pgx belongs to the store
)

const (
	superuser = "meridian"
	// patience bounds a start; two busy cores need several seconds for initdb.
	patience = 60 * time.Second
	// grace is how long a server may take to end: it is the last of a fleet
	// that has 20 s in all.
	grace = 6 * time.Second
	// fastShutdown is PostgreSQL's: roll back, write a checkpoint, go.
	fastShutdown      = syscall.SIGINT
	immediateShutdown = syscall.SIGQUIT
)

// PostgresOptions are what differs between a laptop's server and a test's.
type PostgresOptions struct {
	// Volatile trades durability for speed: for tests only.
	Volatile bool
}

// Postgres is a running server, reached over a socket in a private folder.
type Postgres struct {
	*Process
	sockets  string
	password string
}

// StartPostgres starts a server on the cluster in dir, making one first if dir
// is new. ctx bounds the start only. Root callers get a server that runs as an
// ordinary user. What a killed server left behind is recovered.
func StartPostgres(ctx context.Context, dir string, o PostgresOptions) (*Postgres, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c, err := openCluster(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := recoverPostmaster(ctx, c.data); err != nil {
		return nil, err
	}
	for {
		p, err := c.start(ctx, o)
		// A killed server's last backends may hold its memory for a moment.
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "shared memory block") {
			return p, err
		}
		wait(ctx, 100*time.Millisecond)
	}
}

// URL is where a role finds a database.
func (p *Postgres) URL(database, role, password string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, password), Path: "/" + database,
		RawQuery: url.Values{"host": {p.sockets}, "sslmode": {"disable"}}.Encode(),
	}
	return u.String()
}

// EnsureDatabase makes the role, ordinary and with this password, and the
// database it owns, unless they are there.
func (p *Postgres) EnsureDatabase(ctx context.Context, database, role, password string) error {
	return p.admin(ctx, func(db *sql.DB) error {
		name, owner := pq.QuoteIdentifier(database), pq.QuoteIdentifier(role)
		verb := "create"
		if found, err := exists(ctx, db, "select from pg_roles where rolname = $1", role); err != nil {
			return err
		} else if found {
			verb = "alter"
		}
		if _, err := db.ExecContext(ctx, verb+" role "+owner+" login nosuperuser nocreatedb nocreaterole password "+pq.QuoteLiteral(password)); err != nil {
			return fmt.Errorf("%s role %s: %w", verb, role, err)
		}
		found, err := exists(ctx, db, "select from pg_database where datname = $1", database)
		if err != nil {
			return err
		}
		if !found {
			if _, err := db.ExecContext(ctx, "create database "+name+" owner "+owner); err != nil {
				return fmt.Errorf("create database %s: %w", database, err)
			}
		}
		// One server, several sovereign instances: none may look into another.
		if _, err := db.ExecContext(ctx, "revoke all on database "+name+" from public"); err != nil {
			return fmt.Errorf("close database %s to other roles: %w", database, err)
		}
		return nil
	})
}

// DropDatabase removes a database and its roles, whoever is still connected.
func (p *Postgres) DropDatabase(ctx context.Context, database string, roles ...string) error {
	return p.admin(ctx, func(db *sql.DB) error {
		if _, err := db.ExecContext(ctx, "drop database if exists "+pq.QuoteIdentifier(database)+" with (force)"); err != nil {
			return fmt.Errorf("drop database %s: %w", database, err)
		}
		for _, role := range roles {
			if _, err := db.ExecContext(ctx, "drop role if exists "+pq.QuoteIdentifier(role)); err != nil {
				return fmt.Errorf("drop role %s: %w", role, err)
			}
		}
		return nil
	})
}

// Stop ends the server: sessions are rolled back, the data is left clean.
func (p *Postgres) Stop() error {
	return errors.Join(p.Process.Stop(fastShutdown, grace), os.RemoveAll(p.sockets))
}

func (p *Postgres) admin(ctx context.Context, do func(*sql.DB) error) error {
	db, err := sql.Open("postgres", p.URL("postgres", superuser, p.password))
	if err != nil {
		return err
	}
	return errors.Join(do(db), db.Close())
}

func exists(ctx context.Context, db *sql.DB, query, name string) (bool, error) {
	rows, err := db.QueryContext(ctx, query, name)
	if err != nil {
		return false, err
	}
	found := rows.Next()
	return found, errors.Join(rows.Err(), rows.Close())
}

// ready waits until the server answers a query.
func (p *Postgres) ready(ctx context.Context) error {
	return p.admin(ctx, func(db *sql.DB) error {
		for {
			err := db.PingContext(ctx)
			if err == nil {
				return nil
			}
			select {
			case <-p.Done():
				return fmt.Errorf("the server ended: %w", p.Err())
			case <-ctx.Done():
				return fmt.Errorf("the server does not answer: %w", err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

// settingsFor are the server's settings. No TCP; errors are logged without
// their detail, which would hold customers' values.
func settingsFor(o PostgresOptions) map[string]string {
	s := map[string]string{
		"listen_addresses":                    "",
		"max_connections":                     "160",
		"jit":                                 "off", // policy filters look dearer than they are
		"random_page_cost":                    "1.1",
		"log_error_verbosity":                 "terse",
		"log_min_error_statement":             "panic",
		"idle_in_transaction_session_timeout": "5min",
		"timezone":                            "UTC",
		"log_timezone":                        "UTC",
	}
	if o.Volatile {
		maps.Copy(s, map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
			"wal_level": "minimal", "max_wal_senders": "0", "shared_buffers": "64MB",
		})
		return s
	}
	maps.Copy(s, map[string]string{
		"fsync": "on", "synchronous_commit": "on", "shared_buffers": "256MB",
		"max_wal_size": "1GB", "checkpoint_timeout": "15min", "wal_compression": "on",
	})
	return s
}

func lastLines(out []byte) string {
	lines := strings.Split(string(bytes.TrimSpace(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
