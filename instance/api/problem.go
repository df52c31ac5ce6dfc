package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"meridian/instance/crm"
)

// Problem is an RFC 9457 problem document. Its type is relative: /problems/
// and the kind, which is the same word as in the RPC error detail.
type Problem struct {
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Status      int      `json:"status"`
	Detail      string   `json:"detail"`
	Kind        string   `json:"kind"`
	Field       string   `json:"field,omitempty"`
	Reasons     []string `json:"reasons"`
	Home        string   `json:"home,omitempty"`
	ExecutionID string   `json:"execution_id"`
}

// statusError is an error whose status HTTP itself names (405, 413, 415); its
// kind stays the caller's guide.
type statusError struct {
	cause  *crm.Error
	status int
}

func (e *statusError) Error() string { return e.cause.Error() }
func (e *statusError) Unwrap() error { return e.cause }

func httpError(status int, format string, args ...any) error {
	return &statusError{crm.Errorf(crm.Invalid, format, args...), status}
}

func problemOf(ctx context.Context, err error) Problem {
	d := detailOf(ctx, err)
	w := wireOf(crm.Kind(d.Kind))
	p := Problem{
		Type: "/problems/" + d.Kind, Title: w.title, Status: w.status, Detail: d.Message, Kind: d.Kind,
		Field: d.Field, Reasons: d.Reasons, Home: d.Home, ExecutionID: d.ExecutionId,
	}
	if p.Reasons == nil {
		p.Reasons = []string{}
	}
	if se, ok := err.(*statusError); ok { //nolint:errorlint // made by the router itself, never wrapped
		p.Status, p.Title = se.status, http.StatusText(se.status)
	}
	return p
}

func writeProblem(ctx context.Context, w http.ResponseWriter, err error) {
	p := problemOf(ctx, err)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="meridian"`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfter(public(ctx, err).RetryAfter))
	}
	w.WriteHeader(p.Status)
	// The caller may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(p)
}

// retryAfter is whole seconds, at least one.
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}
