package load

import (
	"context"
	"sync"
	"time"

	"meridian/instance/store"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

const (
	// overdue is how long a batch waits for the one before it when that is not
	// under way here: two calls may overtake one another on the network.
	overdue = time.Second
	// lookAgain is for a batch before it that another replica takes.
	lookAgain = 50 * time.Millisecond
)

// turns lets the batches of a load that are under way in this process follow
// one another. It is a shortcut: the position in the database decides.
type turns struct {
	mu     sync.Mutex
	byLoad map[string]*turn
}

// turn is the batches of one load.
type turn struct {
	within  int           // batches under way
	waiting int           // those of them that wait for their turn
	ended   chan struct{} // closed when one ends
}

// enter notes a batch; leave must be called when it has ended.
func (t *turns) enter(load string) (leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byLoad == nil {
		t.byLoad = map[string]*turn{}
	}
	x := t.byLoad[load]
	if x == nil {
		x = &turn{ended: make(chan struct{})}
		t.byLoad[load] = x
	}
	x.within++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		close(x.ended)
		x.ended = make(chan struct{})
		if x.within--; x.within == 0 {
			delete(t.byLoad, load)
		}
	}
}

// wait notes that a batch of the load waits, until done is called. busy tells
// whether another is at work, and gives what is closed when one ends.
func (t *turns) wait(load string) (busy func() (bool, <-chan struct{}), done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.byLoad[load]
	x.waiting++
	busy = func() (bool, <-chan struct{}) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return x.within > x.waiting, x.ended
	}
	return busy, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		x.waiting--
	}
}

// await waits until the load is where the batch begins, and says whether it
// was not yet. A batch that nothing under way leads up to is refused.
func (s *Service) await(ctx context.Context, l store.Load, r *facadev1.ApplyRequest) (waited bool, err error) {
	if begins(r) <= l.Position.Record {
		return false, nil
	}
	busy, done := s.turns.wait(l.ID)
	defer done()
	for idle := time.Now(); ; {
		working, ended := busy() // asked before the position: what ends in between wakes us
		if working {
			idle = time.Now()
		}
		if l, err = s.find(ctx, l.ID); err != nil {
			return true, err
		}
		if begins(r) <= l.Position.Record {
			return true, nil // beyond it, AdvanceLoad refuses
		}
		if l.State != store.LoadApplying || time.Since(idle) > overdue {
			return true, misplaced(l, r)
		}
		look := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-ended:
		case <-look.C:
		}
		look.Stop()
		if err != nil {
			return true, err
		}
	}
}
