package pluginhost_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/pluginhost"
	dataquality "meridian/plugins/data-quality"
	territoryassignment "meridian/plugins/territory-assignment"
	"meridian/plugins/wire"
)

// benchHost runs both shipped plugins, in processes or in this one.
func benchHost(b *testing.B, processes bool) *pluginhost.Host {
	b.Helper()
	cfg := pluginhost.Config{Dir: b.TempDir(), Definitions: definitions(), Log: slog.New(slog.DiscardHandler)}
	if processes {
		self, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		for _, name := range []string{dataquality.Name, territoryassignment.Name} {
			if err := os.Symlink(self, filepath.Join(cfg.Dir, wire.BinaryPrefix+name)); err != nil {
				b.Fatal(err)
			}
			cfg.Plugins = append(cfg.Plugins, pluginhost.Ref{Name: name})
		}
		if _, err := wire.WriteLock(cfg.Dir); err != nil {
			b.Fatal(err)
		}
	} else {
		cfg.Plugins = []pluginhost.Ref{{Name: dataquality.Name, Builtin: dataquality.New}, {Name: territoryassignment.Name, Builtin: territoryassignment.New}}
	}
	h, err := pluginhost.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	if err := h.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(h.Close)
	return h
}

func fresh(n int) []*access.Draft {
	out := make([]*access.Draft, n)
	for i := range out {
		out[i] = create("name", "Acme", "country", "Germany", "sector", "Financials", "email", "jo@EXAMPLE.com", "phone", "089 1234567", "website", "http://acme.example")
	}
	return out
}

func benchmark(b *testing.B, h *pluginhost.Host, batch int) {
	b.ReportAllocs()
	for b.Loop() {
		drafts := fresh(batch)
		h.Run(b.Context(), "0123456789abcdef0123456789abcdef", drafts)
		if drafts[0].Err != nil {
			b.Fatal(drafts[0].Err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "us/record")
}

// A write through all three steps: two transforms' calls and a validator's.
func BenchmarkBuiltinSingle(b *testing.B)   { benchmark(b, benchHost(b, false), 1) }
func BenchmarkProcessSingle(b *testing.B)   { benchmark(b, benchHost(b, true), 1) }
func BenchmarkProcessBatch256(b *testing.B) { benchmark(b, benchHost(b, true), 256) }

// Sixty-four writers at once, a record each.
func BenchmarkProcessConcurrent64(b *testing.B) {
	h := benchHost(b, true)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			drafts := fresh(1)
			h.Run(b.Context(), "0123456789abcdef0123456789abcdef", drafts)
			if drafts[0].Err != nil {
				b.Error(drafts[0].Err)
			}
		}
	})
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "us/record")
}

func BenchmarkNobodyListens(b *testing.B) {
	h := benchHost(b, false)
	drafts := []*access.Draft{{Entity: "product", Op: crm.OpUpdate}}
	for b.Loop() {
		h.Run(b.Context(), "", drafts)
	}
}
