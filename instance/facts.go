package instance

import (
	"context"
	"strings"

	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/store"
)

// Facts is the declared part of what policy reads beside records, with the
// trees that are shipped.
func (c *Config) Facts() store.Facts {
	f := store.Facts{Territories: trees.Territories(), Segments: trees.Segments()}
	for _, d := range c.Departments {
		f.Departments = append(f.Departments, store.Department{ID: d.ID, Parent: d.Parent, Name: d.Name})
	}
	for _, s := range c.Subjects {
		f.Subjects = append(f.Subjects, store.SubjectFact{
			ID: s.ID, Kind: s.Kind, Roles: s.Roles, Clearance: s.Clearance,
			Territories: s.Territories, Segments: s.Segments, Departments: s.Departments,
		})
	}
	for _, r := range c.Relationships {
		fact := store.RelationshipFact{Department: r.Department, On: r.On}
		for _, a := range r.Actions {
			fact.Actions = append(fact.Actions, string(a))
		}
		f.Relationships = append(f.Relationships, fact)
	}
	for _, k := range c.Contracts {
		f.Contracts = append(f.Contracts, crm.Contract{
			ID: k.ID, Source: k.Source, Destination: k.Destination, Entity: k.Entity,
			Territories: k.Territories, Segments: k.Segments, Departments: k.Departments,
			Groups: k.Groups, Jurisdictions: k.Jurisdictions, Purpose: k.Purpose, LegalBasis: k.LegalBasis,
			From: k.From, To: k.To, Arrives: crm.Arrival{Department: k.ArrivesAs.Department, Sensitivity: k.ArrivesAs.Sensitivity},
		})
	}
	return f
}

// tellOverridden says in the log which declared facts officers changed or ended:
// who edits the file would wonder otherwise.
func (i *Instance) tellOverridden(ctx context.Context) error {
	overridden, err := i.store.Overridden(ctx)
	for _, o := range overridden {
		i.log.InfoContext(ctx, "an officer's word stands instead of a declared fact", "kind", o.Kind, "fact", strings.Join(o.Key, " "), "officer", string(o.By))
	}
	return err
}
