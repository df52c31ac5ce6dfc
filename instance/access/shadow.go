package access

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

const (
	shadowQueued  = 256             // requests that wait to be compared; more are dropped and counted
	shadowEvery   = time.Second     // how late a replica notices a shadow, and writes what it found
	shadowAtMost  = 5 * time.Second // for one request
	shadowCompile = 30 * time.Second
	shadowAgainIn = time.Minute // after a bundle that could not be compiled
)

// shade tries another bundle on requests that were answered. It never delays or
// fails one: what does not fit into its queue is dropped, and counted. One
// request is compared at a time, and for as long as that took the database is
// left alone.
type shade struct {
	runs  atomic.Pointer[running]
	queue chan glimpse

	mu    sync.Mutex
	found map[shaded]*store.ShadowDifference
}

// running is a shadow as this replica tries it. Its engine is nobody else's:
// what it cannot answer is no alarm, and no request waits for it.
type running struct {
	store.Shadow
	engine *policy.Engine // nil while it could not be compiled
	again  time.Time      // when that is tried again
}

// glimpse is one request as it was answered.
type glimpse struct {
	shaded
	asking
	def  crm.Definition
	read store.Read // with the filter in force
	told answered
}

// answered is what a request was told, as far as a comparison needs it.
type answered struct {
	ids         []crm.RecordID   // of a page: its records
	aggregation *crm.Aggregation // of a total: what it asks for
	limit       int              // of a history
	before      int64            // of a history
	writes      []store.Decision // of a write
}

// shaded is whom and what differences are summed up by.
type shaded struct {
	subject        crm.SubjectID
	action, entity string
}

func newShade() *shade {
	return &shade{queue: make(chan glimpse, shadowQueued), found: map[shaded]*store.ShadowDifference{}}
}

// see notes an answered request, if a shadow runs.
func (s *shade) see(a asking, action string, def crm.Definition, read store.Read, told answered) {
	if !s.on() {
		return
	}
	g := glimpse{shaded{a.subject.ID, action, def.Entity}, a, def, read, told}
	select {
	case s.queue <- g:
	default:
		s.add(g.shaded, func(d *store.ShadowDifference) { d.Dropped++ })
	}
}

// wrote notes an answered write or judgement by its lines of the decision log.
func (s *shade) wrote(a asking, def crm.Definition, lines ...store.Decision) {
	if len(lines) > 0 && a.engine != nil && tryable(lines[0].Action) {
		s.see(a, lines[0].Action, def, store.Read{}, answered{writes: lines})
	}
}

func (s *shade) on() bool { return s.runs.Load() != nil }

func (s *shade) add(of shaded, change func(*store.ShadowDifference)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.found[of]
	if !ok {
		d = &store.ShadowDifference{Subject: of.subject, Action: of.action, Entity: of.entity, Grounds: map[store.ShadowGround]int64{}}
		s.found[of] = d
	}
	change(d)
}

// Shade compares requests with what the shadow would answer until ctx ends.
func (d *Door) Shade(ctx context.Context) error {
	tick := time.NewTicker(shadowEvery)
	defer tick.Stop()
	resting := time.NewTimer(0)
	defer resting.Stop()
	queue := (chan glimpse)(nil) // nothing is taken while it rests
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := d.turnShade(ctx); err != nil && ctx.Err() == nil {
				d.log.WarnContext(ctx, "shadow: trying again", "error", err)
			}
		case <-resting.C:
			queue = d.shade.queue
		case g := <-queue:
			if w := d.shade.runs.Load(); w != nil {
				began := time.Now()
				d.compare(ctx, w, g)
				queue = nil
				resting.Reset(time.Since(began))
			}
		}
	}
}

// turnShade writes what was found, and looks whether a shadow runs.
func (d *Door) turnShade(ctx context.Context) error {
	before := d.shade.runs.Load()
	if err := d.keepFound(ctx, before); err != nil {
		return err
	}
	now, known, err := d.store.Shadow(ctx)
	switch {
	case err != nil:
		return err
	case !known || now.StoppedAt != nil:
		d.shade.runs.Store(nil)
		return nil
	case before != nil && before.ID == now.ID && (before.engine != nil || time.Now().Before(before.again)):
		return nil
	}
	// Requests are noted while it compiles.
	d.shade.runs.CompareAndSwap(before, &running{Shadow: now})
	compiling, cancel := context.WithTimeout(ctx, shadowCompile)
	defer cancel()
	w := &running{Shadow: now, again: time.Now().Add(shadowAgainIn)}
	w.engine, err = d.engines.make(compiling, now.Digest)
	d.shade.runs.Store(w)
	return err
}

