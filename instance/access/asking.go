package access

import (
	"context"
	"errors"
	"sync"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// asking is a caller as policy sees them for the length of one attempt: the
// subject under one access stamp, and the engine that was in force with it.
type asking struct {
	caller  crm.Caller
	subject crm.Subject
	engine  *policy.Engine
	flips   *policy.Flips // of a question what would be: judgements supposed the other way round
}

// filter is what the asking subject may do an action to.
func (a asking) filter(ctx context.Context, action crm.Action, def crm.Definition) (policy.Filter, error) {
	return a.engine.Filter(ctx, a.subject, action, def.Entity, def.Groups())
}

// unmoved undoes a transaction that was decided under a stamp that is over.
func (a asking) unmoved(ctx context.Context, tx *store.Tx) error {
	stamp, _, err := tx.Stamp(ctx)
	if err == nil && stamp != a.subject.Stamp {
		err = errMoved
	}
	return err
}

// decision is a line of the decision log about this asking, allowed until
// somebody says otherwise.
func (a asking) decision(action, entity string) store.Decision {
	return store.Decision{
		Subject: a.caller.Subject, Action: action, Entity: entity, Allowed: true,
		Bundle: a.bundle(), Stamp: a.subject.Stamp, Execution: a.caller.Execution,
	}
}

// bundle names the policy of this asking, also of one that was refused before
// any policy was asked.
func (a asking) bundle() string {
	if a.engine == nil {
		return a.subject.Bundle
	}
	return a.engine.Digest()
}

// attempts bounds how often an answer is thrown away because facts or bundle
// moved while it was made. Facts change seldom; running out means somebody is
// changing them without a pause.
const attempts = 5

// holdAtMost bounds how long changes of facts wait for a batch of writes.
const holdAtMost = 3 * time.Second

// errMoved undoes a transaction that was decided under a stamp that moved.
var errMoved = errors.New("the access stamp moved")

// under runs f with the caller's subject, and again when the access stamp that
// f saw last is not the one the subject was loaded under. f answers that stamp,
// or errMoved. What f left behind in a lost attempt must be overwritten by the
// next one.
func (d *Door) under(ctx context.Context, c crm.Caller, f func(context.Context, asking) (stamp int64, err error)) (asking, error) {
	return d.attempt(ctx, c, d.engines.decides, f, f)
}

// inOffice is under for what officers do about policy. It must not end because
// nothing proves the policy in force, or it cannot be loaded: the last one that
// was proven then says who is an officer.
func (d *Door) inOffice(ctx context.Context, c crm.Caller, f func(context.Context, asking) (stamp int64, err error)) (asking, error) {
	return d.attempt(ctx, c, d.engines.presides, f, f)
}

// insisting is under for batches of writes, which take so long that a few
// changes of facts a second would undo every attempt: after a lost one, changes
// of facts wait for the next. f must not change facts itself.
func (d *Door) insisting(ctx context.Context, c crm.Caller, f func(context.Context, asking) (stamp int64, err error)) (asking, error) {
	return d.attempt(ctx, c, d.engines.decides, f, func(ctx context.Context, a asking) (int64, error) {
		select {
		case d.holding <- struct{}{}:
			defer func() { <-d.holding }()
		default: // one at a time: facts must get their turn
			return f(ctx, a)
		}
		held, release, err := d.store.HoldStamp(ctx, holdAtMost)
		if err != nil {
			return 0, err
		}
		defer release()
		if held != a.subject.Stamp {
			return 0, errMoved
		}
		return f(ctx, a)
	})
}

// attempt runs first, and after a lost attempt later, under the engine that
// decides of what is in force.
func (d *Door) attempt(ctx context.Context, c crm.Caller, decides func(context.Context, int64, string) (*policy.Engine, error),
	first, later func(context.Context, asking) (stamp int64, err error),
) (asking, error) {
	var stale int64 // a stamp that is known to be over
	for n := range attempts {
		f := first
		if n > 0 {
			f = later
		}
		a := asking{caller: c}
		subject, known, err := d.subjects.load(c.Subject, stale, func() (crm.Subject, bool, error) {
			return d.store.Subject(ctx, c.Subject)
		})
		if err != nil {
			return a, err
		}
		a.subject = subject
		if !known {
			return a, stranger()
		}
		if a.engine, err = decides(ctx, subject.Activation, subject.Bundle); err != nil {
			if stamp, _, stampErr := d.store.Stamp(ctx); stampErr != nil || stamp == subject.Stamp {
				return a, err
			}
			stale = subject.Stamp // something else is in force by now
			continue
		}
		stamp, err := f(ctx, a)
		if err != nil && !errors.Is(err, errMoved) {
			// A refusal may come of facts that are over: it counts only if they
			// still hold.
			var stampErr error
			if stamp, _, stampErr = d.store.Stamp(ctx); stampErr != nil || stamp == subject.Stamp {
				return a, err
			}
		}
		if err == nil && stamp == subject.Stamp {
			return a, nil
		}
		stale = subject.Stamp
	}
	return asking{}, &crm.Error{
		Kind: crm.Unavailable, Msg: "access facts are changing too fast for an answer; try again", RetryAfter: time.Second,
	}
}

// maxCached bounds a cache of subjects; a full one starts over.
const maxCached = 10_000

// cache keeps subjects as they were loaded last. It does not know whether they
// still hold: who uses one compares stamps afterwards.
type cache[K comparable] struct {
	mu sync.RWMutex
	m  map[K]crm.Subject
}

func newCache[K comparable]() *cache[K] { return &cache[K]{m: map[K]crm.Subject{}} }

// load answers the subject under key, from fetch if there is none or it is of
// the stale stamp. Unknown subjects are not kept.
func (c *cache[K]) load(key K, stale int64, fetch func() (crm.Subject, bool, error)) (crm.Subject, bool, error) {
	c.mu.RLock()
	s, ok := c.m[key]
	c.mu.RUnlock()
	if ok && s.Stamp > stale {
		return s, true, nil
	}
	s, known, err := fetch()
	if err != nil || !known {
		c.mu.Lock()
		delete(c.m, key)
		c.mu.Unlock()
		return s, known, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= maxCached {
		clear(c.m)
	}
	if c.m[key].Stamp <= s.Stamp {
		c.m[key] = s
	}
	return s, true, nil
}
