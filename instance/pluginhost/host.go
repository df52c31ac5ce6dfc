// Package pluginhost starts, watches and stops the plugins of an instance and
// runs their steps on drafts of writes.
//
// Invariants: a write never passes a step that did not answer (a crash, a
// timeout or an unset verdict refuses it, unless the step is a declared
// observer); a step sees the fields it declared and sets no other; only the
// plugin bound to the slot "assignment" sets governance. The host runs outside
// any transaction and knows nothing of storage and policy.
package pluginhost

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/plugins"
	"meridian/plugins/wire"
)

// Config says what to run.
type Config struct {
	Instance    string
	Dir         string // folder of the binaries meridian-plugin-<name>
	Lock        string // file of their digests; Dir/plugins.lock.json if empty
	Plugins     []Ref
	Slots       map[string]string // slot -> plugin; may be left out for a slot that one plugin offers
	Definitions []crm.Definition  // effective schema: hooks may name no other entity or field
	Log         *slog.Logger
}

// Ref names a plugin to run with its configuration (JSON).
type Ref struct {
	Name    string
	Config  []byte
	Builtin func() plugins.Plugin // in this process instead of one of its own
}

// Status tells how a plugin is.
type Status struct {
	Name, Version, Digest string
	State                 string // starting, ready, degraded, failed or stopped
	PID                   int    // 0 unless it runs in a process of its own
	Restarts              int64
	Steps, Slots          []string
	LastError             string
	Mode                  string // builtin or process
}

// Host runs plugins. It implements access.Hooks.
type Host struct {
	cfg     Config
	runners []*runner            // by name
	plan    atomic.Pointer[plan] // nil while not started or closed
	gate    sync.RWMutex         // held for reading by every Run that calls plugins
	end     context.CancelFunc
	watches sync.WaitGroup
}

var _ access.Hooks = (*Host)(nil)

// New checks the configuration and reads the lock; nothing runs yet.
func New(cfg Config) (*Host, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Lock == "" {
		cfg.Lock = filepath.Join(cfg.Dir, wire.LockName)
	}
	h := &Host{cfg: cfg}
	var lock wire.Lock
	for _, ref := range cfg.Plugins {
		if slices.ContainsFunc(h.runners, func(r *runner) bool { return r.ref.Name == ref.Name }) {
			return nil, crm.Errorf(crm.Invalid, "plugin %s is listed twice", ref.Name)
		}
		r := newRunner(ref, cfg)
		if ref.Builtin == nil {
			if lock == nil {
				var err error
				if lock, err = wire.ReadLock(cfg.Lock); err != nil {
					return nil, err
				}
			}
			if r.digest = lock[ref.Name]; r.digest == "" {
				return nil, crm.Errorf(crm.Invalid, "plugin %s is not in the lock %s; run make build", ref.Name, cfg.Lock)
			}
		}
		h.runners = append(h.runners, r)
	}
	slices.SortFunc(h.runners, func(a, b *runner) int { return strings.Compare(a.ref.Name, b.ref.Name) })
	return h, nil
}

// Start starts every plugin and compiles the plan. On an error nothing is
// left running. ctx bounds the start only.
func (h *Host) Start(ctx context.Context) error {
	var g errgroup.Group
	for _, r := range h.runners {
		g.Go(func() error { return r.start(ctx) })
	}
	err := g.Wait()
	var p *plan
	if err == nil {
		p, err = compile(h.runners, h.cfg.Slots, h.cfg.Definitions)
	}
	if err != nil {
		for _, r := range h.runners {
			r.stop()
		}
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	h.end = end
	for _, r := range h.runners {
		h.watches.Go(func() { r.watch(life) })
	}
	h.plan.Store(p)
	return nil
}

// Close refuses further writes, lets those in flight finish, stops every
// plugin and waits for it.
func (h *Host) Close() {
	h.gate.Lock()
	h.plan.Store(nil)
	h.gate.Unlock()
	for _, r := range h.runners {
		r.queue.drain()
	}
	if h.end != nil {
		h.end()
	}
	h.watches.Wait()
}

// Status tells of every plugin, by name.
func (h *Host) Status() []Status {
	out := make([]Status, len(h.runners))
	for i, r := range h.runners {
		out[i] = r.status()
	}
	return out
}
