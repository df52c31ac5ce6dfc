package embedded

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

const (
	// topicBytes bounds a topic on disc, beside its own retention by time: a
	// destination that is away for longer than that has its gap repaired.
	topicBytes   = 1 << 30
	segmentBytes = 32 << 20 // files are removed whole
	cleanEvery   = time.Minute
)

// Kafka is a one-broker Kafka inside this process.
type Kafka struct {
	cluster *kfake.Cluster
	stop    context.CancelFunc
	cleaner sync.WaitGroup
}

// StartKafka starts the broker on 127.0.0.1:port, or on a free port for 0.
// With a dir, what is acknowledged is on disc and found again; without one,
// everything is gone with the process.
func StartKafka(dir string, port int) (*Kafka, error) {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DefaultNumPartitions(1),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms": "60000", // the default looks for something to remove once an hour
			"log.retention.bytes":    strconv.Itoa(topicBytes),
			"log.segment.bytes":      strconv.Itoa(segmentBytes),
		}),
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the Kafka folder: %w", err)
		}
		opts = append(opts, kfake.DataDir(dir), kfake.SyncWrites())
	}
	if port != 0 {
		opts = append(opts, kfake.Ports(port))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("start the embedded Kafka: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	k := &Kafka{cluster: cluster, stop: stop}
	k.cleaner.Go(func() { k.clean(ctx, cleanEvery) })
	return k, nil
}

// clean removes what is past its topic's retention. The broker's own cleaner
// does not run for topics that it found on disc at its start.
func (k *Kafka) clean(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.cluster.ApplyRetention()
		}
	}
}

// Brokers is where clients find it.
func (k *Kafka) Brokers() []string { return k.cluster.ListenAddrs() }

// Stop ends the broker.
func (k *Kafka) Stop() {
	k.stop()
	k.cleaner.Wait()
	k.cluster.Close()
}
