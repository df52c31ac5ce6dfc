package exchange

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// What tests ask a side about acknowledgements.

// line is the newest line of the ledger about a record.
func (s *side) line(id crm.RecordID) *exchangev1.LedgerEntry {
	s.t.Helper()
	entries, err := s.x.Ledger(s.t.Context(), &exchangev1.ListLedgerRequest{RecordId: string(id)})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(entries) == 0 {
		return &exchangev1.LedgerEntry{}
	}
	return entries[0]
}

// acknowledged waits until the last word about a record is an operation that
// its destination acknowledged.
func (s *side) acknowledged(id crm.RecordID, op crm.Op) {
	s.t.Helper()
	eventually(s.t, func() error {
		if l := s.line(id); !says(l, op) || l.Acknowledged == nil {
			return fmt.Errorf("the ledger says %s of %s, acknowledged %v; want %s, acknowledged", l.Operation, id, l.Acknowledged, op)
		}
		return nil
	})
}

// says tells whether a line is an operation; a snapshot's row is an upsert.
func says(l *exchangev1.LedgerEntry, op crm.Op) bool {
	return l.Operation == string(op) || holds(op) && holds(crm.Op(l.Operation))
}

// sent waits until the last word about a record is an operation that Kafka has.
func (s *side) sent(id crm.RecordID, op crm.Op) {
	s.t.Helper()
	eventually(s.t, func() error {
		if l := s.line(id); !says(l, op) {
			return fmt.Errorf("the ledger says %s of %s, want %s", l.Operation, id, op)
		}
		if n := s.out().Pending; n > 0 {
			return fmt.Errorf("%d messages are not sent", n)
		}
		return nil
	})
}

// owed are the records whose retraction the ledger says is not acknowledged.
func (s *side) owed() (ids []string) {
	s.t.Helper()
	entries, err := s.x.Ledger(s.t.Context(), &exchangev1.ListLedgerRequest{Unacknowledged: true})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		ids = append(ids, e.RecordId)
	}
	return ids
}

// out is the side's status of its one stream out of an entity.
func (s *side) out() *exchangev1.StreamStatus {
	s.t.Helper()
	status, err := s.x.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, st := range status.Streams {
		if st.Direction == "out" {
			return st
		}
	}
	s.t.Fatal("no stream out")
	return nil
}

// query reads one value from the side's database, past everything.
func query[T any](s *side, sql string, args ...any) (v T) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(s.t.Context()) //nolint:errcheck // it only read
	if err := conn.QueryRow(s.t.Context(), sql, args...).Scan(&v); err != nil {
		s.t.Fatal(err)
	}
	return v
}

// gone fails the test unless nothing is left of a record but the value-free
// holding: no row, no history, no parked copy.
func (s *side) gone(id crm.RecordID) {
	s.t.Helper()
	if _, ok := s.raw(id); ok {
		s.t.Errorf("%s still holds %s", s.name, id)
	}
	for what, sql := range map[string]string{
		"versions in the history": "select count(*) from history.account where id = $1::uuid",
		"parked copies":           "select count(*) from meridian.exchange_parked where key = $1",
		"holdings that hold":      "select count(*) from meridian.holding where held and record_id = $1::uuid",
	} {
		if n := query[int64](s, sql, string(id)); n > 0 {
			s.t.Errorf("%s has %d %s of %s", s.name, n, what, id)
		}
	}
}

// hears waits until the side has read all that from told it until now.
func (s *side) hears(from *side) {
	s.t.Helper()
	topic := streamName(from.name, s.name, control)
	told := readTopic(s.t, s.brokers, topic)
	eventually(s.t, func() error {
		in, err := s.store.Inbox(s.t.Context(), topic, from.name, control)
		if err == nil && in.NextOffset < int64(len(told)) {
			err = fmt.Errorf("read %d of %d", in.NextOffset, len(told))
		}
		return err
	})
}

// toldTopic is all that emea ever told amer.
func toldTopic(t *testing.T, amer, emea *side) []Message {
	t.Helper()
	return readTopic(t, amer.brokers, streamName(emea.name, amer.name, control))
}
