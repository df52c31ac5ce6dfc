package access

import (
	"context"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// biEvery is how often the access stamp is looked at. Until the views are made
// anew they show nothing, so this is how long a BI tool may wait, not how long
// it may see too much.
const biEvery = 200 * time.Millisecond

// KeepBI keeps the views of BI logins those of their subjects until ctx ends:
// on one replica at a time, made anew when facts or policy have changed. It
// fails only if the lease does.
func (d *Door) KeepBI(ctx context.Context, readers []store.BIReader) error {
	if len(readers) == 0 {
		return nil
	}
	return d.store.Lead(ctx, "bi", func(ctx context.Context) error {
		tick := time.NewTicker(biEvery)
		defer tick.Stop()
		var under int64 // the stamp that all views are of
		healthy := true
		for {
			err := d.showAll(ctx, readers, &under)
			if err != nil && ctx.Err() == nil && healthy {
				d.log.WarnContext(ctx, "views of BI tools are stale and show nothing, retrying", "error", err)
			}
			healthy = err == nil
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

// showAll brings the views of all logins up to date, unless they are.
func (d *Door) showAll(ctx context.Context, readers []store.BIReader, under *int64) error {
	stamp, _, err := d.store.Stamp(ctx)
	if err != nil || stamp == *under {
		return err
	}
	oldest := int64(0)
	for _, r := range readers {
		made, err := d.show(ctx, r)
		if err != nil {
			return err
		}
		if oldest == 0 || made < oldest {
			oldest = made
		}
	}
	*under = oldest
	return nil
}

// show makes one login's views what its subject may read now. A subject that
// is gone has none. When what they say has changed, the decision log says so.
func (d *Door) show(ctx context.Context, r store.BIReader) (stamp int64, err error) {
	subject, known, err := d.store.Subject(ctx, r.Subject)
	if err != nil {
		return 0, err
	}
	filters := map[string]policy.Filter{}
	if known {
		engine, err := d.engines.decides(ctx, subject.Activation, subject.Bundle)
		if err != nil {
			return 0, err
		}
		for _, def := range d.store.Definitions() {
			if filters[def.Entity], err = engine.Filter(ctx, subject, crm.ActionRead, def.Entity, def.Groups()); err != nil {
				return 0, err
			}
		}
	}
	changed, err := d.store.ShowBI(ctx, r.Role, subject, filters)
	if err != nil || !changed {
		return subject.Stamp, err
	}
	return subject.Stamp, d.store.LogDecisions(ctx, []store.Decision{{
		Subject: r.Subject, Action: "bi.view", Allowed: known, Reasons: []string{"login " + r.Role}, Bundle: subject.Bundle, Stamp: subject.Stamp,
	}})
}
