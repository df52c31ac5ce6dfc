package exchange

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"meridian/instance/crm"
	"meridian/instance/store"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// The control topic is the way back: a destination asks there to be sent again
// what it misses, and tells what it applied.

// ask sends the source the ranges that are missing here. The request is
// harmless to repeat and holds no values.
func (in *ingress) ask(ctx context.Context) error {
	gaps, err := in.store.ClaimGaps(ctx, in.stream, repairAgain)
	if err != nil || len(gaps) == 0 {
		return err
	}
	topic := streamName(in.instance, in.source, control)
	if err := in.transport.CreateTopic(ctx, topic); err != nil {
		return err
	}
	var ms []Message
	for _, g := range gaps {
		m, err := in.controlMessage(crm.OpGap, in.stream, in.entity, g.Epoch, &exchangev1.Envelope{Range: &exchangev1.Range{First: g.First, Last: g.Last}})
		if err != nil {
			return err
		}
		ms = append(ms, m)
	}
	return in.append(ctx, topic, ms)
}

// controlMessage is a message of this instance, as destination, about a stream.
func (e *Exchange) controlMessage(op crm.Op, stream, entity string, epoch int64, say *exchangev1.Envelope) (Message, error) {
	say.EventId, say.Operation = string(crm.NewRecordID()), string(op)
	say.Origin, say.OriginEpoch, say.Stream, say.Entity = e.instance, epoch, stream, entity
	body, err := deterministic.Marshal(say)
	return Message{Key: stream, Value: body, Headers: map[string]string{headerOperation: string(op)}}, err
}

// heed keeps what a destination asks for and what it acknowledges. The relay
// makes the repairs.
func (in *ingress) heed(ctx context.Context, at store.Inbox, f Fetched) (store.Inbox, error) {
	to := at
	to.NextOffset, to.EndOffset = f.Next, f.End
	asked := false
	err := in.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		asked = false
		for _, m := range f.Messages {
			var env exchangev1.Envelope
			// A destination speaks of its own streams only.
			if err := proto.Unmarshal(m.Value, &env); err != nil || env.Origin != in.source || env.Stream != streamName(in.instance, in.source, env.Entity) {
				in.log.ErrorContext(ctx, "a message on the control topic is not its sender's to say", "stream", in.stream, "offset", m.Offset)
				continue
			}
			var err error
			switch op := crm.Op(env.Operation); {
			case op == crm.OpGap && env.Range.GetFirst() >= 1:
				asked = true
				err = tx.AddRepair(ctx, env.Stream, env.Range.First, env.Range.Last)
			case op == crm.OpReceipt:
				err = in.acknowledge(ctx, tx, m, &env)
			default:
				in.log.ErrorContext(ctx, "a message on the control topic cannot be understood", "stream", in.stream, "offset", m.Offset)
			}
			if err != nil {
				return err
			}
		}
		return tx.MoveInbox(ctx, at, to)
	})
	if err != nil {
		return at, err
	}
	if asked {
		in.repairs.Store(true)
		in.poke()
	}
	return to, nil
}

// acknowledge keeps a receipt. One that cannot be acknowledges nothing.
func (in *ingress) acknowledge(ctx context.Context, tx *store.Tx, m Message, env *exchangev1.Envelope) error {
	r := store.Receipt{Epoch: env.OriginEpoch, Applied: env.Receipt.GetApplied()}
	for _, missing := range env.Receipt.GetMissing() {
		r.Missing = append(r.Missing, store.Range{First: missing.GetFirst(), Last: missing.GetLast()})
	}
	err := tx.Acknowledge(ctx, env.Stream, r)
	if errors.Is(err, store.ErrReceipt) {
		in.log.WarnContext(ctx, "a receipt is refused and acknowledges nothing", "stream", env.Stream, "offset", m.Offset, "reason", err)
		return nil
	}
	return err
}
