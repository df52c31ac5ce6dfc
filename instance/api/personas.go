package api

import (
	"maps"
	"slices"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

func protoPersonas(list []access.PersonaImpact) []*policyv1.PersonaImpact {
	out := make([]*policyv1.PersonaImpact, len(list))
	for i, p := range list {
		out[i] = protoPersona(p)
	}
	return out
}

// protoPersona is what changes for one subject or contract: counts and ids.
func protoPersona(p access.PersonaImpact) *policyv1.PersonaImpact {
	out := &policyv1.PersonaImpact{Subject: string(p.Subject), Kind: string(p.Kind), Destination: p.Destination, Refused: p.Refused}
	for _, a := range p.OtherActions {
		out.OtherActions = append(out.OtherActions, string(a))
	}
	out.PermissionsGained, out.PermissionsLost = protoPermissions(p.Powers.Gained), protoPermissions(p.Powers.Lost)
	for _, l := range p.Limits {
		out.Limits = append(out.Limits, &policyv1.LimitImpact{Limit: l.Limit, Before: l.Before, After: l.After, Looser: l.Looser})
	}
	for _, e := range p.Entities {
		x := &policyv1.EntityImpact{
			Entity: e.Entity, Records: e.Records, Gained: e.Gained, Lost: e.Lost, Changed: e.Changed, Later: e.Later,
			Territories: protoPlaces(e.Territories), Segments: protoPlaces(e.Segments),
			GainedIds: idTexts(e.Sample.Gained), LostIds: idTexts(e.Sample.Lost), ChangedIds: idTexts(e.Sample.Changed),
			GiveBack: e.GiveBack, GiveBackIds: idTexts(e.GiveBackIDs),
		}
		for _, g := range slices.Sorted(maps.Keys(e.Groups)) {
			shift := e.Groups[g]
			x.Groups = append(x.Groups, &policyv1.GroupImpact{Group: g, Gained: shift.Gained, Lost: shift.Lost, Masked: shift.Masked})
		}
		out.Entities = append(out.Entities, x)
	}
	return out
}

func protoPermissions(list []crm.Permission) (out []*policyv1.PermissionImpact) {
	for _, p := range list {
		out = append(out, &policyv1.PermissionImpact{Permission: p.Name, Text: p.Text})
	}
	return out
}

func protoShares(list []access.SharesImpact) (out []*policyv1.SharesImpact) {
	for _, s := range list {
		out = append(out, &policyv1.SharesImpact{Giver: string(s.Giver), Receiver: s.Key, Entity: s.Entity, Shares: s.Shares, Ids: s.IDs})
	}
	return out
}

func protoPlaces(places map[string]store.Shift) []*policyv1.PlaceImpact {
	var out []*policyv1.PlaceImpact
	for _, id := range slices.Sorted(maps.Keys(places)) {
		shift := places[id]
		out = append(out, &policyv1.PlaceImpact{Id: id, Gained: shift.Gained, Lost: shift.Lost, Changed: shift.Changed})
	}
	return out
}
