package load_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/load"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

// rendezvous is hooks that let the batch with the key R3 wait until the batch
// with the key R5 has got as far.
type rendezvous struct {
	first, second chan struct{}
	came, met     sync.Once // what is sent ahead may be looked at again in its turn
}

func (h *rendezvous) Run(_ context.Context, _ string, drafts []*access.Draft) {
	for _, d := range drafts {
		switch d.Fields["source_id"].Text() {
		case "R3":
			h.came.Do(func() { close(h.first) })
			<-h.second
		case "R5":
			h.met.Do(func() { close(h.second) })
		}
	}
}

// A batch that is sent while the one before it is under way is prepared beside
// it, and ends as if it had been sent afterwards: what it says of a record is
// the last word, though the record said so already when the batch was read.
func TestABatchSentAheadTakesItsTurn(t *testing.T) {
	w := newWorld(t)
	named := func(name string) func(*facadev1.Row) { return func(r *facadev1.Row) { r.Fields["name"] = text(name) } }
	rewrite := func(number int, key, name string) *facadev1.Row {
		r := rows(number, number, named(name))[0]
		r.Fields["source_id"] = text(key)
		return r
	}
	id := w.begin(loader, "monday").GetLoadId()
	w.apply(loader, batch(id, 2, rows(1, 2, named("old"))...))

	h := &rendezvous{first: make(chan struct{}), second: make(chan struct{})}
	door := access.New(access.Config{Instance: "amer", Store: w.store, Engine: must(engine()), Hooks: h})
	s := load.New(door, w.store, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() {
		_, err := s.Apply(t.Context(), loader, batch(id, 4, append(rows(3, 3), rewrite(4, "R1", "new"))...))
		ended <- err
	}()
	<-h.first
	resp, err := s.Apply(t.Context(), loader, batch(id, 7, append(rows(5, 5), rewrite(6, "R1", "old"), rewrite(7, "R3", "again"))...))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	balance(t, resp.GetBalance(), 7, 4, 3, 0, 0, 0)
	if n := w.number(`select version from record.account where source_id = 'R1' and name = 'old'`); n != 3 {
		t.Errorf("R1 is at version %d, want its last word as version 3", n)
	}
	if n := w.number(`select count(*) from record.account where source_id = 'R3' and name = 'again'`); n != 1 {
		t.Error("R3, new in one batch, was not updated by the next")
	}
}

func TestABatchThatNothingLeadsUpToIsRefused(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday").GetLoadId()
	_, err := w.Apply(t.Context(), loader, batch(id, 4, rows(3, 4)...))
	wantKind(t, err, crm.Invalid)
	w.apply(loader, batch(id, 2, rows(1, 2)...)) // it kept nothing and holds up nobody
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
