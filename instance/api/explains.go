package api

import (
	"context"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

func (s policies) ExplainRecord(ctx context.Context, req *policyv1.ExplainRecordRequest) (*policyv1.ExplainRecordResponse, error) {
	viewers, err := s.Door.WhoSees(ctx, callerOf(ctx), req.Entity, req.Id)
	if err != nil {
		return nil, err
	}
	out := &policyv1.ExplainRecordResponse{Viewers: make([]*policyv1.Viewer, len(viewers))}
	for i, v := range viewers {
		out.Viewers[i] = &policyv1.Viewer{Subject: string(v.Subject), Kind: string(v.Kind), Opens: protoReasons(v.Opens), Revealed: v.Revealed}
	}
	return out, nil
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
