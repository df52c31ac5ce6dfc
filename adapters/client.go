package adapters

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// NewClient is a client of an instance's LoadService. The token is read from
// its file at every call, so that it can be rotated under a running load; it
// is the only right the facade has.
func NewClient(service, tokenFile string) facadev1connect.LoadServiceClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // rows are customer data: they go to the instance and nowhere else
	return facadev1connect.NewLoadServiceClient(&http.Client{Transport: transport}, service,
		connect.WithInterceptors(identify(tokenFile)))
}

type executionKey struct{}

// withExecution gives ctx the execution ID that all calls of one load carry.
func withExecution(ctx context.Context) (context.Context, string) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand does not fail
	execution := hex.EncodeToString(id[:])
	return context.WithValue(ctx, executionKey{}, execution), execution
}

// identify puts token and execution ID on every call.
func identify(tokenFile string) connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			token, err := os.ReadFile(tokenFile)
			if err != nil {
				return nil, connect.NewError(connect.CodeUnauthenticated, fmt.Errorf("token: %w", err))
			}
			req.Header().Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
			if execution, ok := ctx.Value(executionKey{}).(string); ok {
				var span [8]byte
				_, _ = rand.Read(span[:])
				req.Header().Set("Traceparent", "00-"+execution+"-"+hex.EncodeToString(span[:])+"-01")
			}
			return next(ctx, req)
		}
	}
}

const (
	callTimeout = time.Minute
	grace       = 8 * time.Second // for the call under way when we are asked to stop
	firstDelay  = 200 * time.Millisecond
	longest     = 30 * time.Second
)

// retrier repeats calls while the instance is unavailable.
type retrier struct{ log *slog.Logger }

// do calls until it succeeds, fails for good, or ctx ends. A call under way
// when ctx ends may still complete: a load stops between batches.
func (r retrier) do(ctx context.Context, verb string, call func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := once(ctx, call)
		if err == nil || !temporary(err) {
			return err
		}
		delay := retryAfter(err, attempt)
		r.log.WarnContext(ctx, "the instance is unavailable; waiting", "verb", verb, "attempt", attempt+1, "retry_after", delay, "error", err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func once(ctx context.Context, call func(context.Context) error) error {
	calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	defer stop()
	return call(calling)
}

func temporary(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted, connect.CodeAborted:
		return true
	}
	return false
}

// retryAfter is what the instance asks for, or else a delay that doubles.
func retryAfter(err error, attempt int) time.Duration {
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		for _, d := range ce.Details() {
			if m, err := d.Value(); err == nil {
				if e, ok := m.(*recordv1.ErrorDetail); ok && e.GetRetryAfterMs() > 0 {
					return min(time.Duration(e.GetRetryAfterMs())*time.Millisecond, longest)
				}
			}
		}
		if s, err := strconv.Atoi(ce.Meta().Get("Retry-After")); err == nil && s > 0 {
			return min(time.Duration(s)*time.Second, longest)
		}
	}
	delay := min(firstDelay<<min(attempt, 10), longest)
	return delay/2 + mathrand.N(delay/2)
}
