package api

import (
	"context"
	"maps"
	"slices"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/policy"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// policies is meridian.policy.v1.PolicyService.
type policies struct{ *server }

func (s policies) Explain(ctx context.Context, req *policyv1.ExplainRequest) (*policyv1.ExplainResponse, error) {
	id, err := s.Door.RecordNamed(ctx, callerOf(ctx), req.Entity, req.Id, "explain.any")
	if err != nil {
		return nil, err
	}
	e, err := s.explained(ctx, req.Entity, id, crm.Action(req.Action), crm.SubjectID(req.Subject))
	if err != nil {
		return nil, err
	}
	return protoExplanation(e), nil
}

func protoExplanation(e access.Explanation) *policyv1.ExplainResponse {
	return &policyv1.ExplainResponse{
		Allowed: e.Allowed, Action: string(e.Action), Subject: string(e.Subject), Opens: protoReasons(e.Opens),
		Closes: protoReasons(e.Closes), Revealed: e.Revealed, Masked: e.Masked, Withheld: e.Withheld, Bundle: e.Bundle,
		Steps: protoReasons(e.Steps),
	}
}

func protoReasons(in []access.Reason) []*policyv1.Reason {
	out := make([]*policyv1.Reason, len(in))
	for i, r := range in {
		out[i] = &policyv1.Reason{Ground: r.Ground, FactId: r.Fact, Text: r.Text}
	}
	return out
}

func (s policies) ListAgreements(ctx context.Context, req *policyv1.ListAgreementsRequest) (*policyv1.ListAgreementsResponse, error) {
	list, err := s.Door.ListAgreements(ctx, callerOf(ctx), req.All)
	if err != nil {
		return nil, err
	}
	out := &policyv1.ListAgreementsResponse{Agreements: make([]*policyv1.Agreement, len(list))}
	for i, a := range list {
		out.Agreements[i] = protoAgreement(a)
	}
	return out, nil
}

func (s policies) CreateAgreement(ctx context.Context, req *policyv1.CreateAgreementRequest) (*policyv1.CreateAgreementResponse, error) {
	in := req.GetAgreement()
	a, err := s.Door.CreateAgreement(ctx, callerOf(ctx), crm.Agreement{
		Account: crm.RecordID(in.GetAccount()), Territory: in.GetTerritory(), Segment: in.GetSegment(), OnDepartment: in.GetOnDepartment(),
		Department: in.GetDepartment(), Effect: crm.Effect(in.GetEffect()),
		Actions: in.GetActions(), Groups: in.GetGroups(), From: timeOf(in.GetFrom()), To: timeOf(in.GetTo()),
		Document: in.GetDocument(), Reason: in.GetReason(),
	})
	if err != nil {
		return nil, err
	}
	return &policyv1.CreateAgreementResponse{Agreement: protoAgreement(a)}, nil
}

func (s policies) EndAgreement(ctx context.Context, req *policyv1.EndAgreementRequest) (*policyv1.EndAgreementResponse, error) {
	a, err := s.Door.EndAgreement(ctx, callerOf(ctx), req.Id, req.Reason)
	if err != nil {
		return nil, err
	}
	return &policyv1.EndAgreementResponse{Agreement: protoAgreement(a)}, nil
}

func protoAgreement(a crm.Agreement) *policyv1.Agreement {
	return &policyv1.Agreement{
		Id: a.ID, Account: string(a.Account), Territory: a.Territory, Segment: a.Segment, OnDepartment: a.OnDepartment, Department: a.Department, Effect: string(a.Effect), Actions: a.Actions,
		Groups: a.Groups, From: protoTime(a.From), To: protoTime(a.To), Document: a.Document, Reason: a.Reason,
		By: string(a.By), Ended: a.Ended,
	}
}

func (s policies) Judge(ctx context.Context, req *policyv1.JudgeRequest) (*policyv1.JudgeResponse, error) {
	in := req.GetGrant()
	record, err := crm.ParseRecordID(in.GetRecord())
	if err != nil {
		return nil, absent()
	}
	g, err := s.Door.Judge(ctx, callerOf(ctx), crm.Grant{
		Entity: in.GetEntity(), Record: record, Kind: crm.GrantKind(in.GetKind()), Key: in.GetWith(), Groups: in.GetGroups(),
		Reason: in.GetReason(), From: timeOf(in.GetFrom()), To: timeOf(in.GetTo()),
	})
	if err != nil {
		return nil, err
	}
	return &policyv1.JudgeResponse{Grant: protoGrant(g)}, nil
}

func (s policies) ListGrants(ctx context.Context, req *policyv1.ListGrantsRequest) (*policyv1.ListGrantsResponse, error) {
	list, err := s.grants(ctx, req)
	if err != nil {
		return nil, err
	}
	out := &policyv1.ListGrantsResponse{Grants: make([]*policyv1.Grant, len(list))}
	for i, g := range list {
		out.Grants[i] = protoGrant(g)
	}
	return out, nil
}

func (s policies) grants(ctx context.Context, req *policyv1.ListGrantsRequest) ([]crm.Grant, error) {
	if req.Suspended && req.Record == "" {
		return s.Door.SuspendedGrants(ctx, callerOf(ctx))
	}
	record, err := s.Door.RecordNamed(ctx, callerOf(ctx), req.Entity, req.Record, "agreement.read")
	if err != nil {
		return nil, err
	}
	list, err := s.Door.ListGrants(ctx, callerOf(ctx), req.Entity, record)
	if req.Suspended {
		list = slices.DeleteFunc(list, func(g crm.Grant) bool { return !g.Suspended })
	}
	return list, err
}

func (s policies) ReinstateGrant(ctx context.Context, req *policyv1.ReinstateGrantRequest) (*policyv1.ReinstateGrantResponse, error) {
	g, err := s.Door.ReinstateGrant(ctx, callerOf(ctx), req.Id, req.Reason)
	if err != nil {
		return nil, err
	}
	return &policyv1.ReinstateGrantResponse{Grant: protoGrant(g)}, nil
}

func (s policies) EndGrant(ctx context.Context, req *policyv1.EndGrantRequest) (*policyv1.EndGrantResponse, error) {
	g, err := s.Door.EndGrant(ctx, callerOf(ctx), req.Id, req.Reason)
	if err != nil {
		return nil, err
	}
	return &policyv1.EndGrantResponse{Grant: protoGrant(g)}, nil
}

func protoGrant(g crm.Grant) *policyv1.Grant {
	return &policyv1.Grant{
		Id: g.ID, Entity: g.Entity, Record: string(g.Record), Kind: string(g.Kind), With: g.Key, Groups: g.Groups,
		Reason: g.Reason, From: protoTime(g.From), To: protoTime(g.To), By: string(g.By), Ended: g.Ended,
		Suspended: g.Suspended, ReviewedBy: string(g.ReviewedBy), Review: g.Review,
	}
}

func (s policies) GetBundle(ctx context.Context, _ *policyv1.GetBundleRequest) (*policyv1.GetBundleResponse, error) {
	if err := s.Door.Permit(ctx, callerOf(ctx), "policy.read"); err != nil {
		return nil, err
	}
	engine, err := s.Door.InForce(ctx)
	if err != nil {
		return nil, err
	}
	b := engine.Bundle()
	modules := b.Modules()
	out := &policyv1.GetBundleResponse{Digest: b.Digest()}
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		out.Modules = append(out.Modules, &policyv1.Module{Path: path, Text: modules[path]})
	}
	return out, nil
}

