//go:build kafka

package exchange_test

import (
	"testing"

	"meridian/instance/embedded/embeddedtest"
)

func TestTransportOnApacheKafka(t *testing.T) {
	brokers := embeddedtest.ApacheKafka(t)
	transportSuite(t, brokers, func(t *testing.T) { embeddedtest.RestartApacheKafka(t) })
}
