package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"meridian/instance/crm"
	"meridian/instance/embedded"
)

const (
	// startPatience is how long an instance may take to serve: migrations and
	// plugins on two busy cores.
	startPatience = 90 * time.Second
	// hopeless is how often a child may end before the fleet is ready.
	hopeless = 4
	maxLog   = 32 << 20
	lookLogs = 10 * time.Second // how often a log is looked at
)

// child is a supervised process of the run, with its log.
type child struct {
	name string
	log  string
	args []string // program and arguments

	mu   sync.Mutex
	pid  int // 0 while it does not run
	ends int // how often it ended
}

func (c *child) running() (pid, ends int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid, c.ends
}

// command is a fresh command that appends to the child's log.
func (c *child) command() (*exec.Cmd, error) {
	if err := turnOver(c.log, maxLog); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	return cmd, nil
}

// turnOver puts a log that has grown large beside itself, in place of the one
// that was put there before, and empties it. Whoever appends to it goes on: the
// file stays the same, and the child outlives this process with it. What is
// written between the last look and the emptying is lost.
func turnOver(path string, size int64) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() <= size {
		return nil
	}
	if err != nil {
		return err
	}
	log, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer log.Close() // what counts is in the other one
	old, err := os.OpenFile(path+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(old, log)
	if err = errors.Join(err, old.Close()); err != nil {
		return err // and nothing is lost
	}
	return log.Truncate(0)
}

// turnLogsOver keeps the children's logs small until ctx ends.
func (r *run) turnLogsOver(ctx context.Context, children []*child) {
	failed := map[string]bool{}
	tick := time.NewTicker(lookLogs)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range children {
			err := turnOver(c.log, maxLog)
			if err != nil && !failed[c.log] {
				r.warn("the log of %s grows: %v", c.name, err)
			}
			failed[c.log] = err != nil
		}
	}
}

// hopelessly is the error of a child that ends again and again.
func (c *child) hopelessly() error {
	if _, ends := c.running(); ends < hopeless {
		return nil
	}
	return crm.Errorf(crm.Unavailable, "%s does not stay up; the end of %s:\n%s", c.name, c.log, tail(c.log))
}

// keep supervises children until the returned function is called, which
// returns when all have ended.
func (r *run) keep(grace time.Duration, children ...*child) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, c := range children {
		all.Go(func() {
			embedded.Keep(ctx, embedded.Child{Name: c.name, Command: c.command, Grace: grace}, func(n embedded.Notice) { r.notice(ctx, c, n) })
		})
	}
	all.Go(func() { r.turnLogsOver(ctx, children) })
	return func() { cancel(); all.Wait() }
}

func (r *run) notice(ctx context.Context, c *child, n embedded.Notice) {
	c.mu.Lock()
	if n.Running {
		c.pid = n.PID
	} else {
		c.pid = 0
		c.ends++
	}
	c.mu.Unlock()
	var err error
	switch {
	case n.Running:
		err = r.book.Note(c.name, n.PID)
	case ctx.Err() != nil:
		err = r.book.Forget(c.name)
	default:
		r.warn("%s ended (%s); starting it again %s", c.name, reason(n.Err), when(n.Restart))
	}
	if err != nil { // the child is well; only a killed run would miss the entry
		r.warn("%v", err)
	}
}

func reason(err error) string {
	if err == nil {
		return "by itself"
	}
	return err.Error()
}

func when(pause time.Duration) string {
	if pause == 0 {
		return "now"
	}
	return "in " + pause.String()
}

func (r *run) startInstances() (stop func()) {
	var children []*child
	for _, n := range r.nodes {
		n.child = &child{
			name: n.Name, log: r.folder.file(n.Name, "serve.log"),
			args: []string{r.binary("meridian"), "serve", "--config", n.configPath()},
		}
		children = append(children, n.child)
	}
	return r.keep(instanceGrace, children...)
}

func (r *run) startFacades() (stop func()) {
	for _, n := range r.nodes {
		if len(n.Feeds) > 0 {
			r.facades = append(r.facades, &child{
				name: "filedrop@" + n.Name, log: r.folder.file(n.Name, "filedrop.log"),
				args: []string{r.binary("meridian-facade-filedrop"), "--config", n.facadePath()},
			})
		}
	}
	return r.keep(facadeGrace, r.facades...)
}

// waitServing waits until every instance takes calls.
func (r *run) waitServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	began := time.Now()
	for _, n := range r.nodes {
		err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
			return n.serving(ctx), n.child.hopelessly()
		})
		if errors.Is(err, context.DeadlineExceeded) {
			return crm.Errorf(crm.Unavailable, "%s does not serve after %s; the end of %s:\n%s", n.Name, startPatience, n.child.log, tail(n.child.log))
		}
		if err != nil {
			return err
		}
		r.step(n.Name+" at "+n.url, began)
	}
	return nil
}

// poll asks until done, an error, or the end of ctx.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// tail is the last lines of a log.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	defer f.Close() // read only
	if info, err := f.Stat(); err == nil && info.Size() > 8<<10 {
		if _, err := f.Seek(-8<<10, io.SeekEnd); err != nil {
			return fmt.Sprintf("(%v)", err)
		}
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
