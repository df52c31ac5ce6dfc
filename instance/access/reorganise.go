package access

import (
	"context"
	"errors"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// Reorganisation is what a batch of edits does to everybody's sight.
type Reorganisation struct {
	Stamp     int64 // access stamp that the figures are about
	At        time.Time
	Applied   bool
	Compared  int
	Impacts   []PersonaImpact
	Emptied   []crm.SubjectID // who see nothing any more
	Suspended []string        // shares that would wait for review
	Facts     []store.Fact    // as the batch leaves them
}

// Reorganise says what edits would change and, if apply is set, records them.
// The figures are of the moment at which the whole batch has taken effect. If
// stamp is not zero, it is that of a preview: what moved since is refused.
//
// A preview changes nothing: the edits are made in transactions that are undone
// once some of everybody were loaded inside, all under one access stamp; what
// they see is compared afterwards.
func (d *Door) Reorganise(ctx context.Context, c crm.Caller, edits []store.Edit, reason string, apply bool, stamp int64) (Reorganisation, error) {
	var out Reorganisation
	err := d.permitted(ctx, c, factWrite, func(ctx context.Context, a asking) error {
		out = Reorganisation{Stamp: a.subject.Stamp}
		if stamp != 0 && stamp != out.Stamp {
			return crm.Errorf(crm.Stale, "facts moved since the preview; preview again, or apply without its stamp")
		}
		if err := mayEdit(ctx, a, edits, reason); err != nil {
			return err
		}
		if err := d.foresee(ctx, a, edits, reason, &out); err != nil {
			return err
		}
		if !apply {
			decision := a.decision("fact.preview", "")
			decision.Facts = edited(edits)
			return d.store.LogDecisions(ctx, []store.Decision{decision})
		}
		return d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (_ store.Decision, err error) {
			out.Facts, err = a.edit(ctx, tx, edits, reason)
			out.Applied = err == nil
			return store.Decision{Action: "fact.reorganise", Facts: edited(edits)}, err
		})
	})
	return out, err
}

// errUndone ends a transaction that was only to look.
var errUndone = errors.New("undone on purpose")

// foresee fills in what edits would change.
func (d *Door) foresee(ctx context.Context, a asking, edits []store.Edit, reason string, out *Reorganisation) error {
	_, now, err := d.store.Stamp(ctx)
	if err != nil {
		return err
	}
	x := &change{d: d, engine: a.engine, stamp: a.subject.Stamp, sizes: map[string]int64{}}
	out.At = now
	for _, e := range edits {
		if e.From.After(out.At) {
			out.At = e.From
		}
	}
	if out.At.After(now) { // by the facts that are believed now, then
		x.before = &policy.Moment{Valid: out.At, Recorded: out.At}
		x.after = x.before
	}
	all, err := d.everybody(ctx, x.before)
	if err != nil {
		return err
	}
	for _, e := range edits {
		if e.Do == store.EditAdd && e.Kind == "subject" {
			all = append(all, standing{compare: compare{id: crm.SubjectID(e.ID)}})
		}
	}
	all = sorted(all)
	for i, s := range all {
		if all[i].before, all[i].was, err = s.load(ctx, d.store, x.before); err != nil {
			return err
		}
		if all[i].was && all[i].before.Stamp != x.stamp {
			return errMoved
		}
	}
	for rest := all; ; {
		loaded, err := x.suppose(ctx, a, edits, reason, rest, out)
		if err != nil {
			return err
		}
		if rest = rest[loaded:]; len(rest) == 0 {
			break
		}
	}
	// A boundary that passed while the last of them were loaded.
	stamp, _, err := d.store.Stamp(ctx)
	if err != nil {
		return err
	}
	if stamp != x.stamp {
		return errMoved
	}
	return x.sum(ctx, all, out)
}

// suppose makes the edits, loads as many of some standings as it has time for,
// one at least, and undoes the edits. It takes up where it left only if nothing
// moved, so that all of them are of one moment.
func (x *change) suppose(ctx context.Context, a asking, edits []store.Edit, reason string, some []standing, out *Reorganisation) (loaded int, err error) {
	err = x.d.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.AwaitStamp(ctx); err != nil {
			return err
		}
		if err := a.unmoved(ctx, tx); err != nil {
			return err
		}
		var err error
		if out.Facts, err = a.edit(ctx, tx, edits, reason); err != nil {
			return err
		}
		for began := time.Now(); loaded < len(some) && (loaded == 0 || time.Since(began) < x.d.holdAtMost); loaded++ {
			s := &some[loaded]
			if s.after, s.is, err = s.load(ctx, tx, x.after); err != nil {
				return err
			}
			s.after.Stamp = x.stamp // of what holds; nobody else ever sees these facts
		}
		return errUndone
	})
	if errors.Is(err, errUndone) {
		err = nil
	}
	return loaded, err
}

// sum compares everybody.
func (x *change) sum(ctx context.Context, all []standing, out *Reorganisation) error {
	out.Compared = len(all)
	for _, s := range all {
		lost, err := x.suspended(ctx, s)
		if err != nil {
			return err
		}
		out.Suspended = append(out.Suspended, lost...)
		p, err := x.impact(ctx, s)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		out.Impacts = append(out.Impacts, *p)
		emptied, err := x.emptied(ctx, s, p)
		if err != nil {
			return err
		}
		if emptied {
			out.Emptied = append(out.Emptied, s.id)
		}
	}
	return nil
}

// suspended are the shares of a giver that would lose their ground.
func (x *change) suspended(ctx context.Context, s standing) (ids []string, err error) {
	if s.contract != nil || !s.was {
		return nil, nil
	}
	shares, err := x.d.store.SharesBy(ctx, s.id)
	if err != nil || len(shares) == 0 {
		return nil, err
	}
	lost := shares
	if s.is {
		after := asking{caller: crm.Caller{Subject: s.id}, subject: s.after, engine: x.engine}
		if lost, err = x.d.groundless(ctx, after, shares); err != nil {
			return nil, err
		}
	}
	for _, g := range lost {
		ids = append(ids, g.ID)
	}
	return ids, nil
}
