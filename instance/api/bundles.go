package api

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// bundles is meridian.policy.v1.BundleService.
type bundles struct{ *server }

func (s bundles) GetLife(ctx context.Context, req *policyv1.GetLifeRequest) (*policyv1.GetLifeResponse, error) {
	l, err := s.Door.PolicyLife(ctx, callerOf(ctx), int(req.Limit))
	if err != nil {
		return nil, err
	}
	out := &policyv1.GetLifeResponse{Instance: l.Instance, Now: protoTime(l.Now), Targets: l.WayBack.Targets}
	for _, a := range l.Activations {
		activation := protoActivation(a)
		activation.Unproven = l.Unproven[a.Seq]
		activation.Withdrawn = slices.Contains(l.WayBack.Withdrawn, a.Digest)
		out.Activations = append(out.Activations, activation)
	}
	for _, b := range l.Shipped {
		out.Shipped = append(out.Shipped, &policyv1.Shipped{Digest: b.Digest, Version: b.Version, At: protoTime(b.At)})
	}
	return out, nil
}

func protoActivation(a store.Activation) *policyv1.Activation {
	return &policyv1.Activation{
		Sequence: a.Seq, Digest: a.Digest, Kind: string(a.Kind), Proposal: a.Proposal, Reason: a.Reason, By: string(a.By), At: protoTime(a.At),
	}
}

func (s bundles) GetFiles(ctx context.Context, req *policyv1.GetFilesRequest) (*policyv1.GetFilesResponse, error) {
	b, err := s.Door.BundleNamed(ctx, callerOf(ctx), req.Digest)
	if err != nil {
		return nil, err
	}
	return &policyv1.GetFilesResponse{Digest: b.Digest, Files: protoFiles(b.Files)}, nil
}

func (s bundles) Examine(ctx context.Context, req *policyv1.ExamineRequest) (*policyv1.ExamineResponse, error) {
	files, err := filesOf(req.Files)
	if err != nil {
		return nil, err
	}
	r, err := s.Door.Examine(ctx, callerOf(ctx), files)
	if err != nil {
		return nil, err
	}
	return &policyv1.ExamineResponse{Report: protoReport(r)}, nil
}

func protoReport(r access.Report) *policyv1.Report {
	out := &policyv1.Report{Passed: r.Passed(), Digest: r.Bundle, Base: r.Base, Warnings: r.Warnings, At: protoTime(r.At)}
	for _, c := range r.Checks {
		out.Checks = append(out.Checks, &policyv1.Check{Name: c.Name, Detail: c.Detail, Problems: c.Problems})
	}
	return out
}

func signedOf(s *policyv1.Signed) access.Signed {
	return access.Signed{Statement: s.GetStatement(), Signature: s.GetSignature()}
}

func (s bundles) Propose(ctx context.Context, req *policyv1.ProposeRequest) (*policyv1.ProposeResponse, error) {
	files, err := filesOf(req.Files)
	if err != nil {
		return nil, err
	}
	p, err := s.Door.Propose(ctx, callerOf(ctx), files, req.Note, signedOf(req.Signed))
	if err != nil {
		return nil, err
	}
	out, err := protoProposal(p)
	return &policyv1.ProposeResponse{Proposal: out}, err
}

func (s bundles) ProposeKey(ctx context.Context, req *policyv1.ProposeKeyRequest) (*policyv1.ProposeKeyResponse, error) {
	k := signed.Key{Subject: crm.SubjectID(req.Subject), Department: req.Department, Public: req.Public, Until: timeOf(req.Until)}
	p, err := s.Door.ProposeKey(ctx, callerOf(ctx), k, req.Note, signedOf(req.Signed))
	if err != nil {
		return nil, err
	}
	out, err := protoProposal(p)
	return &policyv1.ProposeKeyResponse{Proposal: out}, err
}

// protoProposal tells a proposal with its report, or with the key it is about.
func protoProposal(p store.Proposal) (*policyv1.Proposal, error) {
	out := &policyv1.Proposal{
		Id: p.ID, Purpose: p.Purpose, About: p.About, Base: p.Base, After: p.After, Note: p.Note, By: string(p.By),
		At: protoTime(p.At), Expires: protoTime(p.Expires), Done: p.Done,
	}
	for _, s := range p.Signatures {
		out.Signatures = append(out.Signatures, &policyv1.Signature{
			Purpose: s.Purpose, Subject: string(s.Subject), Department: s.Department, Key: s.Key,
			Statement: s.Statement, Signature: s.Signature, At: protoTime(s.At),
		})
	}
	if p.Purpose == string(signed.Enroll) {
		var k signed.Key
		if err := json.Unmarshal(p.Content, &k); err != nil {
			return nil, err
		}
		out.Key = &policyv1.OfficerKey{
			Id: signed.KeyID(k.Public), Subject: string(k.Subject), Department: k.Department, Public: k.Public, Until: protoTime(k.Until),
		}
		return out, nil
	}
	var r access.Report
	if err := json.Unmarshal(p.Report, &r); err != nil {
		return nil, err
	}
	out.Report = protoReport(r)
	return out, nil
}

