package wire_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"meridian/instance/crm"
	"meridian/plugins"
	"meridian/plugins/wire"
)

// behaviours are what this test binary does when it is started under their
// name, instead of running tests.
var behaviours = map[string]func(){
	"echo":    func() { wire.Serve(newEcho) },
	"chatty":  func() { wire.Serve(func() plugins.Plugin { fmt.Println("hello from build"); return newEcho() }) },
	"garbage": func() { fmt.Println("listening on :8080"); wire.Serve(newEcho) },
	"flood": func() {
		for {
			fmt.Print("no handshake, no line end ")
		}
	},
	"silent":   func() { select {} },
	"stubborn": func() { wire.Serve(newEcho); select {} },
	"parent": func() { // its child holds the pipes open
		child := exec.Command("/bin/sleep", "600") // there is no PATH
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			panic(err)
		}
		wire.Serve(newEcho)
	},
}

func TestMain(m *testing.M) {
	if wire.Started() {
		behaviours[filepath.Base(os.Args[0])]()
		return
	}
	goleak.VerifyTestMain(m)
}

// echo answers with what it was asked.
type echo struct{ instance, config string }

func newEcho() plugins.Plugin { return &echo{} }

func (e *echo) Manifest() plugins.Manifest {
	return plugins.Manifest{
		Name: "echo", Version: "1.2.3-rc.1", Description: "says it again", Slots: []string{plugins.SlotAssignment}, ConfigSchema: `{"type":"object"}`,
		Hooks: []plugins.Hook{
			{Step: "say", Entity: "account", Operations: []crm.Op{crm.OpCreate, crm.OpUpdate}, Stage: plugins.Transform, Reads: []string{"a", "b"},
				Sets: []string{"a"}, Governs: []string{"territory"}, Before: []string{"x/y"}, After: []string{"y/z"}, Deadline: 250 * time.Millisecond},
			{Step: "watch", Entity: "account", Operations: []crm.Op{crm.OpDelete}, Stage: plugins.Validate, FailureOpen: true},
		},
	}
}

func (e *echo) Configure(_ context.Context, instance string, config []byte) error {
	if string(config) == "bad" {
		return crm.Errorf(crm.Invalid, "bad is no configuration")
	}
	e.instance, e.config = instance, string(config)
	return nil
}

func (e *echo) Invoke(ctx context.Context, b plugins.Batch) ([]plugins.Result, error) {
	switch b.Entity {
	case "environment":
		return []plugins.Result{{Verdicts: []plugins.StepVerdict{{Verdict: plugins.Veto, Findings: []plugins.Finding{{Message: strings.Join(os.Environ(), "\n")}}}}}}, nil
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "error":
		return nil, errors.New("it does not work")
	}
	out := make([]plugins.Result, len(b.Records))
	for i, r := range b.Records {
		for j, step := range b.Steps {
			out[i].Verdicts = append(out[i].Verdicts, plugins.StepVerdict{
				Step: step, Verdict: plugins.Verdict(j), Set: r.Fields,
				Govern:   map[string]string{"territory": e.instance + e.config, "segment": string(b.Op) + string(b.Stage)},
				Findings: []plugins.Finding{{Field: strings.Join(r.Changed, ","), Code: r.Execution, Message: "said"}},
			})
		}
	}
	return out, nil
}

// binary is this test binary under a behaviour's name.
func binary(t *testing.T, name string) wire.Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	digest, err := wire.Digest(path)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Config{Path: path, SHA256: digest}
}

