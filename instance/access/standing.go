package access

import (
	"context"
	"maps"
	"slices"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// standing is a subject, or the destination of a contract, on both sides of a
// change of facts. Who is not known on a side sees nothing there.
type standing struct {
	compare
	before, after crm.Subject
	was, is       bool
}

// change compares what standings see on its two sides.
type change struct {
	d             *Door
	engine        *policy.Engine
	stamp         int64 // access stamp that the comparison is about
	before, after *policy.Moment
	sizes         map[string]int64
}

// sides are a standing's filters on an entity.
func (x *change) sides(ctx context.Context, s standing, action crm.Action, def crm.Definition) (before, after store.View, err error) {
	before.At, after.At = x.before, x.after
	if s.contract != nil {
		before.Home, after.Home = x.d.instance, x.d.instance
	}
	if s.was {
		if before.Filter, err = x.engine.Filter(ctx, s.before, action, def.Entity, def.Groups()); err != nil {
			return before, after, err
		}
	}
	if s.is {
		after.Filter, err = x.engine.Filter(ctx, s.after, action, def.Entity, def.Groups())
	}
	return before, after, err
}

// scope are the entities that a standing may see, and by which action.
func (x *change) scope(s standing) (crm.Action, []crm.Definition) {
	if s.contract == nil {
		return crm.ActionRead, x.d.store.Definitions()
	}
	def, ok := x.d.store.Definition(s.contract.Entity)
	if !ok { // a contract about what nobody installed discloses nothing
		return crm.ActionPublish, nil
	}
	return crm.ActionPublish, []crm.Definition{def}
}

// impact is what changes for one standing, nil if nothing does.
func (x *change) impact(ctx context.Context, s standing) (*PersonaImpact, error) {
	p := &PersonaImpact{Subject: s.id, Kind: s.before.Kind}
	if !s.was {
		p.Kind = s.after.Kind
	}
	if s.contract != nil {
		p.Kind, p.Destination = crm.KindInstance, s.contract.Destination
	}
	action, defs := x.scope(s)
	for _, def := range defs {
		before, after, err := x.sides(ctx, s, action, def)
		if err != nil {
			return nil, err
		}
		if x.before == x.after && before.Filter.Same(after.Filter) {
			continue
		}
		e := EntityImpact{Entity: def.Entity}
		if e.Difference, err = x.diff(ctx, def.Entity, before, after); err != nil {
			return nil, err
		}
		if e.Empty() {
			continue
		}
		if _, known := x.sizes[def.Entity]; !known {
			if x.sizes[def.Entity], err = x.d.store.Size(ctx, def.Entity); err != nil {
				return nil, err
			}
		}
		e.Records = x.sizes[def.Entity]
		if s.contract != nil && e.Lost > 0 {
			if e.GiveBack, e.GiveBackIDs, err = x.d.store.GiveBack(ctx, s.contract.ID, def.Entity, before, after); err != nil {
				return nil, err
			}
		}
		p.Entities = append(p.Entities, e)
	}
	if len(p.Entities) == 0 {
		return nil, nil
	}
	return p, nil
}

func (x *change) diff(ctx context.Context, entity string, before, after store.View) (store.Difference, error) {
	d, err := x.d.store.Diff(ctx, entity, before, after)
	if err == nil && d.Stamp != x.stamp {
		err = errMoved
	}
	return d, err
}

// emptied says that a standing that lost something sees nothing any more, but
// the catalogue that everybody sees.
func (x *change) emptied(ctx context.Context, s standing, p *PersonaImpact) (bool, error) {
	if !slices.ContainsFunc(p.Entities, func(e EntityImpact) bool { return e.Lost > 0 }) ||
		slices.ContainsFunc(p.Entities, func(e EntityImpact) bool { return e.Gained > 0 }) {
		return false, nil
	}
	action, defs := x.scope(s)
	for _, def := range defs {
		if def.Governed == crm.GovernedCatalogue {
			continue
		}
		_, after, err := x.sides(ctx, s, action, def)
		if err != nil {
			return false, err
		}
		nothing := store.View{At: after.At, Home: after.Home}
		left, err := x.diff(ctx, def.Entity, nothing, after)
		if err != nil || left.Gained > 0 {
			return false, err
		}
	}
	return true, nil
}

// everybody lists the subjects of this instance and the contracts out of it,
// as of a moment.
func (d *Door) everybody(ctx context.Context, at *policy.Moment) ([]standing, error) {
	if at == nil {
		all, err := d.here(ctx)
		out := make([]standing, len(all))
		for i, s := range all {
			out[i].compare = s
		}
		return out, err
	}
	ids, err := d.store.SubjectIDsAt(ctx, *at)
	if err != nil {
		return nil, err
	}
	contracts, err := d.store.ContractsAt(ctx, *at)
	if err != nil {
		return nil, err
	}
	out := make([]standing, 0, len(ids)+len(contracts))
	for _, id := range ids {
		out = append(out, standing{compare: compare{id: id}})
	}
	for _, k := range contracts {
		if k.Source == d.instance {
			out = append(out, standing{compare: compare{id: crm.SubjectID(contractPrefix + k.ID), contract: &k}})
		}
	}
	return out, nil
}

// loader loads a subject or a contract's destination: the store, or a
// transaction with what it changed.
type loader interface {
	SubjectAt(ctx context.Context, id crm.SubjectID, at *policy.Moment) (crm.Subject, bool, error)
	ReceiverAt(ctx context.Context, contract string, at *policy.Moment) (crm.Subject, bool, error)
}

func (s compare) load(ctx context.Context, from loader, at *policy.Moment) (crm.Subject, bool, error) {
	if s.contract != nil {
		return from.ReceiverAt(ctx, s.contract.ID, at)
	}
	return from.SubjectAt(ctx, s.id, at)
}

// sorted has every id once.
func sorted(all []standing) []standing {
	byID := map[crm.SubjectID]standing{}
	for _, s := range all {
		byID[s.id] = s
	}
	out := make([]standing, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		out = append(out, byID[id])
	}
	return out
}
