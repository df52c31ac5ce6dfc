package api

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"meridian/instance/access"
	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// impacts is meridian.policy.v1.ImpactService.
type impacts struct{ *server }

// told sends the steps of long work for as long as the token that began it is
// valid.
func told[T any](ctx context.Context, s *server, send func(*T) error) func(*T) error {
	call, _ := connect.CallInfoForHandlerContext(ctx)
	return func(message *T) error {
		if err := s.still(call.RequestHeader()); err != nil {
			return err
		}
		return send(message)
	}
}

func (s impacts) Impact(ctx context.Context, req *policyv1.ImpactRequest, stream *connect.ServerStream[policyv1.ImpactResponse]) error {
	send := told(ctx, s.server, stream.Send)
	ctx, cancel := streaming(ctx)
	defer cancel()
	k, err := candidateOf(req.GetCandidate())
	if err != nil {
		return err
	}
	r := access.ImpactRequest{Candidate: k, From: req.GetFrom(), Action: crm.Action(req.GetAction())}
	for _, id := range req.GetSubjects() {
		r.Subjects = append(r.Subjects, crm.SubjectID(id))
	}
	sum, err := s.Door.Impact(ctx, callerOf(ctx), r, func(step access.ImpactStep) error {
		if step.Persona != nil {
			return send(&policyv1.ImpactResponse{Message: &policyv1.ImpactResponse_Persona{Persona: protoPersona(*step.Persona)}})
		}
		return send(&policyv1.ImpactResponse{Message: &policyv1.ImpactResponse_Progress{
			Progress: &policyv1.Progress{Done: step.Done, Total: step.Total, Current: step.Current},
		}})
	})
	if err != nil {
		return err
	}
	return send(&policyv1.ImpactResponse{Message: &policyv1.ImpactResponse_Summary{Summary: &policyv1.ImpactSummary{
		Before: sum.Before, After: sum.After, Compared: sum.Compared, Differing: sum.Differing, Gained: sum.Gained, Lost: sum.Lost, GiveBack: sum.GiveBack,
		LargestShare: sum.Largest, LargestSubject: string(sum.LargestSubject), LargestEntity: sum.LargestEntity, At: protoTime(sum.At), Warnings: sum.Warnings,
		Suspended: protoShares(sum.Suspended), Resumed: protoShares(sum.Resumed),
	}}})
}

// candidateOf is the bundle of a request that is tried.
func candidateOf(in *policyv1.Candidate) (access.Candidate, error) {
	k := access.Candidate{Digest: in.GetDigest()}
	if len(in.GetModules()) == 0 {
		return k, nil
	}
	if k.Digest != "" {
		return k, crm.FieldErrorf("candidate", "name a digest or send files, not both")
	}
	k.Files = map[string]string{}
	for _, m := range in.GetModules() {
		if _, twice := k.Files[m.GetPath()]; twice || m.GetPath() == "" {
			return k, crm.FieldErrorf("candidate", "every file needs a path of its own")
		}
		k.Files[m.GetPath()] = m.GetText()
	}
	return k, nil
}

// pastIDs is how many ids an answer about the past lists, if nobody says.
const pastIDs = 20

func (s impacts) PastSubject(ctx context.Context, req *policyv1.PastSubjectRequest) (*policyv1.PastSubjectResponse, error) {
	limit := int(req.GetLimit())
	switch {
	case limit < 0 || limit > maxBatch:
		return nil, crm.FieldErrorf("limit", "give a number from 1 to %d, or 0 for %d", maxBatch, pastIDs)
	case limit == 0:
		limit = pastIDs
	}
	sights, bundle, err := s.Door.PastSees(ctx, callerOf(ctx), crm.SubjectID(req.GetSubject()), req.GetEntity(), timeOf(req.GetAt()), limit)
	if err != nil {
		return nil, err
	}
	out := &policyv1.PastSubjectResponse{Bundle: bundle}
	for _, x := range sights {
		out.Sights = append(out.Sights, &policyv1.PastSight{
			Entity: x.Entity, Total: x.Total, Grounds: x.Grounds, Territories: x.Territories, Segments: x.Segments, Ids: idTexts(x.IDs),
		})
	}
	return out, nil
}

