package api

import (
	"context"

	"meridian/instance/access"
	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

func (s records) Search(ctx context.Context, req *recordv1.SearchRequest) (*recordv1.SearchResponse, error) {
	if req.Limit < 0 {
		return nil, crm.FieldErrorf("limit", "give a number from 1 to 1000, or 0 for 50")
	}
	page, next, err := s.Door.Search(ctx, callerOf(ctx), access.SearchRequest{
		Entity: req.Entity, Query: req.Query, Filter: req.Filter, Limit: int(req.Limit), Cursor: req.Cursor,
	})
	if err != nil {
		return nil, err
	}
	return &recordv1.SearchResponse{Records: protoRecords(page), NextCursor: next}, nil
}

func (c *call) search() error {
	q, err := c.query("q", "filter", "limit", "cursor")
	if err != nil {
		return err
	}
	limit, err := number(q, "limit", 1000)
	if err != nil {
		return err
	}
	page, next, err := c.Door.Search(c.ctx(), c.caller, access.SearchRequest{
		Entity: c.def.Entity, Query: q["q"], Filter: q["filter"], Limit: pageSize(int(limit)), Cursor: q["cursor"],
	})
	if err != nil {
		return err
	}
	return c.page(page, next)
}
