package exchange

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/embedded"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// faulty is a broker that misbehaves as real ones do: it loses or spoils what
// tamper says.
type faulty struct {
	Transport
	mu     sync.Mutex
	tamper func(topic string, m Message) (Message, bool)
}

func (f *faulty) Produce(ctx context.Context, topic string, ms []Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Message
	for _, m := range ms {
		if m, keep := f.tamper(topic, m); keep {
			out = append(out, m)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return f.Transport.Produce(ctx, topic, out)
}

// startWith runs the side's exchange on a transport that tampers.
func (s *side) startWith(tamper func(topic string, m Message) (Message, bool)) {
	s.t.Helper()
	s.startOn(&faulty{Transport: NewKafka(s.brokers), tamper: tamper})
}

func TestCrashBetweenStoreAndProduce(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	emea.start()
	first := amer.create("Before", "US-CA", banks)
	amer.start()
	emea.arrives(first)
	amer.stop()

	// The next relay stores envelopes and dies before it sends them.
	second := amer.create("Between", "US-CA", banks)
	third := amer.rename(first, "Renamed between")
	dying := New(Config{Instance: amer.name, Store: amer.store, Door: amer.door, Brokers: amer.brokers, Log: amer.x.log})
	ctx, die := context.WithCancel(t.Context())
	dying.afterStore = die
	if err := dying.Run(ctx); err != nil {
		t.Fatal(err)
	}
	streams, err := amer.store.StreamsOut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if streams[0].Sequence == streams[0].Sent {
		t.Fatal("nothing was left between store and produce; the test tests nothing")
	}
	unsent, err := amer.store.Unsent(t.Context(), streams[0].Stream, 100)
	if err != nil {
		t.Fatal(err)
	}
	// Whoever comes next sends those very bytes.
	amer.start()
	emea.arrives(second)
	emea.arrives(third)
	quiet(t, amer, emea)
	sent := map[int64][]byte{}
	for _, m := range wholeTopic(t, amer, "account") {
		n := decoded(t, m).Sequence
		if old, again := sent[n]; again && string(old) != string(m.Value) {
			t.Errorf("number %d was sent with two contents", n)
		}
		sent[n] = m.Value
	}
	for _, e := range unsent {
		if string(sent[e.Sequence]) != string(e.Body) {
			t.Errorf("number %d was not sent as it was stored", e.Sequence)
		}
	}
	for n := int64(1); n <= int64(len(sent)); n++ {
		if sent[n] == nil {
			t.Errorf("number %d is missing of %d", n, len(sent))
		}
	}
	if left, err := amer.store.Unsent(t.Context(), streams[0].Stream, 1); err != nil || len(left) > 0 {
		t.Errorf("bytes stay after they were acknowledged: %d, %v", len(left), err)
	}
}

func TestDuplicateDeliveriesAreHarmless(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	r := amer.create("Once", "US-CA", banks)
	kept := amer.create("Kept", "US-CA", banks)
	emea.arrives(r)
	r = amer.rename(r, "Twice")
	emea.arrives(r)
	amer.delete(r)
	emea.leaves(r.ID)
	kept = amer.rename(kept, "Kept still")
	emea.arrives(kept)
	quiet(t, amer, emea)

	before, err := emea.store.StreamsIn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream := streamName(amer.name, emea.name, "account")
	all := wholeTopic(t, amer, "account")
	if err := amer.x.transport.Produce(t.Context(), stream, all); err != nil {
		t.Fatal(err)
	}
	end := before[0].EndOffset + int64(len(all))
	eventually(t, func() error {
		in, err := emea.store.Inbox(t.Context(), stream, amer.name, "account")
		if err != nil || in.NextOffset < end {
			return fmt.Errorf("read up to %d of %d, %w", in.NextOffset, end, err)
		}
		return nil
	})
	if _, ok := emea.raw(r.ID); ok {
		t.Error("a deleted record came back with an old message")
	}
	if got, _ := emea.raw(kept.ID); got.Version != kept.Version {
		t.Errorf("an old message took version %d back to %d", kept.Version, got.Version)
	}
	quiet(t, amer, emea)
}

func TestMissingNumbersAreRepaired(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	var lost sync.Map
	amer.startWith(func(_ string, m Message) (Message, bool) {
		_, drop := lost.LoadAndDelete(m.Key)
		return m, !drop
	})
	emea.start()
	r := amer.create("First", "US-CA", banks)
	leaving := amer.create("Leaving", "US-CA", banks)
	emea.arrives(r)
	emea.arrives(leaving)
	quiet(t, amer, emea)

	// Two messages are acknowledged and lost: an upsert and a retraction.
	lost.Store(string(r.ID), true)
	lost.Store(string(leaving.ID), true)
	r = amer.rename(r, "Lost on the way")
	amer.update(leaving, access.UpdateRow{Segment: energy})
	eventually(t, func() error {
		status, err := amer.x.Status(t.Context())
		if err != nil {
			return err
		}
		if status.RelayBacklog > 0 || status.Streams[0].Pending > 0 {
			return fmt.Errorf("not relayed yet")
		}
		return nil
	})
	// The next number shows it.
	next := amer.create("Next", "US-CA", banks)
	emea.arrives(next)
	emea.arrives(r)
	emea.leaves(leaving.ID)
	quiet(t, amer, emea)
	if !emea.log.has("numbers are missing") || !amer.log.has("repaired numbers") {
		t.Error("neither side said that numbers were missing")
	}
}

func TestPoisonParksItsOwnKey(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	var spoil sync.Map
	amer.startWith(func(_ string, m Message) (Message, bool) {
		if _, bad := spoil.LoadAndDelete(m.Key); bad {
			m.Value = []byte("\xff\xff not an envelope")
		}
		return m, true
	})
	emea.start()
	r := amer.create("Good", "US-CA", banks)
	emea.arrives(r)
	spoil.Store(string(r.ID), true)
	amer.rename(r, "Spoilt")
	other := amer.create("Other", "US-CA", banks)
	emea.arrives(other) // everything else flows
	status, err := emea.x.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if in := inbound(t, status, amer.name); in.Parked != 1 || in.Gaps != 0 {
		t.Errorf("parked %d, gaps %d; want the one spoilt record", in.Parked, in.Gaps)
	}
	if !emea.log.has("is parked", string(r.ID)) {
		t.Error("nobody said that a record is parked")
	}
}

func inbound(t *testing.T, status *exchangev1.GetStatusResponse, peer string) *exchangev1.StreamStatus {
	t.Helper()
	for _, s := range status.Streams {
		if s.Direction == "in" && s.Peer == peer {
			return s
		}
	}
	t.Fatalf("no stream in from %s", peer)
	return nil
}

func TestUnsignedContractWaitsForItsSignature(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	signed, unsigned := financials(amer, emea), financials(amer, emea)
	signed.Territories = []string{"US-W"}
	unsigned.ID, unsigned.Territories = "east-"+amer.name, []string{"US-NE"}
	amer.declare(signed, unsigned)
	emea.declare(signed)
	amer.start()
	emea.start()
	east := amer.create("East", "US-NY", banks)
	west := amer.create("West", "US-CA", banks)
	emea.arrives(west)
	eventually(t, func() error {
		status, err := emea.x.Status(t.Context())
		if err != nil {
			return err
		}
		if n := inbound(t, status, amer.name).Parked; n != 1 {
			return fmt.Errorf("%d parked, want the one under the unsigned contract", n)
		}
		return nil
	})
	if _, ok := emea.raw(east.ID); ok {
		t.Fatal("a record came in under a contract that is not signed here")
	}
	emea.declare(signed, unsigned)
	emea.arrives(east)
	eventually(t, func() error {
		status, err := emea.x.Status(t.Context())
		if err != nil {
			return err
		}
		if n := inbound(t, status, amer.name).Parked; n != 0 {
			return fmt.Errorf("%d still parked", n)
		}
		return nil
	})
}

// privateBroker gives a test a broker that it can stop and start again at the
// same address; without a folder it forgets everything.
func privateBroker(t *testing.T, dir string) (addresses []string, stop, start func()) {
	t.Helper()
	broker, err := embedded.StartKafka(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	addresses = broker.Brokers()
	_, p, err := net.SplitHostPort(addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	up := true
	stop = func() {
		if up {
			broker.Stop()
			up = false
		}
	}
	t.Cleanup(stop)
	return addresses, stop, func() {
		t.Helper()
		if broker, err = embedded.StartKafka(dir, port); err != nil {
			t.Fatal(err)
		}
		up = true
	}
}

// While Kafka is away, ids wait, not bytes: what may no longer leave when it
// is back never does.
func TestOutageDisclosesNothingThatWasDeniedMeanwhile(t *testing.T) {
	t.Parallel()
	addresses, stop, start := privateBroker(t, t.TempDir())
	amer, emea := pair(t)
	amer.brokers, emea.brokers = addresses, addresses
	amer.start()
	emea.start()
	r := amer.create("Before", "US-CA", banks)
	emea.arrives(r)
	quiet(t, amer, emea)
	stop()
	blocker := amer.create("In flight when Kafka went", "US-CA", banks)
	eventually(t, func() error {
		status, err := amer.x.Status(t.Context())
		if err != nil {
			return err
		}
		if s := status.Streams[0]; s.Error == "" {
			return fmt.Errorf("the stream does not say that it is blocked")
		}
		return nil
	})
	denied := amer.create("Denied meanwhile", "US-CA", banks)
	amer.update(denied, access.UpdateRow{Segment: energy})
	r = amer.rename(r, "After")
	start()
	emea.arrives(blocker)
	emea.arrives(r)
	quiet(t, amer, emea)
	for _, m := range wholeTopic(t, amer, "account") {
		if m.Key == string(denied.ID) {
			t.Errorf("a %s of a record that may not leave was sent", m.Headers["operation"])
		}
	}
}

// A broker that lost its log is no reason to skip: the destination sees that
// offsets are gone and asks for what it misses.
func TestLostTopicIsRepaired(t *testing.T) {
	t.Parallel()
	addresses, stop, start := privateBroker(t, "")
	amer, emea := pair(t)
	amer.brokers, emea.brokers = addresses, addresses
	amer.start()
	emea.start()
	var rs []crm.Record
	for i := range 20 {
		rs = append(rs, amer.create(fmt.Sprint("Bank ", i), "US-CA", banks))
	}
	for _, r := range rs {
		emea.arrives(r)
	}
	quiet(t, amer, emea)
	// What is sent while the destination sleeps is lost with the broker.
	emea.stop()
	rs[0] = amer.rename(rs[0], "Sent and lost")
	amer.delete(rs[1])
	eventually(t, func() error {
		status, err := amer.x.Status(t.Context())
		if err != nil {
			return err
		}
		if status.RelayBacklog > 0 || status.Streams[0].Pending > 0 {
			return fmt.Errorf("not relayed yet")
		}
		return nil
	})
	stop()
	start()
	emea.start()
	emea.arrives(rs[0])
	emea.leaves(rs[1].ID)
	last := amer.rename(rs[2], "Flows again")
	emea.arrives(last)
	quiet(t, amer, emea)
}

// An instance restored from a backup does not know what it sent since. It says
// so with a new epoch, sends everything again, and the others give back what it
// has never heard of.
func TestRestoredOriginStartsAnEpoch(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	known := amer.create("In the backup", "US-CA", banks)
	lost := amer.create("Not in the backup", "US-CA", banks)
	emea.arrives(known)
	emea.arrives(lost)
	quiet(t, amer, emea)
	amer.stop()
	// What a restore does: the relay's position lies in the future of the
	// server, its streams are back, and a record is not there.
	conn, err := pgx.Connect(t.Context(), amer.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // the test is over
	for _, sql := range []string{
		"update meridian.exchange_relay set cursor = '9000000000000000:0'",
		"update meridian.exchange_stream set sequence = 1, sent = 1",
		"delete from meridian.egress where record_id = '" + string(lost.ID) + "'",
		"delete from meridian.egress_holding where record_id = '" + string(lost.ID) + "'",
		"delete from record.account where id = '" + string(lost.ID) + "'",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	amer.start()
	emea.leaves(lost.ID)
	known = amer.rename(known, "After the restore")
	emea.arrives(known)
	quiet(t, amer, emea)
	if !amer.log.has("was restored") || !emea.log.has("was restored") {
		t.Error("a side does not say that there was a restore")
	}
}

func TestRunLeavesNoGoroutine(t *testing.T) {
	amer, emea := pair(t)
	before := goleak.IgnoreCurrent()
	amer.start()
	emea.start()
	emea.arrives(amer.create("Bank", "US-CA", banks))
	amer.stop()
	emea.stop()
	// A fetch ends when the broker answers it, within two seconds. Connections of
	// the pool and of the embedded broker come and go on their own.
	eventually(t, func() error {
		return goleak.Find(before, goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck"),
			goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read"),
			goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).write"))
	})
}
