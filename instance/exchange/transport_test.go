package exchange_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
	"meridian/instance/exchange"
)

// transportSuite is the contract of exchange.Transport. restart stops the
// broker and starts it again with what it kept.
func transportSuite(t *testing.T, addresses []string, restart func(t *testing.T)) {
	open := func(t *testing.T) exchange.Transport {
		tr := exchange.NewKafka(addresses)
		t.Cleanup(func() {
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		})
		return tr
	}

	t.Run("CreateTopicTwiceIsOnce", func(t *testing.T) {
		tr, topic := open(t), newTopic()
		for range 2 {
			if err := tr.CreateTopic(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
		}
		// It can be written at once: leaders are known.
		produce(t, tr, topic, exchange.Message{Key: "a", Value: []byte("1")})
		if got := values(fetch(t, tr, topic, 0, 1)); len(got) != 1 {
			t.Fatalf("fetched %q after creating twice, want one message", got)
		}
	})

	t.Run("FetchBringsWhatWasProducedInOrder", func(t *testing.T) {
		tr, topic := topicOn(t, open(t))
		var want []string
		for i := range 300 {
			want = append(want, fmt.Sprint(i))
		}
		for batch := range 3 {
			var ms []exchange.Message
			for _, v := range want[batch*100 : batch*100+100] {
				ms = append(ms, exchange.Message{Key: "k" + v, Value: []byte(v)})
			}
			produce(t, tr, topic, ms...)
		}
		if diff := cmp.Diff(want, values(fetch(t, tr, topic, 0, 300))); diff != "" {
			t.Errorf("whole topic (-want +got):\n%s", diff)
		}
		// From the middle of a batch: nothing before the offset.
		if diff := cmp.Diff(want[150:], values(fetch(t, tr, topic, 150, 150))); diff != "" {
			t.Errorf("from offset 150 (-want +got):\n%s", diff)
		}
	})

	t.Run("MessageComesBackWhole", func(t *testing.T) {
		tr, topic := topicOn(t, open(t))
		want := exchange.Message{Key: "01890a5d-ac96-774b-bcce-b302099a8057", Value: []byte{0, 1, 255},
			Headers: map[string]string{"operation": "upsert", "sequence": "42", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}
		produce(t, tr, topic, want)
		got := fetch(t, tr, topic, 0, 1)[0]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("message (-want +got):\n%s", diff)
		}
	})

	t.Run("EmptyValueIsNoTombstone", func(t *testing.T) {
		// Brokers and clients may make nil of empty; the operation header is what
		// counts, and it survives.
		tr, topic := topicOn(t, open(t))
		produce(t, tr, topic, exchange.Message{Key: "a", Value: []byte{}, Headers: map[string]string{"operation": "upsert"}},
			exchange.Message{Key: "a", Headers: map[string]string{"operation": "retract"}})
		got := fetch(t, tr, topic, 0, 2)
		if len(got[0].Value) != 0 || len(got[1].Value) != 0 || got[0].Headers["operation"] != "upsert" || got[1].Headers["operation"] != "retract" {
			t.Errorf("got %+v, want two empty values with their operations", got)
		}
	})

	t.Run("LargeMessagePasses", func(t *testing.T) {
		tr, topic := topicOn(t, open(t))
		large := bytes.Repeat([]byte("x"), 2<<20+17)
		produce(t, tr, topic, exchange.Message{Key: "a", Value: []byte("before")}, exchange.Message{Key: "b", Value: large}, exchange.Message{Key: "c", Value: []byte("after")})
		got := fetch(t, tr, topic, 0, 3)
		if string(got[0].Value) != "before" || !bytes.Equal(got[1].Value, large) || string(got[2].Value) != "after" {
			t.Errorf("got lengths %d %d %d, want 6, %d, 5", len(got[0].Value), len(got[1].Value), len(got[2].Value), len(large))
		}
	})

	t.Run("FetchAtTheEndWaitsAndWakes", func(t *testing.T) {
		tr, topic := topicOn(t, open(t))
		produce(t, tr, topic, exchange.Message{Key: "a", Value: []byte("1")})
		fetch(t, tr, topic, 0, 1)
		type answer struct {
			f   exchange.Fetched
			err error
		}
		waiting := make(chan answer, 1)
		go func() {
			f, err := tr.Fetch(t.Context(), topic, 1)
			waiting <- answer{f, err}
		}()
		produce(t, tr, topic, exchange.Message{Key: "a", Value: []byte("2")})
		a := <-waiting
		if a.err != nil {
			t.Fatal(a.err)
		}
		// Whether it waited or came late, it answers with the message or with none.
		if len(a.f.Messages) == 0 {
			a.f.Messages = fetch(t, tr, topic, 1, 1)
		}
		if got := values(a.f.Messages); len(got) != 1 || got[0] != "2" {
			t.Errorf("got %q, want the second message", got)
		}
	})

	t.Run("FetchEndsWithItsContext", func(t *testing.T) {
		tr, topic := topicOn(t, open(t))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				_, _ = tr.Fetch(ctx, topic, 0) // whatever it answers, it has to end
			}
		}()
		cancel()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Error("a fetch outlives its context")
		}
	})

	t.Run("OffsetOutOfRangeIsAnError", func(t *testing.T) {
		tr, topic := topicOn(t, open(t))
		produce(t, tr, topic, exchange.Message{Key: "a", Value: []byte("1")}, exchange.Message{Key: "a", Value: []byte("2")})
		fetch(t, tr, topic, 0, 2)
		_, err := tr.Fetch(t.Context(), topic, 99)
		oor, ok := errors.AsType[*exchange.OutOfRange](err)
		if !ok {
			t.Fatalf("fetch from offset 99 of 2: %v, want OutOfRange", err)
		}
		if oor.First != 0 || oor.End != 2 {
			t.Errorf("the topic is said to have %d to %d, want 0 to 2", oor.First, oor.End)
		}
	})

	t.Run("UnknownTopicIsAnError", func(t *testing.T) {
		_, err := open(t).Fetch(t.Context(), newTopic(), 0)
		if _, ok := errors.AsType[*exchange.UnknownTopic](err); !ok {
			t.Errorf("fetch of a topic nobody made: %v, want UnknownTopic", err)
		}
	})

	t.Run("BrokerRestartLosesNothing", func(t *testing.T) {
		if restart == nil {
			t.Skip("this broker cannot be restarted by the test")
		}
		tr, topic := topicOn(t, open(t))
		produce(t, tr, topic, exchange.Message{Key: "a", Value: []byte("before")})
		restart(t)
		// The client finds its way back without being made anew.
		eventually(t, func() error {
			return tr.Produce(t.Context(), topic, []exchange.Message{{Key: "a", Value: []byte("after")}})
		})
		got := values(fetch(t, tr, topic, 0, 2))
		if got[0] != "before" || got[len(got)-1] != "after" {
			t.Errorf("after a restart the topic holds %q", got)
		}
	})
}

