package adapters

import (
	"context"
	"net"
	"net/http"

	"connectrpc.com/connect"

	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// Dial is a facade that another process serves on a unix socket.
func Dial(socket string) Facade {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true, // a look into a facade is rare; nothing is left open behind it
	}}
	return remote{facadev1connect.NewFacadeServiceClient(client, "http://facade")}
}

type remote struct {
	c facadev1connect.FacadeServiceClient
}

func (r remote) Spec(ctx context.Context) (*facadev1.SpecResponse, error) {
	resp, err := r.c.Spec(ctx, &facadev1.SpecRequest{})
	return resp, kinded(err)
}

func (r remote) Check(ctx context.Context) ([]string, error) {
	resp, err := r.c.Check(ctx, &facadev1.CheckRequest{})
	return resp.GetProblems(), kinded(err)
}

func (r remote) Discover(ctx context.Context) ([]*facadev1.Stream, error) {
	resp, err := r.c.Discover(ctx, &facadev1.DiscoverRequest{})
	return resp.GetStreams(), kinded(err)
}

func (r remote) Read(ctx context.Context, stream string, from *facadev1.Position, emit func(*facadev1.ReadResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream when emit fails
	s, err := r.c.Read(ctx, &facadev1.ReadRequest{Stream: stream, From: from})
	if err != nil {
		return kinded(err)
	}
	defer func() { _ = s.Close() }() // what was wrong is in s.Err
	for s.Receive() {
		if err := emit(s.Msg()); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return kinded(s.Err())
}

func (r remote) Write(ctx context.Context, stream string, rows []*facadev1.Row) ([]*recordv1.ErrorDetail, error) {
	resp, err := r.c.Write(ctx, &facadev1.WriteRequest{Stream: stream, Rows: rows})
	return resp.GetErrors(), kinded(err)
}

func (r remote) Probe(ctx context.Context, stream, key string) (bool, error) {
	resp, err := r.c.Probe(ctx, &facadev1.ProbeRequest{Stream: stream, Key: key})
	return resp.GetFound(), kinded(err)
}

// kinded gives an error the kind of its code; it undoes coded.
func kinded(err error) error {
	switch {
	case err == nil:
		return nil
	case connect.CodeOf(err) == connect.CodeInvalidArgument:
		return crm.Errorf(crm.Invalid, "%w", err)
	case connect.CodeOf(err) == connect.CodeNotFound:
		return crm.Errorf(crm.NotFound, "%w", err)
	case connect.CodeOf(err) == connect.CodeUnavailable:
		return crm.Errorf(crm.Unavailable, "%w", err)
	}
	return err
}
