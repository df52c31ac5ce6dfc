package api

import (
	"context"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// emergencies is meridian.policy.v1.EmergencyService.
type emergencies struct{ *server }

func (s emergencies) BreakGlass(ctx context.Context, req *policyv1.BreakGlassRequest) (*policyv1.BreakGlassResponse, error) {
	e, err := s.Door.BreakGlass(ctx, callerOf(ctx), access.BreakRequest{
		Entity: req.Entity, Record: req.Record, For: req.GetFor().AsDuration(), Reason: req.Reason, Ticket: req.Ticket,
	})
	if err != nil {
		return nil, err
	}
	return &policyv1.BreakGlassResponse{Emergency: protoEmergency(e)}, nil
}

func (s emergencies) ListEmergencies(ctx context.Context, req *policyv1.ListEmergenciesRequest) (*policyv1.ListEmergenciesResponse, error) {
	list, err := s.Door.Emergencies(ctx, callerOf(ctx), store.EmergencyQuery{
		Subject: crm.SubjectID(req.Subject), Waiting: req.Waiting, Limit: int(req.Limit),
	})
	if err != nil {
		return nil, err
	}
	out := &policyv1.ListEmergenciesResponse{Emergencies: make([]*policyv1.Emergency, len(list))}
	for i, e := range list {
		out.Emergencies[i] = protoEmergency(e)
	}
	return out, nil
}

func (s emergencies) EndEmergency(ctx context.Context, req *policyv1.EndEmergencyRequest) (*policyv1.EndEmergencyResponse, error) {
	e, err := s.Door.EndEmergency(ctx, callerOf(ctx), req.Id, req.Reason)
	if err != nil {
		return nil, err
	}
	return &policyv1.EndEmergencyResponse{Emergency: protoEmergency(e)}, nil
}

func (s emergencies) ReviewEmergency(ctx context.Context, req *policyv1.ReviewEmergencyRequest) (*policyv1.ReviewEmergencyResponse, error) {
	e, err := s.Door.ReviewEmergency(ctx, callerOf(ctx), req.Id, req.Verdict, req.Reason)
	if err != nil {
		return nil, err
	}
	return &policyv1.ReviewEmergencyResponse{Emergency: protoEmergency(e)}, nil
}

func protoEmergency(e access.Emergency) *policyv1.Emergency {
	out := &policyv1.Emergency{
		Id: e.ID, Entity: e.Entity, Record: string(e.Record), Subject: string(e.By), Reason: e.Reason, Ticket: e.Ticket,
		From: protoTime(e.From), To: protoTime(e.To), Open: e.Open(), Overdue: e.Overdue(), ExecutionId: e.Execution,
	}
	if e.Verdict != "" {
		out.Verdict, out.VerdictReason, out.VerdictBy, out.VerdictAt = e.Verdict, e.VerdictReason, string(e.VerdictBy), protoTime(e.VerdictAt)
	}
	for _, d := range e.Reads {
		out.Reads = append(out.Reads, protoDecision(d))
	}
	return out
}
