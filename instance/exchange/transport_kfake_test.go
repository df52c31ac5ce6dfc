package exchange_test

import (
	"net"
	"strconv"
	"testing"

	"meridian/instance/embedded"
	"meridian/instance/embedded/embeddedtest"
)

func TestMain(m *testing.M) { embeddedtest.Main(m) }

func TestTransportOnEmbeddedBroker(t *testing.T) {
	dir := t.TempDir()
	broker, err := embedded.StartKafka(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Stop() })
	addresses := broker.Brokers()
	_, p, err := net.SplitHostPort(addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	transportSuite(t, addresses, func(t *testing.T) {
		broker.Stop()
		if broker, err = embedded.StartKafka(dir, port); err != nil {
			t.Fatal(err)
		}
	})
}
