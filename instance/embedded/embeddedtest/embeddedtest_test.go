package embeddedtest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/kafka-go"

	"meridian/instance/embedded/embeddedtest"
)

func TestMain(m *testing.M) { embeddedtest.Main(m) }

func TestDatabaseIsFreshAndItsRoleOrdinary(t *testing.T) {
	for range 2 {
		conn, err := pgx.Connect(t.Context(), embeddedtest.Database(t))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context()) //nolint:errcheck // the test is over
		var super string
		if err := conn.QueryRow(t.Context(), "select current_setting('is_superuser')").Scan(&super); err != nil || super != "off" {
			t.Fatalf("superuser = %q, %v; want an ordinary role", super, err)
		}
		if _, err := conn.Exec(t.Context(), "create schema record; create table record.account (id uuid)"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKafkaAnswers(t *testing.T) {
	conn, err := kafka.DialContext(t.Context(), "tcp", embeddedtest.Kafka(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	brokers, err := conn.Brokers()
	if err != nil || len(brokers) != 1 {
		t.Fatalf("brokers = %v, %v; want one", brokers, err)
	}
}
