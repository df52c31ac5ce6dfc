package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"meridian/instance/crm"
)

const (
	healthService = "grpc.health.v1.Health"
	healthPoll    = time.Second
)

// newHealthHandler is grpc.health.v1.Health for the instance ("") and each of
// its services, which are all served by one process.
func newHealthHandler(s *server, opts ...connect.HandlerOption) (string, http.Handler) {
	const prefix = "/" + healthService + "/"
	mux := http.NewServeMux()
	mux.Handle(prefix+"Check", connect.NewUnaryHandlerSimple(prefix+"Check", s.healthCheck, opts...))
	mux.Handle(prefix+"List", connect.NewUnaryHandlerSimple(prefix+"List", s.healthList, opts...))
	mux.Handle(prefix+"Watch", connect.NewServerStreamHandlerSimple(prefix+"Watch", s.healthWatch, opts...))
	return prefix, mux
}

func (s *server) healthStatus(ctx context.Context, service string) healthv1.HealthCheckResponse_ServingStatus {
	switch {
	case service != "" && !slices.Contains(services(), service):
		return healthv1.HealthCheckResponse_SERVICE_UNKNOWN
	case s.ready(ctx):
		return healthv1.HealthCheckResponse_SERVING
	}
	return healthv1.HealthCheckResponse_NOT_SERVING
}

func (s *server) healthCheck(ctx context.Context, req *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	status := s.healthStatus(ctx, req.Service)
	if status == healthv1.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, crm.Errorf(crm.NotFound, "no such service")
	}
	return &healthv1.HealthCheckResponse{Status: status}, nil
}

func (s *server) healthList(ctx context.Context, _ *healthv1.HealthListRequest) (*healthv1.HealthListResponse, error) {
	status := s.healthStatus(ctx, "")
	out := &healthv1.HealthListResponse{Statuses: map[string]*healthv1.HealthCheckResponse{"": {Status: status}}}
	for _, name := range services() {
		out.Statuses[name] = &healthv1.HealthCheckResponse{Status: status}
	}
	return out, nil
}

// healthWatch sends the status now and whenever it changes.
func (s *server) healthWatch(ctx context.Context, req *healthv1.HealthCheckRequest, stream *connect.ServerStream[healthv1.HealthCheckResponse]) error {
	ctx, cancel := streaming(ctx)
	defer cancel()
	poll := time.NewTicker(healthPoll)
	defer poll.Stop()
	last := healthv1.HealthCheckResponse_UNKNOWN
	for {
		if status := s.healthStatus(ctx, req.Service); status != last && ctx.Err() == nil {
			if err := stream.Send(&healthv1.HealthCheckResponse{Status: status}); err != nil {
				return err
			}
			last = status
		}
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		}
	}
}
