package exchange

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// run is what one transaction applies: rows of at most one contract, and
// everything between them that is about the stream itself.
type run struct {
	*ingress
	from, to store.Inbox
	contract string

	rows   []access.ImportRow
	of     []arrival // the arrival of each row
	poison []arrival
	opened []numbers // gaps that the sequence shows
	closed []numbers // numbers that will never come
}

// numbers is a range of sequence numbers of an epoch.
type numbers struct{ epoch, first, last int64 }

// runRows bounds one transaction.
const runRows = 1000

// fullFor reports whether the arrival needs a transaction of its own: it is of
// another contract, there are rows enough, or a snapshot is complete before it.
func (r *run) fullFor(a arrival) bool {
	if ended(a) || len(r.rows) >= runRows {
		return true
	}
	return a.row != nil && r.contract != "" && r.contract != a.row.Contract
}

// add takes an arrival in the order of its sequence: numbers that were there
// already are dropped, numbers that are missing are named.
func (r *run) add(a arrival) {
	env := a.env
	if env.Sequence > 0 {
		switch at := &r.to; {
		case env.OriginEpoch < at.Epoch:
			return
		case env.OriginEpoch > at.Epoch:
			// The origin was restored, or is met for the first time: it sends
			// everything again, numbered on from where it is, and says so first.
			if env.Sequence > 1 && (at.Epoch == 0 || !begins(env)) {
				r.opened = append(r.opened, numbers{env.OriginEpoch, 1, env.Sequence - 1})
			}
			at.Epoch, at.Sequence = env.OriginEpoch, env.Sequence
		case env.Sequence <= at.Sequence:
			return
		default:
			if env.Sequence > at.Sequence+1 {
				r.opened = append(r.opened, numbers{env.OriginEpoch, at.Sequence + 1, env.Sequence - 1})
			}
			at.Sequence = env.Sequence
		}
	}
	switch {
	case a.park != "":
		r.poison = append(r.poison, a)
	case a.row != nil:
		r.contract = a.row.Contract
		r.rows, r.of = append(r.rows, *a.row), append(r.of, a)
	case env.Operation == string(crm.OpGap):
		r.closed = append(r.closed, numbers{env.OriginEpoch, env.Range.GetFirst(), env.Range.GetLast()})
	}
}

// begins reports whether the envelope says that a snapshot begins with it.
func begins(env *exchangev1.Envelope) bool {
	return env.Operation == string(crm.OpWatermark) && env.Range.GetFirst() == env.Sequence && env.Range.GetLast() == 0
}

// commit applies the run. I-exchange-4: rows, parked envelopes, gaps and the
// position are one transaction.
func (r *run) commit(ctx context.Context, end int64) error {
	r.to.EndOffset = end
	if r.to == r.from {
		return nil
	}
	var poison []arrival
	book := func(ctx context.Context, tx *store.Tx, errs []error) error {
		var err error
		poison, err = r.book(ctx, tx, errs)
		return err
	}
	var err error
	if len(r.rows) == 0 {
		err = r.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error { return book(ctx, tx, nil) })
	} else if _, err = r.door.Import(ctx, r.ingress.contract(r.contract), r.rows, book); refused(err) {
		// The door takes none of them: each is its own poison.
		refusal := crm.Public(err).Error()
		err = r.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
			errs := make([]error, len(r.rows))
			for i := range errs {
				errs[i] = crm.Errorf(crm.Invalid, "%s", refusal)
			}
			return book(ctx, tx, errs)
		})
	}
	if err != nil {
		return err
	}
	r.teller.news(slices.ContainsFunc(r.rows, func(row access.ImportRow) bool { return !holds(row.Op) }))
	r.report(ctx, poison)
	return nil
}

