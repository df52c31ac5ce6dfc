package api

import (
	"context"
	"net/http"
	"strings"

	"meridian/instance/access"
	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/values"
)

func (s records) Aggregate(ctx context.Context, req *recordv1.AggregateRequest) (*recordv1.AggregateResponse, error) {
	if req.Limit < 0 {
		return nil, crm.FieldErrorf("limit", "give a number from 1 to 1000, or 0 for 100")
	}
	_, tallies, more, err := s.Door.Aggregate(ctx, callerOf(ctx), access.AggregateRequest{
		Entity: req.Entity, By: req.By, Measures: req.Measures, Filter: req.Filter, Order: req.Order, Limit: int(req.Limit),
	})
	if err != nil {
		return nil, err
	}
	out := &recordv1.AggregateResponse{Groups: make([]*recordv1.AggregateGroup, len(tallies)), More: more}
	for i, t := range tallies {
		out.Groups[i] = &recordv1.AggregateGroup{Keys: protoValues(t.Keys), Values: protoValues(t.Values)}
	}
	return out, nil
}

func protoValues(vs []crm.Value) []*recordv1.Value {
	out := make([]*recordv1.Value, len(vs))
	for i, v := range vs {
		out[i] = values.ToProto(v)
	}
	return out
}

// aggregate takes lists separated by commas: by=country,created:month.
func (c *call) aggregate() error {
	q, err := c.query("by", "measures", "filter", "order", "limit")
	if err != nil {
		return err
	}
	limit, err := number(q, "limit", 1000)
	if err != nil {
		return err
	}
	return c.tallies(access.AggregateRequest{
		By: commas(q["by"]), Measures: commas(q["measures"]), Filter: q["filter"], Order: q["order"], Limit: int(limit),
	})
}

func commas(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// aggregateBody takes the same as JSON, for filters that a URL has no room for.
func (c *call) aggregateBody() error {
	o, err := c.body()
	if err != nil {
		return err
	}
	if err := o.only("the body", "by", "measures", "filter", "order", "limit"); err != nil {
		return err
	}
	var r access.AggregateRequest
	for key, to := range map[string]any{"by": &r.By, "measures": &r.Measures, "filter": &r.Filter, "order": &r.Order, "limit": &r.Limit} {
		if err := o.read(key, to); err != nil {
			return err
		}
	}
	if r.Limit < 0 {
		return crm.FieldErrorf("limit", "give a whole number from 1 up")
	}
	return c.tallies(r)
}

func (c *call) tallies(r access.AggregateRequest) error {
	r.Entity = c.def.Entity
	a, tallies, more, err := c.Door.Aggregate(c.ctx(), c.caller, r)
	if err != nil {
		return err
	}
	type group struct {
		Keys   map[string]crm.Value `json:"keys"`
		Values map[string]crm.Value `json:"values"`
	}
	out := struct {
		Groups []group `json:"groups"`
		More   bool    `json:"more"`
	}{make([]group, len(tallies)), more}
	for i, t := range tallies {
		g := group{map[string]crm.Value{}, map[string]crm.Value{}}
		for n, b := range a.By {
			g.Keys[b.String()] = t.Keys[n]
		}
		for n, m := range a.Measures {
			g.Values[m.String()] = t.Values[n]
		}
		out.Groups[i] = g
	}
	return c.answer(http.StatusOK, out)
}
