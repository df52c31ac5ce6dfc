package exchange

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	"meridian/instance/store"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// Limits of one answer of the ledger.
const (
	ledgerLimit    = 100
	ledgerLimitMax = 1000
)

// Status says how far each stream is, out and in.
func (e *Exchange) Status(ctx context.Context) (*exchangev1.GetStatusResponse, error) {
	out, err := e.store.StreamsOut(ctx)
	if err != nil {
		return nil, err
	}
	waits, err := e.store.Unacknowledged(ctx)
	if err != nil {
		return nil, err
	}
	in, err := e.store.StreamsIn(ctx)
	if err != nil {
		return nil, err
	}
	contracts, err := e.store.Contracts(ctx)
	if err != nil {
		return nil, err
	}
	var serve []string
	for _, c := range contracts {
		if c.Source == e.instance {
			serve = append(serve, c.ID)
		}
	}
	backlog, err := e.store.Backlog(ctx, serve)
	if err != nil {
		return nil, err
	}
	res := &exchangev1.GetStatusResponse{RelayBacklog: backlog}
	for _, s := range out {
		w := waits[s.Stream]
		res.Streams = append(res.Streams, &exchangev1.StreamStatus{
			Stream: s.Stream, Direction: "out", Peer: s.Destination, Entity: s.Entity,
			Sequence: s.Sequence, Pending: s.Sequence - s.Sent, Holdings: s.Holdings, Last: optional(s.StoredAt), Error: s.Error,
			Unacknowledged: w.Messages, OldestUnacknowledged: optional(w.Oldest), Acknowledged: optional(w.AcknowledgedAt),
			UnacknowledgedRetractions: w.Retractions, OldestUnacknowledgedRetraction: optional(w.OldestRetraction),
		})
	}
	for _, s := range in {
		if s.Entity == control {
			continue
		}
		res.Streams = append(res.Streams, &exchangev1.StreamStatus{
			Stream: s.Stream, Direction: "in", Peer: s.Source, Entity: s.Entity,
			Sequence: s.Sequence, Pending: max(0, s.EndOffset-s.NextOffset), Parked: s.Parked, Gaps: s.Gaps, Holdings: s.Holdings,
			Last: optional(s.AppliedAt), Error: s.Error, Acknowledged: optional(s.ToldAt),
		})
	}
	return res, nil
}

// UnacknowledgedRetraction is how long the oldest retraction waits for its
// destination to confirm it, zero when none does.
func (e *Exchange) UnacknowledgedRetraction(ctx context.Context) (time.Duration, error) {
	return e.store.UnacknowledgedRetraction(ctx)
}

// Ledger lists what left, newest first: to whom, under which contract and
// bundle, whether it is still held and when its destination acknowledged it. It
// holds no values.
func (e *Exchange) Ledger(ctx context.Context, ask *exchangev1.ListLedgerRequest) ([]*exchangev1.LedgerEntry, error) {
	q := store.LedgerQuery{Entity: ask.GetEntity(), Destination: ask.GetDestination(), Held: ask.GetHeld(),
		Unacknowledged: ask.GetUnacknowledged(), Limit: int(ask.GetLimit())}
	if ask.GetRecordId() != "" {
		id, err := crm.ParseRecordID(ask.GetRecordId())
		if err != nil {
			return nil, crm.FieldErrorf("record_id", "%v", err)
		}
		q.ID = id
	}
	switch {
	case q.Limit <= 0:
		q.Limit = ledgerLimit
	case q.Limit > ledgerLimitMax:
		q.Limit = ledgerLimitMax
	}
	lines, err := e.store.Ledger(ctx, q)
	if err != nil {
		return nil, err
	}
	entries := make([]*exchangev1.LedgerEntry, len(lines))
	for i, l := range lines {
		entries[i] = &exchangev1.LedgerEntry{
			Entity: l.Entity, RecordId: string(l.ID), RecordVersion: l.Version, Destination: l.Destination, Contract: l.Contract, Bundle: l.Bundle,
			Operation: l.Operation, Groups: l.Groups, Stream: l.Stream, Sequence: l.Sequence, At: timestamppb.New(l.At), Held: l.Held, ExecutionId: l.Execution,
			Acknowledged: optional(l.Acknowledged),
		}
	}
	return entries, nil
}

func optional(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
