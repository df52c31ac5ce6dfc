package embedded_test

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"meridian/instance/embedded"
)

func TestKafkaKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	k, err := embedded.StartKafka(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	address := k.Brokers()[0]
	w := &kafka.Writer{Addr: kafka.TCP(address), Topic: "kept", RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond}
	conn, err := kafka.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.CreateTopics(kafka.TopicConfig{Topic: "kept", NumPartitions: 1, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteMessages(t.Context(), kafka.Message{Value: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	k.Stop()

	host, port, err := net.SplitHostPort(address)
	if err != nil || host != "127.0.0.1" {
		t.Fatalf("address = %s, %v; want loopback only", address, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	again, err := embedded.StartKafka(dir, number)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: again.Brokers(), Topic: "kept", MaxWait: 2 * time.Second})
	defer r.Close() //nolint:errcheck // the test is over
	m, err := r.ReadMessage(ctx)
	if err != nil || string(m.Value) != "hello" {
		t.Fatalf("message = %q, %v; want hello", m.Value, err)
	}
}