func (s bundles) ListProposals(ctx context.Context, req *policyv1.ListProposalsRequest) (*policyv1.ListProposalsResponse, error) {
	list, err := s.Door.Proposals(ctx, callerOf(ctx), int(req.Limit))
	if err != nil {
		return nil, err
	}
	out := &policyv1.ListProposalsResponse{}
	for _, p := range list {
		one, err := protoProposal(p)
		if err != nil {
			return nil, err
		}
		out.Proposals = append(out.Proposals, one)
	}
	return out, nil
}

func (s bundles) GetProposal(ctx context.Context, req *policyv1.GetProposalRequest) (*policyv1.GetProposalResponse, error) {
	p, err := s.Door.Proposal(ctx, callerOf(ctx), req.Id)
	if err != nil {
		return nil, err
	}
	out, err := protoProposal(p)
	return &policyv1.GetProposalResponse{Proposal: out}, err
}

func (s bundles) Approve(ctx context.Context, req *policyv1.ApproveRequest) (*policyv1.ApproveResponse, error) {
	p, err := s.Door.Approve(ctx, callerOf(ctx), req.Id, signedOf(req.Signed))
	if err != nil {
		return nil, err
	}
	out, err := protoProposal(p)
	return &policyv1.ApproveResponse{Proposal: out}, err
}

func (s bundles) Activate(ctx context.Context, req *policyv1.ActivateRequest) (*policyv1.ActivateResponse, error) {
	a, err := s.Door.Activate(ctx, callerOf(ctx), req.Id, req.Reason, timeOf(req.NotAfter))
	if err != nil {
		return nil, err
	}
	return &policyv1.ActivateResponse{Activation: protoActivation(a)}, nil
}

func (s bundles) Rollback(ctx context.Context, req *policyv1.RollbackRequest) (*policyv1.RollbackResponse, error) {
	a, err := s.Door.Rollback(ctx, callerOf(ctx), req.Digest, req.Reason, signedOf(req.Signed))
	if err != nil {
		return nil, err
	}
	return &policyv1.RollbackResponse{Activation: protoActivation(a)}, nil
}

func (s bundles) ListKeys(ctx context.Context, _ *policyv1.ListKeysRequest) (*policyv1.ListKeysResponse, error) {
	keys, err := s.Door.OfficerKeys(ctx, callerOf(ctx))
	if err != nil {
		return nil, err
	}
	out := &policyv1.ListKeysResponse{}
	for _, k := range keys {
		out.Keys = append(out.Keys, &policyv1.OfficerKey{
			Id: k.ID, Subject: string(k.Subject), Department: k.Department, Public: k.Public, From: protoTime(k.From), Until: protoTime(k.To),
			Revoked: k.RevokedAt != nil, Reason: k.Reason, Proposal: k.Proposal,
		})
	}
	return out, nil
}

func (s bundles) RevokeKey(ctx context.Context, req *policyv1.RevokeKeyRequest) (*policyv1.RevokeKeyResponse, error) {
	return &policyv1.RevokeKeyResponse{}, s.Door.RevokeKey(ctx, callerOf(ctx), req.Id, req.Reason, signedOf(req.Signed))
}

func (s bundles) Deny(ctx context.Context, req *policyv1.DenyRequest) (*policyv1.DenyResponse, error) {
	d, err := s.Door.Deny(ctx, callerOf(ctx), signed.Denial{
		Account: crm.RecordID(req.Account), Territory: req.Territory, Subject: crm.SubjectID(req.Subject), Reason: req.Reason, For: req.For.AsDuration(),
	}, signedOf(req.Signed))
	if err != nil {
		return nil, err
	}
	return &policyv1.DenyResponse{Denial: protoDenial(d)}, nil
}

