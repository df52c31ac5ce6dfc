package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

const (
	repairAgain  = 15 * time.Second // a repair that did not come is asked for again
	parkedAgain  = 30 * time.Second // parked envelopes are tried again
	parkedAtOnce = 500
)

// ingress reads one stream: what source lets this instance hold of an entity,
// or a control topic.
type ingress struct {
	*Exchange
	stream, source, entity string

	teller  *teller                 // of a stream of records, while it runs
	terms   map[string]crm.Contract // contracts signed here, of this stream, by id
	gaps    bool                    // some numbers are missing
	parked  bool                    // some keys are parked
	askedAt time.Time               // when gaps were looked at last
	readAt  time.Time               // when terms were read
	triedAt time.Time               // when parked envelopes were tried last
	tried   int64                   // access stamp of that try
	backoff backoff
}

func newIngress(e *Exchange, source, entity string) *ingress {
	return &ingress{Exchange: e, stream: streamName(source, e.instance, entity), source: source, entity: entity, gaps: true, parked: true}
}

// run reads on until ctx ends, whatever fails, and tells the source what was
// applied.
func (in *ingress) run(ctx context.Context) error {
	if in.entity != control {
		in.teller = newTeller(in)
		var telling sync.WaitGroup
		telling.Go(func() { in.teller.run(ctx) })
		defer telling.Wait()
	}
	for ctx.Err() == nil {
		err := in.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, store.ErrFenced) {
			continue
		}
		if in.backoff.delay == 0 {
			in.log.WarnContext(ctx, "stream in is interrupted, retrying", "stream", in.stream, "error", err)
			_ = in.store.FailInbox(ctx, in.stream, crm.Public(err).Msg) // the log has the cause
		}
		in.backoff.more()
		sleep(ctx, in.backoff.delay)
	}
	return nil
}

// follow reads and applies until something fails.
func (in *ingress) follow(ctx context.Context) error {
	at, err := in.store.Inbox(ctx, in.stream, in.source, in.entity)
	if err != nil {
		return err
	}
	if err := in.transport.CreateTopic(ctx, in.stream); err != nil {
		return err
	}
	for {
		if err := in.tend(ctx); err != nil {
			return err
		}
		f, err := in.transport.Fetch(ctx, in.stream, at.NextOffset)
		if oor, ok := errors.AsType[*OutOfRange](err); ok {
			if at, err = in.jump(ctx, at, oor); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if in.backoff.delay != 0 {
			in.backoff = backoff{}
			in.log.InfoContext(ctx, "stream in flows", "stream", in.stream)
			if err := in.store.FailInbox(ctx, in.stream, ""); err != nil {
				return err
			}
		}
		if f.Next == at.NextOffset {
			continue
		}
		if at, err = in.take(ctx, at, f); err != nil {
			return err
		}
	}
}

// jump goes on from what the topic has, and says so: what lay between is a
// gap, of a size that nobody knows until its source says.
func (in *ingress) jump(ctx context.Context, at store.Inbox, oor *OutOfRange) (store.Inbox, error) {
	in.log.ErrorContext(ctx, "the topic lost messages that were not read; asking the source to repair", "stream", in.stream,
		"offset", oor.Offset, "first", oor.First, "end", oor.End)
	to := at
	to.NextOffset, to.EndOffset = oor.First, oor.End
	in.gaps = true
	in.askedAt = time.Time{}
	err := in.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if in.entity != control { // a lost request is asked again
			if err := tx.OpenGap(ctx, in.stream, at.Epoch, at.Sequence+1, 0); err != nil {
				return err
			}
		}
		return tx.MoveInbox(ctx, at, to)
	})
	return to, err
}

// arrival is one message and what is to become of it.
type arrival struct {
	message Message
	env     *exchangev1.Envelope
	row     *access.ImportRow
	park    string // reason why it cannot be applied
}

// take applies what was fetched: runs of rows of one contract, each in one
// transaction with the position behind it.
func (in *ingress) take(ctx context.Context, at store.Inbox, f Fetched) (store.Inbox, error) {
	if in.entity == control {
		return in.heed(ctx, at, f)
	}
	if err := in.readTerms(ctx, f.Messages); err != nil {
		return at, err
	}
	run := newRun(in, at)
	for i, m := range f.Messages {
		a := in.read(m)
		if run.fullFor(a) {
			if err := run.commit(ctx, f.End); err != nil {
				return at, err
			}
			at = run.to
			run = newRun(in, at)
		}
		if ended(a) {
			if err := in.forget(ctx, a.env); err != nil {
				return at, err
			}
		}
		run.add(a)
		run.to.NextOffset = m.Offset + 1
		if i == len(f.Messages)-1 {
			run.to.NextOffset = f.Next
		}
	}
	if len(f.Messages) == 0 {
		run.to.NextOffset = f.Next
	}
	if err := run.commit(ctx, f.End); err != nil {
		return at, err
	}
	return run.to, nil
}

