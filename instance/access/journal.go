package access

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"meridian/instance/store"
)

// Sizes of the journal. A decision waits at most flushEvery; when maxWaiting
// wait, whoever adds the next one writes them, so that none is ever lost and
// memory stays bounded.
const (
	flushEvery = 250 * time.Millisecond
	maxWaiting = 1024
)

// journal collects decisions on reads and writes them in batches. Decisions on
// writes do not pass here: they are part of the write's transaction.
type journal struct {
	store   *store.Store
	wake    chan struct{}
	writing chan struct{} // held by the one who writes

	mu      sync.Mutex
	waiting []store.Decision
}

func newJournal(s *store.Store) *journal {
	return &journal{store: s, wake: make(chan struct{}, 1), writing: make(chan struct{}, 1)}
}

// add takes a decision. It fails only when the journal is full and cannot be
// written: what cannot be logged is not answered.
func (j *journal) add(ctx context.Context, d store.Decision) error {
	d.At = time.Now()
	j.mu.Lock()
	full := len(j.waiting) >= maxWaiting
	j.mu.Unlock()
	if full {
		if err := j.flush(ctx); err != nil {
			return err
		}
	}
	j.mu.Lock()
	j.waiting = append(j.waiting, d)
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return nil
}

// flush writes what waits. What could not be written waits again. Who has
// flushed finds everything in the log that was added before, whoever wrote it.
func (j *journal) flush(ctx context.Context) error {
	select {
	case j.writing <- struct{}{}:
		defer func() { <-j.writing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	j.mu.Lock()
	batch := j.waiting
	j.waiting = nil
	j.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := j.store.LogDecisions(ctx, batch)
	if err != nil {
		j.mu.Lock()
		j.waiting = append(batch, j.waiting...)
		j.mu.Unlock()
	}
	return err
}

// run flushes until ctx ends, and once more.
func (j *journal) run(ctx context.Context, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return j.flush(last)
		case <-j.wake:
		}
		if err := j.flush(ctx); err != nil && ctx.Err() == nil {
			log.ErrorContext(ctx, "decisions wait to be logged", "error", err)
		}
		select { // let a batch gather
		case <-ctx.Done():
		case <-time.After(flushEvery):
		}
	}
}
