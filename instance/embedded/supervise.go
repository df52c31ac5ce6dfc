package embedded

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// Child is a process that is kept running.
type Child struct {
	Name    string
	Command func() (*exec.Cmd, error) // a fresh command for every start
	Grace   time.Duration             // how long it may take to end after SIGTERM
}

// Notice tells what happened to a child.
type Notice struct {
	Child   string
	PID     int           // of the child that started or ended; 0 if it could not start
	Running bool          // it started; otherwise it ended
	Err     error         // why it ended or could not start
	Restart time.Duration // when it will be tried again
}

const (
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// steady is how long a child must have lived for its next end to count as
	// the first: the first restart is immediate.
	steady = 10 * time.Second
)

// Keep runs the child until ctx ends, starting it again when it ends: at once
// the first time, then with growing pauses. It returns when the child has
// ended. tell is called for every start and end, from this goroutine.
func Keep(ctx context.Context, c Child, tell func(Notice)) {
	var pause time.Duration
	for ctx.Err() == nil {
		began := time.Now()
		pid, err := once(ctx, c, tell)
		if ctx.Err() != nil {
			tell(Notice{Child: c.Name, PID: pid, Err: err})
			return
		}
		if time.Since(began) > steady {
			pause = 0
		}
		tell(Notice{Child: c.Name, PID: pid, Err: err, Restart: pause})
		wait(ctx, pause)
		pause = min(max(2*pause, firstBackoff), maxBackoff)
	}
}

// once runs the child to its end, which is soon when ctx ends.
func once(ctx context.Context, c Child, tell func(Notice)) (int, error) {
	cmd, err := c.Command()
	if err != nil {
		return 0, err
	}
	p, err := StartProcess(cmd, syscall.SIGTERM)
	if err != nil {
		return 0, err
	}
	tell(Notice{Child: c.Name, PID: p.PID(), Running: true})
	select {
	case <-p.Done():
		return p.PID(), p.Err()
	case <-ctx.Done():
		return p.PID(), p.Stop(syscall.SIGTERM, c.Grace)
	}
}
