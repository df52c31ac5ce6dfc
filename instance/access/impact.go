package access

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// policyImpact is the permission to compare a bundle with the one in force.
const policyImpact = "policy.impact"

// Candidate is a bundle that is tried: one that is kept, or its files.
type Candidate struct {
	Digest string // or its beginning, from 8 characters on
	Files  map[string]string
}

// ImpactRequest asks what a candidate would change.
type ImpactRequest struct {
	Candidate Candidate
	From      string          // digest of a kept bundle to compare with; the one in force if empty
	Subjects  []crm.SubjectID // only these; all if empty. "contract:<id>" is a receiver
	Action    crm.Action      // of people and services; read if empty
}

// ImpactStep is one step of a comparison: how far it is, and what changes for
// the subject just compared, nil if nothing.
type ImpactStep struct {
	Done, Total int64
	Current     string // who is next
	Persona     *PersonaImpact
}

// PersonaImpact is what changes for one subject, or for the destination of a
// contract.
type PersonaImpact struct {
	Subject      crm.SubjectID
	Kind         crm.SubjectKind
	Destination  string         // of a contract
	Entities     []EntityImpact // those that differ; what is gained comes first
	Powers                      // permissions and limits, which are not about one record
	OtherActions []crm.Action   // others that it could do to other records than now
	Refused      string         // why the candidate cannot be applied to the subject: it would see nothing
}

// EntityImpact is what changes in one entity.
type EntityImpact struct {
	Entity  string
	Records int64 // that there are
	store.Difference
	Later       int64 // what the rules newly open and denials, walls or withholdings of today close: they end
	GiveBack    int64 // of a contract: what the destination holds and would lose
	GiveBackIDs []crm.RecordID
}

// ImpactSummary sums a comparison up.
type ImpactSummary struct {
	Before, After       string // digests
	Compared, Differing int64
	Gained, Lost        int64
	GiveBack            int64
	Largest             float64 // part of an entity that somebody newly sees, of 1
	LargestSubject      crm.SubjectID
	LargestEntity       string
	Suspended, Resumed  []SharesImpact // what would become of shares; what others see by it is in their numbers
	At                  time.Time
	Warnings            []string // what changes in the bundle itself, whoever it is about
}

// Impact compares a candidate with the bundle in force, exactly, for every
// subject and every contract out of this instance, and tells of each as it is
// done. It shows counts and ids, no values, and is logged before it begins.
func (d *Door) Impact(ctx context.Context, c crm.Caller, r ImpactRequest, tell func(ImpactStep) error) (ImpactSummary, error) {
	a, err := d.permit(ctx, c, policyImpact)
	if err != nil {
		return ImpactSummary{}, err
	}
	if r.Action == "" {
		r.Action = crm.ActionRead
	}
	if !slices.Contains(recordActions, r.Action) {
		return ImpactSummary{}, crm.FieldErrorf("action", "compare read, create, update, delete, share or withhold")
	}
	candidate, err := d.candidate(ctx, r.Candidate)
	if err != nil {
		return ImpactSummary{}, err
	}
	from := a.engine
	if r.From != "" {
		if from, err = d.candidate(ctx, Candidate{Digest: r.From}); err != nil {
			return ImpactSummary{}, err
		}
	}
	compared, untried, err := d.compared(ctx, from, candidate, r.Subjects)
	if err != nil {
		return ImpactSummary{}, err
	}
	decision := a.decision(policyImpact, "")
	decision.Reasons = []string{candidate.Digest()}
	if err := d.store.LogDecisions(ctx, []store.Decision{decision}); err != nil {
		return ImpactSummary{}, err
	}
	x := &comparison{d: d, before: from, after: candidate, inForce: a.engine.Digest(), action: r.Action, few: len(r.Subjects) > 0, sizes: map[string]int64{}}
	sum := ImpactSummary{Before: from.Digest(), After: candidate.Digest(), Compared: int64(len(compared))}
	for i, s := range compared {
		step := ImpactStep{Done: int64(i), Total: sum.Compared, Current: string(s.id)}
		if err := tell(step); err != nil {
			return sum, err
		}
		if _, err := d.permit(ctx, c, policyImpact); err != nil { // not any more
			return sum, err
		}
		persona, err := x.persona(ctx, s)
		if err != nil {
			return sum, err
		}
		if persona == nil {
			continue
		}
		sum.add(*persona)
		if err := tell(ImpactStep{Done: step.Done + 1, Total: step.Total, Current: step.Current, Persona: persona}); err != nil {
			return sum, err
		}
	}
	sum.Suspended, sum.Resumed = sharesImpact(x.suspended), sharesImpact(x.resumed)
	if sum.Warnings, err = x.warnings(ctx, sum.Differing); err != nil {
		return sum, err
	}
	sum.Warnings = append(sum.Warnings, untried...)
	_, sum.At, err = d.store.Stamp(ctx)
	return sum, err
}

