package api

import (
	"context"

	"meridian/instance/access"
	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/values"
)

// records is meridian.record.v1.RecordService.
type records struct{ *server }

func (s records) Get(ctx context.Context, req *recordv1.GetRequest) (*recordv1.GetResponse, error) {
	if err := batchSize(len(req.Ids)); err != nil {
		return nil, err
	}
	// A malformed id is an absent one: its place in the answer is kept.
	out := make([]*recordv1.Result, len(req.Ids))
	ids := []crm.RecordID{} // nil would ask for all
	var at []int
	for i, text := range req.Ids {
		id, err := crm.ParseRecordID(text)
		if err != nil {
			out[i] = s.result(ctx, row{Err: absent()})
			continue
		}
		ids, at = append(ids, id), append(at, i)
	}
	rows, err := s.Door.Get(ctx, callerOf(ctx), req.Entity, ids)
	if err != nil {
		return nil, err
	}
	for i, r := range rows {
		out[at[i]] = s.result(ctx, r)
	}
	return &recordv1.GetResponse{Results: out}, nil
}

func (s records) List(ctx context.Context, req *recordv1.ListRequest) (*recordv1.ListResponse, error) {
	if req.Limit < 0 {
		return nil, crm.FieldErrorf("limit", "give a number from 1 to 1000, or 0 for 50")
	}
	page, next, err := s.Door.List(ctx, callerOf(ctx), access.ListRequest{
		Entity: req.Entity, Filter: req.Filter, Sort: req.Sort, Limit: int(req.Limit), Cursor: req.Cursor,
	})
	if err != nil {
		return nil, err
	}
	return &recordv1.ListResponse{Records: protoRecords(page), NextCursor: next}, nil
}

func protoRecords(page []crm.Record) []*recordv1.Record {
	out := make([]*recordv1.Record, len(page))
	for i, r := range page {
		out[i] = protoRecord(r)
	}
	return out
}

func (s records) Count(ctx context.Context, req *recordv1.CountRequest) (*recordv1.CountResponse, error) {
	n, err := s.Door.Count(ctx, callerOf(ctx), req.Entity, req.Filter)
	if err != nil {
		return nil, err
	}
	return &recordv1.CountResponse{Count: n, Exact: true}, nil
}

func (s records) Create(ctx context.Context, req *recordv1.CreateRequest) (*recordv1.CreateResponse, error) {
	b := newBatch[access.NewRow](len(req.Records), req.Atomic)
	for i, r := range req.Records {
		fields, err := values.Fields(r.GetFields())
		if err == nil {
			err = sensitivity(int64(r.GetSensitivity()))
		}
		b.add(i, access.NewRow{
			Fields: fields, Territory: r.GetTerritory(), Segment: r.GetSegment(), Department: r.GetDepartment(), Sensitivity: int(r.GetSensitivity()),
		}, err)
	}
	results, err := b.run(func(rows []access.NewRow) ([]access.Result, error) {
		return s.Door.Create(ctx, callerOf(ctx), access.CreateRequest{Entity: req.Entity, Rows: rows, Atomic: req.Atomic, IdempotencyKey: req.IdempotencyKey})
	})
	return &recordv1.CreateResponse{Results: s.results(ctx, results)}, err
}

func (s records) Update(ctx context.Context, req *recordv1.UpdateRequest) (*recordv1.UpdateResponse, error) {
	b := newBatch[access.UpdateRow](len(req.Records), req.Atomic)
	for i, r := range req.Records {
		id, err := crm.ParseRecordID(r.GetId())
		if err != nil {
			b.add(i, access.UpdateRow{}, absent())
			continue
		}
		fields, err := values.Fields(r.GetFields())
		if err == nil && r.GetVersion() <= 0 {
			err = versionRequired()
		}
		if err != nil {
			err = s.unlessElsewhere(ctx, req.Entity, id, err)
		}
		b.add(i, access.UpdateRow{
			ID: id, Version: r.GetVersion(), Fields: fields, Territory: r.GetTerritory(), Segment: r.GetSegment(), Unpin: r.GetUnpin(),
		}, err)
	}
	results, err := b.run(func(rows []access.UpdateRow) ([]access.Result, error) {
		return s.Door.Update(ctx, callerOf(ctx), access.UpdateRequest{Entity: req.Entity, Rows: rows, Atomic: req.Atomic, IdempotencyKey: req.IdempotencyKey})
	})
	return &recordv1.UpdateResponse{Results: s.results(ctx, results)}, err
}

func (s records) Delete(ctx context.Context, req *recordv1.DeleteRequest) (*recordv1.DeleteResponse, error) {
	b := newBatch[access.DeleteRow](len(req.Records), req.Atomic)
	for i, r := range req.Records {
		id, err := crm.ParseRecordID(r.GetId())
		switch {
		case err != nil:
			err = absent()
		case r.GetVersion() <= 0:
			err = s.unlessElsewhere(ctx, req.Entity, id, versionRequired())
		}
		b.add(i, access.DeleteRow{ID: id, Version: r.GetVersion()}, err)
	}
	results, err := b.run(func(rows []access.DeleteRow) ([]access.Result, error) {
		return s.Door.Delete(ctx, callerOf(ctx), access.DeleteRequest{Entity: req.Entity, Rows: rows, Atomic: req.Atomic, IdempotencyKey: req.IdempotencyKey})
	})
	return &recordv1.DeleteResponse{Results: s.results(ctx, results)}, err
}

func (s records) History(ctx context.Context, req *recordv1.HistoryRequest) (*recordv1.HistoryResponse, error) {
	id, err := crm.ParseRecordID(req.Id)
	if err != nil {
		return nil, absent()
	}
	if req.Limit < 0 || req.BeforeVersion < 0 {
		return nil, s.unlessHidden(ctx, req.Entity, id, crm.FieldErrorf("limit", "limit and before_version may not be negative"))
	}
	versions, err := s.Door.History(ctx, callerOf(ctx), req.Entity, id, pageSize(int(req.Limit)), req.BeforeVersion)
	if err != nil {
		return nil, err
	}
	out := &recordv1.HistoryResponse{Versions: make([]*recordv1.PastVersion, len(versions))}
	for i, v := range versions {
		out.Versions[i] = protoVersion(v)
	}
	return out, nil
}

// results are the rows of a batch as they travel.
func (s *server) results(ctx context.Context, rows []row) []*recordv1.Result {
	out := make([]*recordv1.Result, len(rows))
	for i, r := range rows {
		out[i] = s.result(ctx, r)
	}
	return out
}

func (s *server) result(ctx context.Context, r row) *recordv1.Result {
	if r.Err != nil {
		s.logInternal(ctx, r.Err)
		return &recordv1.Result{Outcome: &recordv1.Result_Error{Error: detailOf(ctx, r.Err)}}
	}
	return &recordv1.Result{Outcome: &recordv1.Result_Record{Record: protoRecord(r.Record)}}
}
