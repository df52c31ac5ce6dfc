package exchange

import (
	"context"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

const (
	receiptPause = time.Second           // between two receipts of a stream while it flows
	receiptHaste = 20 * time.Millisecond // the same after a retraction
	receiptAgain = 5 * time.Second       // what was told is told again, in case it was lost: then, and ever later
	receiptLast  = time.Hour
)

// teller tells the source of a stream what was applied of it here. It works
// beside the ingress, so that nothing that arrives waits for it, with one
// receipt on its way at a time: what is applied meanwhile is told by the next.
type teller struct {
	*Exchange
	stream, source, entity string

	applied   chan struct{} // something was applied
	retracted chan struct{} // and a record is gone: tell at once

	topicKnown bool
	told       store.Receipt
	toldAt     time.Time
	again      time.Duration // after which it is told again
	due        bool          // that time is over
	backoff    backoff
}

func newTeller(in *ingress) *teller {
	return &teller{Exchange: in.Exchange, stream: in.stream, source: in.source, entity: in.entity,
		applied: make(chan struct{}, 1), retracted: make(chan struct{}, 1), again: receiptAgain}
}

// news says that a transaction was committed; it never blocks.
func (t *teller) news(gone bool) {
	to := t.applied
	if gone {
		to = t.retracted
	}
	select {
	case to <- struct{}{}:
	default:
	}
}

// run tells until ctx ends. It begins with what is applied: nobody knows
// whether the last receipt before the start was sent.
func (t *teller) run(ctx context.Context) {
	for {
		err := t.tell(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if t.backoff.delay == 0 {
				t.log.WarnContext(ctx, "cannot tell the source what was applied, retrying", "stream", t.stream, "error", err)
			}
			t.backoff.more()
			if !sleep(ctx, t.backoff.delay) {
				return
			}
			continue
		}
		t.backoff = backoff{}
		if !t.await(ctx) {
			return
		}
	}
}

// await waits until there is something to tell, and no longer than what was
// told may be lost.
func (t *teller) await(ctx context.Context) bool {
	again := time.NewTimer(t.again)
	defer again.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-again.C:
		t.due, t.again = true, min(2*t.again, receiptLast)
		return true
	case <-t.retracted:
		return sleep(ctx, receiptHaste-time.Since(t.toldAt))
	case <-t.applied:
	}
	// More follows: it goes with it, unless a record is gone.
	pause := time.NewTimer(receiptPause - time.Since(t.toldAt))
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-pause.C:
		return true
	case <-t.retracted:
		return sleep(ctx, receiptHaste-time.Since(t.toldAt))
	}
}

// tell sends a receipt unless it says what the last one said.
func (t *teller) tell(ctx context.Context) error {
	// What is signalled from here on may not be in what is read now.
	for _, heard := range []chan struct{}{t.applied, t.retracted} {
		select {
		case <-heard:
		default:
		}
	}
	r, err := t.store.Receipt(ctx, t.stream)
	if err != nil {
		return err
	}
	same := r.Epoch == t.told.Epoch && r.Applied == t.told.Applied && slices.Equal(r.Missing, t.told.Missing)
	if r.Applied == 0 || same && !t.due {
		return nil
	}
	topic := streamName(t.instance, t.source, control)
	if !t.topicKnown {
		if err := t.transport.CreateTopic(ctx, topic); err != nil {
			return err
		}
		t.topicKnown = true
	}
	say := &exchangev1.Receipt{Applied: r.Applied}
	for _, m := range r.Missing {
		say.Missing = append(say.Missing, &exchangev1.Range{First: m.First, Last: m.Last})
	}
	m, err := t.controlMessage(crm.OpReceipt, t.stream, t.entity, r.Epoch, &exchangev1.Envelope{Receipt: say})
	if err != nil {
		return err
	}
	if err := t.append(ctx, topic, []Message{m}); err != nil {
		t.topicKnown = false
		return err
	}
	if !same {
		t.again = receiptAgain
	}
	t.told, t.toldAt, t.due = r, time.Now(), false
	return nil
}
