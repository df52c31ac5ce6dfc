package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

const (
	relayBatch = 500                    // changes, due records and swept records in one transaction, of each
	relayPoll  = 250 * time.Millisecond // for what other processes commit after a quiet time
	relayEager = 2 * time.Millisecond   // after a wake: the change may wait for an older open transaction
	relayRetry = 500 * time.Millisecond
	fullLook   = time.Second // how often it looks for work that nothing announced
)

// relay turns changes into envelopes. Its working memory is lost with it and
// found again in the database.
type relay struct {
	*Exchange
	at      *store.Relay            // position, nil when it must be read
	terms   map[string]crm.Contract // contracts that this instance serves, by id
	known   []store.Served          // what the database says of each contract, nil when it must be read
	stale   bool                    // terms and what is served must be read again
	pending bool                    // something is left to do although no change announces it
	sent    map[string]int64        // what Kafka has and the database does not know yet
	blocked map[string]*backoff     // streams that Kafka does not take now
	failing map[string]*backoff     // contracts that cannot be served now
	topics  map[string]bool         // topics known to exist
	lastAll time.Time               // when it last looked for unannounced work
}

// A blocked stream has stored envelopes that have to be sent before any other
// is stored. What is due meanwhile, there or under a failing contract, is kept
// as ids: what leaves later is decided later, and the others flow.

// backoff says when to try again.
type backoff struct {
	until time.Time
	delay time.Duration
}

// waits reports whether it is too early; without a backoff it never is.
func (b *backoff) waits() bool { return b != nil && time.Now().Before(b.until) }

func (b *backoff) more() {
	b.delay = min(2*b.delay+retryFirst, retryLast)
	b.until = time.Now().Add(b.delay)
}

func newRelay(e *Exchange) *relay {
	return &relay{Exchange: e, stale: true, pending: true, sent: map[string]int64{}, blocked: map[string]*backoff{}, failing: map[string]*backoff{}, topics: map[string]bool{}}
}

func (r *relay) run(ctx context.Context) error {
	for !r.begin(ctx) {
		if !sleep(ctx, relayRetry) {
			return nil
		}
	}
	healthy := true
	pause := relayPoll
	for ctx.Err() == nil {
		worked, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrFenced):
			// Another replica was faster; what it did not do is still there.
			continue
		case err != nil:
			if healthy {
				r.log.ErrorContext(ctx, "relay cannot go on, retrying", "error", err)
			}
			healthy = false
			if !sleep(ctx, relayRetry) {
				return nil
			}
			continue
		}
		healthy = true
		r.drain(ctx)
		if worked {
			pause = relayEager // more may follow
			continue
		}
		r.settle(ctx)
		pause = idle(ctx, r.wake, pause)
	}
	return nil
}

// idle waits for a wake, or for pause, and says how long to wait next: briefly
// after a wake, then ever longer.
func idle(ctx context.Context, wake <-chan struct{}, pause time.Duration) time.Duration {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return pause
	case <-wake:
		return relayEager
	case <-t.C:
		return min(2*pause, relayPoll)
	}
}

// begin finds out where the last relay ended: what it stored and did not send
// goes first.
func (r *relay) begin(ctx context.Context) bool {
	restored, err := r.store.Restored(ctx)
	if err != nil {
		r.log.WarnContext(ctx, "relay cannot begin, retrying", "error", err)
		return false
	}
	if restored {
		r.log.WarnContext(ctx, "the database was restored: every contract is served from the start in a new epoch")
	}
	streams, err := r.store.StreamsOut(ctx)
	if err != nil {
		r.log.WarnContext(ctx, "relay cannot begin, retrying", "error", err)
		return false
	}
	for _, s := range streams {
		if s.Sent < s.Sequence {
			r.blocked[s.Stream] = &backoff{}
		}
	}
	r.drain(ctx)
	return true
}

// step takes one batch of changes, and of whatever else is to be looked at,
// through one transaction and sends what came of it. It reports whether there
// was anything.
func (r *relay) step(ctx context.Context) (bool, error) {
	if r.at == nil {
		at, err := r.store.Relay(ctx)
		if err != nil {
			return false, err
		}
		r.at = &at
	}
	from := *r.at
	changes, cursor, err := r.store.Changes(ctx, from.Cursor, relayBatch)
	if err != nil {
		return false, err
	}
	for _, c := range changes {
		r.stale = r.stale || c.Kind != crm.ChangeRecord
	}
	if r.repairs.Swap(false) || time.Since(r.lastAll) >= fullLook {
		r.pending, r.lastAll = true, time.Now()
	}
	if len(changes) == 0 && !r.pending && !r.stale {
		return false, nil
	}
	to := from
	if len(changes) > 0 {
		to.Cursor = cursor
	}
	terms := r.terms
	if r.stale {
		if terms, err = r.readTerms(ctx); err != nil {
			return false, err
		}
	}
	b := &batch{relay: r, terms: terms, epoch: from.Epoch, changes: changes, out: map[string]*outgoing{}}
	err = r.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.MoveRelay(ctx, from, to, r.sent); err != nil {
			return err
		}
		return b.fill(ctx, tx)
	})
	if err != nil {
		r.forget()
	}
	if e, ok := errors.AsType[*contractError](err); ok && ctx.Err() == nil {
		r.fail(ctx, e)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	r.at, r.known = &to, b.known
	r.terms, r.stale, r.pending = terms, false, b.more
	for id, f := range r.failing {
		if !f.waits() {
			delete(r.failing, id) // it was served just now
		}
	}
	clear(r.sent)
	if len(b.out) > 0 {
		r.afterStore()
		if ctx.Err() != nil {
			return false, nil
		}
		r.send(ctx, b.out)
	}
	return len(changes) > 0 || b.more, nil
}

