package exchange

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// acknowledgedIsDone holds what amer believes acknowledged against what emea
// has: it is beyond each acknowledged line, and of a record whose last
// acknowledged line took it back it has nothing that came before, no row, no
// version and no parked copy.
func acknowledgedIsDone(t testing.TB, amer, emea *side) error {
	t.Helper()
	type line struct {
		ID        string
		Operation string
		Exposure  int64
		Version   int64
		Sequence  int64
		Done      bool
	}
	ledger := func() []line {
		return rowsOf[line](amer, `select e.record_id::text, e.operation, e.exposure, e.version, e.sequence,
			exists (select from meridian.egress_receipt a where a.stream = e.stream and a.epoch = e.epoch and e.sequence between a.first and a.last)
			from meridian.egress e order by e.exposure`)
	}
	type copied struct {
		ID     string
		Number int64
	}
	// What is acknowledged is read first, and what left last: both go on.
	before := ledger()
	held := map[string]int64{}
	for _, h := range rowsOf[copied](emea, "select record_id::text, exposure from meridian.holding") {
		held[h.ID] = h.Number
	}
	versions := rowsOf[copied](emea, "select id::text, version from record.account union all select id::text, version from history.account")
	parked := rowsOf[copied](emea, "select key, sequence from meridian.exchange_parked")
	back := map[string]line{} // the last retraction that is acknowledged
	for _, l := range before {
		if l.Done && held[l.ID] < l.Exposure {
			return fmt.Errorf("%s %d of %s is acknowledged, and %s has seen %d", l.Operation, l.Exposure, l.ID, emea.name, held[l.ID])
		}
		if l.Done && !holds(crm.Op(l.Operation)) {
			back[l.ID] = l
		}
	}
	later := map[copied]bool{} // the versions that left after it
	for _, l := range ledger() {
		if l.Exposure > back[l.ID].Exposure {
			later[copied{l.ID, l.Version}] = true
		}
	}
	for _, v := range versions {
		if l, ok := back[v.ID]; ok && !later[v] {
			return fmt.Errorf("%s has version %d of %s, whose %s %d is acknowledged", emea.name, v.Number, v.ID, l.Operation, l.Exposure)
		}
	}
	for _, p := range parked {
		if l, ok := back[p.ID]; ok && p.Number <= l.Sequence {
			return fmt.Errorf("%s has number %d of %s parked, whose %s is number %d and acknowledged", emea.name, p.Number, p.ID, l.Operation, l.Sequence)
		}
	}
	return nil
}

// rowsOf reads rows of the side's database, past everything.
func rowsOf[T any](s *side, sql string) []T {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(s.t.Context()) //nolint:errcheck // it only read
	rows, err := conn.Query(s.t.Context(), sql)
	if err != nil {
		s.t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// allAcknowledged waits until nothing waits for emea but what it parked, and
// what of the same record was before that.
func allAcknowledged(t testing.TB, amer, emea *side) {
	t.Helper()
	eventually(t, func() error {
		parked := rowsOf[struct{ Key string }](emea, "select key from meridian.exchange_parked")
		waiting := rowsOf[struct {
			ID       string
			Sequence int64
		}](amer, `select e.record_id::text, e.sequence from meridian.egress e
			where not exists (select from meridian.egress_receipt a where a.stream = e.stream and a.epoch = e.epoch and e.sequence between a.first and a.last)`)
		for _, w := range waiting {
			if !slices.Contains(parked, struct{ Key string }{w.ID}) {
				return fmt.Errorf("number %d about %s is not acknowledged", w.Sequence, w.ID)
			}
		}
		return nil
	})
}

// network loses, repeats, delays and spoils messages.
type network struct {
	mu      sync.Mutex
	luck    uint64
	trouble uint64 // of 100 messages
	spoils  bool
}

// tamper is what becomes of a message: sent, lost, or sent so that nobody can
// read it.
func (n *network) tamper(topic string, m Message) (Message, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.luck = n.luck*6364136223846793005 + 1442695040888963407
	switch draw := n.luck >> 33; {
	case draw%100 >= n.trouble:
		return m, true
	case n.spoils && draw%2 == 0 && !strings.HasSuffix(topic, ".control.v1"):
		m.Value = []byte("\xff\xff not an envelope")
		return m, true
	default:
		return m, false
	}
}

// TestAcknowledgedIsGone makes random changes over a network that loses and
// spoils messages both ways, with both sides stopping and starting: whatever
// amer believes acknowledged is done, at every moment; and in the end all is
// acknowledged but what is parked.
func TestAcknowledgedIsGone(t *testing.T) {
	t.Parallel()
	fewChecks()
	amer, emea := pair(t)
	n := &network{luck: uint64(time.Now().UnixNano())}
	amer.startWith(n.tamper)
	emea.startWith(n.tamper)
	m := &model{t: t, amer: amer, emea: emea, live: map[crm.RecordID]crm.Record{}}
	rapid.Check(t, func(rt *rapid.T) {
		n.mu.Lock()
		n.luck, n.trouble, n.spoils = rapid.Uint64().Draw(rt, "luck"), rapid.SampledFrom([]uint64{0, 10, 40}).Draw(rt, "trouble"), rapid.Bool().Draw(rt, "spoils")
		n.mu.Unlock()
		for range rapid.IntRange(5, 25).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"create", "rename", "move", "move", "delete", "look", "restart"}).Draw(rt, "step") {
			case "create":
				r := amer.create("Bank", m.territory(rt), m.segment(rt))
				m.live[r.ID] = r
				m.ids = append(m.ids, r.ID)
			case "rename":
				m.change(rt, func(r crm.Record) crm.Record {
					return amer.rename(r, rapid.StringMatching(`[a-z]{1,12}`).Draw(rt, "name"))
				})
			case "move":
				m.change(rt, func(r crm.Record) crm.Record {
					return amer.update(r, access.UpdateRow{Territory: m.territory(rt), Segment: m.segment(rt)})
				})
			case "delete":
				m.change(rt, func(r crm.Record) crm.Record {
					amer.delete(r)
					return crm.Record{}
				})
			case "look":
				if err := acknowledgedIsDone(t, amer, emea); err != nil {
					rt.Fatal(err)
				}
			case "restart":
				s := m.side(rt)
				s.stop()
				s.startWith(n.tamper)
			}
		}
		n.mu.Lock()
		n.trouble = 0
		n.mu.Unlock()
		// What was lost at the very end shows by the next number.
		last := amer.create("Last", "US-CA", banks)
		emea.arrives(last)
		quiet(t, amer, emea)
		allAcknowledged(t, amer, emea)
		if err := acknowledgedIsDone(t, amer, emea); err != nil {
			rt.Fatal(err)
		}
	})
}