func start(t *testing.T, name string) *wire.Process {
	t.Helper()
	p, err := wire.Start(t.Context(), binary(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func TestEverythingSurvivesTheWire(t *testing.T) {
	p := start(t, "echo")
	if d := cmp.Diff((&echo{}).Manifest(), p.Manifest()); d != "" {
		t.Errorf("manifest:\n%s", d)
	}
	if err := p.Configure(t.Context(), "amer", []byte(`{"k":1}`)); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 6, 0, 0, 123456000, time.UTC)
	b := plugins.Batch{
		Entity: "account", Op: crm.OpUpdate, Stage: plugins.Transform, Steps: []string{"0", "1", "2", "3", "4"},
		Records: []plugins.Record{
			{Execution: "e1", Changed: []string{"a", "b"}, Fields: map[string]crm.Value{
				"string": crm.String("ü"), "empty": crm.String(""), "integer": crm.Integer(-1 << 62), "decimal": crm.Decimal("12345678901234567890.01"),
				"boolean": crm.Boolean(true), "timestamp": crm.Timestamp(at), "date": crm.Date("2028-02-29"), "null": {},
				"reference": crm.Reference(crm.NewRecordID()), "list": crm.List("a", ""), "no list": crm.List(),
			}},
			{Execution: "e2"},
		},
	}
	got, err := p.Invoke(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	want, err := (&echo{"amer", `{"k":1}`}).Invoke(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.Comparer(crm.Value.Equal)); d != "" {
		t.Error(d)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	p := start(t, "echo")
	if err := p.Configure(t.Context(), "amer", []byte("bad")); crm.KindOf(err) != crm.Invalid || !strings.Contains(err.Error(), "bad is no") {
		t.Errorf("Configure(bad) = %v", err)
	}
	if _, err := p.Invoke(t.Context(), plugins.Batch{Entity: "error"}); crm.KindOf(err) != crm.Internal {
		t.Errorf("a failing call: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Invoke(ctx, plugins.Batch{Entity: "wait"}); crm.KindOf(err) != crm.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call out of time: %v", err)
	}
	p.Stop()
	if _, err := p.Invoke(t.Context(), plugins.Batch{}); crm.KindOf(err) != crm.Unavailable {
		t.Errorf("a call after the end: %v", err)
	}
}

func TestPluginSeesNothingOfTheHost(t *testing.T) {
	t.Setenv("DATABASE_PASSWORD", "secret")
	results, err := start(t, "echo").Invoke(t.Context(), plugins.Batch{Entity: "environment"})
	if err != nil {
		t.Fatal(err)
	}
	env := results[0].Verdicts[0].Findings[0].Message
	if strings.Contains(env, "secret") || strings.Contains(env, "HOME=") || !strings.Contains(env, "GOMAXPROCS=1") {
		t.Errorf("environment:\n%s", env)
	}
}

func TestPrintingIsNoHandshake(t *testing.T) {
	if p := start(t, "chatty"); p.Manifest().Name != "echo" {
		t.Errorf("manifest %+v", p.Manifest())
	}
}

// A start that fails says so in time and leaves no process, folder or
// goroutine behind (TestMain looks for the latter).
func TestFailedStarts(t *testing.T) {
	for name, want := range map[string]string{"garbage": "listening", "silent": "timeout", "flood": ""} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			cfg := binary(t, name)
			cfg.StartTimeout = 2 * time.Second
			began := time.Now()
			p, err := wire.Start(t.Context(), cfg)
			if crm.KindOf(err) != crm.Unavailable || p != nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Start = %v, %v", p, err)
			}
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it took %v", took)
			}
			if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "mrdp-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestAnotherBinaryDoesNotStart(t *testing.T) {
	cfg := binary(t, "silent") // it would hang if it were started
	for _, digest := range []string{"", "beef", "not hex", strings.Repeat("0", 64)} {
		cfg.SHA256 = digest
		if _, err := wire.Start(t.Context(), cfg); crm.KindOf(err) != crm.Invalid {
			t.Errorf("digest %q: %v", digest, err)
		}
	}
}

func TestKilledProcessIsNoticed(t *testing.T) {
	p := start(t, "echo")
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("Done is not closed")
	}
}

// Stop gets rid of a process that does not want to end, of its children, and
// of one that was frozen.
func TestStopAlwaysEnds(t *testing.T) {
	for _, name := range []string{"echo", "stubborn", "parent"} {
		t.Run(name, func(t *testing.T) {
			p := start(t, name)
			if name == "stubborn" {
				if err := syscall.Kill(p.PID(), syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			p.Stop()
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("it took %v", took)
			}
			if err := syscall.Kill(-p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
				// Orphans of the group are reaped by init in its own time.
				deadline := time.After(5 * time.Second)
				for !errors.Is(syscall.Kill(-p.PID(), 0), syscall.ESRCH) && !zombies(p.PID()) {
					select {
					case <-deadline:
						t.Fatal("its group lives on")
					case <-time.After(5 * time.Millisecond):
					}
				}
			}
		})
	}
}

// zombies reports whether all that is left of a group waits to be reaped.
func zombies(group int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 2 && f[2] == strconv.Itoa(group) && f[0] != "Z" {
			return false
		}
	}
	return true
}

// The lifeline alone ends a plugin, where the kernel has no parent-death
// signal: here the host lives on, and only its end of the pipe closes.
func TestLifeline(t *testing.T) {
	cfg := binary(t, "stubborn")
	theirs, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(cfg.Path)
	cmd.Env = []string{"MERIDIAN_PLUGIN=2b1d5f64-plugin-of-an-instance", "MERIDIAN_PLUGIN_LIFELINE=3", "PLUGIN_PROTOCOL_VERSIONS=1", "TMPDIR=" + t.TempDir()}
	cmd.ExtraFiles = []*os.File{theirs}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	if line := bufio.NewScanner(out); !line.Scan() || !strings.Contains(line.Text(), "|grpc|") {
		t.Fatalf("handshake %q", line.Text())
	}
	_ = ours.Close()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("the plugin ended with %v", err)
	}
}

func TestNoLeakOverManyLives(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc here")
		}
		return len(fds)
	}
	cfg := binary(t, "echo")
	before := 0
	for i := range 12 {
		if i == 2 { // the first ones open what stays open
			before = open()
		}
		p, err := wire.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			p.Kill()
		} else {
			p.Stop()
		}
	}
	if after := open(); after > before+1 {
		t.Errorf("%d descriptors before, %d after ten more lives", before, after)
	}
}

func TestLockHoldsEveryBinary(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"meridian-plugin-a": "a", "meridian-plugin-b": "b", "meridian": "no plugin"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	wrote, err := wire.WriteLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	read, err := wire.ReadLock(filepath.Join(dir, wire.LockName))
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Lock{
		"a": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
		"b": "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
	}
	if d := cmp.Diff(want, read); d != "" || !cmp.Equal(read, wrote) {
		t.Error(d)
	}
	if _, err := wire.ReadLock(filepath.Join(dir, "none")); crm.KindOf(err) != crm.Invalid {
		t.Errorf("no lock: %v", err)
	}
}
