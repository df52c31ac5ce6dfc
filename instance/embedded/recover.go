package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// recoverPostmaster clears the way after a kill -9. PostgreSQL itself removes a
// postmaster.pid whose process is gone; it refuses to start where that id now
// belongs to somebody else, or where the old server still runs.
func recoverPostmaster(ctx context.Context, data string) error {
	file := filepath.Join(data, "postmaster.pid")
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what the last PostgreSQL left: %w", err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || !worksIn(pid, data) {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove a stale postmaster.pid: %w", err)
		}
		return nil
	}
	for _, sig := range []syscall.Signal{fastShutdown, immediateShutdown, syscall.SIGKILL} {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the PostgreSQL of an earlier run (process %d): %w", pid, err)
		}
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); wait(ctx, 20*time.Millisecond) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !worksIn(pid, data) {
				return nil
			}
		}
	}
	return fmt.Errorf("the PostgreSQL of an earlier run (process %d) does not end", pid)
}

// worksIn says whether a process has its working folder in data, as a
// postmaster has. Without /proc it cannot tell and says no: PostgreSQL's own
// check of its shared memory still keeps two servers apart.
func worksIn(pid int, data string) bool {
	cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(data)
	return err == nil && cwd == real
}
