package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// facts is meridian.policy.v1.FactService.
type facts struct{ *server }

func (s facts) ListFacts(ctx context.Context, req *policyv1.ListFactsRequest) (*policyv1.ListFactsResponse, error) {
	list, err := s.Door.ListFacts(ctx, callerOf(ctx), req.Kind, moment(req.At, req.Recorded))
	if err != nil {
		return nil, err
	}
	return &policyv1.ListFactsResponse{Facts: protoFacts(list)}, nil
}

// moment is a moment of which one part may be absent, which is now.
func moment(valid, recorded *timestamppb.Timestamp) *policy.Moment {
	if valid == nil && recorded == nil {
		return nil
	}
	now := timestamppb.Now()
	if valid == nil {
		valid = now
	}
	if recorded == nil {
		recorded = now
	}
	return &policy.Moment{Valid: valid.AsTime(), Recorded: recorded.AsTime()}
}

func (s facts) GetFactHistory(ctx context.Context, req *policyv1.GetFactHistoryRequest) (*policyv1.GetFactHistoryResponse, error) {
	list, err := s.Door.FactHistory(ctx, callerOf(ctx), req.Kind, req.Id)
	if err != nil {
		return nil, err
	}
	return &policyv1.GetFactHistoryResponse{Facts: protoFacts(list)}, nil
}

func (s facts) EditFacts(ctx context.Context, req *policyv1.EditFactsRequest) (*policyv1.EditFactsResponse, error) {
	list, err := s.Door.EditFacts(ctx, callerOf(ctx), editsOf(req.Edits), req.Reason)
	if err != nil {
		return nil, err
	}
	return &policyv1.EditFactsResponse{Facts: protoFacts(list)}, nil
}

func editsOf(in []*policyv1.FactEdit) []store.Edit {
	out := make([]store.Edit, len(in))
	for i, e := range in {
		out[i] = store.Edit{
			Do: e.GetDo(), Kind: e.GetKind(), ID: e.GetId(), Subject: crm.SubjectID(e.GetSubject()), On: e.GetOn(), Under: e.GetUnder(),
			Name: e.GetName(), Level: e.GetLevel(), Type: crm.SubjectKind(e.GetType()), Actions: e.GetActions(),
			From: timeOf(e.GetFrom()), To: timeOf(e.GetTo()),
		}
		if len(e.GetRoles()) > 0 {
			out[i].Roles = []string{}
			for _, r := range e.GetRoles() {
				if r != "" { // one empty text clears them
					out[i].Roles = append(out[i].Roles, r)
				}
			}
		}
		if e != nil && e.Clearance != nil {
			out[i].Clearance = new(int(*e.Clearance))
		}
	}
	return out
}

func protoFacts(list []store.Fact) []*policyv1.Fact {
	out := make([]*policyv1.Fact, len(list))
	for i, f := range list {
		p := &policyv1.Fact{
			Kind: f.Of, Id: f.ID, Under: f.Parent, Name: f.Name, Level: f.Level, Type: string(f.Type), Roles: f.Roles, Clearance: int32(f.Clears),
			Subject: string(f.Subject), Tree: f.Tree, On: f.On, Actions: f.Actions, From: protoTime(f.From), To: protoTime(f.To),
			RecordedFrom: protoTime(f.Since), RecordedTo: protoTime(f.Until), Origin: f.Origin, RecordedBy: f.By, Reason: f.Reason,
		}
		switch f.Of {
		case "assignment":
			p.Id = f.Node
		case "relationship":
			p.Id = f.Works
		}
		out[i] = p
	}
	return out
}

func (s facts) Reorganise(ctx context.Context, req *policyv1.ReorganiseRequest) (*policyv1.ReorganiseResponse, error) {
	r, err := s.Door.Reorganise(ctx, callerOf(ctx), editsOf(req.Edits), req.Reason, req.Apply, req.Stamp)
	if err != nil {
		return nil, err
	}
	out := &policyv1.ReorganiseResponse{
		Applied: r.Applied, Stamp: r.Stamp, Impacts: protoPersonas(r.Impacts), Compared: int64(r.Compared), Suspended: r.Suspended,
		Facts: protoFacts(r.Facts), At: protoTime(r.At),
	}
	for _, id := range r.Emptied {
		out.LoseEverything = append(out.LoseEverything, string(id))
	}
	return out, nil
}

func (s facts) Forecast(ctx context.Context, req *policyv1.ForecastRequest) (*policyv1.ForecastResponse, error) {
	turns, until, err := s.Door.Forecast(ctx, callerOf(ctx), int(req.Days))
	if err != nil {
		return nil, err
	}
	out := &policyv1.ForecastResponse{Until: protoTime(until), Turns: make([]*policyv1.Turn, len(turns))}
	for i, t := range turns {
		turn := &policyv1.Turn{At: protoTime(t.At), Impacts: protoPersonas(t.Impacts)}
		for _, e := range t.Events {
			turn.Events = append(turn.Events, &policyv1.Expiry{Kind: e.Kind, Id: e.ID, Begins: e.Begins, Text: e.Text})
		}
		out.Turns[i] = turn
	}
	return out, nil
}
