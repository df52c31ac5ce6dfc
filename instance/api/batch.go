package api

import (
	"context"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// batch sorts out the rows of a write that do not even decode, so that the
// others get to the door and every answer keeps its place.
type batch[R any] struct {
	atomic  bool
	rows    []R
	at      []int // place of each of rows in the request
	results []row
}

func newBatch[R any](n int, atomic bool) *batch[R] {
	return &batch[R]{atomic: atomic, results: make([]row, n)}
}

func (b *batch[R]) add(i int, r R, err error) {
	if err != nil {
		b.results[i].Err = err
		return
	}
	b.rows, b.at = append(b.rows, r), append(b.at, i)
}

// run sends the rows that decoded. An atomic batch with one that did not is
// refused whole, with that row's error.
func (b *batch[R]) run(write func([]R) ([]row, error)) ([]row, error) {
	if err := batchSize(len(b.results)); err != nil {
		return nil, err
	}
	if b.atomic && len(b.rows) < len(b.results) {
		for _, r := range b.results {
			if r.Err != nil {
				return nil, r.Err
			}
		}
	}
	if len(b.rows) == 0 {
		return b.results, nil
	}
	out, err := write(b.rows)
	if err != nil {
		return nil, err
	}
	for i, r := range out {
		b.results[b.at[i]] = r
	}
	return b.results, nil
}

func batchSize(n int) error {
	if n > maxBatch {
		return crm.FieldErrorf("records", "%d records in one call; send at most %d", n, maxBatch)
	}
	return nil
}

// pageSize is the default and the bound of every paged answer.
func pageSize(limit int) int {
	if limit == 0 {
		return 50
	}
	return min(limit, 1000)
}

// absent is the answer for a record that does not exist, or that the caller
// may not know of; the door says it in the same words.
func absent() error { return crm.Errorf(crm.NotFound, "not found") }

func versionRequired() error {
	return crm.Errorf(crm.PreconditionRequired, "say which version you are changing: read the record first")
}

func sensitivity(n int64) error {
	if n < 0 || n > 9 {
		return crm.FieldErrorf("sensitivity", "give a number from 0 (open) to 9 (secret)")
	}
	return nil
}

// explained is the door's explanation. Whatever is wrong with the question, that
// the caller may not know of the record comes first.
func (s *server) explained(ctx context.Context, entity string, id crm.RecordID, action crm.Action, subject crm.SubjectID) (access.Explanation, error) {
	if err := known(action); err != nil {
		return access.Explanation{}, s.unlessUnexplained(ctx, entity, id, err)
	}
	e, err := s.Door.Explain(ctx, callerOf(ctx), entity, id, action, subject)
	if err != nil && crm.KindOf(err) != crm.NotFound {
		err = s.unlessUnexplained(ctx, entity, id, err)
	}
	return e, err
}

// known refuses a word that is no action; "" is the default one. Policy would
// answer no to it, which reads like a decision.
func known(a crm.Action) error {
	switch a {
	case "", crm.ActionRead, crm.ActionCreate, crm.ActionUpdate, crm.ActionDelete, crm.ActionShare, crm.ActionWithhold, crm.ActionPublish:
		return nil
	}
	return crm.FieldErrorf("action", "say read, create, update, delete, share or withhold")
}

// unlessUnexplained is unlessHidden for explanations, which officers get of
// records that they cannot read.
func (s *server) unlessUnexplained(ctx context.Context, entity string, id crm.RecordID, wrong error) error {
	if _, err := s.Door.Explain(ctx, callerOf(ctx), entity, id, crm.ActionRead, ""); err != nil {
		return err
	}
	return wrong
}

// unlessHidden is what is wrong with a call about one record, unless the
// caller may not know of the record: then that comes first, exactly as if it
// did not exist.
func (s *server) unlessHidden(ctx context.Context, entity string, id crm.RecordID, wrong error) error {
	rows, err := s.Door.Get(ctx, callerOf(ctx), entity, []crm.RecordID{id})
	if err != nil {
		return err
	}
	if rows[0].Err != nil {
		return rows[0].Err
	}
	return wrong
}

// unlessElsewhere is unlessHidden for a change: that the record is written at
// another instance comes before what is wrong with the call as well, for no
// correction would make it succeed here.
func (s *server) unlessElsewhere(ctx context.Context, entity string, id crm.RecordID, wrong error) error {
	rows, err := s.Door.Get(ctx, callerOf(ctx), entity, []crm.RecordID{id})
	switch {
	case err != nil:
		return err
	case rows[0].Err != nil:
		return rows[0].Err
	case rows[0].Record.Home != s.Instance:
		return crm.NotHomeError(rows[0].Record.Home)
	}
	return wrong
}
