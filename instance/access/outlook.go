package access

import (
	"context"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// resumedWithin is how long after its suspension a share holds again by itself
// (docs/adr/0006).
const resumedWithin = 7 * 24 * time.Hour

// outlook is what the keeper makes of the shares, if an engine decides.
type outlook struct {
	suspended, resumed []crm.Grant
	flips              *policy.Flips // both
}

// outlooker looks ahead: under one access stamp, for givers as they are, or as
// a change of facts would have them.
type outlooker struct {
	d       *Door
	engine  *policy.Engine
	settled *policy.Engine // under which what holds was reviewed; nil if none
	stamp   int64
	giver   func(context.Context, crm.SubjectID) (crm.Subject, bool, error)
	known   map[crm.SubjectID]crm.Subject
	absent  map[crm.SubjectID]bool
}

func (d *Door) outlooker(engine *policy.Engine, stamp int64) *outlooker {
	return &outlooker{d: d, engine: engine, stamp: stamp, giver: d.store.Subject, known: map[crm.SubjectID]crm.Subject{}, absent: map[crm.SubjectID]bool{}}
}

// held are the shares that rest on their givers alone.
func (d *Door) held(ctx context.Context) (held []crm.Grant, err error) {
	givers, err := d.store.Givers(ctx)
	if err != nil {
		return nil, err
	}
	for _, giver := range givers {
		shares, err := d.store.SharesBy(ctx, giver)
		if err != nil {
			return nil, err
		}
		held = append(held, shares...)
	}
	return held, nil
}

// everything is the outlook for all shares.
func (o *outlooker) everything(ctx context.Context) (outlook, error) {
	held, err := o.d.held(ctx)
	if err != nil {
		return outlook{}, err
	}
	waiting, now, err := o.d.store.WaitingShares(ctx, nil)
	if err != nil {
		return outlook{}, err
	}
	return o.of(ctx, held, waiting, now)
}

// with is the outlook for what one subject is shared with. Whether a share holds
// depends on the sight that its giver has of that record, and so on what is
// shared of the record and of its account alone.
func (o *outlooker) with(ctx context.Context, subject crm.Subject) (outlook, error) {
	ids, err := o.d.store.SharedWith(ctx, subject.Keys)
	if err != nil || len(ids) == 0 {
		return outlook{}, err
	}
	held, err := o.d.store.SharesAbout(ctx, ids)
	if err != nil {
		return outlook{}, err
	}
	waiting, now, err := o.d.store.WaitingShares(ctx, ids)
	if err != nil {
		return outlook{}, err
	}
	return o.of(ctx, held, waiting, now)
}

// of is the outlook for shares that hold and for those that wait for review.
//
// A suspended share resumes if its giver could give it now, and either it was
// suspended lately, or the bundle under which that happened would suspend it
// still: then it is the bundle that makes the difference, not a fact that was
// forgotten.
func (o *outlooker) of(ctx context.Context, held []crm.Grant, waiting []store.WaitingShare, now time.Time) (outlook, error) {
	under := map[string]string{} // of those that waited long, by id
	var may []crm.Grant
	for _, w := range waiting {
		switch {
		case now.Sub(w.Since) <= resumedWithin:
		case w.Under != "" && w.Under != o.engine.Digest():
			under[w.ID] = w.Under
		default:
			continue
		}
		may = append(may, w.Grant)
	}
	for {
		out, err := o.settle(ctx, held, may)
		if err != nil {
			return outlook{}, err
		}
		forgotten, err := o.forgotten(ctx, held, out.resumed, under)
		if err != nil || len(forgotten) == 0 {
			return out, err
		}
		may = without(may, forgotten)
	}
}

// settle supposes that all that may resume does, and takes away what has no
// ground until nothing else falls with it. A share rests on earlier ones alone
// (standsAlone), so the order does not matter.
func (o *outlooker) settle(ctx context.Context, held, may []crm.Grant) (outlook, error) {
	left, suspended := slices.Concat(held, may), []crm.Grant{}
	resumed := may
	for {
		out := outlook{suspended: suspended, resumed: resumed, flips: policy.Flip(slices.Concat(suspended, resumed))}
		lost, err := o.lost(ctx, left, out.flips)
		if err != nil || len(lost) == 0 {
			return out, err
		}
		left, resumed = without(left, lost), without(resumed, lost)
		suspended = append(suspended, without(lost, may)...)
	}
}

// lost are the shares that their givers could not give, given flips.
func (o *outlooker) lost(ctx context.Context, shares []crm.Grant, flips *policy.Flips) (lost []crm.Grant, err error) {
	byGiver := map[crm.SubjectID][]crm.Grant{}
	for _, g := range shares {
		byGiver[g.By] = append(byGiver[g.By], g)
	}
	if err := o.loadAll(ctx, byGiver); err != nil {
		return nil, err
	}
	for giver, shares := range byGiver {
		subject, known, err := o.load(ctx, giver)
		if err != nil {
			return nil, err
		}
		if !known {
			lost = append(lost, shares...)
			continue
		}
		ask, out, err := o.toAsk(ctx, subject, shares, flips == nil)
		if err != nil {
			return nil, err
		}
		more, err := o.d.groundless(ctx, asking{caller: crm.Caller{Subject: giver}, subject: subject, engine: o.engine, flips: flips}, ask)
		if err != nil {
			return nil, err
		}
		lost = append(append(lost, out...), more...)
	}
	return lost, nil
}

// toAsk are the shares to ask about, and those that are out already. Where
// nothing is supposed, a giver who may share as when the shares were reviewed
// last has lost none. About a giver for whom the engine has no filter the keeper
// would find no answer either: what holds stays, what is suspended too.
func (o *outlooker) toAsk(ctx context.Context, subject crm.Subject, shares []crm.Grant, nothingSupposed bool) (ask, out []crm.Grant, err error) {
	byEntity := map[string][]crm.Grant{}
	for _, g := range shares {
		byEntity[g.Entity] = append(byEntity[g.Entity], g)
	}
	for entity, gs := range byEntity {
		def, err := o.d.definition(entity)
		var is policy.Filter
		if err == nil {
			is, err = o.engine.Filter(ctx, subject, crm.ActionShare, def.Entity, def.Groups())
		}
		if err != nil { // or the entity is not installed any more
			if ctx.Err() != nil {
				return nil, nil, err
			}
			out = append(out, slices.DeleteFunc(gs, func(g crm.Grant) bool { return !g.Suspended })...)
			continue
		}
		if nothingSupposed && o.settled != nil {
			was, err := o.settled.Filter(ctx, subject, crm.ActionShare, def.Entity, def.Groups())
			if err != nil {
				return nil, nil, err
			}
			if was.Same(is) {
				continue
			}
		}
		ask = append(ask, gs...)
	}
	return ask, out, nil
}

// loadAll loads givers a few at a time: one by one they are most of the wait.
func (o *outlooker) loadAll(ctx context.Context, byGiver map[crm.SubjectID][]crm.Grant) error {
	type loaded struct {
		giver   crm.SubjectID
		subject crm.Subject
		known   bool
		err     error
	}
	var unknown []crm.SubjectID
	for giver := range byGiver {
		if _, ok := o.known[giver]; !ok && !o.absent[giver] {
			unknown = append(unknown, giver)
		}
	}
	answers, next := make(chan loaded, len(unknown)), make(chan crm.SubjectID, len(unknown))
	for _, giver := range unknown {
		next <- giver
	}
	close(next)
	for range loadedAtOnce {
		go func() {
			for giver := range next {
				s, known, err := o.giver(ctx, giver)
				answers <- loaded{giver, s, known, err}
			}
		}()
	}
	var failed error
	for range unknown { // all, so that nobody is left working
		switch a := <-answers; {
		case a.err != nil:
			failed = a.err
		case !a.known:
			o.absent[a.giver] = true
		case a.subject.Stamp != o.stamp:
			failed = errMoved
		default:
			o.known[a.giver] = a.subject
		}
	}
	return failed
}

const loadedAtOnce = 3

func (o *outlooker) load(ctx context.Context, giver crm.SubjectID) (crm.Subject, bool, error) {
	if s, ok := o.known[giver]; ok || o.absent[giver] {
		return s, ok, nil
	}
	s, known, err := o.giver(ctx, giver)
	switch {
	case err != nil:
		return s, false, err
	case !known:
		o.absent[giver] = true
	case s.Stamp != o.stamp:
		return s, false, errMoved
	default:
		o.known[giver] = s
	}
	return s, known, nil
}

// forgotten are, of shares that waited long, those that the bundle under which
// they were suspended would let hold now.
func (o *outlooker) forgotten(ctx context.Context, held, resumed []crm.Grant, under map[string]string) (forgotten []crm.Grant, err error) {
	bundles := map[string]bool{}
	for _, g := range resumed {
		if digest := under[g.ID]; digest != "" {
			bundles[digest] = true
		}
	}
	if len(bundles) == 0 {
		return nil, nil
	}
	for digest := range bundles {
		hold := resumed // of which the bundle is gone an officer decides
		if engine, err := o.d.EngineOf(ctx, digest); err == nil {
			then := *o
			then.engine, then.settled = engine, nil
			out, err := then.settle(ctx, held, resumed)
			if err != nil {
				return nil, err
			}
			hold = out.resumed
		} else if ctx.Err() != nil {
			return nil, err
		}
		for _, g := range hold {
			if under[g.ID] == digest {
				forgotten = append(forgotten, g)
			}
		}
	}
	return forgotten, nil
}

// without are the shares that are not among others.
func without(shares, others []crm.Grant) []crm.Grant {
	gone := map[string]bool{}
	for _, g := range others {
		gone[g.ID] = true
	}
	return slices.DeleteFunc(slices.Clone(shares), func(g crm.Grant) bool { return gone[g.ID] })
}