// forget makes everything be read again: what the database says may not be
// what this relay believes.
func (r *relay) forget() { r.at, r.known, r.stale, r.pending = nil, nil, true, true }

// readTerms reads the contracts that this instance serves.
func (r *relay) readTerms(ctx context.Context) (map[string]crm.Contract, error) {
	contracts, err := r.store.Contracts(ctx)
	if err != nil {
		return nil, err
	}
	terms := map[string]crm.Contract{}
	for _, c := range contracts {
		if c.Source == r.instance {
			terms[c.ID] = c
		}
	}
	return terms, nil
}

// settle writes down what Kafka has while nothing else is to do.
func (r *relay) settle(ctx context.Context) {
	if len(r.sent) == 0 {
		return
	}
	// Lost, it is repeated: the same bytes are sent again.
	if err := r.store.Sent(ctx, r.sent); err == nil {
		clear(r.sent)
	}
}

// send produces what was stored, stream by stream. A stream that fails is
// blocked; the others flow.
func (r *relay) send(ctx context.Context, out map[string]*outgoing) {
	type sent struct {
		stream string
		last   int64
		err    error
	}
	done := make(chan sent)
	n := 0
	for stream, o := range out {
		if len(o.envelopes) == 0 {
			continue
		}
		n++
		known := r.topics[stream]
		go func() {
			done <- sent{stream, o.envelopes[len(o.envelopes)-1].Sequence, r.produce(ctx, stream, known, o.envelopes)}
		}()
	}
	for range n {
		s := <-done
		if s.err != nil {
			r.block(ctx, s.stream, s.err)
			continue
		}
		r.topics[s.stream] = true
		r.sent[s.stream] = s.last
	}
}

func (r *relay) produce(ctx context.Context, stream string, known bool, es []store.Envelope) error {
	if !known {
		if err := r.transport.CreateTopic(ctx, stream); err != nil {
			return err
		}
	}
	messages := make([]Message, len(es))
	for i, e := range es {
		var err error
		if messages[i], err = kafkaMessage(e); err != nil {
			return err
		}
	}
	return r.append(ctx, stream, messages)
}

// block keeps a stream from storing more until its stored envelopes are sent.
func (r *relay) block(ctx context.Context, stream string, cause error) {
	b := r.blocked[stream]
	if b == nil {
		b = &backoff{}
		r.blocked[stream] = b
		if ctx.Err() == nil {
			r.log.WarnContext(ctx, "stream out is blocked, retrying", "stream", stream, "error", cause)
			_ = r.store.FailStream(ctx, stream, cause.Error()) // the log has it too
		}
	}
	b.more()
}

// fail sets a contract aside for a while.
func (r *relay) fail(ctx context.Context, e *contractError) {
	b := r.failing[e.contract]
	if b == nil {
		b = &backoff{}
		r.failing[e.contract] = b
		r.log.ErrorContext(ctx, "a contract cannot be served, retrying; the others flow", "contract", e.contract, "error", e.err)
	}
	b.more()
}

// drain sends the stored envelopes of blocked streams whose time has come. The
// bytes are those of the first try.
func (r *relay) drain(ctx context.Context) {
	for stream, b := range r.blocked {
		if b.waits() {
			continue
		}
		if err := r.drainStream(ctx, stream); err != nil {
			if ctx.Err() == nil {
				r.block(ctx, stream, err)
			}
			continue
		}
		delete(r.blocked, stream)
		r.topics[stream], r.pending = true, true
		r.log.InfoContext(ctx, "stream out flows", "stream", stream)
	}
}

func (r *relay) drainStream(ctx context.Context, stream string) error {
	for {
		es, err := r.store.Unsent(ctx, stream, relayBatch)
		if err != nil {
			return err
		}
		// Without envelopes it still makes the topic and clears the error.
		if err := r.produce(ctx, stream, false, es); err != nil {
			return err
		}
		var last int64
		if len(es) > 0 {
			last = es[len(es)-1].Sequence
		}
		if err := r.store.Sent(ctx, map[string]int64{stream: last}); err != nil {
			return fmt.Errorf("drop what was sent: %w", err)
		}
		if len(es) < relayBatch {
			return nil
		}
	}
}