// ended reports whether the arrival says that a snapshot is complete.
func ended(a arrival) bool {
	return a.env.Operation == string(crm.OpWatermark) && a.env.Range.GetLast() > 0
}

// forget gives back what is held, or parked, under a contract since an epoch
// before the one whose snapshot is complete: its origin was restored to a time
// when it did not have those records, and will never speak of them again.
func (in *ingress) forget(ctx context.Context, env *exchangev1.Envelope) error {
	if err := in.store.UnparkBefore(ctx, in.stream, env.Contract, env.OriginEpoch); err != nil {
		return err
	}
	for {
		ids, err := in.store.HeldSince(ctx, env.Contract, env.OriginEpoch, runRows)
		if err != nil || len(ids) == 0 {
			return err
		}
		rows := make([]access.ImportRow, len(ids))
		for i, id := range ids {
			rows[i] = access.ImportRow{Op: crm.OpRetract, Entity: in.entity, ID: id, Contract: env.Contract, Epoch: env.OriginEpoch, Governed: crm.Governed{Home: in.source}}
		}
		errs, err := in.door.Import(ctx, in.contract(env.Contract), rows, nil)
		if err := errors.Join(append(errs, err)...); err != nil {
			return err
		}
		in.log.WarnContext(ctx, "the origin was restored and does not know these records any more", "stream", in.stream, "contract", env.Contract, "records", len(ids))
	}
}

func newRun(in *ingress, at store.Inbox) *run { return &run{ingress: in, from: at, to: at} }

// read decodes a message. What it cannot use it marks to be parked.
func (in *ingress) read(m Message) arrival {
	a := arrival{message: m, env: &exchangev1.Envelope{}}
	if err := proto.Unmarshal(m.Value, a.env); err != nil || a.env.Operation == "" {
		// The headers repeat the number and the contract.
		a.env = headerEnvelope(m)
		a.park = "the envelope cannot be read"
		return a
	}
	switch crm.Op(a.env.Operation) {
	case crm.OpWatermark, crm.OpGap:
		return a
	}
	switch {
	case a.env.Origin != in.source || a.env.Entity != in.entity || a.env.Stream != in.stream:
		a.park = "the envelope is of another stream"
		return a
	case a.env.RecordId != m.Key:
		a.park = "the envelope is about another record than its key"
		return a
	}
	row, err := rowOf(a.env)
	if err != nil {
		a.park = err.Error()
		return a
	}
	if _, signed := in.terms[row.Contract]; !signed && holds(row.Op) {
		a.park = fmt.Sprintf("contract %s is not signed here; sign it and the record is tried again", row.Contract)
		return a
	}
	a.row = &row
	return a
}

func holds(op crm.Op) bool { return op == crm.OpUpsert || op == crm.OpSnapshot }

// contract is the contract of a row as signed here. What ends a stay is obeyed
// also when the contract is gone.
func (in *ingress) contract(id string) crm.Contract {
	if c, ok := in.terms[id]; ok {
		return c
	}
	return crm.Contract{ID: id, Source: in.source, Destination: in.instance, Entity: in.entity}
}

// readTerms reads the contracts signed here, if a message names one that is not
// known or they were read a while ago. The door checks them again, in the
// transaction that applies.
func (in *ingress) readTerms(ctx context.Context, ms []Message) error {
	known := time.Since(in.readAt) < termsPoll
	for _, m := range ms {
		if id := m.Headers[headerContract]; id != "" && known {
			_, known = in.terms[id]
		}
	}
	if known {
		return nil
	}
	contracts, err := in.store.Contracts(ctx)
	if err != nil {
		return err
	}
	in.terms, in.readAt = map[string]crm.Contract{}, time.Now()
	for _, c := range contracts {
		if c.Source == in.source && c.Destination == in.instance && c.Entity == in.entity {
			in.terms[c.ID] = c
		}
	}
	return nil
}

// tend asks for what is missing and tries again what is parked, now and then.
func (in *ingress) tend(ctx context.Context) error {
	if in.entity == control {
		return nil
	}
	if in.gaps && time.Since(in.askedAt) > time.Second {
		in.askedAt = time.Now()
		if err := in.ask(ctx); err != nil {
			return err
		}
	}
	if !in.parked {
		return nil
	}
	stamp, _, err := in.store.Stamp(ctx)
	if err != nil {
		return err
	}
	if stamp == in.tried && time.Since(in.triedAt) < parkedAgain {
		return nil
	}
	in.triedAt, in.tried = time.Now(), stamp
	return in.retryParked(ctx)
}
