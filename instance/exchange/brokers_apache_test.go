//go:build kafka

package exchange

import (
	"testing"

	"meridian/instance/embedded/embeddedtest"
)

func testBrokers(t testing.TB) []string { return embeddedtest.ApacheKafka(t) }
