// Package embeddedtest gives tests a real PostgreSQL and a Kafka broker: at
// most one of each per test process, started when the first test asks, gone
// with the process.
//
//	func TestMain(m *testing.M) { embeddedtest.Main(m) }
//	func TestX(t *testing.T)    { url := embeddedtest.Database(t) ... }
package embeddedtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"meridian/instance/embedded"
)

const folderPrefix = "mrd-test-"

// servers are this process's. They are the one global of the package: tests
// of a process share them, and testing offers no other place to keep them.
var servers struct {
	postgres struct {
		once   sync.Once
		server *embedded.Postgres
		dir    string
		err    error
		count  atomic.Int64
	}
	kafka struct {
		once   sync.Once
		server *embedded.Kafka
		err    error
	}
	others []func() error // what else has to be stopped, in reverse
}

// Main runs the tests of a package, stops what they started and exits.
func Main(m *testing.M) {
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "embeddedtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func stop() error {
	for _, stop := range slices.Backward(servers.others) {
		if err := stop(); err != nil {
			return err
		}
	}
	if k := servers.kafka.server; k != nil {
		k.Stop()
	}
	if p := servers.postgres.server; p != nil {
		if err := p.Stop(); err != nil {
			return err
		}
	}
	if dir := servers.postgres.dir; dir != "" {
		return embedded.RemovePostgres(dir)
	}
	return nil
}

// Database returns the URL of a fresh, empty database for the fresh ordinary
// role that owns it. It is dropped when the test ends. App is the role that an
// instance serves with.
func Database(t testing.TB) string {
	t.Helper()
	s := &servers.postgres
	s.once.Do(func() { s.server, s.dir, s.err = startPostgres() })
	if s.err != nil {
		t.Fatal(s.err)
	}
	name := "test_" + strconv.FormatInt(s.count.Add(1), 10)
	if err := s.server.EnsureDatabase(t.Context(), name, name, name); err != nil {
		t.Fatal(err)
	}
	if err := s.server.EnsureApp(t.Context(), name, name+"_app", name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.server.DropDatabase(context.Background(), name, append(embedded.AppRoles(name+"_app"), name)...); err != nil {
			t.Error(err)
		}
	})
	return s.server.URL(name, name, name)
}

// App returns the URL, of the database whose owner's URL is given, for the role
// that an instance serves with: store.Config{URL: App(url), OwnerURL: url}.
func App(owner string) string {
	u, err := url.Parse(owner)
	if err != nil {
		panic(err) // it is one of ours
	}
	password, _ := u.User.Password()
	u.User = url.UserPassword(u.User.Username()+"_app", password)
	return u.String()
}

// Name is the name of a database, and of the role that owns it.
func Name(owner string) string {
	u, err := url.Parse(owner)
	if err != nil {
		panic(err) // it is one of ours
	}
	return strings.TrimPrefix(u.Path, "/")
}

// Reader makes the login of a BI tool in the database whose owner's URL is
// given and returns its URL.
func Reader(t testing.TB, owner, role string) string {
	t.Helper()
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := servers.postgres.server.EnsureReader(t.Context(), Name(owner), role, role); err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, role)
	return u.String()
}

// Kafka returns the brokers of this process's embedded Kafka, which keeps
// nothing. Tests keep apart by the names of their topics.
func Kafka(t testing.TB) []string {
	t.Helper()
	s := &servers.kafka
	s.once.Do(func() { s.server, s.err = embedded.StartKafka("", 0) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server.Brokers()
}

// OwnKafka returns the brokers of an embedded Kafka of the test's own, for one
// whose topics have the same names at every run.
func OwnKafka(t testing.TB) []string {
	t.Helper()
	server, err := embedded.StartKafka("", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server.Brokers()
}

func startPostgres() (*embedded.Postgres, string, error) {
	if err := sweep(); err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp("", folderPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, dir, err
	}
	p, err := embedded.StartPostgres(context.Background(), dir, embedded.PostgresOptions{Volatile: true})
	return p, dir, err
}

// sweep removes the folders of test processes that were killed: their names
// hold the process id.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		first, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
		pid, err := strconv.Atoi(first)
		if err != nil || syscall.Kill(pid, 0) != syscall.ESRCH {
			continue
		}
		if err := embedded.RemovePostgres(dir); err != nil && !os.IsPermission(err) {
			return err
		}
	}
	return nil
}