func (s impacts) PastRecord(ctx context.Context, req *policyv1.PastRecordRequest) (*policyv1.PastRecordResponse, error) {
	past, err := s.Door.PastWhoSees(ctx, callerOf(ctx), req.GetEntity(), req.GetId(), timeOf(req.GetAt()))
	if err != nil {
		return nil, err
	}
	return &policyv1.PastRecordResponse{Viewers: protoViewers(past.Viewers), Bundle: past.Bundle, Version: past.Version, Id: string(past.Record)}, nil
}

func (s impacts) Replay(ctx context.Context, req *policyv1.ReplayRequest, stream *connect.ServerStream[policyv1.ReplayResponse]) error {
	send := told(ctx, s.server, stream.Send)
	ctx, cancel := streaming(ctx)
	defer cancel()
	k, err := candidateOf(req.GetCandidate())
	if err != nil {
		return err
	}
	r := access.ReplayRequest{Candidate: k, Since: timeOf(req.GetSince()), Until: timeOf(req.GetUntil()), Sample: req.GetSample()}
	sum, err := s.Door.Replay(ctx, callerOf(ctx), r, func(step access.ReplayStep) error {
		if step.Decision != nil {
			return send(&policyv1.ReplayResponse{Message: &policyv1.ReplayResponse_Decision{Decision: protoReplayed(*step.Decision)}})
		}
		return send(&policyv1.ReplayResponse{Message: &policyv1.ReplayResponse_Progress{Progress: &policyv1.Progress{Done: step.Done, Total: step.Total}}})
	})
	if err != nil {
		return err
	}
	return send(&policyv1.ReplayResponse{Message: &policyv1.ReplayResponse_Summary{Summary: protoReplaySummary(sum)}})
}

func protoReplaySummary(sum access.ReplaySummary) *policyv1.ReplaySummary {
	out := &policyv1.ReplaySummary{
		After: sum.After, Decisions: sum.Decisions, Same: sum.Same, Differing: sum.Differing, Open: sum.Open, Skipped: sum.Skipped,
		Records: sum.Records, Gone: sum.Gone, Opened: sum.Opened, Closed: sum.Closed, Seconds: float64(sum.Took) / float64(time.Second),
	}
	for _, a := range sum.Actions {
		out.Actions = append(out.Actions, &policyv1.ReplayTally{
			Action: a.Action, Decisions: a.Decisions, Same: a.Same, Differing: a.Differing, Open: a.Open, Skipped: a.Skipped, Why: a.Why,
		})
	}
	return out
}

func protoReplayed(d access.ReplayedDecision) *policyv1.ReplayedDecision {
	out := &policyv1.ReplayedDecision{Id: d.ID, At: protoTime(d.At), Subject: string(d.Subject), Action: d.Action, Entity: d.Entity, Open: d.Open}
	for _, r := range d.Differing {
		out.Records = append(out.Records, &policyv1.ReplayedRecord{
			Id: string(r.ID), Version: r.Version, Action: string(r.Action), Was: r.Was, Is: r.Is, Opens: protoReasons(r.Opens), Closes: protoReasons(r.Closes),
			Opened: protoReasons(r.Opened), Closed: protoReasons(r.Closed), Shows: r.Shows, Masks: r.Masks, Hides: r.Hides,
		})
	}
	if b := d.Bound; b != nil {
		out.Bound = &policyv1.ReplayBound{
			Gained: b.Gained, Lost: b.Lost, Changed: b.Changed,
			GainedIds: idTexts(b.Sample.Gained), LostIds: idTexts(b.Sample.Lost), ChangedIds: idTexts(b.Sample.Changed),
		}
	}
	return out
}