// keepFound writes what was found of the shadow that ran.
func (d *Door) keepFound(ctx context.Context, ran *running) error {
	d.shade.mu.Lock()
	found := d.shade.found
	d.shade.found = map[shaded]*store.ShadowDifference{}
	d.shade.mu.Unlock()
	if ran == nil || len(found) == 0 {
		return nil
	}
	var list []store.ShadowDifference
	for _, f := range found {
		list = append(list, *f)
	}
	err := d.store.AddShadowDifferences(ctx, ran.ID, list)
	if err != nil { // they wait again
		for of, f := range found {
			d.shade.add(of, func(all *store.ShadowDifference) { plus(all, *f) })
		}
	}
	return err
}

// compare adds up how the shadow would have answered otherwise. Whatever
// happens to it stays here.
func (d *Door) compare(ctx context.Context, w *running, g glimpse) {
	ctx, cancel := context.WithTimeout(ctx, shadowAtMost)
	defer cancel()
	sum := store.ShadowDifference{Reads: 1, Grounds: map[store.ShadowGround]int64{}}
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		if w.engine == nil {
			return errors.New("the bundle could not be compiled")
		}
		return d.differs(ctx, w.engine, g, &sum)
	}()
	switch {
	case err != nil && ctx.Err() != nil: // it took too long
		sum = store.ShadowDifference{Dropped: 1}
	case err != nil:
		sum = store.ShadowDifference{Reads: 1, Failed: 1}
	}
	d.shade.add(g.shaded, func(all *store.ShadowDifference) { plus(all, sum) })
}

// StartShadow tries a kept bundle, such as a proposal's, on live reads.
func (d *Door) StartShadow(ctx context.Context, c crm.Caller, digest string) (store.Shadow, []store.ShadowDifference, error) {
	b, err := d.BundleNamed(ctx, c, digest)
	if err != nil {
		return store.Shadow{}, nil, err
	}
	if _, err := d.EngineOf(ctx, b.Digest); err != nil {
		return store.Shadow{}, nil, err
	}
	err = d.official(ctx, c, "policy.propose", func(ctx context.Context, _ asking, tx *store.Tx) (store.Decision, error) {
		return store.Decision{Action: "policy.shadow", Facts: []string{b.Digest}}, tx.StartShadow(ctx, b.Digest, c.Subject)
	})
	if err != nil {
		return store.Shadow{}, nil, err
	}
	return d.shadowed(ctx)
}

// StopShadow ends the shadow that runs.
func (d *Door) StopShadow(ctx context.Context, c crm.Caller) (store.Shadow, []store.ShadowDifference, error) {
	err := d.official(ctx, c, "policy.propose", func(ctx context.Context, _ asking, tx *store.Tx) (store.Decision, error) {
		return store.Decision{Action: "policy.shadow.stop"}, tx.StopShadow(ctx, c.Subject)
	})
	if err != nil {
		return store.Shadow{}, nil, err
	}
	return d.shadowed(ctx)
}

// Shadowed is what the shadow that runs, or the last one that did, has found.
func (d *Door) Shadowed(ctx context.Context, c crm.Caller) (store.Shadow, []store.ShadowDifference, error) {
	a, err := d.permit(ctx, c, "policy.propose")
	if err != nil {
		return store.Shadow{}, nil, err
	}
	w, found, err := d.shadowed(ctx)
	if err != nil {
		return w, nil, err
	}
	return w, found, d.journal.add(ctx, a.decision("policy.shadow.read", ""))
}

func (d *Door) shadowed(ctx context.Context) (store.Shadow, []store.ShadowDifference, error) {
	w, known, err := d.store.Shadow(ctx)
	if err == nil && !known {
		err = crm.Errorf(crm.NotFound, "no shadow ran here yet")
	}
	if err != nil {
		return w, nil, err
	}
	found, err := d.store.ShadowDifferences(ctx, w.ID)
	return w, found, err
}

// Pulse counts decisions since a time, for who watches an activation.
func (d *Door) Pulse(ctx context.Context, c crm.Caller, since time.Time) (now store.Activation, allowed, refused int64, err error) {
	if err = d.Permit(ctx, c, "policy.read"); err != nil {
		return now, 0, 0, err
	}
	if err = d.journal.flush(ctx); err != nil {
		return now, 0, 0, err
	}
	if allowed, refused, err = d.store.Pulse(ctx, since); err != nil {
		return now, 0, 0, err
	}
	now, err = d.store.Active(ctx)
	return now, allowed, refused, err
}
