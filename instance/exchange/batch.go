package exchange

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// largestBody leaves room for the key and the headers in a message.
const largestBody = messageBytes - 64<<10

// batch is what one transaction of the relay looks at and stores.
type batch struct {
	*relay
	terms   map[string]crm.Contract
	epoch   int64
	changes []crm.Change
	known   []store.Served       // what is known of each contract after it
	out     map[string]*outgoing // by stream
	more    bool                 // something is left for the next batch
	schemas map[string]string    // digests of definitions, by entity
	bundle  string               // what decided about the records that are disclosed next
}

// outgoing is what a batch adds to one stream.
type outgoing struct {
	sequence  int64
	envelopes []store.Envelope
}

// item is one record to look at under one contract.
type item struct {
	id        crm.RecordID
	execution string
	force     bool // send it also if the destination should have it
	snapshot  bool // part of a snapshot
}

// items collects records without repeating one, in the order they came.
type items struct {
	list []item
	at   map[crm.RecordID]int
}

func (s *items) add(i item) {
	if s.at == nil {
		s.at = map[crm.RecordID]int{}
	}
	at, known := s.at[i.id]
	if !known {
		s.at[i.id] = len(s.list)
		s.list = append(s.list, i)
		return
	}
	old := &s.list[at]
	if i.execution != "" {
		old.execution = i.execution
	}
	old.force = old.force || i.force
	old.snapshot = old.snapshot && i.snapshot
}

// contractError says which contract keeps a batch from being stored.
type contractError struct {
	contract string
	err      error
}

func (e *contractError) Error() string { return "contract " + e.contract + ": " + e.err.Error() }
func (e *contractError) Unwrap() error { return e.err }

// fill looks at everything that is to be looked at and stores what follows.
func (b *batch) fill(ctx context.Context, tx *store.Tx) error {
	b.schemas = map[string]string{}
	served, err := b.served(ctx, tx)
	if err != nil {
		return err
	}
	repaired, err := b.repair(ctx, tx, served)
	if err != nil {
		return err
	}
	for _, c := range served {
		if err := b.serve(ctx, tx, c); err != nil {
			return &contractError{c.Contract, err}
		}
	}
	for _, r := range repaired {
		if err := b.gap(ctx, tx, r); err != nil {
			return err
		}
	}
	b.known = make([]store.Served, len(served))
	for i, c := range served {
		b.known[i] = c.Served
	}
	if len(b.out) == 0 {
		// Nothing will be sent because of it: undone by a crash of the server,
		// it is done again.
		return tx.Lazy(ctx)
	}
	for _, stream := range slices.Sorted(maps.Keys(b.out)) {
		if err := tx.StoreEnvelopes(ctx, stream, b.epoch, b.out[stream].envelopes); err != nil {
			return err
		}
	}
	return nil
}

// contract is a served contract in one batch.
type contract struct {
	store.Served
	terms   crm.Contract // zero once the contract is gone: nothing is in scope
	gone    bool
	blocked bool
	look    items
	changed bool // must be saved
}

