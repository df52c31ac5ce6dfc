package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// wire is how one kind of error leaves the instance.
type wire struct {
	kind   crm.Kind
	code   connect.Code
	status int
	title  string
	remedy string
}

// kinds is the one table between kinds, RPC codes and HTTP statuses. Where two
// kinds share a code, the error detail tells them apart; a peer that sent none
// is read as the first.
var kinds = []wire{
	{crm.Internal, connect.CodeInternal, http.StatusInternalServerError, "Internal error", "Nothing you can mend. Report the execution ID to the operators."},
	{crm.Invalid, connect.CodeInvalidArgument, http.StatusBadRequest, "Invalid request", "Correct the named field or parameter and send it again."},
	{crm.Unauthenticated, connect.CodeUnauthenticated, http.StatusUnauthorized, "Not authenticated", "Get a token for this instance and send it as Authorization: Bearer <token>."},
	{crm.Denied, connect.CodePermissionDenied, http.StatusForbidden, "Denied", "Policy does not let you do this. /explain says why; sharing or an agreement may open it."},
	{crm.NotFound, connect.CodeNotFound, http.StatusNotFound, "Not found", "There is no such thing, or nothing that you may know of."},
	{crm.Conflict, connect.CodeAlreadyExists, http.StatusConflict, "Conflict", "The state forbids it: for a key that exists, change the other record; for what has ended, nothing is left to do."},
	{crm.Stale, connect.CodeAborted, http.StatusPreconditionFailed, "Stale version", "The record has changed meanwhile. Read it again and repeat your change on its current version."},
	{crm.NotHome, connect.CodeFailedPrecondition, http.StatusConflict, "Not the home of the record", "The record is written at another instance, named in home. Send the change there."},
	{crm.PreconditionRequired, connect.CodeFailedPrecondition, http.StatusPreconditionRequired, "Version required", "Say which version you are changing: read the record and send its version in If-Match."},
	{crm.Unavailable, connect.CodeUnavailable, http.StatusServiceUnavailable, "Unavailable", "A part of the instance that is needed is away. Try again after Retry-After; nothing was written."},
}

// wireOf is the row of a kind; an unknown one is internal.
func wireOf(k crm.Kind) wire {
	for _, w := range kinds {
		if w.kind == k {
			return w
		}
	}
	return kinds[0]
}

// public is what a caller may see of err. A call that its caller gave up, or
// that ran out of time, is not an internal error.
func public(ctx context.Context, err error) *crm.Error {
	e := crm.Public(err)
	if e.Kind == crm.Internal && ctx.Err() != nil &&
		(errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return &crm.Error{Kind: crm.Unavailable, Msg: "the call ended before its answer was ready", Err: err}
	}
	return e
}

// detailOf is the error as the wire shows it, on every road.
func detailOf(ctx context.Context, err error) *recordv1.ErrorDetail {
	e := public(ctx, err)
	return &recordv1.ErrorDetail{
		Kind:         string(e.Kind),
		Message:      e.Msg,
		Field:        e.Field,
		Reasons:      e.Reasons,
		ExecutionId:  execution(ctx),
		Home:         e.Home,
		RetryAfterMs: e.RetryAfter.Milliseconds(),
	}
}

// rpcError is err as a Connect or gRPC status with its detail.
func rpcError(ctx context.Context, err error) *connect.Error {
	d := detailOf(ctx, err)
	out := connect.NewError(wireOf(crm.Kind(d.Kind)).code, errors.New(message(d)))
	// The detail is a message of ours that always marshals.
	if detail, err := connect.NewErrorDetail(d); err == nil {
		out.AddDetail(detail)
	}
	return out
}

// message leads with the field, for clients that show the text only.
func message(d *recordv1.ErrorDetail) string {
	if d.Field != "" {
		return d.Field + ": " + d.Message
	}
	return d.Message
}

// ErrorOf reads an error that a client of this API received: the other
// direction of the table. The execution ID is "" if the peer sent none.
func ErrorOf(err error) (e *crm.Error, executionID string) {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return &crm.Error{Kind: crm.Unavailable, Msg: "the instance cannot be reached", Err: err}, ""
	}
	for _, detail := range ce.Details() {
		if v, err := detail.Value(); err == nil {
			if d, ok := v.(*recordv1.ErrorDetail); ok {
				return ErrorOfDetail(d), d.ExecutionId
			}
		}
	}
	msg := ce.Message()
	if ce.Code() == connect.CodeUnavailable && !connect.IsWireError(ce) {
		msg = "the instance cannot be reached: " + msg
	}
	return &crm.Error{Kind: kindOfCode(ce.Code()), Msg: msg, Err: err}, ""
}

// ErrorOfDetail reads an error detail, as it stands in the result of a batch.
func ErrorOfDetail(d *recordv1.ErrorDetail) *crm.Error {
	return &crm.Error{
		Kind:       wireOf(crm.Kind(d.Kind)).kind,
		Msg:        d.Message,
		Field:      d.Field,
		Reasons:    d.Reasons,
		Home:       d.Home,
		RetryAfter: time.Duration(d.RetryAfterMs) * time.Millisecond,
	}
}

// kindOfCode reads a bare code: of a proxy, or of the RPC library itself.
func kindOfCode(c connect.Code) crm.Kind {
	for _, w := range kinds {
		if w.code == c {
			return w.kind
		}
	}
	switch c {
	case connect.CodeCanceled, connect.CodeDeadlineExceeded:
		return crm.Unavailable
	case connect.CodeResourceExhausted, connect.CodeOutOfRange:
		return crm.Invalid // of the library: a message above the size limit
	case connect.CodeUnimplemented:
		return crm.NotFound
	}
	return crm.Internal
}
