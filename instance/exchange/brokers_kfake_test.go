//go:build !kafka

package exchange

import (
	"testing"

	"meridian/instance/embedded/embeddedtest"
)

// testBrokers is where the tests' instances meet: the embedded broker, or with
// -tags kafka Apache Kafka.
func testBrokers(t testing.TB) []string { return embeddedtest.Kafka(t) }
