package api

import (
	"context"

	"meridian/instance/crm"
	schemav1 "meridian/proto/gen/meridian/schema/v1"
)

// schemas is meridian.schema.v1.SchemaService.
type schemas struct{ *server }

func (s schemas) ListEntities(ctx context.Context, _ *schemav1.ListEntitiesRequest) (*schemav1.ListEntitiesResponse, error) {
	defs, err := s.Door.Definitions(ctx, callerOf(ctx))
	if err != nil {
		return nil, err
	}
	out := &schemav1.ListEntitiesResponse{Entities: make([]*schemav1.Entity, len(defs))}
	for i, d := range defs {
		out.Entities[i] = protoEntity(d)
	}
	return out, nil
}

func (s schemas) GetEntity(ctx context.Context, req *schemav1.GetEntityRequest) (*schemav1.GetEntityResponse, error) {
	if err := s.Door.Permit(ctx, callerOf(ctx), "schema.read"); err != nil {
		return nil, err
	}
	d, err := s.definition(req.Entity)
	if err != nil {
		return nil, err
	}
	return &schemav1.GetEntityResponse{Entity: protoEntity(d)}, nil
}

// definition finds an entity of the live schema.
func (s *server) definition(entity string) (crm.Definition, error) {
	for _, d := range s.Door.Schema() {
		if d.Entity == entity {
			return d, nil
		}
	}
	return crm.Definition{}, crm.Errorf(crm.NotFound, "no entity of this name; GET /openapi.json lists them")
}

func protoEntity(d crm.Definition) *schemav1.Entity {
	out := &schemav1.Entity{
		Name: d.Entity, Label: d.Label, Plural: d.Plural, Governed: string(d.Governed), Key: d.Key,
		Fields: make([]*schemav1.Field, len(d.Fields)),
	}
	for i, f := range d.Fields {
		out.Fields[i] = &schemav1.Field{
			Name: f.Name, Label: f.Label, Type: string(f.Type), Required: f.Required, Unique: f.Unique, Indexed: f.Indexed,
			Enum: f.Enum, Reference: f.Reference, Group: f.Group, Classification: f.Classification,
		}
	}
	return out
}
