package access

import (
	"context"
	"strings"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// Viewer is somebody who may do the action on the record in question.
type Viewer struct {
	Subject  crm.SubjectID // "contract:<id>" for another instance
	Kind     crm.SubjectKind
	Opens    []Reason
	Revealed []string
	Masked   []string // groups that are shown masked
	Bounds   []Reason // groups that the rules show and the contract does not grant
}

// Sight is what a subject can see of one entity.
type Sight struct {
	Entity      string
	Total       int64
	Grounds     map[string]int64 // a record opened by several grounds counts for each
	Territories map[string]int64
	Segments    map[string]int64
}

// WhoSees lists everybody who can read a record now, and the instances it may
// be published to, with their grounds. It is for who may explain anybody, and
// logged before it is answered.
//
// The record is named by id or, as officers find no record by a list, by the
// key of its entity: "source_id:AAPL".
func (d *Door) WhoSees(ctx context.Context, c crm.Caller, entity, name string) ([]Viewer, error) {
	def, err := d.definition(entity)
	if err != nil {
		return nil, err
	}
	if err := d.Permit(ctx, c, "explain.any"); err != nil {
		return nil, err
	}
	id, err := d.named(ctx, def, name, d.store.FindByKey)
	if err != nil {
		return nil, err
	}
	var viewers []Viewer
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		viewers = nil
		rec, err := d.about(ctx, a, def, id, "explain.any")
		if err != nil {
			return 0, err
		}
		q := question{engine: a.engine, def: def, rec: rec}
		if q.facts, err = d.store.FactsAbout(ctx, id, rec.Account); err != nil {
			return 0, err
		}
		var stamp int64
		if stamp, q.now, err = d.store.Stamp(ctx); err != nil {
			return 0, err
		}
		subjects, err := d.audience(ctx, rec, nil)
		if err != nil {
			return 0, err
		}
		for _, q.subject = range subjects {
			if q.subject.Stamp != a.subject.Stamp {
				return 0, errMoved
			}
			v, err := q.viewer(ctx)
			if err != nil {
				return 0, err
			}
			if v != nil {
				viewers = append(viewers, *v)
			}
		}
		return stamp, nil
	})
	if err != nil {
		if crm.KindOf(err) == crm.NotFound {
			if err := d.refused(ctx, c, "explain.who", def.Entity, id); err != nil {
				return nil, err
			}
		}
		return nil, err
	}
	n := int64(len(viewers))
	decision := a.decision("explain.who", def.Entity)
	decision.Records, decision.Found = []crm.RecordID{id}, &n
	return viewers, d.store.LogDecisions(ctx, []store.Decision{decision})
}

// finder finds records by the key of their entity: those there are, or those
// there were at a moment.
type finder func(ctx context.Context, entity string, keys []string) (map[string]crm.RecordID, error)

// named is the record of a name, which for one that no key finds is of none.
func (d *Door) named(ctx context.Context, def crm.Definition, name string, find finder) (crm.RecordID, error) {
	if key, ok := strings.CutPrefix(name, def.Key+":"); ok && def.Key != "" {
		found, err := find(ctx, def.Entity, []string{key})
		if err != nil {
			return "", err
		}
		if id, ok := found[key]; ok {
			return id, nil
		}
		return "", absent()
	}
	id, err := crm.ParseRecordID(name)
	if err != nil {
		return "", absent()
	}
	return id, nil
}

