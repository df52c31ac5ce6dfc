package pluginhost

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"meridian/instance/crm"
	"meridian/plugins"
	"meridian/plugins/wire"
)

// The states of a plugin.
const (
	starting = "starting"
	ready    = "ready"
	degraded = "degraded" // being restarted
	failed   = "failed"   // restarted too often; tried again at the longest interval
	stopped  = "stopped"
)

// How restarts are paced. The first is immediate; a plugin that keeps failing
// is tried less and less often, so that it cannot eat the machine. Even the
// longest wait keeps the promise that writes recover within five seconds: who
// kills a plugin ten times in a row did not break it.
const (
	firstBackoff = 250 * time.Millisecond
	longestWait  = 3 * time.Second
	breakAfter   = 6                // restarts in a row before the state is failed
	stableAfter  = 10 * time.Second // ready this long, and the count starts anew
	checkTimeout = time.Second      // a plugin that cannot tell its manifest in this time hangs
	maxTimeouts  = 8                // calls in a row without an answer, though it tells its manifest
	retryAfter   = time.Second      // what a caller is told while a restart is under way
)

// runner keeps one plugin running.
type runner struct {
	ref    Ref
	cfg    Config
	digest string // of its binary; "builtin" for one in this process
	queue  *queue
	doubt  chan struct{} // a call went unanswered: see whether the process hangs

	mu       sync.Mutex
	manifest plugins.Manifest
	current  plugins.Plugin // nil while none is ready
	process  *wire.Process  // nil for a builtin
	state    string
	restarts int64
	timeouts int // in a row
	wait     time.Duration
	lastErr  string
	slots    []string // it is bound to
}

func newRunner(ref Ref, cfg Config) *runner {
	r := &runner{ref: ref, cfg: cfg, state: starting, doubt: make(chan struct{}, 1)}
	if ref.Builtin != nil {
		r.digest = "builtin"
	}
	r.queue = newQueue(r.call)
	return r
}

// start opens the plugin for the first time and takes its manifest as the one
// that every restart must repeat.
func (r *runner) start(ctx context.Context) error {
	p, proc, err := r.open(ctx)
	if err != nil {
		r.fault(err)
		return err
	}
	m := p.Manifest()
	if err = m.Validate(); err == nil && m.Name != r.ref.Name {
		err = crm.Errorf(crm.Invalid, "the binary of plugin %s says it is %s", r.ref.Name, m.Name)
	}
	if err != nil {
		if proc != nil {
			proc.Stop()
		}
		r.fault(err)
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifest, r.current, r.process, r.state = m, p, proc, ready
	return nil
}

// open starts a process (or makes a builtin) and configures it. Nothing is
// left running on an error.
func (r *runner) open(ctx context.Context) (p plugins.Plugin, proc *wire.Process, err error) {
	if r.ref.Builtin != nil {
		p = r.ref.Builtin()
	} else {
		proc, err = wire.Start(ctx, wire.Config{
			Path:   filepath.Join(r.cfg.Dir, wire.BinaryPrefix+r.ref.Name),
			SHA256: r.digest,
			Log:    r.cfg.Log.With("plugin", r.ref.Name),
		})
		if err != nil {
			return nil, nil, err
		}
		p = proc
	}
	if err := p.Configure(ctx, r.cfg.Instance, r.ref.Config); err != nil {
		if proc != nil {
			proc.Stop()
		}
		return nil, nil, crm.Errorf(crm.KindOf(err), "configure plugin %s: %w", r.ref.Name, err)
	}
	return p, proc, nil
}

// watch restarts the process whenever it ends or hangs, until ctx ends; then
// it stops it.
func (r *runner) watch(ctx context.Context) {
	defer r.stop()
	if r.ref.Builtin != nil {
		<-ctx.Done()
		return
	}
	tries := 0
	for {
		since := time.Now()
		why := r.end(ctx)
		if ctx.Err() != nil {
			return
		}
		r.cfg.Log.Warn("plugin lost", "plugin", r.ref.Name, "cause", why)
		r.lose(why)
		if time.Since(since) > stableAfter {
			tries = 0
		}
		for ok := false; !ok; tries++ {
			if !r.pause(ctx, tries) {
				return
			}
			ok = r.restart(ctx)
		}
		r.cfg.Log.Info("plugin ready again", "plugin", r.ref.Name, "tries", tries)
	}
}

// end waits for the end of the process, or finds that it hangs, or that ctx
// has ended.
func (r *runner) end(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.process.Done():
			return errors.New("its process ended")
		case <-r.doubt:
			r.mu.Lock()
			timeouts := r.timeouts
			r.mu.Unlock()
			if timeouts >= maxTimeouts {
				return errors.New("it answers no calls")
			}
			check, cancel := context.WithTimeout(ctx, checkTimeout)
			err := r.process.Check(check)
			cancel()
			switch {
			case err == nil || ctx.Err() != nil:
			case errors.Is(err, context.DeadlineExceeded):
				return errors.New("its process hangs")
			default:
				return errors.New("its process ended or broke the connection")
			}
		}
	}
}

