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
// leave. Kafka is known to transport_kafka.go alone, PostgreSQL to package
// store, values to nobody's log.
package exchange

import (
	"context"
	"log/slog"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
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
}

// New makes the exchange of an instance on a Kafka cluster.
func New(c Config) *Exchange {
	return &Exchange{instance: c.Instance, store: c.Store, door: c.Door, transport: NewKafka(c.Brokers), log: c.Log}
}

// Run relays, receives and watches the clock until ctx ends. Of all replicas
// of the instance one does the work, the others stand by.
func (e *Exchange) Run(ctx context.Context) error {
	<-ctx.Done()
	return e.transport.Close()
}

// Contracts lists the contracts this instance signed, as source or as
// destination.
func (e *Exchange) Contracts(ctx context.Context) ([]crm.Contract, error) {
	return e.store.Contracts(ctx)
}

// Status says how far each stream is, out and in.
func (e *Exchange) Status(ctx context.Context) (*exchangev1.GetStatusResponse, error) {
	return &exchangev1.GetStatusResponse{}, nil
}

// Ledger lists what left, newest first. It holds no values.
func (e *Exchange) Ledger(ctx context.Context, ask *exchangev1.ListLedgerRequest) ([]*exchangev1.LedgerEntry, error) {
	return nil, nil
}