// audience is every subject of this instance and, if the record is at home,
// every destination of a contract in force about its entity: now, or at a
// moment.
func (d *Door) audience(ctx context.Context, rec crm.Record, at *policy.Moment) ([]crm.Subject, error) {
	ids, err := d.subjectIDs(ctx, at)
	if err != nil {
		return nil, err
	}
	var all []crm.Subject
	for _, id := range ids {
		s, known, err := d.store.SubjectAt(ctx, id, at)
		if err != nil {
			return nil, err
		}
		if known {
			all = append(all, s)
		}
	}
	if rec.Home != d.instance {
		return all, nil
	}
	contracts, err := d.contracts(ctx, at)
	if err != nil {
		return nil, err
	}
	for _, k := range contracts {
		if k.Source != d.instance || k.Entity != rec.Entity {
			continue
		}
		s, inForce, err := d.store.ReceiverAt(ctx, k.ID, at)
		if err != nil {
			return nil, err
		}
		if inForce {
			all = append(all, s)
		}
	}
	return all, nil
}

func (d *Door) subjectIDs(ctx context.Context, at *policy.Moment) ([]crm.SubjectID, error) {
	if at == nil {
		return d.store.SubjectIDs(ctx)
	}
	return d.store.SubjectIDsAt(ctx, *at)
}

func (d *Door) contracts(ctx context.Context, at *policy.Moment) ([]crm.Contract, error) {
	if at == nil {
		return d.store.Contracts(ctx)
	}
	return d.store.ContractsAt(ctx, *at)
}

// viewer is the question's subject as one who may see the record; nil if they
// may not.
func (q question) viewer(ctx context.Context) (*Viewer, error) {
	if q.action = crm.ActionRead; q.subject.Kind == crm.KindInstance {
		q.action = crm.ActionPublish
	}
	answer, err := q.decide(ctx)
	if err != nil || !answer.Allowed {
		return nil, err
	}
	return &Viewer{Subject: q.subject.ID, Kind: q.subject.Kind, Opens: reasons(answer.Opens), Revealed: answer.Revealed, Masked: answer.Masked, Bounds: reasons(answer.Bounds)}, nil
}

// WhatSees counts what a subject can read, entity by entity. It is for who may
// explain anybody, and logged before it is answered.
func (d *Door) WhatSees(ctx context.Context, c crm.Caller, subject crm.SubjectID) ([]Sight, error) {
	if err := d.Permit(ctx, c, "explain.any"); err != nil {
		return nil, err
	}
	var sights []Sight
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		sights = nil
		about, known, err := d.store.Subject(ctx, subject)
		if err != nil {
			return 0, err
		}
		if !known {
			return 0, crm.FieldErrorf("subject", "this instance knows no subject %q", subject)
		}
		for _, def := range d.store.Definitions() {
			s, err := d.sight(ctx, a.engine, about, def)
			if err != nil {
				return 0, err
			}
			sights = append(sights, s)
		}
		return about.Stamp, nil
	})
	if err != nil {
		return nil, err
	}
	decision := a.decision("explain.what", "")
	decision.Reasons = []string{string(subject)}
	return sights, d.store.LogDecisions(ctx, []store.Decision{decision})
}

// sight counts what one subject reads of one entity.
func (d *Door) sight(ctx context.Context, e *policy.Engine, s crm.Subject, def crm.Definition) (Sight, error) {
	out := Sight{Entity: def.Entity, Grounds: map[string]int64{}}
	f, err := e.Filter(ctx, s, crm.ActionRead, def.Entity, def.Groups())
	if err != nil {
		return out, err
	}
	counted, err := d.store.Breakdown(ctx, def.Entity, f)
	if err != nil {
		return out, err
	}
	if counted.Stamp != s.Stamp {
		return out, errMoved
	}
	out.Total, out.Territories, out.Segments = counted.Total, counted.Territories, counted.Segments
	grounds, err := e.ByGround(ctx, s, crm.ActionRead, def.Entity)
	if err != nil || out.Total == 0 {
		return out, err
	}
	for _, g := range grounds {
		n, stamp, err := d.store.Count(ctx, store.Read{Entity: def.Entity, Filter: g.Filter})
		if err != nil {
			return out, err
		}
		if stamp != s.Stamp {
			return out, errMoved
		}
		if n > 0 {
			out.Grounds[g.Ground] = n
		}
	}
	return out, nil
}