func (s *ImpactSummary) add(p PersonaImpact) {
	s.Differing++
	for _, e := range p.Entities {
		s.Gained, s.Lost, s.GiveBack = s.Gained+e.Gained, s.Lost+e.Lost, s.GiveBack+e.GiveBack
		if share := e.Share(); share > s.Largest {
			s.Largest, s.LargestSubject, s.LargestEntity = share, p.Subject, e.Entity
		}
	}
}

// Share is the part of the entity's records that becomes visible, of 1, now or
// when what closes it today ends.
func (e EntityImpact) Share() float64 {
	if e.Records == 0 {
		return 0
	}
	return float64(e.Gained+e.Later) / float64(e.Records)
}

// recordActions are what people and services do to records.
var recordActions = []crm.Action{
	crm.ActionRead, crm.ActionCreate, crm.ActionUpdate, crm.ActionDelete, crm.ActionShare, crm.ActionWithhold,
}

// candidate is the engine of a bundle that is tried. It decides nothing.
func (d *Door) candidate(ctx context.Context, k Candidate) (*policy.Engine, error) {
	if len(k.Files) > 0 {
		b, err := policy.NewBundle(k.Files)
		if err != nil {
			return nil, err
		}
		if last := d.tried.Load(); last != nil && last.Digest() == b.Digest() {
			return last, nil
		}
		ctx, cancel := context.WithTimeout(ctx, compileAtMost)
		defer cancel()
		e, err := policy.New(ctx, b, d.store.Definitions()...)
		if err == nil {
			d.tried.Store(e)
		}
		return e, err
	}
	if k.Digest == "" {
		return nil, crm.FieldErrorf("candidate", "name a bundle: a digest, or its files")
	}
	digest, err := d.bundleNamed(ctx, k.Digest)
	if err != nil {
		return nil, err
	}
	return d.EngineOf(ctx, digest)
}

// comparison is one run of Impact.
type comparison struct {
	d             *Door
	before, after *policy.Engine
	inForce       string // digest of the bundle in force if that is not before
	action        crm.Action
	cases         []policy.LimitCase // asked about limits; nil until the first is
	sizes         map[string]int64
	few           bool // only named subjects are compared
	ahead         prospects

	suspended, resumed []crm.Grant // what would become of shares, as far as it was looked at
}

// persona compares for one subject, and again when facts moved meanwhile; nil
// if nothing changes.
func (x *comparison) persona(ctx context.Context, s compare) (*PersonaImpact, error) {
	for attempt := range attempts {
		// Facts that move all the time are held for the last attempts: an officer
		// is told what a policy does however busy people are.
		hold := func() {}
		if attempt >= attempts-2 {
			var err error
			if _, hold, err = x.d.store.HoldStamp(ctx, holdAtMost); err != nil {
				return nil, err
			}
		}
		p, err := x.once(ctx, s)
		hold()
		if errors.Is(err, errMoved) {
			continue
		}
		return p, err
	}
	return nil, &crm.Error{Kind: crm.Unavailable, Msg: "access facts are changing too fast for a comparison; try again", RetryAfter: time.Second}
}

// once compares for one subject under one access stamp; errMoved if it moved.
func (x *comparison) once(ctx context.Context, s compare) (*PersonaImpact, error) {
	subject, known, err := x.load(ctx, s)
	if err != nil || !known {
		return nil, err
	}
	if subject.Bundle != "" && subject.Bundle != cmp.Or(x.inForce, x.before.Digest()) {
		return nil, crm.Errorf(crm.Conflict, "another bundle came into force while this one was compared; compare again")
	}
	p, err := x.of(ctx, s, subject)
	if err != nil || len(p.Entities) == 0 && len(p.OtherActions) == 0 && p.Refused == "" && p.Empty() {
		return nil, err
	}
	return p, nil
}

func (x *comparison) load(ctx context.Context, s compare) (crm.Subject, bool, error) {
	switch {
	case s.contract != nil:
		return x.d.store.ReceiverAt(ctx, s.contract.ID, nil)
	case s.standIn != nil:
		subject := *s.standIn
		var err error
		subject.Stamp, _, err = x.d.store.Stamp(ctx)
		return subject, true, err
	}
	return x.d.store.Subject(ctx, s.id)
}

