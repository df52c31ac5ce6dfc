//go:build kafka

package exchange

import (
	"testing"

	"meridian/instance/embedded/embeddedtest"
)

func testBrokers(t *testing.T) []string { return embeddedtest.ApacheKafka(t) }
