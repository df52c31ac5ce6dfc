package access

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

const (
	maxEngines     = 6                // the one in force, the one before, and some that are tried
	compileAtMost  = 30 * time.Second // a bundle that takes longer is not one
	compileAgainIn = time.Second      // after a failure: a broken bundle must not eat the machine
)

// engines compiles bundles by digest, each once, and keeps the few used last.
// A digest that cannot be had is an error, never another policy.
type engines struct {
	store  *store.Store
	log    *slog.Logger
	first  *policy.Engine // decides while the database names no bundle
	last   atomic.Pointer[policy.Engine]
	faults atomic.Int64 // questions that a bundle in force had no answer to

	changing chan struct{} // holds a token while this replica changes what is in force

	trust    trust
	taken    atomic.Pointer[inForce] // what decided last, which was proven
	proving  chan struct{}           // holds a token while evidence is looked at
	proofs   atomic.Pointer[looked]
	unproven atomic.Int64 // activation that nobody is answered under; 0 if there is none

	mu    sync.Mutex
	slots map[string]*slot
	tick  int64
}

// slot is one bundle being compiled, or compiled. Its result may be read once
// ready is closed.
type slot struct {
	ready  chan struct{}
	engine *policy.Engine
	err    error
	until  time.Time // when a failure is tried again
	used   int64     // by tick; guarded by engines.mu
}

func newEngines(s *store.Store, first *policy.Engine, t trust, log *slog.Logger) *engines {
	e := &engines{store: s, log: log, first: first, slots: map[string]*slot{}, changing: make(chan struct{}, 1), trust: t, proving: make(chan struct{}, 1)}
	if first != nil {
		e.watch(first)
		ready := make(chan struct{})
		close(ready)
		e.slots[first.Digest()] = &slot{ready: ready, engine: first}
		e.last.Store(first)
	}
	return e
}

// of is the engine of a digest; of "", the one the door was made with: nothing
// was ever activated in this database.
func (e *engines) of(ctx context.Context, digest string) (*policy.Engine, error) {
	if digest == "" && e.first != nil {
		return e.first, nil
	}
	if last := e.last.Load(); last != nil && last.Digest() == digest {
		return last, nil
	}
	s := e.slot(ctx, digest)
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.err != nil {
		if e := crm.Public(s.err); e.Kind == crm.Conflict { // it says which bundle and why
			return nil, s.err
		}
		return nil, &crm.Error{Kind: crm.Unavailable, Msg: fmt.Sprintf("bundle %.12s cannot be loaded; its operator is told", digest), RetryAfter: compileAgainIn, Err: s.err}
	}
	e.last.Store(s.engine)
	return s.engine, nil
}

// slot is that of a digest, with its compilation begun. Who waits may give up;
// the compilation goes on for the others.
func (e *engines) slot(ctx context.Context, digest string) *slot {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tick++
	s, ok := e.slots[digest]
	if ok {
		select {
		case <-s.ready:
			ok = s.err == nil || time.Now().Before(s.until)
		default:
		}
	}
	if ok {
		s.used = e.tick
		return s
	}
	s = &slot{ready: make(chan struct{}), used: e.tick}
	e.slots[digest] = s
	e.forget()
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), compileAtMost)
		defer cancel()
		defer close(s.ready)
		if s.engine, s.err = e.compile(ctx, digest); s.err != nil {
			s.until = time.Now().Add(compileAgainIn)
			e.log.ErrorContext(ctx, "a policy bundle cannot be loaded: nothing is decided by it", "bundle", digest, "error", s.err)
		}
	}()
	return s
}

// forget drops the engines that were used longest ago.
func (e *engines) forget() {
	for len(e.slots) > maxEngines {
		oldest := ""
		for digest, s := range e.slots {
			if oldest == "" || s.used < e.slots[oldest].used {
				oldest = digest
			}
		}
		delete(e.slots, oldest)
	}
}

// compile makes the engine of a kept bundle, whose alarms are told.
func (e *engines) compile(ctx context.Context, digest string) (*policy.Engine, error) {
	engine, err := e.make(ctx, digest)
	if err == nil {
		e.watch(engine)
	}
	return engine, err
}

// make makes the engine of a kept bundle.
func (e *engines) make(ctx context.Context, digest string) (*policy.Engine, error) {
	kept, known, err := e.store.Bundle(ctx, digest)
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("no bundle %s is kept", digest)
	}
	b, err := policy.NewBundle(kept.Files)
	if err != nil {
		return nil, err
	}
	return policy.New(ctx, b, e.store.Definitions()...)
}

// watch has an engine's alarms logged, each once, and all faults counted.
func (e *engines) watch(p *policy.Engine) {
	p.OnAlarm(func(a policy.Alarm) {
		e.log.Error("a rule of the policy in force has no answer: denied", "bundle", a.Bundle, "ground", a.Ground, "action", a.Action, "entity", a.Entity)
	}, func() { e.faults.Add(1) })
}

// PolicyFaults counts the questions that a policy in force had no answer to,
// which were denied.
func (d *Door) PolicyFaults() int64 { return d.engines.faults.Load() }

// EngineOf is the engine of a kept bundle, compiled if it is not yet. Whether
// it may decide anything is the caller's to know.
func (d *Door) EngineOf(ctx context.Context, digest string) (*policy.Engine, error) {
	return d.engines.of(ctx, digest)
}

// digest names the bundle in force.
func (d *Door) digest(ctx context.Context) (string, error) {
	active, err := d.store.Active(ctx)
	if err == nil && active.Digest == "" && d.engines.first != nil {
		return d.engines.first.Digest(), nil
	}
	return active.Digest, err
}

// InForce is the engine of the bundle in force now.
func (d *Door) InForce(ctx context.Context) (*policy.Engine, error) {
	active, err := d.store.Active(ctx)
	if err != nil {
		return nil, err
	}
	return d.engines.decides(ctx, active.Seq, active.Digest)
}
