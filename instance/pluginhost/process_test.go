package pluginhost_test

import (
	"bufio"
	"context"
	"encoding/json"
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

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/pluginhost"
	dataquality "meridian/plugins/data-quality"
	territoryassignment "meridian/plugins/territory-assignment"
	"meridian/plugins/wire"
)

func wantUnavailable(t *testing.T, d *access.Draft) {
	t.Helper()
	e, ok := errors.AsType[*crm.Error](d.Err)
	if !ok || e.Kind != crm.Unavailable || e.RetryAfter <= 0 {
		t.Fatalf("error %v, want unavailable with a time to retry after", d.Err)
	}
}

// A plugin killed between two writes costs a short unavailable, and no draft
// ever passes without its verdict.
func TestKilledBetweenWrites(t *testing.T) {
	h := start(t, install(t, dataquality.Name, territoryassignment.Name))
	ok := create("name", "Acme", "email", "jo@EXAMPLE.com")
	run(t, h, ok)
	if ok.Err != nil || ok.Fields["email"].Text() != "jo@example.com" {
		t.Fatalf("before the kill: %v, %v", ok.Err, ok.Fields["email"])
	}
	for range 3 {
		before := status(t, h, dataquality.Name)
		if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		eventually(t, 5*time.Second, "writes pass again", func() bool {
			asked := time.Now()
			d := create("name", "Acme", "email", "jo@EXAMPLE.com")
			run(t, h, d)
			if took := time.Since(asked); took > 2*time.Second {
				t.Fatalf("an answer took %v", took)
			}
			if d.Err != nil {
				wantUnavailable(t, d)
				return false
			}
			if d.Fields["email"].Text() != "jo@example.com" {
				t.Fatal("a write passed unchecked")
			}
			return true
		})
		t.Logf("recovered in %v", time.Since(killed))
		eventually(t, 5*time.Second, "the restart is counted", func() bool { return status(t, h, dataquality.Name).Restarts > before.Restarts })
		if after := status(t, h, dataquality.Name); after.PID == before.PID || after.LastError == "" {
			t.Errorf("status after the kill: %+v", after)
		}
	}
}

func TestKilledDuringACall(t *testing.T) {
	h := start(t, install(t, "probe"))
	d := create("city", "die")
	run(t, h, d)
	wantUnavailable(t, d)
	if len(d.Steps) != 1 || d.Steps[0].Verdict != "failed" {
		t.Errorf("steps %+v, want one that failed", d.Steps)
	}
	eventually(t, 5*time.Second, "writes pass again", func() bool {
		d := create("city", "Bern")
		run(t, h, d)
		return d.Err == nil
	})
}

// A stopped process hangs without ending: the call is given up at its
// deadline, and the process is replaced.
func TestHangingProcessIsReplaced(t *testing.T) {
	h := start(t, install(t, "probe"))
	pid := status(t, h, "probe").PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "every thread is stopped", func() bool { return frozen(t, pid) })
	asked := time.Now()
	d := create("city", "Bern")
	run(t, h, d)
	wantUnavailable(t, d)
	if took := time.Since(asked); took > 2500*time.Millisecond {
		t.Errorf("the answer took %v", took)
	}
	eventually(t, 10*time.Second, "another process serves", func() bool {
		d := create("city", "Bern")
		run(t, h, d)
		return d.Err == nil
	})
	if running(pid) {
		t.Errorf("the hanging process %d still runs", pid)
	}
}

// frozen reports whether all threads of a process are stopped; SIGSTOP
// reaches them one after the other.
func frozen(t *testing.T, pid int) bool {
	t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		t.Skip("no /proc here")
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if _, rest, _ := strings.Cut(string(stat), ") "); err != nil || !strings.HasPrefix(rest, "T") {
			return false
		}
	}
	return true
}

