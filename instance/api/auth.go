package api

import (
	"context"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"meridian/instance/crm"
)

// authenticate verifies the bearer token of a request, offline, and puts the
// caller into the context. Rights come later, from the instance's facts.
func (s *server) authenticate(ctx context.Context, h http.Header) (context.Context, error) {
	token, err := bearer(h)
	if err != nil {
		return nil, err
	}
	subject, err := s.Verifier.Verify(token)
	if err != nil {
		if crm.KindOf(err) == crm.Unavailable {
			return nil, err
		}
		return nil, &crm.Error{Kind: crm.Unauthenticated, Msg: "the token is not valid here: get a new one for this instance", Err: err}
	}
	if seen, ok := ctx.Value(seenKey{}).(*seen); ok {
		seen.subject = subject
	}
	return context.WithValue(ctx, callerKey{}, crm.Caller{Subject: subject, Execution: execution(ctx)}), nil
}

// bearer is the token of an Authorization header. Two headers are none: a
// proxy and we might each read another one.
func bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) == 1 {
		scheme, token, ok := strings.Cut(values[0], " ")
		if token = strings.TrimSpace(token); ok && token != "" && strings.EqualFold(scheme, "Bearer") {
			return token, nil
		}
	}
	return "", crm.Errorf(crm.Unauthenticated, "send one header Authorization: Bearer <token>")
}

// gate authenticates a call before any of its message is read.
func (s *server) gate(ctx context.Context, _ connect.Spec, _ connect.Peer, h http.Header) (context.Context, error) {
	ctx2, err := s.authenticate(ctx, h)
	if err != nil {
		return nil, interceptor{s}.outcome(ctx, nil, err)
	}
	return ctx2, nil
}

// still tells whether the token that opened a stream is valid yet: a stream
// may outlive it, its rights may not.
func (s *server) still(h http.Header) error {
	token, err := bearer(h)
	if err != nil {
		return err
	}
	if _, err := s.Verifier.Verify(token); err != nil {
		return &crm.Error{Kind: crm.Unauthenticated, Msg: "the token has expired: get a new one and ask again", Err: err}
	}
	return nil
}
