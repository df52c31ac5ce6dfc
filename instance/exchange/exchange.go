// Package exchange lets instances hold each other's records under contracts:
// egress to Kafka, ingress from Kafka, retraction, repair and the ledger.
//
// Invariants. I-exchange-1: nothing enters a topic but what policy, asked with
// action publish in the transaction that stores the envelope, lets leave.
// I-exchange-2: cursor, holdings, ledger and the exact envelope bytes are
// stored in one transaction, and producing only sends stored bytes, so no
// sequence number is ever sent with two contents. I-exchange-3: a record that
// was exposed and is out of scope is retracted, whatever put it out of scope.
// I-exchange-4: rows and the position behind them are applied in one
// transaction; a position never moves past a row that was neither applied nor
// parked. I-exchange-5: what came in is never sent on: only records at home
// leave. I-exchange-6: what a source believes acknowledged is applied at its
// destination for good, and what is applied is acknowledged in the end. Kafka is
// known to transport_kafka.go alone, PostgreSQL to package store, values to
// nobody's log.
package exchange

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// lease is the name of the lease under which one replica works.
const lease = "exchange"

const (
	boundaryPoll = 200 * time.Millisecond // how late a fact that ends by time is noticed
	termsPoll    = time.Second            // how late a new contract is noticed where nothing else tells
	retryFirst   = 100 * time.Millisecond
	retryLast    = 5 * time.Second
)

// Config is what an Exchange is made of.
type Config struct {
	Instance string
	Store    *store.Store
	Door     *access.Door
	Brokers  []string
	Log      *slog.Logger
}

// Exchange is one instance's side of all its contracts.
type Exchange struct {
	instance  string
	store     *store.Store
	door      *access.Door
	transport Transport
	log       *slog.Logger

	wake    chan struct{} // something entered the outbox, or has to be repaired
	repairs atomic.Bool   // a destination asked for a repair

	// afterStore is called between storing envelopes and sending them: tests
	// end the process there.
	afterStore func()
}

// New makes the exchange of an instance on a Kafka cluster. It connects when
// it runs.
func New(c Config) *Exchange {
	e := &Exchange{
		instance: c.Instance, store: c.Store, door: c.Door, transport: NewKafka(c.Brokers), log: c.Log,
		wake: make(chan struct{}, 1), afterStore: func() {},
	}
	c.Store.OnCommit(e.poke)
	return e
}

// poke wakes the relay; it never blocks.
func (e *Exchange) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Run relays, receives and watches the clock until ctx ends. Of all replicas
// of the instance one does the work, the others stand by.
func (e *Exchange) Run(ctx context.Context) error {
	err := e.store.Lead(ctx, lease, func(ctx context.Context) error {
		e.log.InfoContext(ctx, "exchange begins")
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return e.boundaries(ctx) })
		g.Go(func() error { return newRelay(e).run(ctx) })
		g.Go(func() error { return e.receive(ctx) })
		return g.Wait()
	})
	return errors.Join(err, e.transport.Close())
}

// boundaries puts facts that begin or end by time alone into the outbox.
func (e *Exchange) boundaries(ctx context.Context) error {
	healthy := true
	for {
		err := e.store.EnqueueBoundaries(ctx)
		if err != nil && ctx.Err() == nil && healthy {
			e.log.WarnContext(ctx, "cannot look for facts that end by time, retrying", "error", err)
		}
		healthy = err == nil
		if !sleep(ctx, boundaryPoll) {
			return nil
		}
	}
}

// receive reads every stream that a contract or the past names, and the
// control topics of those who receive from here.
func (e *Exchange) receive(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	running := map[string]bool{}
	for {
		wanted, err := e.inbound(ctx)
		if err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "cannot tell which streams to read, retrying", "error", err)
		}
		for _, in := range wanted {
			if !running[in.stream] {
				running[in.stream] = true
				g.Go(func() error { return in.run(ctx) })
			}
		}
		if !sleep(ctx, termsPoll) {
			return g.Wait()
		}
	}
}

// inbound lists the streams in.
func (e *Exchange) inbound(ctx context.Context) ([]*ingress, error) {
	contracts, err := e.store.Contracts(ctx)
	if err != nil {
		return nil, err
	}
	past, err := e.store.Inboxes(ctx)
	if err != nil {
		return nil, err
	}
	var ins []*ingress
	for _, c := range contracts {
		switch e.instance {
		case c.Destination:
			ins = append(ins, newIngress(e, c.Source, c.Entity))
		case c.Source:
			ins = append(ins, newIngress(e, c.Destination, control))
		}
	}
	for _, s := range past {
		ins = append(ins, newIngress(e, s.Source, s.Entity))
	}
	return ins, nil
}

// Contracts lists the contracts this instance signed, as source or as
// destination.
func (e *Exchange) Contracts(ctx context.Context) ([]crm.Contract, error) {
	return e.store.Contracts(ctx)
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
