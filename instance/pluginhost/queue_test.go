package pluginhost_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/pluginhost"
	"meridian/plugins"
)

// recorder keeps what a plugin was shown.
type recorder struct {
	plugins.Plugin
	seen *[]plugins.Record
}

func (r *recorder) Invoke(ctx context.Context, b plugins.Batch) ([]plugins.Result, error) {
	*r.seen = append(*r.seen, b.Records...)
	return r.Plugin.Invoke(ctx, b)
}

// gate is a plugin whose calls wait to be let through.
type gate struct {
	plugins.Plugin
	came chan int // records of each call that came in
	pass chan struct{}
}

func (g *gate) Invoke(ctx context.Context, b plugins.Batch) ([]plugins.Result, error) {
	g.came <- len(b.Records)
	select {
	case <-g.pass:
		return g.Plugin.Invoke(ctx, b)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func gated(t *testing.T) (*pluginhost.Host, *gate) {
	t.Helper()
	g := &gate{came: make(chan int, 100), pass: make(chan struct{})}
	g.Plugin = fake("a", allow, plugins.Hook{Step: "s", Reads: []string{"city"}, Deadline: time.Minute})
	h, err := builtin(t, g)
	if err != nil {
		t.Fatal(err)
	}
	return h, g
}

// While two calls are under way, what other writers bring is united.
func TestConcurrentWritesShareACall(t *testing.T) {
	h, g := gated(t)
	var wg sync.WaitGroup
	write := func(i int) {
		wg.Go(func() {
			d := create("city", fmt.Sprint(i))
			run(t, h, d)
			if d.Err != nil || len(d.Steps) != 1 {
				t.Errorf("write %d: %v, %v", i, d.Err, d.Steps)
			}
		})
	}
	for i := range 2 {
		write(i)
		if n := <-g.came; n != 1 {
			t.Fatalf("an idle plugin got %d records", n)
		}
	}
	const others = 40
	for i := range others {
		write(i)
	}
	eventually(t, 5*time.Second, "the others queue", func() bool { return h.Waiting() == others })
	g.pass <- struct{}{}
	if n := <-g.came; n != others {
		t.Errorf("the next call has %d records, want %d", n, others)
	}
	close(g.pass)
	wg.Wait()
}

func TestLargeBatchGoesInParts(t *testing.T) {
	h, g := gated(t)
	close(g.pass)
	var drafts []*access.Draft
	for i := range 600 {
		drafts = append(drafts, create("city", fmt.Sprint(i)))
	}
	run(t, h, drafts...)
	total := 0
	for total < len(drafts) {
		n := <-g.came
		if n > 256 {
			t.Errorf("a call of %d records", n)
		}
		total += n
	}
	for i, d := range drafts {
		if d.Err != nil || len(d.Steps) != 1 {
			t.Fatalf("draft %d: %v, %v", i, d.Err, d.Steps)
		}
	}
}

// A writer that leaves takes its record along, and leaves the plugin's name
// unharmed.
func TestWriterThatLeaves(t *testing.T) {
	h, g := gated(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	drafts := []*access.Draft{create("city", "1"), create("city", "2"), create("city", "3")}
	for i, d := range drafts {
		wg.Go(func() { h.Run(ctx, "", []*access.Draft{d}) })
		if i < 2 {
			<-g.came
		}
	}
	eventually(t, 5*time.Second, "the third queues", func() bool { return h.Waiting() == 1 })
	cancel()
	wg.Wait()
	for _, d := range drafts {
		wantUnavailable(t, d)
	}
	close(g.pass)
	d := create("city", "4")
	run(t, h, d)
	if d.Err != nil {
		t.Error(d.Err)
	}
	for len(g.came) > 0 {
		if n := <-g.came; n != 1 {
			t.Errorf("a call of %d records: the writer that left was sent along", n)
		}
	}
	if s := status(t, h, "a"); s.LastError != "" {
		t.Errorf("last error %q", s.LastError)
	}
}

func TestDeadlineOfAStep(t *testing.T) {
	g := &gate{came: make(chan int, 100), pass: make(chan struct{})}
	g.Plugin = fake("a", allow, plugins.Hook{Step: "s", Deadline: 20 * time.Millisecond})
	h, err := builtin(t, g)
	if err != nil {
		t.Fatal(err)
	}
	d := create("city", "Bern")
	run(t, h, d)
	wantUnavailable(t, d)
}

// A write that no plugin listens to costs nothing worth counting.
func TestNobodyListensCostsNothing(t *testing.T) {
	h := both(t)
	drafts := []*access.Draft{{Entity: "product", Op: crm.OpUpdate}}
	if n := testing.AllocsPerRun(100, func() { h.Run(t.Context(), "", drafts) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
