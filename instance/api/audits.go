package api

import (
	"context"

	"meridian/instance/crm"
	"meridian/instance/store"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// audits is meridian.policy.v1.AuditService.
type audits struct{ *server }

func (s audits) Verify(ctx context.Context, req *policyv1.VerifyRequest) (*policyv1.VerifyResponse, error) {
	a, err := s.Door.VerifyDecisions(ctx, callerOf(ctx), req.Anchor)
	if err != nil {
		return nil, err
	}
	out := &policyv1.VerifyResponse{
		Whole: a.Break == nil, Head: a.Head, HeadAt: protoTime(a.HeadAt), Roots: a.Roots, Batches: a.Batches,
		Decisions: a.Decisions, Removed: a.Removed, Pending: a.Pending, SignedFrom: a.SignedFrom,
	}
	for i, u := range a.Unproven {
		out.Unproven = append(out.Unproven, &policyv1.Unproven{
			Activation: u.Seq, Digest: u.Digest, Kind: string(u.Kind), By: string(u.By), At: protoTime(u.At), Why: u.Why, InForce: i == 0 && a.Stopped,
		})
	}
	if b := a.Break; b != nil {
		out.Break = &policyv1.Break{Kind: b.Kind, Root: b.Root, Writer: b.Writer, Batch: b.Batch, Decision: b.Decision, Text: b.Text}
	}
	return out, nil
}

func (s audits) ListDecisions(ctx context.Context, req *policyv1.ListDecisionsRequest) (*policyv1.ListDecisionsResponse, error) {
	q := store.DecisionQuery{
		Subject: crm.SubjectID(req.Subject), Action: req.Action, Execution: req.ExecutionId,
		Since: timeOf(req.Since), Until: timeOf(req.Until), Before: req.Before, Limit: pageSize(int(req.Limit)),
	}
	if req.Limit < 0 {
		return nil, crm.FieldErrorf("limit", "give a number from 1 to 1000, or 0 for 50")
	}
	if req.Record != "" {
		id, err := crm.ParseRecordID(req.Record)
		if err != nil {
			return nil, crm.FieldErrorf("record", "is not a record id")
		}
		q.Record = id
	}
	list, err := s.Door.Decisions(ctx, callerOf(ctx), q)
	if err != nil {
		return nil, err
	}
	out := &policyv1.ListDecisionsResponse{Decisions: make([]*policyv1.Decision, len(list))}
	for i, d := range list {
		out.Decisions[i] = protoDecision(d)
	}
	if len(list) == q.Limit {
		out.Next = list[len(list)-1].ID
	}
	return out, nil
}

func protoDecision(d store.Decision) *policyv1.Decision {
	return &policyv1.Decision{
		Id: d.ID, At: protoTime(d.At), Subject: string(d.Subject), Action: d.Action, Entity: d.Entity, Allowed: d.Allowed,
		Records: idTexts(d.Records), Versions: d.Versions, Refused: idTexts(d.Refused), Found: d.Found, Facts: d.Facts,
		Reasons: d.Reasons, Bundle: d.Bundle, Stamp: d.Stamp, ExecutionId: d.Execution, Writer: d.Writer,
	}
}

func idTexts(ids []crm.RecordID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}
