package exchange

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"meridian/instance/access"
	"meridian/instance/crm"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// retracted makes a record that emea held and amer took back.
func retracted(t *testing.T, amer, emea *side, name string) crm.Record {
	t.Helper()
	r := amer.create(name, "US-CA", banks)
	emea.arrives(r)
	return amer.update(r, access.UpdateRow{Segment: energy})
}

func TestRetractionIsAcknowledgedOnceItIsDone(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	r := amer.create("Bank", "US-CA", banks)
	emea.arrives(r)
	amer.acknowledged(r.ID, crm.OpUpsert)
	emea.stop()

	amer.update(r, access.UpdateRow{Segment: energy})
	other := amer.create("Another bank", "US-CA", banks)
	amer.sent(other.ID, crm.OpUpsert)
	if l := amer.line(r.ID); l.Operation != "retract" || l.Held || l.Acknowledged != nil {
		t.Errorf("the ledger says %v while the destination sleeps", l)
	}
	if owed := amer.owed(); !slices.Equal(owed, []string{string(r.ID)}) {
		t.Errorf("owed back are %v, want the one record", owed)
	}
	if s := amer.out(); s.Unacknowledged < 2 || s.UnacknowledgedRetractions != 1 || s.OldestUnacknowledged == nil ||
		!s.OldestUnacknowledgedRetraction.AsTime().Equal(amer.line(r.ID).At.AsTime()) {
		t.Errorf("status says %v", s)
	}
	if age, err := amer.x.UnacknowledgedRetraction(t.Context()); err != nil || age <= 0 {
		t.Errorf("the oldest retraction waits for %v, %v", age, err)
	}

	emea.start()
	amer.acknowledged(r.ID, crm.OpRetract)
	emea.gone(r.ID)
	amer.acknowledged(other.ID, crm.OpUpsert)
	quiet(t, amer, emea)
	if s := amer.out(); s.Unacknowledged != 0 || s.UnacknowledgedRetractions != 0 || s.OldestUnacknowledged != nil || s.Acknowledged == nil || len(amer.owed()) > 0 {
		t.Errorf("status says %v, owed are %v", s, amer.owed())
	}
	if age, err := amer.x.UnacknowledgedRetraction(t.Context()); err != nil || age != 0 {
		t.Errorf("the oldest retraction waits for %v, %v, and there is none", age, err)
	}
	for _, m := range toldTopic(t, amer, emea) {
		assertNoSecrets(t, m)
		for _, id := range []crm.RecordID{r.ID, other.ID} {
			if strings.Contains(fmt.Sprint(m.Key, m.Headers, string(m.Value)), string(id)) {
				t.Errorf("the control topic names record %s", id)
			}
		}
	}
}

// What flows is acknowledged in passing, not change by change.
func TestReceiptsDoNotCostAMessagePerChange(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	r := amer.create("Bank", "US-CA", banks)
	began := time.Now()
	const changes = 200
	for i := range changes {
		r = amer.rename(r, fmt.Sprint("Bank ", i))
		emea.arrives(r) // each alone, as far as the destination is concerned
	}
	amer.acknowledged(r.ID, crm.OpUpsert)
	quiet(t, amer, emea)
	eventually(t, func() error {
		if n := amer.out().Unacknowledged; n > 0 {
			return fmt.Errorf("%d messages are not acknowledged", n)
		}
		return nil
	})
	most := int(time.Since(began)/receiptPause) + 3
	if n := len(toldTopic(t, amer, emea)); n > most {
		t.Errorf("%d receipts for %d changes in %v, want %d at most", n, changes, time.Since(began), most)
	}
}

// A retraction that is parked did not happen, whatever came after it.
func TestParkedRetractionIsNotAcknowledged(t *testing.T) {
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
	r := amer.create("Stays by mistake", "US-CA", banks)
	emea.arrives(r)
	r = amer.rename(r, "Stays by mistake, renamed")
	emea.arrives(r)
	spoil.Store(string(r.ID), true)
	r = amer.update(r, access.UpdateRow{Segment: energy})
	other := retracted(t, amer, emea, "Goes")
	amer.acknowledged(other.ID, crm.OpRetract)
	emea.gone(other.ID)
	if _, ok := emea.raw(r.ID); !ok {
		t.Fatal("the retraction was applied; the test tests nothing")
	}
	if l := amer.line(r.ID); l.Operation != "retract" || l.Acknowledged != nil {
		t.Errorf("the ledger says %v of a retraction that is parked", l)
	}
	if owed := amer.owed(); !slices.Equal(owed, []string{string(r.ID)}) {
		t.Errorf("owed back are %v, want the one whose retraction is parked", owed)
	}

	// What comes after it does what it did not do: the versions from before are
	// gone although the record is let in again.
	r = amer.update(r, access.UpdateRow{Segment: banks})
	emea.arrives(r)
	amer.acknowledged(r.ID, crm.OpUpsert)
	if n := query[int64](emea, "select count(*) from history.account where id = $1::uuid and version < $2", string(r.ID), r.Version); n > 0 {
		t.Errorf("%d versions from before the retraction are in the history", n)
	}
	if owed := amer.owed(); len(owed) > 0 {
		t.Errorf("owed back are %v, and all was given back", owed)
	}
	amer.update(r, access.UpdateRow{Segment: energy})
	amer.acknowledged(r.ID, crm.OpRetract)
	emea.gone(r.ID)
}

