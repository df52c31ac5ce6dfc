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

// TestKafkaForgetsAfterARestart: what is past its topic's retention goes, also
// of a topic that the broker found on disc.
func TestKafkaForgetsAfterARestart(t *testing.T) {
	dir := t.TempDir()
	k, err := embedded.StartKafka(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	client := &kafka.Client{Addr: kafka.TCP(k.Brokers()...)}
	res, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: "short", NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "1"}},
	}}})
	if err != nil || res.Errors["short"] != nil {
		t.Fatal(err, res)
	}
	w := &kafka.Writer{Addr: kafka.TCP(k.Brokers()...), Topic: "short", RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond}
	if err := w.WriteMessages(t.Context(), kafka.Message{Value: []byte("gone soon")}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	k.Stop()
	if k, err = embedded.StartKafka(dir, 0); err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	conn, err := kafka.DialLeader(t.Context(), "tcp", k.Brokers()[0], "short", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	if first, err := conn.ReadFirstOffset(); err != nil || first != 0 {
		t.Fatalf("after the restart the topic begins at %d (%v), want 0", first, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go k.Clean(ctx, 10*time.Millisecond)
	for first := int64(0); first == 0; {
		if first, err = conn.ReadFirstOffset(); err != nil || ctx.Err() != nil {
			t.Fatalf("the message is still there: %v %v", err, ctx.Err())
		}
	}
}
