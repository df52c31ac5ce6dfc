package feed

import (
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// checkBatch is how many records a watcher looks at in one read.
const checkBatch = 500

// mark is what a watcher is told about a change besides the record.
type mark struct {
	at        time.Time
	execution string
	cursor    string
}

// watcher is what one watch still has to look at. The feed adds to it, the
// watch takes from it.
type watcher struct {
	entity string
	since  store.Moment  // what it saw was over when the watch began
	ready  chan struct{} // holds one token while there is something to take

	mu    sync.Mutex
	due   map[crm.RecordID]mark // records that may have changed for the caller
	sight bool                  // what the caller may see may have changed as a whole
	blind bool                  // changes were lost: every record may have changed
}

// note adds to what the watcher has to look at; beyond bound it forgets the
// ids and remembers only that it missed something.
func (w *watcher) note(c concern, bound int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.all != "" && !w.since.Saw(c.all) {
		w.sight = true
	}
	for id, m := range c.due {
		if !w.since.Saw(m.cursor) {
			w.due[id] = m
		}
	}
	if len(w.due) > bound {
		w.due = map[crm.RecordID]mark{}
		w.blind = true
	}
	w.signal()
}

// lost says that changes passed unseen.
func (w *watcher) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blind = true
	w.signal()
}

func (w *watcher) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

func (w *watcher) take() (due map[crm.RecordID]mark, sight, blind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	due, sight, blind = w.due, w.sight, w.blind
	w.due, w.sight, w.blind = map[crm.RecordID]mark{}, false, false
	return due, sight, blind
}

// Watch tells the caller of every change of entity's records that filter
// selects, from the ready event on, until ctx ends (nil) or emit or a read
// fails (its error). emit is called from one goroutine; a slow one delays only
// its own watch.
func (f *Feed) Watch(ctx context.Context, c crm.Caller, entity, filter string, emit func(Event) error) error {
	// First heard, then looked: a change in between is looked at twice, never
	// missed. What the feed has still to hand out of before is left out.
	since, err := f.store.Moment(ctx)
	if err != nil {
		return quiet(ctx, err)
	}
	w := &watcher{entity: entity, since: since, ready: make(chan struct{}, 1), due: map[crm.RecordID]mark{}}
	f.mu.Lock()
	f.watchers[w] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers, w)
		f.mu.Unlock()
	}()

	v := &view{feed: f, caller: c, entity: entity, filter: filter, emit: emit, seen: map[crm.RecordID]uint64{}}
	ids, _, err := f.door.Visible(ctx, c, entity, filter)
	if err != nil {
		return quiet(ctx, err)
	}
	for _, id := range ids {
		v.seen[id] = neverShown
	}
	if err := emit(Event{Type: Ready, At: time.Now().UTC()}); err != nil {
		return err
	}
	beat := time.NewTicker(f.heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			if err := emit(Event{Type: Heartbeat, At: time.Now().UTC()}); err != nil {
				return err
			}
			continue
		case <-w.ready:
		}
		due, sight, blind := w.take()
		if len(due) == 0 && !sight && !blind {
			continue
		}
		if sight || blind {
			if err := v.lookAgain(ctx, due, blind); err != nil {
				return quiet(ctx, err)
			}
		}
		if err := v.check(ctx, due); err != nil {
			return quiet(ctx, err)
		}
	}
}

// quiet makes the end of ctx the ordinary end of a watch.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// neverShown is the look of a record that is in sight but was not sent.
const neverShown = 0

// view is what one caller sees of an entity: the ids in sight, each with the
// look it was last shown with.
type view struct {
	feed           *Feed
	caller         crm.Caller
	entity, filter string
	emit           func(Event) error
	seen           map[crm.RecordID]uint64
}

// lookAgain compares what is in sight now with what was: it tells what left
// and adds to due what came, and what was shown and may look different. Blind,
// it adds everything in sight.
func (v *view) lookAgain(ctx context.Context, due map[crm.RecordID]mark, blind bool) error {
	ids, _, err := v.feed.door.Visible(ctx, v.caller, v.entity, v.filter)
	if err != nil {
		return err
	}
	now := mark{at: time.Now().UTC()}
	inSight := make(map[crm.RecordID]struct{}, len(ids))
	for _, id := range ids {
		inSight[id] = struct{}{}
		shown, was := v.seen[id]
		if _, noted := due[id]; !noted && (blind || !was || shown != neverShown) {
			due[id] = now
		}
	}
	for _, id := range sortedKeys(v.seen) {
		if _, ok := inSight[id]; ok {
			continue
		}
		m, noted := due[id]
		if !noted {
			m = now
		}
		if err := v.gone(id, m); err != nil {
			return err
		}
	}
	return nil
}

// check reads the due records as the caller and tells what became of them.
func (v *view) check(ctx context.Context, due map[crm.RecordID]mark) error {
	for ids := range slices.Chunk(sortedKeys(due), checkBatch) {
		page, _, err := v.feed.door.List(ctx, v.caller, access.ListRequest{
			Entity: v.entity, Filter: v.filter, IDs: ids, Limit: len(ids),
		})
		if err != nil {
			return err
		}
		visible := make(map[crm.RecordID]*crm.Record, len(page))
		for i := range page {
			visible[page[i].ID] = &page[i]
		}
		for _, id := range ids {
			if r, ok := visible[id]; ok {
				err = v.upsert(r, due[id])
			} else {
				err = v.gone(id, due[id])
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// upsert shows a record unless it was shown looking just so.
func (v *view) upsert(r *crm.Record, m mark) error {
	l := look(r)
	if v.seen[r.ID] == l {
		return nil
	}
	v.seen[r.ID] = l
	return v.emit(Event{Type: Upsert, ID: r.ID, Record: r, At: m.at, Execution: m.execution})
}

// gone tells that a record left, to who had it in sight only: to others its
// existence is nobody's business.
func (v *view) gone(id crm.RecordID, m mark) error {
	if _, was := v.seen[id]; !was {
		return nil
	}
	delete(v.seen, id)
	return v.emit(Event{Type: Gone, ID: id, At: m.at, Execution: m.execution})
}

// look tells apart what a record can look like to one caller: its version and
// what is withheld and masked.
func look(r *crm.Record) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strconv.FormatInt(r.Version, 10)))
	for _, g := range r.Withheld {
		h.Write([]byte("/" + g))
	}
	for _, g := range r.Masked {
		h.Write([]byte("~" + g))
	}
	if l := h.Sum64(); l != neverShown {
		return l
	}
	return neverShown + 1
}

func sortedKeys[V any](m map[crm.RecordID]V) []crm.RecordID {
	ids := make([]crm.RecordID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
