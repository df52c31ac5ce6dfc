package main

import (
	"context"
	"strings"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	schemav1 "meridian/proto/gen/meridian/schema/v1"
	"meridian/proto/values"
)

// assignments reads name=value by the entity's schema; an empty value clears.
func (c *clients) assignments(ctx context.Context, entity string, given []string) (map[string]*recordv1.Value, error) {
	e, err := c.schema.GetEntity(ctx, &schemav1.GetEntityRequest{Entity: entity})
	if err != nil {
		return nil, err
	}
	types := map[string]crm.Type{}
	for _, f := range e.GetEntity().GetFields() {
		types[f.GetName()] = crm.Type(f.GetType())
	}
	out := map[string]*recordv1.Value{}
	for _, a := range given {
		name, value, ok := strings.Cut(a, "=")
		t, known := types[name]
		switch {
		case !ok:
			return nil, crm.Errorf(crm.Invalid, "%q: write fields as name=value", a)
		case !known:
			return nil, crm.FieldErrorf(name, "%s has no such field", entity)
		case out[name] != nil:
			return nil, crm.FieldErrorf(name, "give the field once")
		}
		v, err := parseAssigned(t, value)
		if err != nil {
			return nil, crm.FieldErrorf(name, "%w", err)
		}
		out[name] = values.ToProto(v)
	}
	return out, nil
}

func parseAssigned(t crm.Type, s string) (crm.Value, error) {
	switch {
	case s == "":
		return crm.Value{}, nil
	case t == crm.TypeList:
		return crm.List(strings.Split(s, ",")...), nil
	}
	return crm.ParseValue(t, s)
}

type placement struct {
	Territory string `help:"Pin the territory, as US-CA."`
	Segment   string `help:"Pin the segment, as Financials/Banks/Banks."`
}

type recordCreateCmd struct {
	remote
	placement
	Entity      string   `arg:""`
	Fields      []string `arg:"" name:"field=value" help:"Fields to set."`
	Department  string   `help:"Department it belongs to."`
	Sensitivity int32    `help:"0 open to 9 secret."`
	Key         string   `help:"Idempotency key: the same call again creates nothing twice."`
}

// Run creates one record and shows it.
func (n recordCreateCmd) Run(ctx context.Context, out output) error {
	c, err := n.dial()
	if err != nil {
		return err
	}
	fields, err := c.assignments(ctx, n.Entity, n.Fields)
	if err != nil {
		return err
	}
	resp, err := c.records.Create(ctx, &recordv1.CreateRequest{Entity: n.Entity, IdempotencyKey: n.Key, Records: []*recordv1.NewRecord{{
		Fields: fields, Territory: n.Territory, Segment: n.Segment, Department: n.Department, Sensitivity: n.Sensitivity,
	}}})
	if err != nil {
		return err
	}
	rec, err := one(resp.GetResults())
	if err != nil {
		return err
	}
	return n.show(ctx, c, out, rec)
}

type recordUpdateCmd struct {
	remote
	placement
	Entity  string   `arg:""`
	ID      string   `arg:"" help:"Id, or a unique field as source_id:AAPL."`
	Fields  []string `arg:"" optional:"" name:"field=value" help:"Fields to set; name= clears."`
	Version int64    `required:"" help:"The version you saw; another one meanwhile is refused."`
	Unpin   bool     `help:"Give the placement back to the plugin."`
	Key     string   `help:"Idempotency key."`
}

// Run changes one record and shows it.
func (u recordUpdateCmd) Run(ctx context.Context, out output) error {
	c, err := u.dial()
	if err != nil {
		return err
	}
	id, err := c.resolve(ctx, u.Entity, u.ID)
	if err != nil {
		return err
	}
	fields, err := c.assignments(ctx, u.Entity, u.Fields)
	if err != nil {
		return err
	}
	resp, err := c.records.Update(ctx, &recordv1.UpdateRequest{Entity: u.Entity, IdempotencyKey: u.Key, Records: []*recordv1.RecordUpdate{{
		Id: id, Version: u.Version, Fields: fields, Territory: u.Territory, Segment: u.Segment, Unpin: u.Unpin,
	}}})
	if err != nil {
		return err
	}
	rec, err := one(resp.GetResults())
	if err != nil {
		return err
	}
	return u.show(ctx, c, out, rec)
}

type recordDeleteCmd struct {
	remote
	Entity  string `arg:""`
	ID      string `arg:"" help:"Id, or a unique field as source_id:AAPL."`
	Version int64  `required:"" help:"The version you saw."`
	Key     string `help:"Idempotency key."`
}

// Run deletes one record and shows its last state.
func (d recordDeleteCmd) Run(ctx context.Context, out output) error {
	c, err := d.dial()
	if err != nil {
		return err
	}
	id, err := c.resolve(ctx, d.Entity, d.ID)
	if err != nil {
		return err
	}
	resp, err := c.records.Delete(ctx, &recordv1.DeleteRequest{Entity: d.Entity, IdempotencyKey: d.Key, Records: []*recordv1.RecordVersion{{Id: id, Version: d.Version}}})
	if err != nil {
		return err
	}
	rec, err := one(resp.GetResults())
	if err != nil {
		return err
	}
	return d.show(ctx, c, out, rec)
}
