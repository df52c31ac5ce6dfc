package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

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
	defer os.RemoveAll(pass) // the password in it is useless without the socket
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

// start starts the server. When that fails its socket folder stays, recorded,
// for the next try: clients wait for the URL they know.
func (c *cluster) start(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	sockets, err := c.makeSockets()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.file("log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the PostgreSQL log: %w", err)
	}
	defer log.Close() // the child has its own
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
		return nil, err
	}
	p := &Postgres{Process: process, sockets: sockets, password: c.password}
	if err := p.ready(ctx); err != nil {
		out, _ := os.ReadFile(c.file("log")) // only to say more
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w: %s", err, lastLines(out)), p.Process.Stop(fastShutdown, grace))
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
