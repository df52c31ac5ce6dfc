// Package plugintest is the conformance suite of plugins: what every plugin
// must do, in process and behind plugins/wire, so that a host may batch, split
// and repeat its calls at will. A plugin's own test gives it sample records
// and adds what the plugin is for.
package plugintest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"meridian/instance/crm"
	"meridian/plugins"
	"meridian/plugins/wire"
)

// Samples are records by entity: good, bad and odd ones.
type Samples map[string][]map[string]crm.Value

// Road is a way to reach the plugin.
type Road struct {
	Name string
	Open func(t *testing.T) plugins.Plugin
}

// InProcess is the road without a process.
func InProcess(build func() plugins.Plugin) Road {
	return Road{"in process", func(*testing.T) plugins.Plugin { return build() }}
}

// Process is the road through a process of its own: the test binary itself,
// which Main turns into the plugin.
func Process() Road {
	return Road{"process", func(t *testing.T) plugins.Plugin {
		t.Helper()
		path, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := wire.Digest(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := wire.Start(t.Context(), wire.Config{Path: path, SHA256: digest})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
		return p
	}}
}

// Main runs the tests of a plugin's package, or the plugin if a host started
// this binary as one.
func Main(m *testing.M, build func() plugins.Plugin) {
	if wire.Started() {
		wire.Serve(build)
		return
	}
	goleak.VerifyTestMain(m)
}

// Run runs the suite on every road and compares what they answer.
func Run(t *testing.T, samples Samples, roads ...Road) {
	var first []plugins.Result
	for i, road := range roads {
		t.Run(road.Name, func(t *testing.T) {
			p := road.Open(t)
			if err := p.Configure(t.Context(), "testland", nil); err != nil {
				t.Fatalf("Configure without a configuration: %v", err)
			}
			s := suite{p, samples}
			t.Run("ManifestIsValidAndStable", s.manifest)
			t.Run("ConfigurationNobodyDeclaredIsRefused", s.configuration)
			t.Run("EveryStepAnswersWithinItsDeclaration", s.answers)
			t.Run("AnySplitOfABatchIsEqual", s.splits)
			t.Run("EmptyBatch", s.empty)
			t.Run("UndeclaredFieldsAreNotRead", s.undeclared)
			t.Run("TransformsAreIdempotent", s.idempotent)
			t.Run("UnknownStepIsRefused", s.unknown)
			t.Run("CancelledContext", s.cancelled)
			t.Run("Concurrency", s.concurrency)
			all := s.all(t)
			if i == 0 {
				first = all
			} else if d := cmp.Diff(first, all, equal); d != "" {
				t.Errorf("%s answers otherwise than %s:\n%s", road.Name, roads[0].Name, d)
			}
		})
	}
}

type suite struct {
	p       plugins.Plugin
	samples Samples
}

// equal treats a nil and an empty map as the same, as the wire does.
var equal = cmp.Options{
	cmp.Comparer(func(a, b crm.Value) bool { return a.Equal(b) }),
	cmp.Comparer(func(a, b map[string]crm.Value) bool { return maps.EqualFunc(a, b, crm.Value.Equal) }),
	cmp.Comparer(func(a, b map[string]string) bool { return maps.Equal(a, b) }),
	cmp.Comparer(func(a, b []plugins.Finding) bool { return slices.Equal(a, b) }),
}

// batches makes one batch per hook and operation of all its samples, as a
// host would project them.
func (s suite) batches(t *testing.T) []plugins.Batch {
	t.Helper()
	var out []plugins.Batch
	for _, h := range s.p.Manifest().Hooks {
		if len(s.samples[h.Entity]) == 0 {
			t.Fatalf("step %s: the suite needs samples of %s", h.Step, h.Entity)
		}
		for _, op := range h.Operations {
			b := plugins.Batch{Entity: h.Entity, Op: op, Stage: h.Stage, Steps: []string{h.Step}}
			for i, fields := range s.samples[h.Entity] {
				r := plugins.Record{Execution: fmt.Sprintf("%032x", i+1), Fields: map[string]crm.Value{}}
				for _, f := range h.Reads {
					if v, ok := fields[f]; ok {
						r.Fields[f] = v
						r.Changed = append(r.Changed, f)
					}
				}
				b.Records = append(b.Records, r)
			}
			out = append(out, b)
		}
	}
	return out
}

func (s suite) invoke(t *testing.T, b plugins.Batch) []plugins.Result {
	t.Helper()
	results, err := s.p.Invoke(t.Context(), b)
	if err != nil {
		t.Fatalf("%v of %s %s: %v", b.Steps, b.Op, b.Entity, err)
	}
	if len(results) != len(b.Records) {
		t.Fatalf("%v: %d results for %d records", b.Steps, len(results), len(b.Records))
	}
	return results
}

func (s suite) all(t *testing.T) (out []plugins.Result) {
	for _, b := range s.batches(t) {
		out = append(out, s.invoke(t, b)...)
	}
	return out
}

func (s suite) manifest(t *testing.T) {
	m := s.p.Manifest()
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(m, s.p.Manifest()); d != "" {
		t.Errorf("the manifest changed between two calls:\n%s", d)
	}
}

func (s suite) configuration(t *testing.T) {
	if s.p.Manifest().ConfigSchema != "" {
		t.Skip("it declares a configuration")
	}
	if err := s.p.Configure(t.Context(), "testland", []byte(`{"surprise":true}`)); crm.KindOf(err) != crm.Invalid {
		t.Errorf("Configure(surprise) = %v, want invalid", err)
	}
}

func (s suite) answers(t *testing.T) {
	for _, b := range s.batches(t) {
		h, _ := s.p.Manifest().Hook(b.Steps[0])
		for i, r := range s.invoke(t, b) {
			if len(r.Verdicts) != 1 || r.Verdicts[0].Step != h.Step {
				t.Fatalf("step %s, sample %d: answered %+v", h.Step, i, r.Verdicts)
			}
			v := r.Verdicts[0]
			if v.Verdict == plugins.Unset || v.Verdict == plugins.Failed {
				t.Errorf("step %s, sample %d: verdict %v", h.Step, i, v.Verdict)
			}
			if v.Verdict == plugins.Veto && (len(v.Findings) == 0 || v.Findings[0].Message == "" || v.Findings[0].Code == "") {
				t.Errorf("step %s, sample %d: a veto without a finding that says why", h.Step, i)
			}
			if v.Verdict != plugins.Allow && len(v.Set)+len(v.Govern) > 0 {
				t.Errorf("step %s, sample %d: %v, and yet it sets something", h.Step, i, v.Verdict)
			}
			for f := range v.Set {
				if !slices.Contains(h.Sets, f) {
					t.Errorf("step %s, sample %d: sets %s undeclared", h.Step, i, f)
				}
			}
			for g := range v.Govern {
				if !slices.Contains(h.Governs, g) {
					t.Errorf("step %s, sample %d: governs %s undeclared", h.Step, i, g)
				}
			}
		}
	}
}

func (s suite) splits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, b := range s.batches(t) {
		whole := s.invoke(t, b)
		for round := range 4 {
			var parts []plugins.Result
			for rest := b.Records; len(rest) > 0; {
				n := 1 // the first round is record by record
				if round > 0 {
					n += random.IntN(len(rest))
				}
				part := b
				part.Records, rest = rest[:n], rest[n:]
				parts = append(parts, s.invoke(t, part)...)
			}
			if d := cmp.Diff(whole, parts, equal); d != "" {
				t.Fatalf("%v: a split answers otherwise:\n%s", b.Steps, d)
			}
		}
	}
}

