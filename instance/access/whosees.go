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
	id, err := d.named(ctx, def, name)
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
		q := question{engine: a.engine, action: crm.ActionRead, def: def, rec: rec}
		if q.facts, err = d.store.FactsAbout(ctx, id, rec.Account); err != nil {
			return 0, err
		}
		var stamp int64
		if stamp, q.now, err = d.store.Stamp(ctx); err != nil {
			return 0, err
		}
		subjects, err := d.audience(ctx, rec)
		if err != nil {
			return 0, err
		}
		for _, q.subject = range subjects {
			if q.subject.Stamp != a.subject.Stamp {
				return 0, errMoved
			}
			if q.action = crm.ActionRead; q.subject.Kind == crm.KindInstance {
				q.action = crm.ActionPublish
			}
			answer, err := q.decide(ctx)
			if err != nil {
				return 0, err
			}
			if answer.Allowed {
				viewers = append(viewers, Viewer{Subject: q.subject.ID, Kind: q.subject.Kind, Opens: reasons(answer.Opens), Revealed: answer.Revealed})
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

// named is the record of a name, which for one that no key finds is of none.
func (d *Door) named(ctx context.Context, def crm.Definition, name string) (crm.RecordID, error) {
	if key, ok := strings.CutPrefix(name, def.Key+":"); ok && def.Key != "" {
		found, err := d.store.FindByKey(ctx, def.Entity, []string{key})
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
// every destination of a contract in force about its entity.
func (d *Door) audience(ctx context.Context, rec crm.Record) ([]crm.Subject, error) {
	ids, err := d.store.SubjectIDs(ctx)
	if err != nil {
		return nil, err
	}
	var all []crm.Subject
	for _, id := range ids {
		s, known, err := d.store.Subject(ctx, id)
		if err != nil {
			return nil, err
		}
		if known {
			all = append(all, s)
		}
	}
	contracts, err := d.store.Contracts(ctx)
	if err != nil {
		return nil, err
	}
	err = d.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		for _, k := range contracts {
			if k.Source != d.instance || k.Entity != rec.Entity || rec.Home != d.instance {
				continue
			}
			s, inForce, err := tx.Receiver(ctx, k.ID)
			if err != nil {
				return err
			}
			if inForce {
				all = append(all, s)
			}
		}
		return nil
	})
	return all, err
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
