package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
)

func TestMain(m *testing.M) { embeddedtest.Main(m) }

// office is an instance whose rep writes everywhere and whose west may see
// America's west.
type office struct {
	t     *testing.T
	store *store.Store
	door  *access.Door
	feed  *Feed
	facts store.Facts
}

func open(t *testing.T, adjust func(*Feed)) *office {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	url := embeddedtest.Database(t)
	st, err := store.Open(t.Context(), store.Config{URL: embeddedtest.App(url), OwnerURL: url, Instance: "amer", MaxConns: 8, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	if err := st.Install(t.Context(), schema.Common()); err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(t.Context(), policy.Embedded())
	if err != nil {
		t.Fatal(err)
	}
	door := access.New(access.Config{Instance: "amer", Store: st, Engine: engine, Log: log})
	o := &office{t: t, store: st, door: door, feed: New(st, door, log), facts: store.Facts{
		Territories: trees.Territories(), Segments: trees.Segments(), Departments: []store.Department{{ID: "desk", Name: "Desk"}},
		Subjects: []store.SubjectFact{
			{ID: "rep@amer", Kind: crm.KindPerson, Roles: []string{"rep"}, Clearance: 9, Territories: []string{trees.World}, Segments: []string{trees.AllSegments}},
			{ID: "officer@amer", Kind: crm.KindPerson, Roles: []string{"officer"}, Clearance: 9},
			{ID: "west@amer", Kind: crm.KindPerson, Roles: []string{"reader"}, Clearance: 9, Territories: []string{"US-W"}, Segments: []string{trees.AllSegments}, Departments: []string{"desk"}},
		},
	}}
	o.declare()
	adjust(o.feed)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, part := range []func(context.Context) error{o.feed.Run, door.Run} {
		running.Go(func() {
			if err := part(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return o
}

func asItIs(*Feed) {}

func (o *office) declare() {
	o.t.Helper()
	if err := o.store.Reconcile(o.t.Context(), o.facts); err != nil {
		o.t.Fatal(err)
	}
}

func as(who string) crm.Caller {
	return crm.Caller{Subject: crm.SubjectID(who + "@amer"), Execution: strings.ReplaceAll(string(crm.NewRecordID()), "-", "")}
}

func (o *office) create(c crm.Caller, name, territory string) crm.Record {
	o.t.Helper()
	results, err := o.door.Create(o.t.Context(), c, access.CreateRequest{Entity: "account", Rows: []access.NewRow{{
		Fields:    map[string]crm.Value{"source_id": crm.String(string(crm.NewRecordID())), "name": crm.String(name)},
		Territory: territory, Segment: "Financials"}}})
	return one(o.t, results, err)
}

func (o *office) update(r crm.Record, change access.UpdateRow) crm.Record {
	o.t.Helper()
	change.ID, change.Version = r.ID, r.Version
	results, err := o.door.Update(o.t.Context(), as("rep"), access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{change}})
	return one(o.t, results, err)
}

func (o *office) rename(r crm.Record, name string) crm.Record {
	o.t.Helper()
	return o.update(r, access.UpdateRow{Fields: map[string]crm.Value{"name": crm.String(name)}})
}

func (o *office) agree(account crm.RecordID, effect crm.Effect, to time.Time) crm.Agreement {
	o.t.Helper()
	a, err := o.door.CreateAgreement(o.t.Context(), as("officer"), crm.Agreement{
		Account: account, Department: "desk", Effect: effect, From: time.Now().Add(-time.Hour), To: to, Reason: "test", Document: "paper"})
	if err != nil {
		o.t.Fatal(err)
	}
	return a
}

func one(t *testing.T, results []access.Result, err error) crm.Record {
	t.Helper()
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Record
}

// watching is a watch that a test reads event by event.
type watching struct {
	t      *testing.T
	events chan Event
	stop   context.CancelFunc
	done   chan error
}

func (o *office) watch(who, filter string) *watching {
	o.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{t: o.t, events: make(chan Event, 1000), stop: cancel, done: make(chan error, 1)}
	go func() {
		w.done <- o.feed.Watch(ctx, as(who), "account", filter, func(e Event) error {
			w.events <- e
			return nil
		})
	}()
	o.t.Cleanup(func() {
		cancel()
		if err := <-w.done; err != nil {
			o.t.Errorf("watch ended with %v", err)
		}
		w.done <- nil
	})
	if e := w.next(); e.Type != Ready {
		o.t.Fatalf("the first event is %s, want ready", e.Type)
	}
	return w
}

func (w *watching) next() Event {
	w.t.Helper()
	select {
	case e := <-w.events:
		return e
	case <-time.After(10 * time.Second):
		w.t.Fatal("no event in ten seconds")
		return Event{}
	}
}

func (w *watching) want(typ string, id crm.RecordID) Event {
	w.t.Helper()
	e := w.next()
	if e.Type != typ || e.ID != id {
		w.t.Fatalf("event %s %s, want %s %s", e.Type, e.ID, typ, id)
	}
	return e
}

func TestWatchShowsWhatTheCallerMaySee(t *testing.T) {
	o := open(t, asItIs)
	before := o.create(as("rep"), "Was there", "US-CA")
	w := o.watch("west", "")
	caller := as("rep")
	r := o.create(caller, "New", "US-CA")
	e := w.next()
	for e.ID == before.ID { // created behind an older transaction, it is told again
		e = w.next()
	}
	if e.Type != Upsert || e.ID != r.ID {
		t.Fatalf("event %s %s, want the upsert of %s", e.Type, e.ID, r.ID)
	}
	if e.Record.Fields["name"].Text() != "New" || e.Record.Version != 1 || e.Execution != caller.Execution || e.At.IsZero() {
		t.Errorf("event %+v of %+v", e, e.Record)
	}
	o.create(as("rep"), "Not theirs", "US-NY") // never heard of
	before = o.rename(before, "Renamed")
	if e := w.want(Upsert, before.ID); e.Record.Version != 2 {
		t.Errorf("version %d, want 2", e.Record.Version)
	}
	o.update(before, access.UpdateRow{Territory: "US-NY"})
	if e := w.want(Gone, before.ID); e.Record != nil {
		t.Error("gone carries a record")
	}
	results, err := o.door.Delete(t.Context(), as("rep"), access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: r.ID, Version: r.Version}}})
	one(t, results, err)
	w.want(Gone, r.ID)
}

func TestWatchHeedsItsFilter(t *testing.T) {
	o := open(t, asItIs)
	w := o.watch("rep", "name contains 'bank'")
	o.create(as("rep"), "A mill", "US-CA")
	r := o.create(as("rep"), "A bank", "US-CA")
	w.want(Upsert, r.ID)
	r = o.rename(r, "A mill by now")
	w.want(Gone, r.ID)
	r = o.rename(r, "A bank again")
	w.want(Upsert, r.ID)
}

// No record changes in any of these, and yet each ends or begins a sight.
func TestFactsMoveSight(t *testing.T) {
	o := open(t, asItIs)
	// Watched from before: what was created behind an older transaction is told
	// again to who comes after.
	w := o.watch("west", "")
	east := o.create(as("rep"), "East", "US-NY")
	west := o.create(as("rep"), "West", "US-CA")
	w.want(Upsert, west.ID)

	a := o.agree(east.ID, crm.EffectOpen, crm.Forever)
	w.want(Upsert, east.ID)
	if _, err := o.door.EndAgreement(t.Context(), as("officer"), a.ID, "test"); err != nil {
		t.Fatal(err)
	}
	w.want(Gone, east.ID)

	wall := o.agree(west.ID, crm.EffectWall, crm.Forever)
	w.want(Gone, west.ID)
	if _, err := o.door.EndAgreement(t.Context(), as("officer"), wall.ID, "test"); err != nil {
		t.Fatal(err)
	}
	w.want(Upsert, west.ID)

	// By time alone: whoever keeps the clock says so.
	end := time.Now().Add(400 * time.Millisecond)
	o.agree(east.ID, crm.EffectOpen, end)
	w.want(Upsert, east.ID)
	for time.Now().Before(end.Add(time.Second)) && len(w.events) == 0 {
		if err := o.store.EnqueueBoundaries(t.Context()); err != nil {
			t.Fatal(err)
		}
		sleep(t.Context(), 20*time.Millisecond)
	}
	w.want(Gone, east.ID)

	// An assignment concerns everything.
	o.facts.Subjects[2].Territories = []string{"US-NE"}
	o.declare()
	got := map[string]bool{}
	for range 2 {
		e := w.next()
		got[e.Type+" "+string(e.ID)] = true
	}
	if !got[Gone+" "+string(west.ID)] || !got[Upsert+" "+string(east.ID)] {
		t.Errorf("after another assignment: %v", got)
	}
}

func TestSlowWatcherDelaysNobody(t *testing.T) {
	o := open(t, func(f *Feed) { f.dueBound = 10 })
	first := o.create(as("rep"), "First", "US-CA")
	// The slow one takes ready and then nothing until released.
	release := make(chan struct{})
	slow := make(chan Event, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		done <- o.feed.Watch(ctx, as("rep"), "account", "", func(e Event) error {
			if e.Type == Ready {
				close(ready)
				return nil
			}
			<-release
			slow <- e
			return nil
		})
	}()
	<-ready
	quick := o.watch("rep", "")
	last := map[crm.RecordID]int64{}
	r := o.rename(first, "Blocks the slow one")
	quick.want(Upsert, r.ID)
	last[r.ID] = r.Version
	for i := range 40 { // more than its bound
		r := o.create(as("rep"), fmt.Sprint("Bank ", i), "US-CA")
		quick.want(Upsert, r.ID)
		last[r.ID] = r.Version
	}
	close(release)
	// Having lost count it looks at everything, and hears of each.
	deadline := time.After(20 * time.Second)
	for len(last) > 0 {
		select {
		case e := <-slow:
			if e.Type == Upsert && e.Record.Version == last[e.ID] {
				delete(last, e.ID)
			}
		case <-deadline:
			t.Fatalf("the slow watcher never heard of %d records", len(last))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestAfterAnAbsence: what changed while the feed could not read may have been
// trimmed from the outbox, so watchers look at everything again.
func TestAfterAnAbsence(t *testing.T) {
	o := open(t, func(f *Feed) { f.absence = 0 }) // every pause is too long
	was := o.create(as("rep"), "Was there", "US-CA")
	o.create(as("rep"), "Not theirs", "US-NY")
	w := o.watch("west", "")
	w.want(Upsert, was.ID) // nothing told of it
	w.want(Upsert, o.create(as("rep"), "New", "US-CA").ID)
}

func TestWatchEnds(t *testing.T) {
	o := open(t, func(f *Feed) { f.heartbeat = 20 * time.Millisecond })
	t.Run("ByItsContext", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := o.feed.Watch(ctx, as("west"), "account", "", func(e Event) error {
			if e.Type == Heartbeat {
				cancel()
			}
			return nil
		})
		if err != nil {
			t.Errorf("ended with %v, want nil", err)
		}
	})
	t.Run("ByItsListener", func(t *testing.T) {
		hangup := errors.New("the listener hung up")
		err := o.feed.Watch(t.Context(), as("west"), "account", "", func(Event) error { return hangup })
		if !errors.Is(err, hangup) {
			t.Errorf("ended with %v, want the listener's error", err)
		}
	})
	t.Run("ForWhoIsNobody", func(t *testing.T) {
		err := o.feed.Watch(t.Context(), as("nobody"), "account", "", func(e Event) error {
			t.Errorf("nobody was sent %s", e.Type)
			return nil
		})
		if err == nil {
			t.Error("nobody may watch")
		}
	})
	t.Run("LeavesNobodyBehind", func(t *testing.T) {
		if len(o.feed.watched()) != 0 {
			t.Errorf("%v is still watched", o.feed.watched())
		}
	})
}

func TestRunLeavesNoGoroutine(t *testing.T) {
	o := open(t, asItIs)
	ignore := goleak.IgnoreCurrent()
	f := New(o.store, o.door, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	watch := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		watch <- f.Watch(ctx, as("rep"), "account", "", func(e Event) error {
			if e.Type == Ready {
				close(ready)
			}
			return nil
		})
	}()
	<-ready
	cancel()
	if err := errors.Join(<-done, <-watch); err != nil {
		t.Error(err)
	}
	// Connections of the pool come and go on their own.
	if err := goleak.Find(ignore, goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck")); err != nil {
		t.Error(err)
	}
}
