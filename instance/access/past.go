package access

import (
	"context"
	"errors"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// auditPast is the permission to ask what could be seen on a past date.
const auditPast = "audit.past"

// PastSight is what a subject could see of one entity at a moment.
type PastSight struct {
	Sight
	IDs []crm.RecordID // the first of them
}

// PastViewers is who could see a record at a moment.
type PastViewers struct {
	Record  crm.RecordID
	Viewers []Viewer
	Version int64 // of the record, then
	Bundle  string
}

// PastSees says what a subject, or the receiver "contract:<id>", could see at a moment, entity by entity or of
// one alone: by the records, the facts and the bundle of then, as they were
// recorded then. It is logged before it is answered.
func (d *Door) PastSees(ctx context.Context, c crm.Caller, subject crm.SubjectID, entity string, at time.Time, ids int) ([]PastSight, string, error) {
	a, err := d.permit(ctx, c, auditPast)
	if err != nil {
		return nil, "", err
	}
	moment, err := d.moment(ctx, at)
	if err != nil {
		return nil, "", err
	}
	decision := a.decision("audit.past.subject", entity)
	decision.Reasons = []string{string(subject), moment.Valid.Format(time.RFC3339Nano)}
	if err := d.store.LogDecisions(ctx, []store.Decision{decision}); err != nil {
		return nil, "", err
	}
	q, err := d.enquire(ctx, subject, crm.ActionRead, entity, &moment)
	if err != nil {
		return nil, "", err
	}
	engine, err := d.pastEngine(ctx, q.Subject)
	if err != nil {
		return nil, "", err
	}
	var sights []PastSight
	for _, def := range q.defs {
		f, err := engine.Filter(ctx, q.Subject, q.action, def.Entity, def.Groups())
		if err != nil {
			return nil, "", err
		}
		grounds, err := engine.ByGround(ctx, q.Subject, q.action, def.Entity)
		if err != nil {
			return nil, "", err
		}
		seen, err := d.store.PastBreakdown(ctx, def.Entity, q.home, f, grounds, moment, min(max(ids, 0), maxLimit))
		if err != nil {
			return nil, "", err
		}
		sights = append(sights, PastSight{IDs: seen.IDs, Sight: Sight{
			Entity: def.Entity, Total: seen.Total, Grounds: seen.Grounds, Territories: seen.Territories, Segments: seen.Segments,
		}})
	}
	return sights, engine.Digest(), nil
}

// PastWhoSees lists everybody who could see a record at a moment, and the
// instances it could be published to, with their grounds and the facts behind
// them. It is logged before it is answered.
func (d *Door) PastWhoSees(ctx context.Context, c crm.Caller, entity, name string, at time.Time) (PastViewers, error) {
	def, err := d.definition(entity)
	if err != nil {
		return PastViewers{}, err
	}
	a, err := d.permit(ctx, c, auditPast)
	if err != nil {
		return PastViewers{}, err
	}
	moment, err := d.moment(ctx, at)
	if err != nil {
		return PastViewers{}, err
	}
	id, err := d.named(ctx, def, name, func(ctx context.Context, entity string, keys []string) (map[string]crm.RecordID, error) {
		return d.store.PastByKey(ctx, entity, keys, moment) // what it is called today says nothing of then
	})
	if err != nil {
		return PastViewers{}, err
	}
	out, err := d.pastViewers(ctx, def, id, moment)
	decision := a.decision("audit.past.record", entity)
	decision.Reasons = []string{moment.Valid.Format(time.RFC3339Nano)}
	switch n := int64(len(out.Viewers)); {
	case crm.KindOf(err) == crm.NotFound:
		decision.Allowed, decision.Refused = false, []crm.RecordID{id}
	case err != nil:
		return PastViewers{}, err
	default:
		decision.Records, decision.Found = []crm.RecordID{id}, &n
	}
	if logErr := d.store.LogDecisions(ctx, []store.Decision{decision}); logErr != nil {
		return PastViewers{}, logErr
	}
	return out, err
}

func (d *Door) pastViewers(ctx context.Context, def crm.Definition, id crm.RecordID, at policy.Moment) (PastViewers, error) {
	rec, there, err := d.store.PastVersion(ctx, def.Entity, id, at)
	if err != nil {
		return PastViewers{}, err
	}
	if !there {
		return PastViewers{}, absent()
	}
	out := PastViewers{Record: id, Version: rec.Version}
	q := question{def: def, rec: rec, now: at.Valid}
	if q.facts, err = d.store.FactsAboutAt(ctx, id, rec.Account, &at); err != nil {
		return PastViewers{}, err
	}
	subjects, err := d.audience(ctx, rec, &at)
	if err != nil {
		return PastViewers{}, err
	}
	for _, q.subject = range subjects {
		if q.engine, err = d.pastEngine(ctx, q.subject); err != nil {
			return PastViewers{}, err
		}
		out.Bundle = q.engine.Digest()
		v, err := q.viewer(ctx)
		if err != nil {
			return PastViewers{}, err
		}
		if v != nil {
			out.Viewers = append(out.Viewers, *v)
		}
	}
	return out, nil
}

// moment is the moment of a past instant: what held then, as recorded then.
func (d *Door) moment(ctx context.Context, at time.Time) (policy.Moment, error) {
	if at.IsZero() {
		return policy.Moment{}, crm.FieldErrorf("at", "say when, as 2026-03-01 or 2026-03-01T09:00:00Z")
	}
	_, now, err := d.store.Stamp(ctx)
	if err == nil && at.After(now) {
		err = crm.FieldErrorf("at", "it is not past yet; a forecast answers for what is to come")
	}
	return policy.Moment{Valid: at, Recorded: at}, err
}

// pastEngine is the engine of the bundle that a subject of the past was decided
// under. Before the first activation it is the bundle that the database began
// with.
func (d *Door) pastEngine(ctx context.Context, s crm.Subject) (*policy.Engine, error) {
	digest := s.Bundle
	if digest == "" {
		first, err := d.store.FirstActivation(ctx)
		if err != nil {
			return nil, err
		}
		if first.Kind == store.ActivationInitial {
			digest = first.Digest
		}
	}
	engine, err := d.EngineOf(ctx, digest)
	if e, ok := errors.AsType[*crm.Error](err); ok && e.Kind == crm.Unavailable {
		return nil, &crm.Error{Kind: crm.Unavailable, Msg: "the bundle of that date cannot be compiled by this release", RetryAfter: e.RetryAfter, Err: err}
	}
	return engine, err
}
