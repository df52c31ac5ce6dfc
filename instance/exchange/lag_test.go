package exchange

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/feed"
)

// BenchmarkLag measures, at 200 changes a second, the time from the answer to
// a writer in one instance until a watcher in the other was told: commit,
// relay, Kafka, commit, feed. Run it alone, with -benchtime 5s or so.
func BenchmarkLag(b *testing.B) {
	amer, emea := pair(b)
	amer.start()
	emea.start()
	const accounts = 50
	rs := make([]crm.Record, accounts)
	for i := range rs {
		rs[i] = amer.create("Bank", "US-CA", banks)
	}
	quiet(b, amer, emea)

	type seen struct {
		id      crm.RecordID
		version int64
	}
	var mu sync.Mutex
	committed := map[seen]time.Time{}
	told := map[seen]time.Time{}
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(b.Context())
	watched := make(chan error, 1)
	go func() {
		watched <- emea.feed.Watch(ctx, emea.as("reader"), "account", "", func(e feed.Event) error {
			switch e.Type {
			case feed.Ready:
				close(ready)
			case feed.Upsert:
				mu.Lock()
				told[seen{e.ID, e.Record.Version}] = time.Now()
				mu.Unlock()
			}
			return nil
		})
	}()
	<-ready
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var writing sync.WaitGroup
	busy := make([]sync.Mutex, accounts)
	n := 0
	for b.Loop() {
		<-tick.C
		i := n % accounts
		n++
		writing.Go(func() {
			busy[i].Lock()
			defer busy[i].Unlock()
			rs[i] = amer.update(rs[i], access.UpdateRow{Fields: map[string]crm.Value{"city": crm.String(time.Now().String())}})
			mu.Lock()
			committed[seen{rs[i].ID, rs[i].Version}] = time.Now()
			mu.Unlock()
		})
	}
	writing.Wait()
	quiet(b, amer, emea)
	eventually(b, func() error { return compareReplica(b, amer, emea, idsOf(rs)) })
	cancel()
	if err := <-watched; err != nil {
		b.Error(err)
	}
	// A version that the next one overtook was never told by itself: its writer's
	// change was visible when the next was told.
	var lags []time.Duration
	for s, at := range committed {
		for v := s.version; ; v++ {
			t, ok := told[seen{s.id, v}]
			if ok {
				lags = append(lags, max(0, t.Sub(at)))
				break
			}
			if v > s.version+1000 {
				break
			}
		}
	}
	if len(lags) == 0 {
		b.Fatal("nobody was told anything")
	}
	slices.Sort(lags)
	for name, q := range map[string]float64{"p50-ms": 0.50, "p95-ms": 0.95, "p99-ms": 0.99} {
		b.ReportMetric(float64(lags[int(q*float64(len(lags)-1))].Microseconds())/1000, name)
	}
}

func idsOf(rs []crm.Record) []crm.RecordID {
	ids := make([]crm.RecordID, len(rs))
	for i, r := range rs {
		ids[i] = r.ID
	}
	return ids
}