func (x *comparison) of(ctx context.Context, s compare, subject crm.Subject) (*PersonaImpact, error) {
	p := &PersonaImpact{Subject: s.id, Kind: subject.Kind}
	var err error
	if p.Powers, err = x.powers(ctx, subject); err != nil {
		return nil, err
	}
	if policy.SameAccess(x.before.Bundle(), x.after.Bundle()) { // what is said about records is not touched
		return p, nil
	}
	if subject.Kind == crm.KindInstance {
		p.Destination = subject.Instance
	}
	if s.contract != nil {
		p.Destination = s.contract.Destination
		def, err := x.d.definition(s.contract.Entity)
		if crm.KindOf(err) == crm.NotFound { // a contract about what nobody installed discloses nothing
			return p, nil
		}
		if err != nil {
			return nil, err
		}
		return p, x.entity(ctx, p, s, subject, crm.ActionPublish, def)
	}
	main := x.action
	if subject.Kind == crm.KindInstance { // a persona
		main = crm.ActionPublish
	}
	for _, def := range x.d.store.Definitions() {
		if err := x.entity(ctx, p, s, subject, main, def); err != nil {
			return nil, err
		}
		for _, action := range recordActions {
			if subject.Kind == crm.KindInstance || action == x.action || slices.Contains(p.OtherActions, action) {
				continue
			}
			before, after, err := x.filters(ctx, subject, action, def.Entity, def.Groups())
			if err != nil {
				return nil, err
			}
			differ := after.refused != ""
			ahead, err := x.look(ctx, subject)
			if err != nil {
				return nil, err
			}
			was, is := store.View{Filter: before, Flips: ahead.before.flips}, store.View{Filter: after.Filter, Flips: ahead.after.flips}
			if !differ && (was.Flips != is.Flips || !before.Same(after.Filter)) {
				if differ, err = x.d.store.Differ(ctx, def.Entity, was, is); err != nil {
					return nil, err
				}
				if !differ {
					later, err := x.d.store.CountBehind(ctx, def.Entity, was, is)
					if differ = later > 0; err != nil {
						return nil, err
					}
				}
			}
			if differ {
				p.OtherActions = append(p.OtherActions, action)
			}
		}
	}
	slices.SortStableFunc(p.Entities, func(a, b EntityImpact) int { // what becomes visible first
		return cmp.Compare(min(b.Gained+b.Later, 1), min(a.Gained+a.Later, 1))
	})
	return p, nil
}

// tried is the filter of a candidate; one that it cannot make shows nothing,
// as it would when in force.
type tried struct {
	policy.Filter
	refused string
}

func (x *comparison) filters(ctx context.Context, subject crm.Subject, action crm.Action, entity string, groups []string) (policy.Filter, tried, error) {
	before, err := x.before.Filter(ctx, subject, action, entity, groups)
	if err != nil {
		return policy.Filter{}, tried{}, err
	}
	after, err := x.after.Filter(ctx, subject, action, entity, groups)
	if err != nil {
		return before, tried{refused: err.Error()}, context.Cause(ctx)
	}
	return before, tried{Filter: after}, nil
}

// views are what s sees in an entity under either bundle, and why the candidate
// cannot be applied, if it cannot.
func (x *comparison) views(ctx context.Context, s compare, subject crm.Subject, action crm.Action, def crm.Definition) (before, after store.View, refused string, err error) {
	was, is, err := x.filters(ctx, subject, action, def.Entity, def.Groups())
	before, after = store.View{Filter: was}, store.View{Filter: is.Filter}
	if subject.Kind == crm.KindInstance {
		before.Home, after.Home = x.d.instance, x.d.instance
	}
	if err != nil {
		return before, after, is.refused, err
	}
	ahead, err := x.look(ctx, subject)
	before.Flips, after.Flips = ahead.before.flips, ahead.after.flips
	return before, after, is.refused, err
}

// entity adds what changes in one entity, if anything does.
func (x *comparison) entity(ctx context.Context, p *PersonaImpact, s compare, subject crm.Subject, action crm.Action, def crm.Definition) error {
	before, after, refused, err := x.views(ctx, s, subject, action, def)
	if err != nil {
		return err
	}
	if refused != "" {
		p.Refused = refused
	}
	if before.Flips == after.Flips && before.Filter.Same(after.Filter) {
		return nil
	}
	e := EntityImpact{Entity: def.Entity}
	if e.Difference, err = x.d.store.Diff(ctx, def.Entity, before, after); err != nil {
		return err
	}
	if e.Later, err = x.d.store.CountBehind(ctx, def.Entity, before, after); err != nil {
		return err
	}
	if e.Stamp != subject.Stamp {
		return errMoved
	}
	if e.Empty() && e.Later == 0 {
		return nil
	}
	if e.Records, err = x.size(ctx, def.Entity); err != nil {
		return err
	}
	if s.contract != nil && e.Lost > 0 {
		if e.GiveBack, e.GiveBackIDs, err = x.d.store.GiveBack(ctx, s.contract.ID, def.Entity, before, after); err != nil {
			return err
		}
	}
	p.Entities = append(p.Entities, e)
	return nil
}

func (x *comparison) size(ctx context.Context, entity string) (int64, error) {
	if n, ok := x.sizes[entity]; ok {
		return n, nil
	}
	n, err := x.d.store.Size(ctx, entity)
	x.sizes[entity] = n
	return n, err
}
