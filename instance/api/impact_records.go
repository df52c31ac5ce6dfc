package api

import (
	"context"

	"connectrpc.com/connect"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

func (s impacts) ImpactRecords(ctx context.Context, req *policyv1.ImpactRecordsRequest, stream *connect.ServerStream[policyv1.ImpactRecordsResponse]) error {
	send := told(ctx, s.server, stream.Send)
	ctx, cancel := streaming(ctx)
	defer cancel()
	k, err := candidateOf(req.GetCandidate())
	if err != nil {
		return err
	}
	r := access.ImpactRecordsRequest{Candidate: k, Subject: crm.SubjectID(req.GetSubject()), Entity: req.GetEntity(), Action: crm.Action(req.GetAction())}
	return s.Door.ImpactRecords(ctx, callerOf(ctx), r, func(records []store.Differing) error {
		out := &policyv1.ImpactRecordsResponse{}
		for _, x := range records {
			out.Records = append(out.Records, &policyv1.RecordImpact{
				Id: string(x.ID), Gained: x.Gained, Lost: x.Lost, Shown: x.Shown, Hidden: x.Hidden, Masked: x.Masked, Held: x.Held, Later: x.Later,
			})
		}
		return send(out)
	})
}