// A retraction takes parked copies with it: of a contract that is not signed,
// and those that nobody can read.
func TestRetractionTakesParkedCopies(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	signed, unsigned := financials(amer, emea), financials(amer, emea)
	signed.Territories = []string{"US-W"}
	unsigned.ID, unsigned.Territories = "east-"+amer.name, []string{"US-NE"}
	amer.declare(signed, unsigned)
	emea.declare(signed)
	var spoil sync.Map
	amer.startWith(func(_ string, m Message) (Message, bool) {
		if headers, bad := spoil.LoadAndDelete(m.Key); bad {
			m.Value = append([]byte("\xff\xff"), m.Value...)
			if !headers.(bool) {
				m.Headers = map[string]string{headerOperation: "upsert", headerSequence: m.Headers[headerSequence], headerEpoch: m.Headers[headerEpoch]}
			}
		}
		return m, true
	})
	emea.start()
	east := amer.create("East", "US-NY", banks)
	spoilt, nameless := amer.create("Spoilt", "US-CA", banks), amer.create("Spoilt, and nobody knows the contract", "US-CA", banks)
	emea.arrives(spoilt)
	emea.arrives(nameless)
	spoil.Store(string(spoilt.ID), true)
	spoilt = amer.rename(spoilt, "Spoilt again")
	spoil.Store(string(nameless.ID), false)
	nameless = amer.rename(nameless, "Spoilt again")
	eventually(t, func() error {
		if n := query[int64](emea, "select count(*) from meridian.exchange_parked"); n != 3 {
			return fmt.Errorf("%d are parked, want 3", n)
		}
		return nil
	})
	for _, r := range []crm.Record{east, spoilt, nameless} {
		amer.update(r, access.UpdateRow{Segment: energy})
	}
	for _, r := range []crm.Record{east, spoilt, nameless} {
		amer.acknowledged(r.ID, crm.OpRetract)
		emea.gone(r.ID)
	}
}

// A retraction that nobody can read takes the place of the copy that is parked,
// although it says less: signing the contract brings nothing back.
func TestUnreadableRetractionReplacesWhatIsParked(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	signed, unsigned := financials(amer, emea), financials(amer, emea)
	signed.Territories = []string{"US-W"}
	unsigned.ID, unsigned.Territories = "east-"+amer.name, []string{"US-NE"}
	amer.declare(signed, unsigned)
	emea.declare(signed)
	var spoil sync.Map
	amer.startWith(func(_ string, m Message) (Message, bool) {
		if _, bad := spoil.LoadAndDelete(m.Key); bad {
			m.Value = []byte("\xff\xff not an envelope")
		}
		return m, true
	})
	emea.start()
	east := amer.create("East", "US-NY", banks)
	amer.sent(east.ID, crm.OpUpsert)
	spoil.Store(string(east.ID), true)
	amer.update(east, access.UpdateRow{Segment: energy})
	west := retracted(t, amer, emea, "West")
	amer.acknowledged(west.ID, crm.OpRetract)
	if l := amer.line(east.ID); l.Operation != "retract" || l.Acknowledged != nil {
		t.Errorf("the ledger says %v of a retraction that nobody can read", l)
	}
	other := amer.create("East too", "US-NY", banks) // parked after it, and so tried after it
	amer.sent(other.ID, crm.OpUpsert)
	emea.declare(signed, unsigned)
	emea.arrives(other)
	if _, ok := emea.raw(east.ID); ok {
		t.Error("a record came back that was taken back while it was parked")
	}
}

