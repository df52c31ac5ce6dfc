//go:build kafka

package embeddedtest_test

import (
	"testing"

	"github.com/segmentio/kafka-go"

	"meridian/instance/embedded/embeddedtest"
)

func TestApacheKafkaAnswers(t *testing.T) {
	conn, err := kafka.DialContext(t.Context(), "tcp", embeddedtest.ApacheKafka(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	if err := conn.CreateTopics(kafka.TopicConfig{Topic: "here", NumPartitions: 1, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
}