// lose takes the plugin out of service before the process is cleared away, so
// that no call goes into a closing connection.
func (r *runner) lose(why error) {
	r.mu.Lock()
	r.current, r.state, r.timeouts, r.lastErr = nil, degraded, 0, why.Error()
	p := r.process
	r.mu.Unlock()
	p.Kill()
}

// pause waits before the n-th restart in a row and reports whether there is
// to be one.
func (r *runner) pause(ctx context.Context, n int) bool {
	wait := backoff(n)
	r.mu.Lock()
	r.wait = wait
	if n >= breakAfter {
		r.state = failed
	}
	r.mu.Unlock()
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

// backoff is none before the first restart, then doubles up to the longest
// wait, give or take a fifth.
func backoff(n int) time.Duration {
	if n == 0 {
		return 0
	}
	wait := longestWait
	if n < 5 {
		wait = min(longestWait, firstBackoff<<(n-1))
	}
	return wait*4/5 + rand.N(wait*2/5)
}

func (r *runner) restart(ctx context.Context) bool {
	p, proc, err := r.open(ctx)
	if err != nil {
		r.fault(err)
		return false
	}
	if !reflect.DeepEqual(p.Manifest(), r.manifest) { // the plan was made for the other one
		proc.Stop()
		r.fault(errors.New("it came back with another manifest"))
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.doubt: // it was about the process before
	default:
	}
	r.current, r.process, r.state, r.wait = p, proc, ready, 0
	r.restarts++
	return true
}

func (r *runner) fault(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastErr = err.Error()
}

// note keeps what went wrong for Status.
func (r *runner) note(what string) { r.fault(errors.New(what)) }

func (r *runner) bind(slot string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots = append(r.slots, slot)
}

func (r *runner) stop() {
	r.mu.Lock()
	r.current, r.state = nil, stopped
	p := r.process
	r.mu.Unlock()
	if p != nil {
		p.Stop()
	}
}

// call sends one batch. Every error is Unavailable: the plugin did not answer
// for these records, so they are not written.
func (r *runner) call(ctx context.Context, b plugins.Batch, deadline time.Duration) ([]plugins.Result, error) {
	r.mu.Lock()
	p, wait := r.current, r.wait
	r.mu.Unlock()
	if p == nil {
		return nil, r.unavailable(wait, errors.New("it is being restarted"))
	}
	bounded, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	results, err := p.Invoke(bounded, b)
	if err == nil && len(results) != len(b.Records) {
		err = errors.New("it answered for another number of records")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.timeouts = 0
		return results, nil
	case ctx.Err() != nil: // the caller left; that says nothing about the plugin
		return nil, r.unavailable(0, ctx.Err())
	case bounded.Err() != nil:
		r.timeouts++
	}
	r.lastErr = err.Error()
	select {
	case r.doubt <- struct{}{}:
	default:
	}
	return nil, r.unavailable(0, err)
}

// unavailable is the error of a write that needs the plugin while it does not
// answer.
func (r *runner) unavailable(wait time.Duration, cause error) error {
	return &crm.Error{
		Kind:       crm.Unavailable,
		Msg:        "plugin " + r.ref.Name + " does not answer and this write needs it; nothing was written, try again",
		RetryAfter: max(wait, retryAfter),
		Err:        cause,
	}
}

func (r *runner) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{
		Name: r.ref.Name, Version: r.manifest.Version, Digest: r.digest, State: r.state, Restarts: r.restarts,
		Slots: r.slots, LastError: r.lastErr, Mode: "builtin",
	}
	for _, h := range r.manifest.Hooks {
		s.Steps = append(s.Steps, h.Step)
	}
	if r.ref.Builtin == nil {
		s.Mode = "process"
	}
	if r.process != nil && r.current != nil {
		s.PID = r.process.PID()
	}
	return s
}

// invoke sends records through the queue.
func (r *runner) invoke(ctx context.Context, b plugins.Batch, deadline time.Duration) ([]plugins.Result, error) {
	results, err := r.queue.invoke(ctx, b, deadline)
	if err != nil && crm.KindOf(err) != crm.Unavailable {
		err = r.unavailable(0, err)
	}
	return results, err
}