// A receipt is told until it is heard, and heard twice or too late it says
// nothing else.
func TestReceiptsLostRepeatedAndLate(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	var lose atomic.Bool
	var lost atomic.Int64
	emea.startWith(func(topic string, m Message) (Message, bool) {
		if !strings.HasSuffix(topic, ".control.v1") || !lose.Load() {
			return m, true
		}
		lost.Add(1)
		return m, false
	})
	r := retracted(t, amer, emea, "Bank")
	amer.acknowledged(r.ID, crm.OpRetract)
	lose.Store(true)
	r = retracted(t, amer, emea, "Bank of silence")
	emea.leaves(r.ID)
	eventually(t, func() error {
		if lost.Load() == 0 {
			return fmt.Errorf("no receipt was sent")
		}
		return nil
	})
	if l := amer.line(r.ID); l.Acknowledged != nil {
		t.Error("acknowledged, and the receipt was lost")
	}
	lose.Store(false)
	amer.acknowledged(r.ID, crm.OpRetract) // nothing happens any more, and it is told again

	before := amer.line(r.ID).Acknowledged.AsTime()
	all := toldTopic(t, amer, emea)
	slices.Reverse(all)
	tr := NewKafka(amer.brokers)
	defer func() { _ = tr.Close() }() // it only wrote
	topic := streamName(emea.name, amer.name, control)
	if err := tr.Produce(t.Context(), topic, all); err != nil {
		t.Fatal(err)
	}
	amer.hears(emea)
	if at := amer.line(r.ID).Acknowledged.AsTime(); !at.Equal(before) {
		t.Errorf("acknowledged at %v, and again at %v", before, at)
	}
	if owed := amer.owed(); len(owed) > 0 {
		t.Errorf("old receipts took an acknowledgement back: %v", owed)
	}
	r = retracted(t, amer, emea, "Bank of later")
	amer.acknowledged(r.ID, crm.OpRetract)
}

// A receipt that cannot be acknowledges nothing, not even what of it may be
// true.
func TestForgedReceiptsAreRefused(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	r := amer.create("Bank", "US-CA", banks)
	amer.sent(r.ID, crm.OpUpsert)
	amer.update(r, access.UpdateRow{Segment: energy})
	amer.sent(r.ID, crm.OpRetract)
	sent := amer.out().Sequence
	stream := streamName(amer.name, emea.name, "account")
	say := func(change func(*exchangev1.Envelope)) Message {
		env := &exchangev1.Envelope{Origin: emea.name, OriginEpoch: 1, Stream: stream, Entity: "account", Operation: "receipt", Receipt: &exchangev1.Receipt{Applied: sent}}
		change(env)
		body, err := proto.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		return Message{Key: stream, Value: body, Headers: map[string]string{headerOperation: env.Operation}}
	}
	missing := func(ranges ...*exchangev1.Range) func(*exchangev1.Envelope) {
		return func(e *exchangev1.Envelope) { e.Receipt.Missing = ranges }
	}
	forged := []Message{
		say(func(e *exchangev1.Envelope) { e.Origin = "apac" }),
		say(func(e *exchangev1.Envelope) { e.Stream = streamName(amer.name, "apac", "account") }),
		say(func(e *exchangev1.Envelope) { e.Entity = "contact" }),
		say(func(e *exchangev1.Envelope) {
			e.Entity, e.Stream = "contact", streamName(amer.name, emea.name, "contact")
		}),
		say(func(e *exchangev1.Envelope) { e.OriginEpoch = 2 }),
		say(func(e *exchangev1.Envelope) { e.OriginEpoch = 0 }),
		say(func(e *exchangev1.Envelope) { e.Receipt.Applied = sent + 1 }),
		say(func(e *exchangev1.Envelope) { e.Receipt.Applied = 1 << 62 }),
		say(func(e *exchangev1.Envelope) { e.Receipt.Applied = -1 }),
		say(func(e *exchangev1.Envelope) { e.Receipt = nil }),
		say(func(e *exchangev1.Envelope) { e.Operation = "upsert" }),
		say(missing(&exchangev1.Range{First: 0, Last: 1})),
		say(missing(&exchangev1.Range{First: 2, Last: 1})),
		say(missing(&exchangev1.Range{First: 1})),
		say(missing(&exchangev1.Range{First: 1, Last: sent + 1})),
		say(missing(&exchangev1.Range{First: 2, Last: 2}, &exchangev1.Range{First: 1, Last: 1})),
		say(missing(nil, nil)),
		{Key: stream, Value: []byte("\xff not an envelope"), Headers: map[string]string{headerOperation: "receipt"}},
	}
	tr := NewKafka(amer.brokers)
	defer func() { _ = tr.Close() }() // it only wrote
	topic := streamName(emea.name, amer.name, control)
	if err := tr.CreateTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	if err := tr.Produce(t.Context(), topic, forged); err != nil {
		t.Fatal(err)
	}
	amer.hears(emea)
	if owed := amer.owed(); !slices.Equal(owed, []string{string(r.ID)}) || amer.out().Unacknowledged != sent {
		t.Errorf("owed back are %v and %d of %d messages wait: a forged receipt acknowledged something", owed, amer.out().Unacknowledged, sent)
	}
	if !amer.log.has("a receipt is refused") || !amer.log.has("not its sender's to say") {
		t.Error("nobody said that receipts were refused")
	}
	// The true one does.
	if err := tr.Produce(t.Context(), topic, []Message{say(func(*exchangev1.Envelope) {})}); err != nil {
		t.Fatal(err)
	}
	amer.acknowledged(r.ID, crm.OpRetract)
}