// served lists the contracts with their terms: a contract with other terms
// than last time, a new one and one that is gone are looked at from the start.
func (b *batch) served(ctx context.Context, tx *store.Tx) ([]*contract, error) {
	known := b.relay.known
	if known == nil {
		var err error
		if known, err = tx.Served(ctx); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	var cs []*contract
	for _, s := range known {
		seen[s.Contract] = true
		c := &contract{Served: s}
		terms, ok := b.terms[s.Contract]
		// An id that now names another destination or entity is another contract:
		// the old one is gone until its records came back.
		c.gone = !ok || terms.Destination != s.Destination || terms.Entity != s.Entity
		digest := ""
		if !c.gone {
			var err error
			c.terms = terms
			if digest, err = termsDigest(terms); err != nil {
				return nil, err
			}
		}
		if digest != s.Terms {
			c.Terms = digest
			c.sweep()
		}
		cs = append(cs, c)
	}
	for _, id := range slices.Sorted(maps.Keys(b.terms)) {
		if seen[id] {
			continue
		}
		t := b.terms[id]
		digest, err := termsDigest(t)
		if err != nil {
			return nil, err
		}
		c := &contract{terms: t, Served: store.Served{
			Contract: id, Destination: t.Destination, Entity: t.Entity, Stream: streamName(b.instance, t.Destination, t.Entity), Terms: digest,
		}}
		c.sweep()
		c.Snapshot = store.BeginSnapshot
		cs = append(cs, c)
	}
	for _, c := range cs {
		c.blocked = b.blocked[c.Stream] != nil || b.failing[c.Contract].waits()
	}
	return cs, nil
}

// sweep makes everything be looked at from the start.
func (c *contract) sweep() { c.Sweep, c.After, c.changed = store.SweepHeld, crm.NoAccount, true }

// serve collects what has to be looked at under one contract and discloses it,
// or keeps the ids when the stream is blocked.
func (b *batch) serve(ctx context.Context, tx *store.Tx, c *contract) error {
	if err := b.collect(ctx, tx, c); err != nil {
		return err
	}
	if c.blocked {
		if err := b.keep(ctx, tx, c); err != nil {
			return err
		}
	} else if err := b.advance(ctx, tx, c); err != nil {
		return err
	}
	if !c.changed {
		return nil
	}
	return tx.SaveServed(ctx, c.Served)
}

// collect adds the records that the changes concern.
func (b *batch) collect(ctx context.Context, tx *store.Tx, c *contract) error {
	for _, change := range b.changes {
		switch {
		case change.Kind == crm.ChangeRecord && change.Entity == c.Entity:
			c.look.add(item{id: change.ID, execution: change.Execution})
		case change.Kind == crm.ChangeRecord:
		case change.ID == "":
			c.sweep()
		default:
			// A fact names the record or the account it is about; what belongs to
			// the account is concerned as well.
			c.look.add(item{id: change.ID, execution: change.Execution})
			if c.Entity == "account" || c.Sweep == store.SweepHeld {
				continue
			}
			ids, err := tx.OfAccount(ctx, c.Entity, change.ID, relayBatch)
			if err != nil {
				c.sweep() // too many to name
				continue
			}
			for _, id := range ids {
				c.look.add(item{id: id, execution: change.Execution})
			}
		}
	}
	return nil
}

// keep remembers ids for when the stream flows again.
func (b *batch) keep(ctx context.Context, tx *store.Tx, c *contract) error {
	if len(c.look.list) == 0 {
		return nil
	}
	due := make([]store.Due, len(c.look.list))
	for i, it := range c.look.list {
		due[i] = store.Due{ID: it.id, Execution: it.execution}
	}
	return tx.AddDue(ctx, c.Contract, due)
}

// advance adds what was kept and the next chunk of a sweep, and discloses.
func (b *batch) advance(ctx context.Context, tx *store.Tx, c *contract) error {
	if b.pending {
		due, err := tx.TakeDue(ctx, c.Contract, relayBatch)
		if err != nil {
			return err
		}
		for _, d := range due {
			c.look.add(item{id: d.ID, execution: d.Execution})
		}
		b.more = b.more || len(due) == relayBatch
	}
	if c.Snapshot == store.BeginSnapshot {
		if err := b.watermark(ctx, tx, c, 0); err != nil {
			return err
		}
	}
	swept, err := b.sweepOn(ctx, tx, c)
	if err != nil {
		return err
	}
	if err := b.disclose(ctx, tx, c); err != nil {
		return err
	}
	if swept && c.Snapshot > 0 {
		if err := b.watermark(ctx, tx, c, c.Snapshot); err != nil {
			return err
		}
		c.Snapshot = 0
	}
	return nil
}

// sweepOn adds the next chunk of a sweep: first what the destination holds,
// then what is at home here. It reports whether the sweep ended.
func (b *batch) sweepOn(ctx context.Context, tx *store.Tx, c *contract) (bool, error) {
	if c.Sweep == store.SweepNone {
		return false, nil
	}
	c.changed = true
	if c.Sweep == store.SweepHeld {
		ids, err := tx.HeldAfter(ctx, c.Contract, c.After, relayBatch)
		if err != nil {
			return false, err
		}
		for _, id := range ids {
			c.look.add(item{id: id})
		}
		if len(ids) == relayBatch {
			c.After, b.more = ids[len(ids)-1], true
			return false, nil
		}
		c.Sweep, c.After = store.SweepHome, crm.NoAccount
	}
	if !c.gone {
		ids, err := tx.HomeAfter(ctx, c.Entity, c.After, relayBatch)
		if err != nil {
			return false, err
		}
		for _, id := range ids {
			c.look.add(item{id: id, snapshot: c.Snapshot != 0})
		}
		if len(ids) == relayBatch {
			c.After, b.more = ids[len(ids)-1], true
			return false, nil
		}
	}
	c.Sweep, c.After = store.SweepNone, crm.NoAccount
	return true, nil
}

// repaired is a range that a destination missed and that this batch repairs.
type repaired struct {
	*contract // one of its stream's
	store.Repair
}

// repair looks again at the records of numbers that destinations miss.
func (b *batch) repair(ctx context.Context, tx *store.Tx, served []*contract) ([]repaired, error) {
	if !b.pending {
		return nil, nil
	}
	var rs []repaired
	done := map[string]bool{}
	for _, c := range served {
		if c.blocked || done[c.Stream] {
			continue
		}
		done[c.Stream] = true
		r, ok, err := tx.NextRepair(ctx, c.Stream, relayBatch)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		records, err := tx.Disclosed(ctx, c.Stream, b.epoch, r)
		if err != nil {
			return nil, err
		}
		for _, of := range served {
			for _, id := range records[of.Contract] {
				of.look.add(item{id: id, force: true})
			}
		}
		rs = append(rs, repaired{c, r})
		b.more = true
	}
	return rs, nil
}

// gap says, after the records were sent again, that the numbers will never
// come.
func (b *batch) gap(ctx context.Context, tx *store.Tx, r repaired) error {
	b.log.WarnContext(ctx, "repaired numbers that a destination missed", "stream", r.Stream, "first", r.First, "last", r.Last)
	return b.add(ctx, tx, r.contract, &exchangev1.Envelope{Operation: string(crm.OpGap), Range: &exchangev1.Range{First: r.First, Last: r.Last}}, nil)
}

// disclose asks policy about the records and stores what follows: an envelope
// for each that the destination should hold otherwise than it does.
func (b *batch) disclose(ctx context.Context, tx *store.Tx, c *contract) error {
	if len(c.look.list) == 0 {
		return nil
	}
	ids := make([]crm.RecordID, len(c.look.list))
	for i, it := range c.look.list {
		ids[i] = it.id
	}
	holdings, err := tx.EgressHoldings(ctx, c.Contract, ids)
	if err != nil {
		return err
	}
	projections := make([]access.Projection, len(ids))
	if c.gone {
		active, err := tx.Active(ctx)
		if err != nil {
			return err
		}
		b.bundle = active.Digest
	} else {
		if projections, err = b.door.Project(ctx, tx, c.terms, ids); err != nil {
			return err
		}
		b.bundle = projections[0].Bundle
	}
	var leaving []item
	for i, it := range c.look.list {
		p, held := projections[i], holdings[it.id]
		// I-exchange-5: whatever the answer, only what is at home here leaves.
		if p.InScope && p.Record.Home == b.instance {
			if err := b.upsert(ctx, tx, c, it, p, held); err != nil {
				return err
			}
		} else if held.Held || it.force && held.Exposure > 0 {
			leaving = append(leaving, it)
		}
	}
	return b.retract(ctx, tx, c, leaving, holdings)
}

func (b *batch) upsert(ctx context.Context, tx *store.Tx, c *contract, it item, p access.Projection, held store.EgressHolding) error {
	payload, digest, err := payloadOf(p, c.terms)
	if err != nil {
		return fmt.Errorf("record %s: %w", it.id, err)
	}
	if held.Held && !it.force && bytes.Equal(held.Digest, digest) {
		return nil
	}
	if n := proto.Size(payload); n > largestBody {
		b.log.ErrorContext(ctx, "a record is too large to leave; its destination keeps what it has", "contract", c.Contract, "record", it.id, "bytes", n)
		return nil
	}
	op := crm.OpUpsert
	if it.snapshot {
		op = crm.OpSnapshot
	}
	return b.add(ctx, tx, c, &exchangev1.Envelope{Operation: string(op), ExecutionId: it.execution, Payload: payload}, &store.Disclosure{
		ID: it.id, Version: p.Record.Version, Exposure: held.Exposure + 1, Groups: b.groups(c, p.Record.Withheld), Digest: digest,
	})
}

// retract takes records back: a deleted one is deleted there too, one that is
// out of scope is given back.
func (b *batch) retract(ctx context.Context, tx *store.Tx, c *contract, leaving []item, holdings map[crm.RecordID]store.EgressHolding) error {
	if len(leaving) == 0 {
		return nil
	}
	ids := make([]crm.RecordID, len(leaving))
	for i, it := range leaving {
		ids[i] = it.id
	}
	live, err := tx.Live(ctx, c.Entity, ids)
	if err != nil {
		return err
	}
	for _, it := range leaving {
		op := crm.OpRetract
		if !live[it.id] {
			op = crm.OpDelete
		}
		err := b.add(ctx, tx, c, &exchangev1.Envelope{Operation: string(op), ExecutionId: it.execution}, &store.Disclosure{
			ID: it.id, Exposure: holdings[it.id].Exposure + 1,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// watermark marks the begin (first 0) and the end of a snapshot.
func (b *batch) watermark(ctx context.Context, tx *store.Tx, c *contract, first int64) error {
	o, err := b.stream(ctx, tx, c)
	if err != nil {
		return err
	}
	r := &exchangev1.Range{First: o.sequence + 1}
	if first > 0 {
		r = &exchangev1.Range{First: first, Last: o.sequence + 1}
	} else {
		c.Snapshot, c.changed = r.First, true
	}
	return b.add(ctx, tx, c, &exchangev1.Envelope{Operation: string(crm.OpWatermark), Range: r}, nil)
}

// stream is what this batch adds to the contract's stream.
func (b *batch) stream(ctx context.Context, tx *store.Tx, c *contract) (*outgoing, error) {
	if o, ok := b.out[c.Stream]; ok {
		return o, nil
	}
	sequence, err := tx.LockStream(ctx, c.Stream, c.Destination, c.Entity)
	if err != nil {
		return nil, err
	}
	o := &outgoing{sequence: sequence}
	b.out[c.Stream] = o
	return o, nil
}

// add numbers and encodes an envelope.
func (b *batch) add(ctx context.Context, tx *store.Tx, c *contract, env *exchangev1.Envelope, d *store.Disclosure) error {
	o, err := b.stream(ctx, tx, c)
	if err != nil {
		return err
	}
	o.sequence++
	env.EventId = string(crm.NewRecordID())
	env.Origin, env.OriginEpoch = b.instance, b.epoch
	env.Stream, env.Sequence, env.Entity = c.Stream, o.sequence, c.Entity
	env.Contract = c.Contract
	env.Committed = timestamppb.Now()
	key := c.Contract
	if d != nil {
		d.Contract, d.Entity, d.Operation, d.Execution = c.Contract, c.Entity, crm.Op(env.Operation), env.ExecutionId
		d.Bundle = b.bundle
		if env.Schema, err = b.schema(c.Entity); err != nil {
			return err
		}
		env.Bundle, env.RecordId, env.RecordVersion, env.Exposure = d.Bundle, string(d.ID), d.Version, d.Exposure
		key = string(d.ID)
	}
	body, err := deterministic.Marshal(env)
	if err != nil {
		return fmt.Errorf("encode envelope: %w", err)
	}
	o.envelopes = append(o.envelopes, store.Envelope{Sequence: o.sequence, Key: key, Body: body, Disclosure: d})
	return nil
}

// groups are the field groups that leave.
func (b *batch) groups(c *contract, withheld []string) []string {
	def, _ := b.store.Definition(c.Entity)
	return slices.DeleteFunc(def.Groups(), func(g string) bool { return slices.Contains(withheld, g) })
}

// schema is the digest of the definition that fields follow.
func (b *batch) schema(entity string) (string, error) {
	if s, ok := b.schemas[entity]; ok {
		return s, nil
	}
	def, _ := b.store.Definition(entity)
	s, err := digestOf(def)
	b.schemas[entity] = s
	return s, err
}
