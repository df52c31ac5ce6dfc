package load

import (
	"context"
	"fmt"
	"slices"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/values"
)

// maxBatch bounds one transaction, as the door does.
const maxBatch = 1000

// Apply upserts a batch and keeps the position in the same transaction. A
// position that is already kept changes nothing and answers as it did. A batch
// that is sent while the one before it is under way is prepared beside it and
// takes its turn.
func (s *Service) Apply(ctx context.Context, c crm.Caller, r *facadev1.ApplyRequest) (*facadev1.ApplyResponse, error) {
	l, err := s.own(ctx, c, r.GetLoadId())
	if err != nil {
		return nil, err
	}
	if r.GetPosition().GetRecord() <= l.Position.Record {
		return s.repeated(ctx, l, r) // I-load-2
	}
	if l.State != store.LoadApplying {
		return nil, crm.Errorf(crm.Conflict, "the load is %s; begin a new one", l.State)
	}
	if err := accounted(l, r); err != nil {
		return nil, err
	}
	defer s.turns.enter(l.ID)()
	b := batch{load: l, request: r}
	if err := s.apply(ctx, c, &b); err != nil {
		if crm.KindOf(err) != crm.Conflict {
			return nil, err
		}
		// Somebody moved the position between our look and our commit: either
		// this very batch, sent twice, or another run of the facade.
		if l, ferr := s.find(ctx, l.ID); ferr == nil && r.GetPosition().GetRecord() <= l.Position.Record {
			return s.repeated(ctx, l, r)
		}
		return nil, err
	}
	return &facadev1.ApplyResponse{Balance: balanceMessage(b.after), Rejected: rejectMessages(b.refused, true)}, nil
}

// accounted checks that the batch says what became of every record between
// the kept position and its own, so that the balance closes at every commit.
func accounted(l store.Load, r *facadev1.ApplyRequest) error {
	from, to := begins(r), r.GetPosition().GetRecord()
	switch {
	case len(r.GetRows())+len(r.GetRejects()) > maxBatch:
		return crm.FieldErrorf("rows", "a batch holds at most %d records; send smaller ones", maxBatch)
	case r.GetFiltered() < 0 || from < l.Position.Record:
		return misplaced(l, r)
	}
	seen := make(map[int64]bool, len(r.GetRows()))
	number := func(n int64) error {
		if n <= from || n > to || seen[n] {
			return crm.FieldErrorf("rows", "record %d is outside the batch, or in it twice", n)
		}
		seen[n] = true
		return nil
	}
	for _, row := range r.GetRows() {
		if err := number(row.GetNumber()); err != nil {
			return err
		}
		if row.GetEntity() != "" && row.GetEntity() != l.Entity {
			return crm.FieldErrorf("entity", "record %d is of entity %q, the load is of %s", row.GetNumber(), row.GetEntity(), l.Entity)
		}
	}
	for _, rej := range r.GetRejects() {
		if err := number(rej.GetNumber()); err != nil {
			return err
		}
	}
	return nil
}

// begins is the position at which a batch begins, by its own account.
func begins(r *facadev1.ApplyRequest) int64 {
	return r.GetPosition().GetRecord() - int64(len(r.GetRows())+len(r.GetRejects())) - r.GetFiltered()
}

func misplaced(l store.Load, r *facadev1.ApplyRequest) error {
	from, to := l.Position.Record, r.GetPosition().GetRecord()
	return crm.FieldErrorf("position", "the batch accounts for %d records, but %d lie between position %d and %d; resume from %d", to-begins(r), to-from, from, to, from)
}

// batch is one Apply on its way.
type batch struct {
	load        store.Load
	request     *facadev1.ApplyRequest
	undecodable []store.LoadReject // rows that never reach the door
	refused     []store.LoadReject // all rows this instance refused
	after       store.Balance
}

func (s *Service) apply(ctx context.Context, c crm.Caller, b *batch) error {
	rows, numbers := b.decode()
	commit := func(ctx context.Context, tx *store.Tx, outcomes []access.UpsertOutcome) error {
		if len(outcomes) != len(rows) {
			return fmt.Errorf("load %s: %d rows, %d outcomes", b.load.ID, len(rows), len(outcomes))
		}
		return b.commit(ctx, tx, numbers, outcomes)
	}
	turn := func(ctx context.Context) (bool, error) { return s.await(ctx, b.load, b.request) }
	if len(rows) == 0 {
		if _, err := turn(ctx); err != nil {
			return err
		}
		return s.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error { return commit(ctx, tx, nil) })
	}
	_, err := s.door.Upsert(ctx, c, access.UpsertRequest{Entity: b.load.Entity, Rows: rows, DryRun: b.load.DryRun, Turn: turn, Commit: commit}) // I-load-1
	return err
}