func (s suite) empty(t *testing.T) {
	for _, b := range s.batches(t) {
		b.Records = nil
		s.invoke(t, b)
	}
}

// undeclared shows the plugin every field of the samples and some that no
// entity has: only the declared ones may count.
func (s suite) undeclared(t *testing.T) {
	for _, b := range s.batches(t) {
		want := s.invoke(t, b)
		h, _ := s.p.Manifest().Hook(b.Steps[0])
		for i := range b.Records {
			r := &b.Records[i]
			r.Fields = maps.Clone(r.Fields)
			for f, v := range s.samples[b.Entity][i] {
				if !slices.Contains(h.Reads, f) {
					r.Fields[f] = v
				}
			}
			r.Fields["x__surprise"] = crm.String("surprise")
			r.Changed = append(slices.Clip(r.Changed), "x__surprise")
		}
		if d := cmp.Diff(want, s.invoke(t, b), equal); d != "" {
			t.Errorf("%v reads what it does not declare:\n%s", b.Steps, d)
		}
	}
}

func (s suite) idempotent(t *testing.T) {
	for _, b := range s.batches(t) {
		if b.Stage != plugins.Transform {
			continue
		}
		first := s.invoke(t, b)
		for i := range b.Records {
			r := &b.Records[i]
			r.Fields = maps.Clone(r.Fields)
			maps.Copy(r.Fields, first[i].Verdicts[0].Set)
		}
		for i, again := range s.invoke(t, b) {
			v := again.Verdicts[0]
			for f, val := range v.Set {
				if !val.Equal(b.Records[i].Fields[f]) {
					t.Errorf("%v, sample %d: sets %s again, to something else", b.Steps, i, f)
				}
			}
			if d := cmp.Diff(first[i].Verdicts[0].Govern, v.Govern, equal); d != "" {
				t.Errorf("%v, sample %d: governs otherwise the second time:\n%s", b.Steps, i, d)
			}
		}
	}
}

func (s suite) unknown(t *testing.T) {
	b := s.batches(t)[0]
	b.Steps = []string{"no-such-step"}
	if results, err := s.p.Invoke(t.Context(), b); err == nil {
		t.Errorf("an unknown step answered %v", results)
	}
}

// cancelled: an answer to a call that has ended is complete or an error.
func (s suite) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, b := range s.batches(t) {
		if results, err := s.p.Invoke(ctx, b); err == nil && len(results) != len(b.Records) {
			t.Errorf("%v: %d of %d results and no error", b.Steps, len(results), len(b.Records))
		}
	}
}

func (s suite) concurrency(t *testing.T) {
	batches := s.batches(t)
	want := s.all(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var got []plugins.Result
			for _, b := range batches {
				results, err := s.p.Invoke(t.Context(), b)
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, results...)
			}
			if d := cmp.Diff(want, got, equal); d != "" {
				t.Errorf("concurrent calls answer otherwise:\n%s", d)
			}
		})
	}
	wg.Wait()
}
