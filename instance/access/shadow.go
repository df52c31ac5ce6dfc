package access

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

const (
	shadowQueued = 256             // reads that wait to be compared; more are dropped and counted
	shadowEvery  = time.Second     // how late a replica notices a shadow, and writes what it found
	shadowAtMost = 5 * time.Second // for one read
)

// shade tries another bundle on reads that were answered. It never delays or
// fails one: what does not fit into its queue is dropped, and counted.
type shade struct {
	runs  atomic.Pointer[store.Shadow]
	queue chan glimpse

	mu    sync.Mutex
	found map[shaded]*store.ShadowDifference
}

// glimpse is one read as it was answered.
type glimpse struct {
	shaded
	subject crm.Subject
	def     crm.Definition
	read    store.Read // with the filter in force
}

// shaded is whom and what differences are summed up by.
type shaded struct {
	subject        crm.SubjectID
	action, entity string
}

func newShade() *shade {
	return &shade{queue: make(chan glimpse, shadowQueued), found: map[shaded]*store.ShadowDifference{}}
}

// see notes an answered read, if a shadow runs.
func (s *shade) see(a asking, action string, def crm.Definition, read store.Read) {
	if s.runs.Load() == nil {
		return
	}
	g := glimpse{shaded{a.subject.ID, action, def.Entity}, a.subject, def, read}
	select {
	case s.queue <- g:
	default:
		s.add(g.shaded, func(d *store.ShadowDifference) { d.Dropped++ })
	}
}

func (s *shade) add(of shaded, change func(*store.ShadowDifference)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.found[of]
	if !ok {
		d = &store.ShadowDifference{Subject: of.subject, Action: of.action, Entity: of.entity}
		s.found[of] = d
	}
	change(d)
}

// Shade compares reads with what the shadow would answer until ctx ends.
func (d *Door) Shade(ctx context.Context) error {
	tick := time.NewTicker(shadowEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := d.turnShade(ctx); err != nil && ctx.Err() == nil {
				d.log.WarnContext(ctx, "shadow: trying again", "error", err)
			}
		case g := <-d.shade.queue:
			if w := d.shade.runs.Load(); w != nil {
				d.compare(ctx, w, g)
			}
		}
	}
}

// turnShade writes what was found, and looks whether a shadow runs.
func (d *Door) turnShade(ctx context.Context) error {
	before := d.shade.runs.Load()
	d.shade.mu.Lock()
	found := d.shade.found
	d.shade.found = map[shaded]*store.ShadowDifference{}
	d.shade.mu.Unlock()
	if before != nil && len(found) > 0 {
		var list []store.ShadowDifference
		for _, f := range found {
			list = append(list, *f)
		}
		if err := d.store.AddShadowDifferences(ctx, before.ID, list); err != nil {
			return err
		}
	}
	now, known, err := d.store.Shadow(ctx)
	switch {
	case err != nil:
		return err
	case !known || now.StoppedAt != nil:
		d.shade.runs.Store(nil)
	case before == nil || before.ID != now.ID:
		d.shade.runs.Store(&now)
	}
	return nil
}

// compare reads again under both bundles.
func (d *Door) compare(ctx context.Context, w *store.Shadow, g glimpse) {
	ctx, cancel := context.WithTimeout(ctx, shadowAtMost)
	defer cancel()
	found, err := d.differs(ctx, w, g)
	d.shade.add(g.shaded, func(sum *store.ShadowDifference) {
		sum.Reads++
		if err != nil {
			sum.Failed++
			return
		}
		if found.Gained+found.Lost+found.Groups > 0 {
			sum.Differed++
		}
		sum.Gained, sum.Lost, sum.Groups = sum.Gained+found.Gained, sum.Lost+found.Lost, sum.Groups+found.Groups
		for _, id := range found.Sample {
			if len(sum.Sample) < maxProblems && !slices.Contains(sum.Sample, id) {
				sum.Sample = append(sum.Sample, id)
			}
		}
	})
}

func (d *Door) differs(ctx context.Context, w *store.Shadow, g glimpse) (found store.ShadowDifference, err error) {
	engine, err := d.EngineOf(ctx, w.Digest)
	if err != nil {
		return found, err
	}
	other, err := engine.Filter(ctx, g.subject, crm.ActionRead, g.def.Entity, g.def.Groups())
	if err != nil || other.Same(g.read.Filter) {
		return found, err
	}
	// What one of the two would answer, and the other then says to these records:
	// pages end elsewhere, records do not.
	shown, err := d.glance(ctx, g, g.read.Filter)
	if err != nil {
		return found, err
	}
	under, err := d.glance(ctx, g, other)
	if err != nil {
		return found, err
	}
	ids := slices.Collect(func(yield func(crm.RecordID) bool) {
		for _, m := range []map[crm.RecordID]crm.Record{shown, under} {
			for id := range m {
				if !yield(id) {
					return
				}
			}
		}
	})
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for i, f := range []policy.Filter{g.read.Filter, other} {
		page, err := d.store.Get(ctx, store.Read{Entity: g.def.Entity, Filter: f, IDs: ids})
		if err != nil {
			return found, err
		}
		if i == 0 {
			shown = byID(page.Records)
		} else {
			under = byID(page.Records)
		}
	}
	for _, id := range ids {
		a, now := shown[id]
		b, then := under[id]
		switch {
		case now && !then:
			found.Lost++
		case then && !now:
			found.Gained++
		case now && (!slices.Equal(a.Withheld, b.Withheld) || !slices.Equal(a.Masked, b.Masked)):
			found.Groups++
		default:
			continue
		}
		found.Sample = append(found.Sample, id)
	}
	return found, nil
}

// glance answers a read again under a filter.
func (d *Door) glance(ctx context.Context, g glimpse, f policy.Filter) (map[crm.RecordID]crm.Record, error) {
	read := g.read
	read.Filter = f
	if g.action == "get" {
		page, err := d.store.Get(ctx, read)
		return byID(page.Records), err
	}
	page, err := d.store.List(ctx, read)
	return byID(page.Records), err
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