// Whoever dies between applying and telling, or between telling and hearing:
// what was applied is acknowledged.
func TestReceiptsOutliveEitherSide(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.startWith(func(topic string, m Message) (Message, bool) { return m, !strings.HasSuffix(topic, ".control.v1") })
	r := retracted(t, amer, emea, "Bank that nobody hears of")
	emea.leaves(r.ID)
	quiet(t, amer, emea)
	emea.stop() // it applied, and never told
	amer.stop()
	emea.start() // tells at once, while nobody listens
	eventually(t, func() error {
		if n := len(toldTopic(t, amer, emea)); n == 0 {
			return fmt.Errorf("nothing is told")
		}
		return nil
	})
	emea.stop()
	amer.start()
	amer.acknowledged(r.ID, crm.OpRetract)
}

// An instance restored from a backup does not know what was acknowledged since:
// what it knows to be unacknowledged it takes back again.
func TestRestoredOriginTakesBackAgain(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	done, open := retracted(t, amer, emea, "Given back"), amer.create("Not given back", "US-CA", banks)
	amer.acknowledged(done.ID, crm.OpRetract)
	emea.arrives(open)
	quiet(t, amer, emea)
	emea.stop()
	amer.update(open, access.UpdateRow{Segment: energy})
	amer.sent(open.ID, crm.OpRetract)
	amer.stop()
	query[int64](amer, "with u as (update meridian.exchange_relay set cursor = '9000000000000000:0' returning 1) select count(*) from u")
	amer.start()
	eventually(t, func() error {
		if n := query[int64](amer, "select count(*) from meridian.egress where epoch = 2 and operation = 'retract' and record_id = $1::uuid", string(open.ID)); n != 1 {
			return fmt.Errorf("taken back %d times in the new epoch", n)
		}
		return nil
	})
	emea.start()
	amer.acknowledged(open.ID, crm.OpRetract)
	emea.gone(open.ID)
	entries, err := amer.x.Ledger(t.Context(), &exchangev1.ListLedgerRequest{RecordId: string(open.ID)})
	if err != nil || len(entries) != 3 || entries[1].Acknowledged == nil {
		t.Errorf("the ledger says %v, %v: the retraction of the old epoch was done again, and acknowledged", entries, err)
	}
	if n := query[int64](amer, "select count(*) from meridian.egress where record_id = $1::uuid", string(done.ID)); n != 2 {
		t.Errorf("%d lines about what was given back before; it was taken back again", n)
	}
	quiet(t, amer, emea)
	eventually(t, func() error {
		if s := amer.out(); s.Unacknowledged > 0 {
			return fmt.Errorf("%d messages are not acknowledged", s.Unacknowledged)
		}
		return nil
	})
}

// The first messages of an epoch are missed like any other, although nobody
// knows by their numbers where it began.
func TestLostBeginningOfAnEpochIsNoticed(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	kept, open := amer.create("Stays", "US-CA", banks), amer.create("Goes", "US-CA", banks)
	emea.arrives(kept)
	emea.arrives(open)
	quiet(t, amer, emea)
	emea.stop()
	amer.update(open, access.UpdateRow{Segment: energy})
	amer.sent(open.ID, crm.OpRetract)
	amer.stop()
	query[int64](amer, "with u as (update meridian.exchange_relay set cursor = '9000000000000000:0' returning 1) select count(*) from u")
	// All of the new epoch is lost, and then its next message comes.
	var lose atomic.Bool
	lose.Store(true)
	amer.startWith(func(topic string, m Message) (Message, bool) {
		return m, !lose.Load() || strings.HasSuffix(topic, ".control.v1")
	})
	eventually(t, func() error {
		if n := query[int64](amer, "select count(*) from meridian.egress where epoch = 2"); n < 2 || amer.out().Pending > 0 {
			return fmt.Errorf("%d lines of the new epoch", n)
		}
		return nil
	})
	lose.Store(false)
	emea.start()
	next := amer.create("Next", "US-CA", banks)
	emea.arrives(next)
	if !emea.log.has("numbers are missing") {
		t.Error("nobody noticed that the beginning of the epoch was lost")
	}
	amer.acknowledged(open.ID, crm.OpRetract)
	emea.gone(open.ID)
	quiet(t, amer, emea)
	if _, ok := emea.raw(kept.ID); !ok {
		t.Error("what may stay was given back")
	}
}
