package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"meridian/instance/embedded"
)

// helperDir makes this test binary a process that starts a server in that
// folder, prints its id and waits to be killed.
const helperDir = "EMBEDDED_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		p, err := embedded.StartPostgres(context.Background(), dir, embedded.PostgresOptions{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(p.PID())
		<-p.Done()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestPostgresAsAnOrdinaryUser runs the server's tests again without root.
func TestPostgresAsAnOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the tests run as an ordinary user already")
	}
	// The build's own folder is closed to others.
	dir := openDir(t)
	binary := filepath.Join(dir, "embedded.test")
	copyFile(t, os.Args[0], binary)
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^TestPostgres(Lives|Recovers|DiesWithIts|RunsBelow)", "-test.v")
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as user 65534: %v\n%s", err, out)
	}
	if n := strings.Count(string(out), "--- PASS: TestPostgres"); n < 4 {
		t.Errorf("%d tests passed as user 65534, want 4 at least\n%s", n, out)
	}
}

func TestPostgresLivesFromStartToStart(t *testing.T) {
	dir := filepath.Join(openDir(t), "postgres")
	p := startWith(t, dir, embedded.PostgresOptions{})
	ensure(t, p, "amer")
	ensure(t, p, "emea")
	execSQL(t, p.URL("amer", "amer", "secret"), "create table kept (n int); insert into kept values (42)")
	t.Run("roles are ordinary and keep apart", func(t *testing.T) {
		if got := queryText(t, p.URL("amer", "amer", "secret"), "select current_setting('is_superuser')"); got != "off" {
			t.Errorf("is_superuser = %s, want off", got)
		}
		if _, err := pgx.Connect(t.Context(), p.URL("emea", "amer", "secret")); err == nil {
			t.Error("amer's role may connect to emea's database")
		}
		if _, err := pgx.Connect(t.Context(), p.URL("amer", "amer", "wrong")); err == nil {
			t.Error("a wrong password is accepted")
		}
	})
	if got := queryText(t, p.URL("amer", "amer", "secret"), "select current_setting('fsync')"); got != "on" {
		t.Errorf("fsync = %s, want on", got)
	}
	stop(t, p)
	p = start(t, dir)
	ensure(t, p, "amer") // again: nothing is lost by it
	if got := queryText(t, p.URL("amer", "amer", "secret"), "select n::text from kept"); got != "42" {
		t.Errorf("after a restart n = %s, want 42", got)
	}
}

func TestPostgresRecoversFromAKill(t *testing.T) {
	dir := filepath.Join(openDir(t), "postgres")
	p := startWith(t, dir, embedded.PostgresOptions{})
	ensure(t, p, "amer")
	url := p.URL("amer", "amer", "secret")
	execSQL(t, url, "create table kept (n int); insert into kept values (42)")
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()

	// Meanwhile the server's process id has become somebody else's: ours.
	sockets, err := os.ReadFile(filepath.Join(dir, "sockets"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dir, "data", "postmaster.pid"), filepath.Join(string(sockets), ".s.PGSQL.5432.lock")} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n")
		if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	p = startWith(t, dir, embedded.PostgresOptions{})
	if p.URL("amer", "amer", "secret") != url {
		t.Error("the URL changed; clients cannot reconnect")
	}
	if got := queryText(t, url, "select n::text from kept"); got != "42" {
		t.Errorf("after a kill n = %s, want 42", got)
	}
}

func TestPostgresDiesWithItsParentAndIsRecovered(t *testing.T) {
	dir := filepath.Join(openDir(t), "postgres")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	p := start(t, dir)
	if embedded.ProcessBegan(pid) != "" {
		t.Errorf("server %d outlived its parent and the next start", pid)
	}
	ensure(t, p, "amer")
}

// A root caller's server runs as an ordinary user, who cannot enter a folder
// of root's own accord.
func TestPostgresRunsBelowAClosedFolder(t *testing.T) {
	closed := filepath.Join(openDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	ensure(t, start(t, filepath.Join(closed, "postgres")), "amer")
}

// start starts a server that does not wait for the disc.
func start(t *testing.T, dir string) *embedded.Postgres {
	t.Helper()
	return startWith(t, dir, embedded.PostgresOptions{Volatile: true})
}

func startWith(t *testing.T, dir string, o embedded.PostgresOptions) *embedded.Postgres {
	t.Helper()
	p, err := embedded.StartPostgres(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	return p
}

func stop(t *testing.T, p *embedded.Postgres) {
	t.Helper()
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func ensure(t *testing.T, p *embedded.Postgres, name string) {
	t.Helper()
	if err := p.EnsureDatabase(t.Context(), name, name, "secret"); err != nil {
		t.Fatal(err)
	}
}

func execSQL(t *testing.T, url, sql string) {
	t.Helper()
	conn := connect(t, url)
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func queryText(t *testing.T, url, sql string) (text string) {
	t.Helper()
	if err := connect(t, url).QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the server may be gone by design
	return conn
}

// openDir is a temporary folder that every user may pass through.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() // read only
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
