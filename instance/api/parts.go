package api

import (
	"context"

	"meridian/instance/crm"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	fleetv1 "meridian/proto/gen/meridian/fleet/v1"
	pluginv1 "meridian/proto/gen/meridian/plugin/v1"
)

// exchanges is meridian.exchange.v1.ExchangeService.
type exchanges struct{ *server }

// permit asks for the permission first, so that who may not ask does not learn
// whether the part runs here.
func (s exchanges) permit(ctx context.Context) error {
	if err := s.Door.Permit(ctx, callerOf(ctx), "exchange.read"); err != nil {
		return err
	}
	if s.Exchange == nil {
		return notRunning("exchange")
	}
	return nil
}

func (s exchanges) ListContracts(ctx context.Context, _ *exchangev1.ListContractsRequest) (*exchangev1.ListContractsResponse, error) {
	if err := s.permit(ctx); err != nil {
		return nil, err
	}
	list, err := s.Exchange.Contracts(ctx)
	if err != nil {
		return nil, err
	}
	out := &exchangev1.ListContractsResponse{Contracts: make([]*exchangev1.Contract, len(list))}
	for i, c := range list {
		out.Contracts[i] = protoContract(c)
	}
	return out, nil
}

func protoContract(c crm.Contract) *exchangev1.Contract {
	return &exchangev1.Contract{
		Id: c.ID, Source: c.Source, Destination: c.Destination, Entity: c.Entity, Territories: c.Territories, Segments: c.Segments,
		Departments: c.Departments, Groups: c.Groups, Jurisdictions: c.Jurisdictions, Purpose: c.Purpose, LegalBasis: c.LegalBasis,
		From: protoTime(c.From), To: protoTime(c.To), ArrivesDepartment: c.Arrives.Department, ArrivesSensitivity: int32(c.Arrives.Sensitivity),
	}
}

func (s exchanges) GetStatus(ctx context.Context, _ *exchangev1.GetStatusRequest) (*exchangev1.GetStatusResponse, error) {
	if err := s.permit(ctx); err != nil {
		return nil, err
	}
	return s.Exchange.Status(ctx)
}

func (s exchanges) ListLedger(ctx context.Context, req *exchangev1.ListLedgerRequest) (*exchangev1.ListLedgerResponse, error) {
	if err := s.permit(ctx); err != nil {
		return nil, err
	}
	if req.Limit < 0 {
		return nil, crm.FieldErrorf("limit", "give a number from 1 to 1000, or 0 for 50")
	}
	req.Limit = int32(pageSize(int(req.Limit)))
	entries, err := s.Exchange.Ledger(ctx, req)
	if err != nil {
		return nil, err
	}
	return &exchangev1.ListLedgerResponse{Entries: entries}, nil
}

// catalog is meridian.plugin.v1.CatalogService.
type catalog struct{ *server }

func (s catalog) ListPlugins(ctx context.Context, _ *pluginv1.ListPluginsRequest) (*pluginv1.ListPluginsResponse, error) {
	if err := s.Door.Permit(ctx, callerOf(ctx), "plugin.read"); err != nil {
		return nil, err
	}
	if s.Plugins == nil {
		return &pluginv1.ListPluginsResponse{}, nil
	}
	return &pluginv1.ListPluginsResponse{Plugins: s.Plugins.Status()}, nil
}

// loads is meridian.facade.v1.LoadService.
type loads struct{ *server }

func (s loads) Begin(ctx context.Context, req *facadev1.BeginRequest) (*facadev1.BeginResponse, error) {
	return part(s.Loads != nil, "load", func() (*facadev1.BeginResponse, error) { return s.Loads.Begin(ctx, callerOf(ctx), req) })
}

func (s loads) Apply(ctx context.Context, req *facadev1.ApplyRequest) (*facadev1.ApplyResponse, error) {
	return part(s.Loads != nil, "load", func() (*facadev1.ApplyResponse, error) { return s.Loads.Apply(ctx, callerOf(ctx), req) })
}

func (s loads) Finish(ctx context.Context, req *facadev1.FinishRequest) (*facadev1.FinishResponse, error) {
	return part(s.Loads != nil, "load", func() (*facadev1.FinishResponse, error) { return s.Loads.Finish(ctx, callerOf(ctx), req) })
}

func (s loads) ListLoads(ctx context.Context, req *facadev1.ListLoadsRequest) (*facadev1.ListLoadsResponse, error) {
	return part(s.Loads != nil, "load", func() (*facadev1.ListLoadsResponse, error) { return s.Loads.ListLoads(ctx, callerOf(ctx), req) })
}

func (s loads) ListRejects(ctx context.Context, req *facadev1.ListRejectsRequest) (*facadev1.ListRejectsResponse, error) {
	return part(s.Loads != nil, "load", func() (*facadev1.ListRejectsResponse, error) { return s.Loads.ListRejects(ctx, callerOf(ctx), req) })
}

// part calls a part if it runs here.
func part[T any](runs bool, name string, call func() (*T, error)) (*T, error) {
	if !runs {
		return nil, notRunning(name)
	}
	return call()
}

func notRunning(name string) error {
	return crm.Errorf(crm.Unavailable, "%s does not run at this instance", name)
}

// fleet is meridian.fleet.v1.InstanceService.
type fleet struct{ *server }

func (s fleet) Describe(ctx context.Context, _ *fleetv1.DescribeRequest) (*fleetv1.DescribeResponse, error) {
	if err := s.Door.Permit(ctx, callerOf(ctx), "instance.read"); err != nil {
		return nil, err
	}
	return s.describe(ctx), nil
}

// describe is the state of the instance; one without Describe has no parts
// that can fail alone.
func (s *server) describe(ctx context.Context) *fleetv1.DescribeResponse {
	if s.Config.Describe == nil {
		return &fleetv1.DescribeResponse{Instance: s.Instance, Version: s.Version}
	}
	return s.Config.Describe(ctx)
}

// ready tells whether every part is.
func (s *server) ready(ctx context.Context) bool {
	for _, p := range s.describe(ctx).Parts {
		if !p.Ok {
			return false
		}
	}
	return true
}
