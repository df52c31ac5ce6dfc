package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq" // embedded-postgres brings it; pgx belongs to the store
)

const (
	superuser = "meridian"
	// patience bounds a start; two busy cores need several seconds for initdb.
	patience = 60 * time.Second
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

// DropDatabase removes a database and its role, whoever is still connected.
func (p *Postgres) DropDatabase(ctx context.Context, database, role string) error {
	return p.admin(ctx, func(db *sql.DB) error {
		if _, err := db.ExecContext(ctx, "drop database if exists "+pq.QuoteIdentifier(database)+" with (force)"); err != nil {
			return fmt.Errorf("drop database %s: %w", database, err)
		}
		if _, err := db.ExecContext(ctx, "drop role if exists "+pq.QuoteIdentifier(role)); err != nil {
			return fmt.Errorf("drop role %s: %w", role, err)
		}
		return nil
	})
}

// Stop ends the server: sessions are rolled back, the data is left clean.
func (p *Postgres) Stop() error {
	return errors.Join(p.Process.Stop(fastShutdown, 6*time.Second), os.RemoveAll(p.sockets))
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

// cluster is a folder with a database cluster and what belongs to it.
type cluster struct {
	dir, data string
	binaries  string
	account   *account
	password  string
}

func openCluster(ctx context.Context, dir string) (*cluster, error) {
	binaries, err := findBinaries()
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, data: filepath.Join(dir, "data"), binaries: binaries}
	if c.account, err = serverAccount(c.data); err != nil {
		return nil, err
	}
	mode := os.FileMode(0o700)
	if c.account != nil {
		mode = 0o711 // the server's user passes through, and lists nothing
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return nil, fmt.Errorf("make the PostgreSQL folder: %w", err)
	}
	if password, err := os.ReadFile(c.file("superuser")); err == nil {
		c.password = string(password)
	} else {
		return c, c.create(ctx)
	}
	return c, nil
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

// create makes the cluster. The password file is written last: without it the
// folder holds an attempt that was cut short and starts over.
func (c *cluster) create(ctx context.Context) error {
	c.password = rand.Text()
	var err error
	for _, ctype := range []string{"C.UTF-8", "C"} { // not every system has the first
		if err = c.initdb(ctx, ctype); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.file("superuser"), []byte(c.password), 0o600); err != nil {
		return fmt.Errorf("keep the PostgreSQL password: %w", err)
	}
	return nil
}

func (c *cluster) initdb(ctx context.Context, ctype string) error {
	if err := os.RemoveAll(c.data); err != nil {
		return fmt.Errorf("clear an unfinished database cluster: %w", err)
	}
	if err := os.Mkdir(c.data, 0o700); err != nil {
		return fmt.Errorf("make the database cluster: %w", err)
	}
	pass, err := os.MkdirTemp("", "mrd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(pass) //nolint:errcheck // the password in it is useless without the socket
	passFile := filepath.Join(pass, "password")
	if err := os.WriteFile(passFile, []byte(c.password), 0o600); err != nil {
		return err
	}
	for _, path := range []string{c.data, pass, passFile} {
		if err := c.account.own(path); err != nil {
			return fmt.Errorf("give %s to the server's user: %w", path, err)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.binaries, "initdb"), "-D", c.data, "-U", superuser,
		"--pwfile", passFile, "--auth", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--lc-ctype", ctype, "--no-sync", "--no-instructions")
	c.prepare(cmd, passFile)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, lastLines(out))
	}
	return nil
}

// prepare gives a command the server's user, a neutral environment and a
// working folder that this user may stand in.
func (c *cluster) prepare(cmd *exec.Cmd, alsoReads ...string) {
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = dropTo(c.account, c.account.anyClosed(append(alsoReads, c.data, filepath.Join(c.binaries, "postgres"))...))
}

func (c *cluster) start(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	sockets, err := c.makeSockets()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.file("log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the PostgreSQL log: %w", err)
	}
	defer log.Close() //nolint:errcheck // the child has its own
	settings := settingsFor(o)
	settings["unix_socket_directories"] = sockets
	args := []string{"-D", c.data}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	cmd := exec.Command(filepath.Join(c.binaries, "postgres"), args...)
	c.prepare(cmd, filepath.Join(sockets, "x"))
	cmd.Stdout, cmd.Stderr = log, log
	process, err := StartProcess(cmd, fastShutdown)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(sockets))
	}
	p := &Postgres{Process: process, sockets: sockets, password: c.password}
	if err := p.ready(ctx); err != nil {
		out, _ := os.ReadFile(c.file("log")) // only to say more
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w: %s", err, lastLines(out)), p.Stop())
	}
	return p, nil
}

// makeSockets makes the private folder of the server's socket: in the system's
// temporary folder, because a socket's path must stay under 108 bytes. A
// server that crashed finds its folder again, so that its URL stays.
func (c *cluster) makeSockets() (string, error) {
	if old := recordedSockets(c.dir); old != "" {
		if err := c.account.owns(old); err == nil {
			// No server runs on the cluster any more. Its socket's lock may
			// name a process that died and that nobody has waited for yet.
			return old, clearFolder(old)
		}
	}
	parent := os.TempDir()
	if len(parent) > 60 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "mrd-")
	if err != nil {
		return "", fmt.Errorf("make the socket folder: %w", err)
	}
	if err := c.account.own(dir); err != nil {
		return "", fmt.Errorf("give the socket folder to the server's user: %w", err)
	}
	if err := os.WriteFile(c.file("sockets"), []byte(dir), 0o600); err != nil {
		return "", fmt.Errorf("record the socket folder: %w", err)
	}
	return dir, nil
}

func clearFolder(dir string) error {
	content, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range content {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// recordedSockets is the socket folder of the last start in dir, if it was
// left behind.
func recordedSockets(dir string) string {
	old, err := os.ReadFile(filepath.Join(dir, "sockets"))
	if err != nil || !strings.HasPrefix(filepath.Base(string(old)), "mrd-") {
		return ""
	}
	return string(old)
}

// RemovePostgres removes a cluster that no server runs on, with what belongs
// to it elsewhere.
func RemovePostgres(dir string) error {
	var err error
	if old := recordedSockets(dir); old != "" {
		err = os.RemoveAll(old)
	}
	return errors.Join(err, os.RemoveAll(dir))
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
