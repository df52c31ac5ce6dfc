package api

import (
	"context"

	"meridian/instance/access"
	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

func (s policies) ExplainRecord(ctx context.Context, req *policyv1.ExplainRecordRequest) (*policyv1.ExplainRecordResponse, error) {
	viewers, err := s.Door.WhoSees(ctx, callerOf(ctx), req.Entity, req.Id)
	if err != nil {
		return nil, err
	}
	return &policyv1.ExplainRecordResponse{Viewers: protoViewers(viewers)}, nil
}

func protoViewers(viewers []access.Viewer) []*policyv1.Viewer {
	out := make([]*policyv1.Viewer, len(viewers))
	for i, v := range viewers {
		out[i] = &policyv1.Viewer{Subject: string(v.Subject), Kind: string(v.Kind), Opens: protoReasons(v.Opens), Revealed: v.Revealed, Masked: v.Masked, Bounds: protoReasons(v.Bounds)}
	}
	return out
}

func (s policies) ExplainSubject(ctx context.Context, req *policyv1.ExplainSubjectRequest) (*policyv1.ExplainSubjectResponse, error) {
	sights, err := s.Door.WhatSees(ctx, callerOf(ctx), crm.SubjectID(req.Subject))
	if err != nil {
		return nil, err
	}
	out := &policyv1.ExplainSubjectResponse{Sights: make([]*policyv1.Sight, len(sights))}
	for i, v := range sights {
		out.Sights[i] = &policyv1.Sight{Entity: v.Entity, Total: v.Total, Grounds: v.Grounds, Territories: v.Territories, Segments: v.Segments}
	}
	return out, nil
}
