package embedded

import (
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka is a one-broker Kafka inside this process.
type Kafka struct{ cluster *kfake.Cluster }

// StartKafka starts the broker on 127.0.0.1:port, or on a free port for 0.
// With a dir, what is acknowledged is on disc and found again; without one,
// everything is gone with the process.
func StartKafka(dir string, port int) (*Kafka, error) {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DefaultNumPartitions(1),
		// The default looks for something to compact once an hour.
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": "60000"}),
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
	return &Kafka{cluster}, nil
}

// Brokers is where clients find it.
func (k *Kafka) Brokers() []string { return k.cluster.ListenAddrs() }

// Stop ends the broker.
func (k *Kafka) Stop() { k.cluster.Close() }
