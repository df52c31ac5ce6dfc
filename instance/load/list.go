package load

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	"meridian/instance/store"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

const (
	defaultLoads   = 50
	defaultRejects = 500
	maxListed      = 1000
)

// ListLoads lists loads, the latest first. Who may read loads sees all of
// them; who may only run them sees its own.
func (s *Service) ListLoads(ctx context.Context, c crm.Caller, r *facadev1.ListLoadsRequest) (*facadev1.ListLoadsResponse, error) {
	var by crm.SubjectID // of anybody
	if err := s.door.Permit(ctx, c, permitRead); err != nil {
		if crm.KindOf(err) != crm.Denied {
			return nil, err
		}
		if err := s.door.Permit(ctx, c, permitRun); err != nil {
			return nil, err
		}
		by = c.Subject
	}
	loads, err := s.store.Loads(ctx, r.GetFeed(), by, limit(r.GetLimit(), defaultLoads))
	if err != nil {
		return nil, err
	}
	resp := &facadev1.ListLoadsResponse{}
	for _, l := range loads {
		resp.Loads = append(resp.Loads, loadMessage(l))
	}
	return resp, nil
}

// ListRejects lists a load's rejects in the order of the file. Rejects are
// customer data: the identity that loaded the file gets them whole; who runs
// and reads loads (operators) learns which records were refused at which
// field, but neither their bytes nor a message that may quote them.
func (s *Service) ListRejects(ctx context.Context, c crm.Caller, r *facadev1.ListRejectsRequest) (*facadev1.ListRejectsResponse, error) {
	if err := s.door.Permit(ctx, c, permitRun); err != nil {
		return nil, err
	}
	l, err := s.find(ctx, r.GetLoadId())
	if err != nil {
		return nil, err
	}
	whole := l.By == c.Subject
	if !whole {
		if err := s.door.Permit(ctx, c, permitRead); err != nil {
			if crm.KindOf(err) == crm.Denied {
				err = noLoad(r.GetLoadId())
			}
			return nil, err
		}
	}
	rejects, err := s.store.LoadRejects(ctx, l.ID, r.GetAfter(), limit(r.GetLimit(), defaultRejects))
	if err != nil {
		return nil, err
	}
	return &facadev1.ListRejectsResponse{Rejects: rejectMessages(rejects, whole)}, nil
}

func limit(n int32, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return min(int(n), maxListed)
}

func rejectMessages(rs []store.LoadReject, whole bool) []*facadev1.Reject {
	var ms []*facadev1.Reject
	for _, r := range rs {
		ms = append(ms, rejectMessage(r, whole))
	}
	return ms
}

func rejectMessage(r store.LoadReject, whole bool) *facadev1.Reject {
	m := &facadev1.Reject{Number: r.Number, Code: r.Code, Field: r.Field}
	if whole {
		m.Message, m.Original = r.Message, r.Original
	}
	return m
}

func balanceMessage(b store.Balance) *facadev1.Balance {
	return &facadev1.Balance{
		Read: b.Read, Inserted: b.Inserted, Updated: b.Updated, Unchanged: b.Unchanged, Rejected: b.Rejected, Filtered: b.Filtered,
	}
}

func loadMessage(l store.Load) *facadev1.Load {
	m := &facadev1.Load{
		Id: l.ID, Feed: l.Feed, Entity: l.Entity, File: l.File, Sha256: l.SHA256, State: string(l.State), Balance: balanceMessage(l.Balance),
		Position: &facadev1.Position{Record: l.Position.Record, Offset: l.Position.Offset},
		Progress: &facadev1.Progress{Done: l.Progress.Done, Total: l.Progress.Total, Unit: l.Progress.Unit},
		Started:  timestamppb.New(l.Started), Updated: timestamppb.New(l.Touched), By: string(l.By), Error: l.Error,
		SecondsLeft: secondsLeft(l), DryRun: l.DryRun,
	}
	if !l.Finished.IsZero() {
		m.Finished = timestamppb.New(l.Finished)
	}
	return m
}

// secondsLeft is what is left at the pace since the load began or was last
// resumed; 0 when it is done or nobody can know.
func secondsLeft(l store.Load) float64 {
	done := l.Progress.Done - l.RunDone
	left := l.Progress.Total - l.Progress.Done
	if l.State != store.LoadApplying || done <= 0 || left <= 0 {
		return 0
	}
	return l.Touched.Sub(l.RunAt).Seconds() / float64(done) * float64(left)
}
