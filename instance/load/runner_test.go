package load_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"meridian/adapters"
	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// records is a source of n accounts, of which every tenth is filtered; at
// record broken, if that is not 0, reading fails with err.
type records struct {
	n, broken int64
	err       error
}

func (s records) Read(_ context.Context, _ string, from *facadev1.Position, emit func(*facadev1.ReadResponse) error) error {
	position := func(n int64) error {
		return emit(&facadev1.ReadResponse{Item: &facadev1.ReadResponse_Position{Position: &facadev1.Position{Record: n, Offset: n}}})
	}
	for n := from.GetRecord() + 1; n <= s.n; n++ {
		if n == s.broken {
			return s.err
		}
		if n%10 != 0 {
			if err := emit(&facadev1.ReadResponse{Item: &facadev1.ReadResponse_Row{Row: rows(int(n), int(n))[0]}}); err != nil {
				return err
			}
		}
		if n%adapters.PositionEvery == 0 {
			if err := position(n); err != nil {
				return err
			}
		}
	}
	return position(s.n)
}

// unavailable is what an instance answers that asks for another 30 ms.
func unavailable(t *testing.T) error {
	t.Helper()
	err := connect.NewError(connect.CodeUnavailable, errors.New("busy"))
	detail, derr := connect.NewErrorDetail(&recordv1.ErrorDetail{Kind: "unavailable", RetryAfterMs: 30})
	if derr != nil {
		t.Fatal(derr)
	}
	err.AddDetail(detail)
	return err
}

func TestRunner(t *testing.T) {
	s := newSite(t)
	run := func(t *testing.T, ctx context.Context, src adapters.Source) (*facadev1.Load, error) {
		t.Helper()
		r := &adapters.Runner{Loads: s.client(), Batch: 200, Log: slog.New(slog.DiscardHandler)}
		return r.Run(ctx, src, "accounts", beginRequest(t.Name()))
	}
	// intercept calls f with the number of each Apply; what it answers is
	// answered in place of the instance.
	intercept := func(f func(call int, r *http.Request) error) {
		var mu sync.Mutex // batches may be under way side by side
		calls := 0
		s.intercept(func(r *http.Request) error {
			mu.Lock()
			defer mu.Unlock()
			calls++
			return f(calls, r)
		})
	}

	t.Run("applies everything in order, under one execution", func(t *testing.T) {
		trace := ""
		intercept(func(_ int, r *http.Request) error {
			got := r.Header.Get("Traceparent")
			if len(got) != 55 || (trace != "" && got[:36] != trace[:36]) {
				t.Errorf("traceparent %q, want the execution of %q", got, trace)
			}
			trace = got
			return nil
		})
		l, err := run(t, t.Context(), records{n: 1050})
		if err != nil {
			t.Fatal(err)
		}
		balance(t, l.GetBalance(), 1050, 945, 0, 0, 0, 105)
	})
	t.Run("waits as long as it is told", func(t *testing.T) {
		busy := unavailable(t)
		intercept(func(call int, _ *http.Request) error {
			if call <= 3 {
				return busy
			}
			return nil
		})
		began := time.Now()
		l, err := run(t, t.Context(), records{n: 10})
		if err != nil || l.GetState() != "complete" {
			t.Fatalf("load %v, %v", l, err)
		}
		if took := time.Since(began); took < 90*time.Millisecond {
			t.Errorf("three waits of 30 ms took %v", took)
		}
	})
	t.Run("stops while it waits", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		busy := unavailable(t)
		intercept(func(int, *http.Request) error {
			cancel()
			return busy
		})
		if _, err := run(t, ctx, records{n: 10}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("gives up what cannot succeed", func(t *testing.T) {
		calls := 0
		intercept(func(call int, _ *http.Request) error {
			calls = call
			return connect.NewError(connect.CodePermissionDenied, errors.New("no"))
		})
		if _, err := run(t, t.Context(), records{n: 5000}); connect.CodeOf(err) != connect.CodePermissionDenied || calls > 2 { // the next batch may be on its way
			t.Errorf("%d calls, error %v", calls, err)
		}
	})
	s.intercept(nil)
	t.Run("halts a damaged source", func(t *testing.T) {
		l, err := run(t, t.Context(), records{n: 500, broken: 301, err: crm.Errorf(crm.Invalid, "line 301 is torn")})
		if _, ok := errors.AsType[*adapters.HaltedError](err); !ok || !strings.Contains(err.Error(), "line 301 is torn") || l.GetState() != "halted" {
			t.Errorf("load %v, %v", l, err)
		}
	})
	t.Run("leaves an unreadable source to be resumed", func(t *testing.T) {
		if _, err := run(t, t.Context(), records{n: 500, broken: 301, err: errors.New("the disk is away")}); err == nil {
			t.Fatal("no error")
		}
		l, err := run(t, t.Context(), records{n: 500})
		if err != nil || l.GetBalance().GetRead() != 500 {
			t.Errorf("load %v, %v", l, err)
		}
	})
	t.Run("needs its token", func(t *testing.T) {
		r := &adapters.Runner{Loads: adapters.NewClient(s.url, filepath.Join(t.TempDir(), "none")), Log: slog.New(slog.DiscardHandler)}
		if _, err := r.Run(t.Context(), records{n: 1}, "accounts", beginRequest("x")); connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("got %v", err)
		}
	})
}

// BenchmarkLoad loads accounts through everything a facade's rows pass: the
// API, the door with policy and no plugins, PostgreSQL. rows/s is what counts.
func BenchmarkLoad(b *testing.B) {
	s := newWorld(b).site(b)
	for i := 0; b.Loop(); i++ {
		const n = 20_000
		r := &adapters.Runner{Loads: s.client(), Batch: adapters.MaxBatch, Log: slog.New(slog.DiscardHandler)}
		began := time.Now()
		begin := beginRequest(fmt.Sprint(i))
		l, err := r.Run(b.Context(), fresh{prefix: fmt.Sprintf("B%d-", i), records: records{n: n}}, "accounts", begin)
		if err != nil || l.GetBalance().GetRead() != n {
			b.Fatal(l, err)
		}
		b.ReportMetric(n/time.Since(began).Seconds(), "rows/s")
	}
}

// fresh is records with keys nobody has had.
type fresh struct {
	prefix string
	records
}

func (f fresh) Read(ctx context.Context, stream string, from *facadev1.Position, emit func(*facadev1.ReadResponse) error) error {
	return f.records.Read(ctx, stream, from, func(item *facadev1.ReadResponse) error {
		if row := item.GetRow(); row != nil {
			row.Fields["source_id"] = text(f.prefix + row.Fields["source_id"].GetString_())
			for _, name := range []string{"sector", "industry_group", "industry", "state", "city", "postal_code", "website", "size_band", "isin", "email", "phone", "tax_id"} {
				row.Fields[name] = text(name + " of a company")
			}
			row.Fields["annual_revenue"] = &recordv1.Value{Kind: &recordv1.Value_Decimal{Decimal: "1234567.5"}}
		}
		return emit(item)
	})
}
