package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"connectrpc.com/connect"

	"meridian/instance/crm"
)

// seen is what the log and the metrics say of a call: names of ours, never
// paths, query strings or values.
type seen struct {
	route   string // pattern or procedure, "other" if nothing matched
	entity  string // a defined entity, if the call is about one
	subject crm.SubjectID
	code    string // RPC code; REST has its status
}

type seenKey struct{}

// name says which route a call took, for log and metrics.
func name(ctx context.Context, route, entity string) {
	if seen, ok := ctx.Value(seenKey{}).(*seen); ok {
		seen.route, seen.entity = route, entity
	}
}

// coded says how an RPC ended: its HTTP status is 200 for most errors too.
func coded(ctx context.Context, code string) {
	if seen, ok := ctx.Value(seenKey{}).(*seen); ok {
		seen.code = code
	}
}

// procedure names the route of an RPC. Paths are the callers' choice: only
// procedures of ours become names.
func procedure(known []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(known, r.URL.Path) {
			name(r.Context(), r.URL.Path, "")
		}
		next.ServeHTTP(w, r)
	})
}

// observe logs and counts every call.
func (s *server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		seen := &seen{route: "other"}
		out := &recorder{ResponseWriter: w}
		s.metrics.inflight.Inc()
		defer func() {
			s.metrics.inflight.Dec()
			took := time.Since(began)
			code := seen.code
			if code == "" {
				code = fmt.Sprint(out.statusOr200())
			}
			s.metrics.observe(seen.route, code, took)
			level := slog.LevelInfo
			if seen.quiet() {
				level = slog.LevelDebug
			}
			s.Log.LogAttrs(r.Context(), level, "call",
				slog.String("method", r.Method), slog.String("route", seen.route), slog.String("entity", seen.entity),
				slog.String("code", code), slog.Duration("took", took), slog.Int64("bytes", out.bytes),
				slog.String("subject", string(seen.subject)), slog.String("execution_id", execution(r.Context())))
		}()
		next.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), seenKey{}, seen)))
	})
}

// quiet routes are asked by machines, every few seconds.
func (s *seen) quiet() bool {
	switch s.route {
	case "/healthz", "/readyz", "/metrics", "/grpc.health.v1.Health/Check":
		return true
	}
	return false
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is what the RPC library looks for in a stream's writer.
func (w *recorder) Flush() {
	// A writer that cannot flush sends when it can.
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *recorder) statusOr200() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// recoverHTTP answers a panic of a plain or REST handler as internal. Panics of
// RPC handlers are caught by interceptor, which knows their protocol.
func (s *server) recoverHTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if aborted(p) {
				panic(p)
			}
			err := panicked(p)
			s.logInternal(r.Context(), err)
			if out, ok := w.(*recorder); ok && out.status != 0 {
				panic(http.ErrAbortHandler) // half an answer is out: break it off
			}
			writeProblem(r.Context(), w, err)
		}()
		next.ServeHTTP(w, r)
	})
}

// aborted tells a panic that breaks off an answer on purpose.
func aborted(p any) bool {
	err, ok := p.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

func panicked(p any) error {
	return crm.Errorf(crm.Internal, "panic: %v\n%s", p, debug.Stack())
}

// logInternal logs a cause that no caller will see; other errors are the
// caller's to read.
func (s *server) logInternal(ctx context.Context, err error) {
	if e := public(ctx, err); e.Kind == crm.Internal {
		s.Log.ErrorContext(ctx, "internal error", slog.Any("error", err), slog.String("execution_id", execution(ctx)))
	}
}

// interceptor turns errors of RPC handlers into statuses with details.
type interceptor struct{ *server }

func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (resp connect.AnyResponse, err error) {
		if req.Spec().IsClient {
			return next(ctx, req)
		}
		defer func() { err = i.outcome(ctx, recover(), err) }()
		if err := checkTexts(req.Any()); err != nil {
			return nil, err
		}
		err = i.seated(ctx, req.Spec().Procedure, func() (err error) {
			resp, err = next(ctx, req)
			return err
		})
		return resp, err
	}
}

func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		defer func() { err = i.outcome(ctx, recover(), err) }()
		return i.seated(ctx, conn.Spec().Procedure, func() error { return next(ctx, checked{conn}) })
	}
}

func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i interceptor) outcome(ctx context.Context, p any, err error) error {
	if aborted(p) {
		panic(p)
	}
	if p != nil {
		err = panicked(p)
	}
	if err == nil {
		coded(ctx, "ok")
		return nil
	}
	err = i.status(ctx, err)
	coded(ctx, connect.CodeOf(err).String())
	return err
}

// status is err as it leaves.
func (i interceptor) status(ctx context.Context, err error) error {
	if ce, ok := err.(*connect.Error); ok { //nolint:errorlint // only what the RPC library itself made passes as it is
		return ce
	}
	i.logInternal(ctx, err)
	return rpcError(ctx, err)
}