// decode gives the rows that can be offered to the door; one whose values are
// not values is refused here.
func (b *batch) decode() (rows []access.UpsertRow, numbers []int64) {
	for _, r := range b.request.GetRows() {
		fields := make(map[string]crm.Value, len(r.GetFields()))
		var bad error
		for name, m := range r.GetFields() {
			v, err := values.FromProto(m)
			if err != nil {
				bad = crm.FieldErrorf(name, "%s", err)
				break
			}
			fields[name] = v
		}
		if bad != nil {
			b.undecodable = append(b.undecodable, refusal(r.GetNumber(), bad))
			continue
		}
		rows = append(rows, access.UpsertRow{Fields: fields, References: r.GetReferences()})
		numbers = append(numbers, r.GetNumber())
	}
	return rows, numbers
}

// commit counts the outcomes and moves the position, in the rows' transaction.
func (b *batch) commit(ctx context.Context, tx *store.Tx, numbers []int64, outcomes []access.UpsertOutcome) error {
	b.refused = slices.Clone(b.undecodable) // afresh: the door may try a transaction again
	a := store.LoadAdvance{
		Load: b.load.ID, From: begins(b.request),
		To:       store.LoadPosition{Record: b.request.GetPosition().GetRecord(), Offset: b.request.GetPosition().GetOffset()},
		Progress: store.LoadProgress{Done: b.request.GetProgress().GetDone(), Total: b.request.GetProgress().GetTotal(), Unit: b.request.GetProgress().GetUnit()},
	}
	for i, o := range outcomes {
		switch {
		case o.Err != nil:
			// A plugin or a lock that is not to be had is no fault of the row:
			// the batch is tried again, nothing is kept of it.
			if k := crm.KindOf(o.Err); k == crm.Unavailable || k == crm.Internal {
				return o.Err
			}
			b.refused = append(b.refused, refusal(numbers[i], o.Err))
		case o.Inserted:
			a.Delta.Inserted++
		case o.Updated:
			a.Delta.Updated++
		default:
			a.Delta.Unchanged++
		}
	}
	for _, r := range b.request.GetRejects() {
		a.Rejects = append(a.Rejects, store.LoadReject{
			Number: r.GetNumber(), Code: r.GetCode(), Field: r.GetField(), Message: r.GetMessage(), Original: r.GetOriginal(),
		})
	}
	a.Rejects = append(a.Rejects, b.refused...)
	a.Delta.Rejected = int64(len(a.Rejects))
	a.Delta.Filtered = b.request.GetFiltered()
	a.Delta.Read = a.To.Record - a.From
	after, err := tx.AdvanceLoad(ctx, a)
	b.after = after
	return err
}

// refusal keeps a row as a reject with the instance's reason, which never
// names anybody's data but the sender's own.
func refusal(number int64, err error) store.LoadReject {
	e := crm.Public(err)
	return store.LoadReject{Number: number, ByStore: true, Code: string(e.Kind), Field: e.Field, Message: e.Msg}
}

// repeated answers a batch that was applied before: the counts as they are
// now, and what the instance refused of these rows.
func (s *Service) repeated(ctx context.Context, l store.Load, r *facadev1.ApplyRequest) (*facadev1.ApplyResponse, error) {
	resp := &facadev1.ApplyResponse{Balance: balanceMessage(l.Balance)}
	if len(r.GetRows()) == 0 {
		return resp, nil
	}
	first, last := r.GetRows()[0].GetNumber(), r.GetRows()[len(r.GetRows())-1].GetNumber()
	rejects, err := s.store.LoadRejects(ctx, l.ID, first-1, int(last-first)+1)
	if err != nil {
		return nil, err
	}
	for _, rej := range rejects {
		if rej.ByStore && rej.Number <= last {
			resp.Rejected = append(resp.Rejected, rejectMessage(rej, true))
		}
	}
	return resp, nil
}