func protoDenial(d store.Denial) *policyv1.Denial {
	return &policyv1.Denial{
		Id: d.ID, Account: string(d.Account), Territory: d.Territory, Subject: string(d.Subject), Reason: d.Reason, By: string(d.By),
		From: protoTime(d.From), Until: protoTime(d.To), Ended: d.Ended,
	}
}

func (s bundles) ListDenials(ctx context.Context, req *policyv1.ListDenialsRequest) (*policyv1.ListDenialsResponse, error) {
	list, err := s.Door.Denials(ctx, callerOf(ctx), req.All)
	if err != nil {
		return nil, err
	}
	out := &policyv1.ListDenialsResponse{}
	for _, d := range list {
		out.Denials = append(out.Denials, protoDenial(d))
	}
	return out, nil
}

func (s bundles) EndDenial(ctx context.Context, req *policyv1.EndDenialRequest) (*policyv1.EndDenialResponse, error) {
	d, err := s.Door.EndDenial(ctx, callerOf(ctx), req.Id, req.Reason, signedOf(req.Signed))
	if err != nil {
		return nil, err
	}
	return &policyv1.EndDenialResponse{Denial: protoDenial(d)}, nil
}

func (s bundles) StartShadow(ctx context.Context, req *policyv1.StartShadowRequest) (*policyv1.StartShadowResponse, error) {
	w, err := protoShadow(s.Door.StartShadow(ctx, callerOf(ctx), req.Digest))
	return &policyv1.StartShadowResponse{Shadow: w}, err
}

func (s bundles) GetShadow(ctx context.Context, _ *policyv1.GetShadowRequest) (*policyv1.GetShadowResponse, error) {
	w, err := protoShadow(s.Door.Shadowed(ctx, callerOf(ctx)))
	return &policyv1.GetShadowResponse{Shadow: w}, err
}

func (s bundles) StopShadow(ctx context.Context, _ *policyv1.StopShadowRequest) (*policyv1.StopShadowResponse, error) {
	w, err := protoShadow(s.Door.StopShadow(ctx, callerOf(ctx)))
	return &policyv1.StopShadowResponse{Shadow: w}, err
}

func protoShadow(w store.Shadow, found []store.ShadowDifference, err error) (*policyv1.Shadow, error) {
	if err != nil {
		return nil, err
	}
	out := &policyv1.Shadow{Digest: w.Digest, By: string(w.By), Started: protoTime(w.At)}
	if w.StoppedAt != nil {
		out.Stopped = timestamppb.New(*w.StoppedAt)
	}
	for _, d := range found {
		x := &policyv1.ShadowDifference{
			Subject: string(d.Subject), Action: d.Action, Entity: d.Entity, Reads: d.Reads, Differed: d.Differed, Gained: d.Gained, Lost: d.Lost,
			Groups: d.Groups, Refused: d.Refused, Open: d.Open, Failed: d.Failed, Dropped: d.Dropped, Sample: idTexts(d.Sample),
		}
		for g, n := range d.Grounds {
			x.Grounds = append(x.Grounds, &policyv1.ShadowGround{Ground: g.Ground, Change: g.Change, Records: n})
		}
		slices.SortFunc(x.Grounds, func(a, b *policyv1.ShadowGround) int {
			return cmp.Or(cmp.Compare(b.Records, a.Records), cmp.Compare(a.Ground, b.Ground), cmp.Compare(a.Change, b.Change))
		})
		out.Differences = append(out.Differences, x)
	}
	return out, nil
}

func (s bundles) GetPulse(ctx context.Context, req *policyv1.GetPulseRequest) (*policyv1.GetPulseResponse, error) {
	since := timeOf(req.Since)
	if since.IsZero() {
		since = time.Now().Add(-time.Minute)
	}
	now, allowed, refused, err := s.Door.Pulse(ctx, callerOf(ctx), since)
	if err != nil {
		return nil, err
	}
	return &policyv1.GetPulseResponse{Bundle: now.Digest, Sequence: now.Seq, Allowed: allowed, Refused: refused}, nil
}

func protoFiles(files map[string]string) (out []*policyv1.File) {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		out = append(out, &policyv1.File{Path: path, Text: files[path]})
	}
	return out
}

func filesOf(in []*policyv1.File) (map[string]string, error) {
	files := make(map[string]string, len(in))
	for _, f := range in {
		if _, twice := files[f.GetPath()]; twice || f.GetPath() == "" {
			return nil, crm.FieldErrorf("files", "every file needs a path of its own")
		}
		files[f.GetPath()] = f.GetText()
	}
	return files, nil
}
