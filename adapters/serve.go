package adapters

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"

	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
)

// Serve shows a facade as meridian.facade.v1.FacadeService on a unix socket
// that its owner alone may open, until ctx ends.
func Serve(ctx context.Context, f Facade, socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clear socket: %w", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("serve facade: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("guard socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle(Handler(f))
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: mux, Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(closing) != nil {
			_ = srv.Close() // a stream that does not end in time is cut
		}
		err = <-served
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve facade: %w", err)
}

// Handler speaks FacadeService for a facade.
func Handler(f Facade, opts ...connect.HandlerOption) (string, http.Handler) {
	return facadev1connect.NewFacadeServiceHandler(handler{f}, opts...)
}

type handler struct{ f Facade }

var _ facadev1connect.FacadeServiceHandler = handler{}

func (h handler) Spec(ctx context.Context, _ *facadev1.SpecRequest) (*facadev1.SpecResponse, error) {
	spec, err := h.f.Spec(ctx)
	return spec, coded(err)
}

func (h handler) Check(ctx context.Context, _ *facadev1.CheckRequest) (*facadev1.CheckResponse, error) {
	problems, err := h.f.Check(ctx)
	if err != nil {
		return nil, coded(err)
	}
	return &facadev1.CheckResponse{Ok: len(problems) == 0, Problems: problems}, nil
}

func (h handler) Discover(ctx context.Context, _ *facadev1.DiscoverRequest) (*facadev1.DiscoverResponse, error) {
	streams, err := h.f.Discover(ctx)
	if err != nil {
		return nil, coded(err)
	}
	return &facadev1.DiscoverResponse{Streams: streams}, nil
}

func (h handler) Read(ctx context.Context, r *facadev1.ReadRequest, s *connect.ServerStream[facadev1.ReadResponse]) error {
	return coded(h.f.Read(ctx, r.GetStream(), r.GetFrom(), s.Send))
}

func (h handler) Write(ctx context.Context, r *facadev1.WriteRequest) (*facadev1.WriteResponse, error) {
	details, err := h.f.Write(ctx, r.GetStream(), r.GetRows())
	if err != nil {
		return nil, coded(err)
	}
	return &facadev1.WriteResponse{Errors: details}, nil
}

func (h handler) Probe(ctx context.Context, r *facadev1.ProbeRequest) (*facadev1.ProbeResponse, error) {
	found, err := h.f.Probe(ctx, r.GetStream(), r.GetKey())
	if err != nil {
		return nil, coded(err)
	}
	return &facadev1.ProbeResponse{Found: found}, nil
}

// coded gives an error the code of its kind; a facade's own code stays.
func coded(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*connect.Error](err); ok {
		return err
	}
	code := connect.CodeInternal
	switch crm.KindOf(err) {
	case crm.Invalid:
		code = connect.CodeInvalidArgument
	case crm.NotFound:
		code = connect.CodeNotFound
	case crm.Unavailable:
		code = connect.CodeUnavailable
	}
	return connect.NewError(code, err)
}

// Unimplemented is what a facade answers to what it does not declare.
func Unimplemented(verb string) error {
	return connect.NewError(connect.CodeUnimplemented, fmt.Errorf("this facade does not %s", verb))
}
