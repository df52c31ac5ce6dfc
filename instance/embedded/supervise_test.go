package embedded_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/embedded"
)

// kept runs Keep in the background and hands out its notices.
func kept(ctx context.Context, t *testing.T, script string) (<-chan embedded.Notice, <-chan struct{}) {
	t.Helper()
	notices, done := make(chan embedded.Notice, 64), make(chan struct{})
	go func() {
		defer close(done)
		embedded.Keep(ctx, embedded.Child{
			Name: "child", Grace: 5 * time.Second,
			Command: func() (*exec.Cmd, error) { return exec.Command("sh", "-c", script), nil },
		}, func(n embedded.Notice) { notices <- n })
	}()
	return notices, done
}

func TestKeepStartsAgainAtOnceAndThenWithGrowingPauses(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	notices, done := kept(ctx, t, "exit 3")
	var pauses []time.Duration
	for len(pauses) < 3 {
		if n := <-notices; !n.Running {
			pauses = append(pauses, n.Restart)
			if n.Err == nil {
				t.Error("the child failed, and the notice does not say so")
			}
		}
	}
	if pauses[0] != 0 || pauses[1] == 0 || pauses[2] <= pauses[1] {
		t.Errorf("pauses = %v, want none, some, more", pauses)
	}
	cancel()
	<-done
}

func TestKeepEndsTheChildWithItself(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	notices, done := kept(ctx, t, "exec sleep 600")
	n := <-notices
	cancel()
	<-done
	if embedded.ProcessBegan(n.PID) != "" {
		t.Errorf("child %d still runs", n.PID)
	}
}

func TestStopKillsAChildThatDoesNotListen(t *testing.T) {
	cmd := exec.Command("sh", "-c", `trap "" TERM; echo ready; while :; do sleep 600; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := embedded.StartProcess(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil { // the trap is set
		t.Fatal(err)
	}
	if err := p.Stop(syscall.SIGTERM, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if p.Err() == nil {
		t.Error("the child ended by itself; it should have been killed")
	}
}

func TestBookEndsWhatAKilledRunLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "children.json")
	book, err := embedded.OpenBook(path)
	if err != nil {
		t.Fatal(err)
	}
	left := sleeper(t)
	if err := book.Note("left", left.PID()); err != nil {
		t.Fatal(err)
	}
	gone := sleeper(t)
	if err := book.Note("gone", gone.PID()); err != nil {
		t.Fatal(err)
	}
	if err := gone.Stop(syscall.SIGTERM, time.Second); err != nil {
		t.Fatal(err)
	}

	again, err := embedded.OpenBook(path) // the next run
	if err != nil {
		t.Fatal(err)
	}
	if err := again.EndLeftovers(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-left.Done():
	case <-time.After(5 * time.Second):
		t.Error("the child of the killed run still runs")
	}
}

func TestBookSparesAProcessWithTheSameID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "children.json")
	book, err := embedded.OpenBook(path)
	if err != nil {
		t.Fatal(err)
	}
	// Recorded under the id of a process that began at another time.
	other := sleeper(t)
	if err := book.NoteBegan("other", other.PID(), "another boot/1"); err != nil {
		t.Fatal(err)
	}
	if err := book.EndLeftovers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if embedded.ProcessBegan(other.PID()) == "" {
		t.Error("a process that is none of ours was ended")
	}
}

func sleeper(t *testing.T) *embedded.Process {
	t.Helper()
	p, err := embedded.StartProcess(exec.Command("sleep", "600"), syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(syscall.SIGKILL, time.Second); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestLockFolderIsForOne(t *testing.T) {
	dir := t.TempDir()
	release, err := embedded.LockFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.LockFolder(dir); crm.KindOf(err) != crm.Conflict {
		t.Errorf("a second lock: %v, want a conflict", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, err = embedded.LockFolder(dir)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}
