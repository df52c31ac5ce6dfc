// Package feed turns the outbox into live views: who watches an entity hears
// of every change they may see, in order per record, and of every record that
// leaves their sight, for whatever reason.
//
// Invariants. I-feed-1: a watcher hears "gone" for every record it was shown
// that it may no longer read, also when no record changed but a fact, a
// contract, a bundle or the time. I-feed-2: what is shown is read through
// access at the moment it is shown; the feed carries no values. I-feed-3: a
// slow watcher delays nobody: what it missed is kept as a set of ids, never as
// a queue, and beyond a bound it looks at everything again. The package must
// not know of wire formats or of Kafka.
package feed

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// Types of event.
const (
	Ready     = "ready"     // the watch is set: what commits from now on is heard
	Upsert    = "upsert"    // the record as the caller may see it now
	Gone      = "gone"      // deleted, or out of the caller's sight: no telling which
	Heartbeat = "heartbeat" // nothing happened, the watch is alive
)

// Event is what a watcher hears.
type Event struct {
	Type      string
	ID        crm.RecordID // empty for ready and heartbeat
	Record    *crm.Record  // upsert only
	At        time.Time
	Execution string
}

const (
	readBatch      = 1000                   // changes per look at the outbox
	poll           = 250 * time.Millisecond // for what other processes commit after a quiet time
	eager          = 2 * time.Millisecond   // after a wake: the change may wait for an older open transaction
	retry          = 500 * time.Millisecond
	heartbeatEvery = 15 * time.Second
)

// Feed reads the outbox once for all watchers of this process.
type Feed struct {
	store     *store.Store
	door      *access.Door
	log       *slog.Logger
	heartbeat time.Duration
	dueBound  int           // ids a watcher may owe before it looks at everything again
	absence   time.Duration // after which changes may have been trimmed unread

	wake     chan struct{}
	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

// New makes the feed of an instance. Watchers hear nothing until Run.
func New(st *store.Store, door *access.Door, log *slog.Logger) *Feed {
	f := &Feed{
		store: st, door: door, log: log,
		heartbeat: heartbeatEvery, dueBound: 20_000, absence: store.OutboxKept / 2,
		wake: make(chan struct{}, 1), watchers: map[*watcher]struct{}{},
	}
	st.OnCommit(func() {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	})
	return f
}

// Run reads the outbox until ctx ends. It is one reader however many watch.
func (f *Feed) Run(ctx context.Context) error {
	cursor, err := f.head(ctx)
	if err != nil {
		return nil // ctx ended
	}
	// Who began to watch before the cursor was taken may have missed changes.
	f.each("", func(w *watcher) { w.lost() })
	pause := poll
	healthy := true
	read := time.Now()
	for {
		changes, next, err := f.store.Changes(ctx, cursor, readBatch)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if healthy {
				f.log.Warn("feed cannot read the outbox, retrying", "error", err)
			}
			healthy = false
			if !sleep(ctx, retry) {
				return nil
			}
			continue
		}
		healthy = true
		if time.Since(read) > f.absence {
			f.log.WarnContext(ctx, "feed could not read the outbox for long, every watcher looks again", "absent", time.Since(read))
			f.each("", func(w *watcher) { w.lost() })
		}
		read = time.Now()
		if len(changes) > 0 {
			f.deliver(ctx, changes)
			cursor, pause = next, eager // more may follow
			if len(changes) == readBatch {
				continue
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-f.wake:
			pause = eager
		case <-t.C:
			pause = min(2*pause, poll)
		}
		t.Stop()
	}
}

// head is the cursor of now; it insists until the database answers.
func (f *Feed) head(ctx context.Context) (string, error) {
	for {
		cursor, err := f.store.Head(ctx)
		if err == nil {
			return cursor, nil
		}
		if ctx.Err() == nil {
			f.log.Warn("feed cannot find the head of the outbox, retrying", "error", err)
		}
		if !sleep(ctx, retry) {
			return "", ctx.Err()
		}
	}
}

// deliver notes the changes with the watchers they may concern. It never
// waits for one.
func (f *Feed) deliver(ctx context.Context, changes []crm.Change) {
	for _, entity := range f.watched() {
		c := f.concerned(ctx, entity, changes)
		if len(c.due) == 0 && c.all == "" {
			continue
		}
		f.each(entity, func(w *watcher) { w.note(c, f.dueBound) })
	}
}

// concern is what changes may have changed for somebody.
type concern struct {
	due map[crm.RecordID]mark
	all string // cursor of a change that may concern every record, "" without one
}

// concerned lists the records of entity that changes concern.
func (f *Feed) concerned(ctx context.Context, entity string, changes []crm.Change) concern {
	n := concern{due: map[crm.RecordID]mark{}}
	for _, c := range changes {
		m := mark{at: c.At, execution: c.Execution, cursor: c.Cursor}
		switch {
		case c.Kind == crm.ChangeRecord && c.Entity == entity:
			n.due[c.ID] = m
		case c.Kind == crm.ChangeRecord:
		case c.ID == "":
			n.all = c.Cursor
		default:
			// A fact names the record or the account it is about; what belongs to
			// that account is concerned as well.
			n.due[c.ID] = m
			ids, err := f.store.OfAccount(ctx, entity, c.ID, f.dueBound)
			if err != nil {
				f.log.WarnContext(ctx, "feed cannot tell what a fact concerns, looking at everything", "entity", entity, "error", err)
				n.all = c.Cursor
				continue
			}
			for _, id := range ids {
				n.due[id] = m
			}
		}
	}
	return n
}

// watched lists the entities that somebody watches.
func (f *Feed) watched() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var entities []string
	seen := map[string]bool{}
	for w := range f.watchers {
		if !seen[w.entity] {
			seen[w.entity] = true
			entities = append(entities, w.entity)
		}
	}
	return entities
}

// each calls do for every watcher of entity, or of all entities for "".
func (f *Feed) each(entity string, do func(*watcher)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		if entity == "" || w.entity == entity {
			do(w)
		}
	}
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