// bundle is the bundle of a request: its modules, or the one in force.
func (s policies) bundle(ctx context.Context, in []*policyv1.Module) (*policy.Bundle, error) {
	if err := s.Door.Permit(ctx, callerOf(ctx), "policy.test"); err != nil {
		return nil, err
	}
	if len(in) == 0 {
		engine, err := s.Door.InForce(ctx)
		if err != nil {
			return nil, err
		}
		return engine.Bundle(), nil
	}
	modules := make(map[string]string, len(in))
	for _, m := range in {
		if _, twice := modules[m.GetPath()]; twice || m.GetPath() == "" {
			return nil, crm.FieldErrorf("modules", "every module needs a path of its own")
		}
		modules[m.GetPath()] = m.GetText()
	}
	return policy.NewBundle(modules)
}

func (s policies) TestBundle(ctx context.Context, req *policyv1.TestBundleRequest) (*policyv1.TestBundleResponse, error) {
	b, err := s.bundle(ctx, req.Modules)
	if err != nil {
		return nil, err
	}
	results, err := policy.Test(ctx, b)
	if err != nil {
		return nil, err
	}
	out := &policyv1.TestBundleResponse{Passed: true}
	for _, r := range results {
		out.Passed = out.Passed && r.Passed
		out.Results = append(out.Results, &policyv1.TestResult{Name: r.Name, Passed: r.Passed, Message: r.Message})
	}
	return out, nil
}

func (s policies) CheckBundle(ctx context.Context, req *policyv1.CheckBundleRequest) (*policyv1.CheckBundleResponse, error) {
	b, err := s.bundle(ctx, req.Modules)
	if crm.KindOf(err) == crm.Invalid && err != nil {
		return &policyv1.CheckBundleResponse{Problems: policy.Problems(err)}, nil
	}
	if err != nil {
		return nil, err
	}
	defs, err := s.Door.Definitions(ctx, callerOf(ctx)) // whose fields rules may read
	if err != nil {
		return nil, err
	}
	return &policyv1.CheckBundleResponse{Digest: b.Digest(), Problems: policy.Check(ctx, b, defs...)}, nil
}

func (s policies) Eval(ctx context.Context, req *policyv1.EvalRequest) (*policyv1.EvalResponse, error) {
	if err := known(crm.Action(req.Action)); err != nil {
		return nil, err
	}
	sql, args, digest, err := s.Door.Eval(ctx, callerOf(ctx), crm.SubjectID(req.Subject), crm.Action(req.Action), req.Entity)
	if err != nil {
		return nil, err
	}
	return &policyv1.EvalResponse{Sql: sql, Args: args, Bundle: digest}, nil
}
