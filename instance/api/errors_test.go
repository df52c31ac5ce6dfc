package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/gen/meridian/record/v1/recordv1connect"
)

var allKinds = []crm.Kind{
	crm.Internal, crm.Invalid, crm.Unauthenticated, crm.Denied, crm.NotFound, crm.Conflict, crm.Stale, crm.NotHome,
	crm.PreconditionRequired, crm.Unavailable,
}

func TestTheTableHasEveryKindOnce(t *testing.T) {
	var listed []crm.Kind
	for _, w := range kinds {
		listed = append(listed, w.kind)
	}
	if diff := cmp.Diff(allKinds, listed); diff != "" {
		t.Error(diff)
	}
	for _, k := range allKinds {
		w := wireOf(k)
		if w.kind != k {
			t.Errorf("%s has the row of %s", k, w.kind)
		}
		if back := wireOf(kindOfCode(w.code)); back.code != w.code {
			t.Errorf("%s: code %s is read as %s, which has code %s", k, w.code, back.kind, back.code)
		}
	}
	if wireOf("of tomorrow").kind != crm.Internal {
		t.Error("an unknown kind must be internal")
	}
}

// failing answers every call with one error.
type failing struct {
	recordv1connect.UnimplementedRecordServiceHandler
	err error
}

func (f failing) Count(context.Context, *recordv1.CountRequest) (*recordv1.CountResponse, error) {
	return nil, f.err
}

// TestErrorsTravel sends each kind over each protocol and reads it back.
func TestErrorsTravel(t *testing.T) {
	protocols := map[string]connect.ClientOption{
		"connect": connect.WithClientOptions(), "json": connect.WithProtoJSON(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb(),
	}
	for _, kind := range allKinds {
		sent := &crm.Error{
			Kind: kind, Msg: "what is wrong", Field: "email", Reasons: []string{"one", "two"}, Home: "emea", RetryAfter: 1500 * time.Millisecond,
			Err: errors.New("the secret cause"),
		}
		want := *sent
		if kind == crm.Internal {
			want = crm.Error{Kind: crm.Internal, Msg: "internal error; report the execution ID"}
		}
		client := serveRecords(t, failing{err: fmt.Errorf("somewhere: %w", sent)})
		for name, option := range protocols {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				_, err := client(option).Count(t.Context(), &recordv1.CountRequest{})
				got, execution := ErrorOf(err)
				if diff := cmp.Diff(&want, got, cmpopts.IgnoreFields(crm.Error{}, "Err")); diff != "" {
					t.Error(diff)
				}
				if len(execution) != 32 {
					t.Errorf("execution ID %q", execution)
				}
			})
		}
	}
}

func TestPanicsAndUnclassifiedErrorsSayNothing(t *testing.T) {
	for name, err := range map[string]error{"unclassified": errors.New("password is hunter2"), "classified internal": crm.Errorf(crm.Internal, "row 17 of alice")} {
		t.Run(name, func(t *testing.T) {
			_, err := serveRecords(t, failing{err: err})(nil).Count(t.Context(), &recordv1.CountRequest{})
			if got, _ := ErrorOf(err); got.Kind != crm.Internal || got.Msg != "internal error; report the execution ID" {
				t.Errorf("leaked %q", err)
			}
		})
	}
	t.Run("panic", func(t *testing.T) {
		_, err := serveRecords(t, panicking{})(nil).Count(t.Context(), &recordv1.CountRequest{})
		if got, _ := ErrorOf(err); got.Kind != crm.Internal {
			t.Errorf("panic answered as %v", err)
		}
	})
	t.Run("panic of a page", func(t *testing.T) {
		s := testServer(t)
		h := withExecution(s.observe(s.recoverHTTP(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("at the disco") }))))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusInternalServerError || p.Kind != "internal" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

type panicking struct {
	recordv1connect.UnimplementedRecordServiceHandler
}

func (panicking) Count(context.Context, *recordv1.CountRequest) (*recordv1.CountResponse, error) {
	panic("at the disco")
}

func TestErrorsOfOthers(t *testing.T) {
	for _, c := range []struct {
		err  error
		want crm.Kind
	}{
		{errors.New("connection refused"), crm.Unavailable},
		{connect.NewError(connect.CodeUnauthenticated, errors.New("proxy")), crm.Unauthenticated},
		{connect.NewError(connect.CodeResourceExhausted, errors.New("too large")), crm.Invalid},
		{connect.NewError(connect.CodeDeadlineExceeded, errors.New("late")), crm.Unavailable},
		{connect.NewError(connect.CodeUnimplemented, errors.New("old server")), crm.NotFound},
		{connect.NewError(connect.CodeDataLoss, errors.New("?")), crm.Internal},
	} {
		if got, _ := ErrorOf(c.err); got.Kind != c.want {
			t.Errorf("%v is read as %s, want %s", c.err, got.Kind, c.want)
		}
	}
}

func TestProblemDocuments(t *testing.T) {
	for _, k := range allKinds {
		t.Run(string(k), func(t *testing.T) {
			w := httptest.NewRecorder()
			ctx := context.WithValue(t.Context(), executionKey{}, "4bf92f3577b34da6a3ce929d0e0e4736")
			writeProblem(ctx, w, &crm.Error{Kind: k, Msg: "what is wrong", Field: "email", Home: "emea", RetryAfter: 1100 * time.Millisecond})
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if w.Code != wireOf(k).status || int(got["status"].(float64)) != w.Code || got["kind"] != string(k) || got["type"] != "/problems/"+string(k) ||
				got["execution_id"] != "4bf92f3577b34da6a3ce929d0e0e4736" || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %v", w.Code, got)
			}
			if _, ok := got["reasons"].([]any); !ok {
				t.Error("reasons must be a list, also an empty one")
			}
			if retry := w.Header().Get("Retry-After"); (k == crm.Unavailable) != (retry == "2") {
				t.Errorf("Retry-After %q", retry)
			}
		})
	}
}

func testServer(t *testing.T) *server {
	t.Helper()
	return &server{Config: Config{Instance: "amer", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, metrics: newMetrics(prometheus.NewRegistry())}
}

// serveRecords serves a record service behind the interceptor, on one port for
// every protocol.
func serveRecords(t *testing.T, h recordv1connect.RecordServiceHandler) func(connect.ClientOption) recordv1connect.RecordServiceClient {
	t.Helper()
	s := testServer(t)
	mux := http.NewServeMux()
	mux.Handle(recordv1connect.NewRecordServiceHandler(h, connect.WithInterceptors(interceptor{s})))
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewServer(withExecution(s.observe(s.recoverHTTP(mux))), s.Log)
	srv.Start()
	t.Cleanup(srv.Close)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	t.Cleanup(client.CloseIdleConnections)
	return func(o connect.ClientOption) recordv1connect.RecordServiceClient {
		return recordv1connect.NewRecordServiceClient(client, srv.URL, slices.DeleteFunc([]connect.ClientOption{o}, func(o connect.ClientOption) bool { return o == nil })...)
	}
}