// passes tells trouble that has nothing to do with the row: the database is
// away, or this process ends.
func passes(err error) bool {
	return crm.KindOf(err) == crm.Unavailable || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// refused tells an answer of the door to all rows at once that will be the
// same next time.
func refused(err error) bool {
	switch crm.KindOf(err) {
	case crm.Invalid, crm.Denied, crm.NotFound, crm.Conflict, crm.NotHome:
		return err != nil
	}
	return false
}

// book writes down, with the rows, what became of each and how far the stream
// is. It answers what was parked.
func (r *run) book(ctx context.Context, tx *store.Tx, errs []error) ([]arrival, error) {
	poison := append([]arrival(nil), r.poison...)
	var applied []store.Parked
	for i, err := range errs {
		switch {
		case err == nil:
			applied = append(applied, r.parkedForm(r.of[i]))
		case !passes(err):
			a := r.of[i]
			a.park = crm.Public(err).Error()
			poison = append(poison, a)
		default:
			return nil, err // the whole run is tried again
		}
	}
	for _, a := range poison {
		if err := tx.Park(ctx, r.parkedForm(a)); err != nil {
			return nil, err
		}
	}
	if r.parked && len(applied) > 0 {
		if err := tx.Unpark(ctx, applied); err != nil {
			return nil, err
		}
	}
	for _, g := range r.opened {
		if err := tx.OpenGap(ctx, r.stream, g.epoch, g.first, g.last); err != nil {
			return nil, err
		}
	}
	for _, g := range r.closed {
		if err := tx.CloseGaps(ctx, r.stream, g.epoch, g.first, g.last); err != nil {
			return nil, err
		}
	}
	if r.gaps && r.to.Sequence > 0 {
		if err := tx.SettleGaps(ctx, r.stream, r.to.Epoch, r.to.Sequence); err != nil {
			return nil, err
		}
	}
	return poison, tx.MoveInbox(ctx, r.from, r.to)
}

// report logs what was committed, with the execution that caused it at the
// origin. Ids and operations only.
func (r *run) report(ctx context.Context, poison []arrival) {
	bad := map[int64]bool{}
	for _, a := range poison {
		bad[a.message.Offset] = true
		r.log.ErrorContext(ctx, "a record is parked; the others flow", "stream", r.stream, "record", a.message.Key,
			"sequence", a.env.Sequence, "reason", a.park, "execution_id", a.env.ExecutionId)
	}
	r.parked = r.parked || len(poison) > 0
	for _, g := range r.opened {
		r.log.ErrorContext(ctx, "numbers are missing; asking the source to repair", "stream", r.stream, "first", g.first, "last", g.last)
		r.gaps = true
	}
	for _, a := range r.of {
		if !bad[a.message.Offset] && a.env.ExecutionId != "" {
			r.log.InfoContext(ctx, "change applied", "stream", r.stream, "operation", a.env.Operation, "entity", r.entity, "record", a.env.RecordId,
				"sequence", a.env.Sequence, "execution_id", a.env.ExecutionId)
		}
	}
}

func (in *ingress) parkedForm(a arrival) store.Parked {
	return store.Parked{
		Stream: in.stream, Contract: a.env.Contract, Key: a.message.Key, Epoch: a.env.OriginEpoch, Sequence: a.env.Sequence,
		Exposure: a.env.Exposure, Reason: a.park, Body: a.message.Value,
	}
}

// retryParked tries parked envelopes again, oldest first. A record's later
// envelope took the place of an earlier one, so their order holds.
func (in *ingress) retryParked(ctx context.Context) error {
	parked, err := in.store.ParkedIn(ctx, in.stream, parkedAtOnce)
	if err != nil {
		return err
	}
	in.parked = len(parked) > 0
	if !in.parked {
		return nil
	}
	in.readAt = time.Time{}
	if err := in.readTerms(ctx, nil); err != nil {
		return err
	}
	freed := 0
	for _, p := range parked {
		a := in.read(Message{Key: p.Key, Value: p.Body})
		if a.row == nil {
			continue
		}
		errs, err := in.door.Import(ctx, in.contract(a.row.Contract), []access.ImportRow{*a.row}, func(ctx context.Context, tx *store.Tx, errs []error) error {
			if errs[0] != nil {
				return nil
			}
			return tx.Unpark(ctx, []store.Parked{p})
		})
		switch {
		case err != nil && !refused(err):
			return err
		case err == nil && errs[0] == nil:
			freed++
		}
	}
	if freed > 0 {
		in.teller.news(true)
		in.log.InfoContext(ctx, "parked records were applied", "stream", in.stream, "records", freed)
	}
	return nil
}

// headerEnvelope is what the headers say of a message whose body says nothing.
func headerEnvelope(m Message) *exchangev1.Envelope {
	number := func(name string) int64 {
		n, err := strconv.ParseInt(m.Headers[name], 10, 64)
		if err != nil {
			return 0 // not one of ours: it has no place in the sequence
		}
		return n
	}
	return &exchangev1.Envelope{
		Operation: m.Headers[headerOperation], Sequence: number(headerSequence), OriginEpoch: number(headerEpoch), Contract: m.Headers[headerContract],
	}
}