func newTopic() string {
	return "meridian.test." + strings.ReplaceAll(string(crm.NewRecordID()), "-", "")
}

func topicOn(t *testing.T, tr exchange.Transport) (exchange.Transport, string) {
	t.Helper()
	topic := newTopic()
	if err := tr.CreateTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	return tr, topic
}

func produce(t *testing.T, tr exchange.Transport, topic string, ms ...exchange.Message) {
	t.Helper()
	if err := tr.Produce(t.Context(), topic, ms); err != nil {
		t.Fatal(err)
	}
}

// fetch reads until it has n messages; their offsets must be dense. Offsets
// and absent headers are cleared, so that messages compare.
func fetch(t *testing.T, tr exchange.Transport, topic string, offset int64, n int) []exchange.Message {
	t.Helper()
	var got []exchange.Message
	eventually(t, func() error {
		f, err := tr.Fetch(t.Context(), topic, offset)
		if err != nil {
			return err
		}
		for _, m := range f.Messages {
			if m.Offset != offset {
				t.Fatalf("message at offset %d, want %d", m.Offset, offset)
			}
			offset++
			m.Offset = 0
			if len(m.Headers) == 0 {
				m.Headers = nil
			}
			got = append(got, m)
		}
		if f.Next != offset {
			t.Fatalf("next is %d, want %d", f.Next, offset)
		}
		if len(got) < n {
			return fmt.Errorf("%d of %d messages", len(got), n)
		}
		return nil
	})
	return got
}

func values(ms []exchange.Message) []string {
	var vs []string
	for _, m := range ms {
		vs = append(vs, string(m.Value))
	}
	return vs
}

// eventually waits until check passes: a condition with a deadline.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || t.Context().Err() != nil {
			t.Fatalf("still not so: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks, not instead of one
	}
}