// One record's endless step fails that write; the process still answers
// others, and is not replaced for it.
func TestHangingStep(t *testing.T) {
	h := start(t, install(t, "probe"))
	pid := status(t, h, "probe").PID
	d := create("city", "hang")
	run(t, h, d)
	wantUnavailable(t, d)
	d = create("city", "Bern")
	run(t, h, d)
	if d.Err != nil || status(t, h, "probe").PID != pid {
		t.Errorf("the next write: %v, process %d was %d", d.Err, status(t, h, "probe").PID, pid)
	}
}

func TestGarbageOnStandardOutput(t *testing.T) {
	h := start(t, install(t, "probe"))
	for range 20 {
		d := create("city", "print")
		run(t, h, d)
		if d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	if s := status(t, h, "probe"); s.State != "ready" || s.Restarts != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestOnlyTheLockedBinaryStarts(t *testing.T) {
	cfg := install(t, "probe")
	lock := func(digest string) {
		text, err := json.Marshal(wire.Lock{"probe": digest})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cfg.Dir, wire.LockName), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock(strings.Repeat("0", 64))
	h, err := pluginhost.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); crm.KindOf(err) != crm.Invalid || !strings.Contains(err.Error(), "lock") {
		t.Errorf("Start with another binary: %v", err)
	}
	d := create("name", "Acme")
	run(t, h, d)
	wantUnavailable(t, d)
	lock("")
	if _, err := pluginhost.New(cfg); crm.KindOf(err) != crm.Invalid {
		t.Errorf("New without a digest: %v", err)
	}
	if err := os.Remove(filepath.Join(cfg.Dir, wire.LockName)); err != nil {
		t.Fatal(err)
	}
	if _, err := pluginhost.New(cfg); crm.KindOf(err) != crm.Invalid {
		t.Errorf("New without a lock: %v", err)
	}
}

// A failed start leaves none of the other plugins running.
func TestStartIsAllOrNothing(t *testing.T) {
	cfg := install(t, dataquality.Name, "probe")
	cfg.Plugins[1].Config = []byte(`{"surprise":1}`)
	h, err := pluginhost.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); crm.KindOf(err) != crm.Invalid || !strings.Contains(err.Error(), "probe") {
		t.Errorf("Start = %v, want the configuration refused", err)
	}
	for _, s := range h.Status() {
		if s.PID != 0 || s.State != "stopped" {
			t.Errorf("left behind: %+v", s)
		}
	}
}

func TestCloseLeavesNoProcess(t *testing.T) {
	cfg := install(t, dataquality.Name, "probe")
	h, err := pluginhost.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, s := range h.Status() {
		pids = append(pids, s.PID)
	}
	h.Close()
	h.Close() // twice is once
	for _, pid := range pids {
		if running(pid) {
			t.Errorf("process %d still runs", pid)
		}
	}
	d := create("name", "Acme")
	run(t, h, d)
	wantUnavailable(t, d)
}

// beHost is a host process that tells its plugins' ids and waits to be killed.
func beHost(dir string) {
	h, err := pluginhost.New(pluginhost.Config{
		Dir: dir, Definitions: definitions(), Plugins: []pluginhost.Ref{{Name: dataquality.Name}, {Name: "probe"}},
	})
	if err == nil {
		err = h.Start(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, s := range h.Status() {
		fmt.Println(s.PID)
	}
	select {}
}

// No plugin outlives its host, even one that gets no chance to say goodbye.
func TestNoOrphans(t *testing.T) {
	cfg := install(t, dataquality.Name, "probe")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host := exec.Command(self)
	host.Env = append(os.Environ(), hostEnv+"="+cfg.Dir)
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var pids []int
	for len(pids) < 2 && lines.Scan() {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil || !running(pid) {
			t.Fatalf("the host says %q", lines.Text())
		}
		pids = append(pids, pid)
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	for _, pid := range pids {
		eventually(t, 5*time.Second, "the plugin ends with its host", func() bool { return !running(pid) })
	}
}
