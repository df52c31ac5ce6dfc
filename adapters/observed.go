package adapters

import (
	"context"
	"log/slog"
	"time"

	facadev1 "meridian/proto/gen/meridian/facade/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// Observed wraps a facade: every call leaves a line with its duration, a
// failed one as a warning. It changes nothing else.
func Observed(f Facade, log *slog.Logger) Facade { return observed{f, log} }

type observed struct {
	f   Facade
	log *slog.Logger
}

func (o observed) watch(ctx context.Context, verb string, began time.Time, err *error) {
	level, attrs := slog.LevelDebug, []slog.Attr{slog.String("verb", verb), slog.Duration("took", time.Since(began))}
	if *err != nil {
		level, attrs = slog.LevelWarn, append(attrs, slog.Any("error", *err))
	}
	if execution, ok := ctx.Value(executionKey{}).(string); ok {
		attrs = append(attrs, slog.String("execution_id", execution))
	}
	o.log.LogAttrs(ctx, level, "facade call", attrs...)
}

func (o observed) Spec(ctx context.Context) (s *facadev1.SpecResponse, err error) {
	defer o.watch(ctx, "spec", time.Now(), &err)
	return o.f.Spec(ctx)
}

func (o observed) Check(ctx context.Context) (problems []string, err error) {
	defer o.watch(ctx, "check", time.Now(), &err)
	return o.f.Check(ctx)
}

func (o observed) Discover(ctx context.Context) (streams []*facadev1.Stream, err error) {
	defer o.watch(ctx, "discover", time.Now(), &err)
	return o.f.Discover(ctx)
}

func (o observed) Read(ctx context.Context, stream string, from *facadev1.Position, emit func(*facadev1.ReadResponse) error) (err error) {
	defer o.watch(ctx, "read", time.Now(), &err)
	return o.f.Read(ctx, stream, from, emit)
}

func (o observed) Write(ctx context.Context, stream string, rows []*facadev1.Row) (details []*recordv1.ErrorDetail, err error) {
	defer o.watch(ctx, "write", time.Now(), &err)
	return o.f.Write(ctx, stream, rows)
}

func (o observed) Probe(ctx context.Context, stream, key string) (found bool, err error) {
	defer o.watch(ctx, "probe", time.Now(), &err)
	return o.f.Probe(ctx, stream, key)
}
