package adapters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
)

// HaltedError is the end of a load whose balance did not close or whose source
// turned out to be damaged. It needs a person.
type HaltedError struct{ Load *facadev1.Load }

func (e *HaltedError) Error() string {
	return fmt.Sprintf("load %s is halted: %s", e.Load.GetId(), e.Load.GetError())
}

// Source is what a Runner reads: a facade, or the reading half of one.
type Source interface {
	Read(ctx context.Context, stream string, from *facadev1.Position, emit func(*facadev1.ReadResponse) error) error
}

// Runner drives what a facade reads into an instance.
type Runner struct {
	Loads  facadev1connect.LoadServiceClient
	Batch  int           // records per transaction, at most MaxBatch; 500 if zero
	Every  time.Duration // between progress lines; 5 s if zero
	Log    *slog.Logger
	Notify func(*facadev1.Balance, *facadev1.Progress) // after every batch, if set
	Again  func()                                      // when the content was loaded before, if set
}

// MaxBatch is the largest batch that can be asked for: an instance takes 1000
// records in one transaction, and a batch runs on to the next position.
const MaxBatch = 1000 - PositionEvery

const (
	defaultBatch = 500
	defaultEvery = 5 * time.Second
)

// Run loads one stream: it begins the load or finds where it was interrupted,
// applies batch after batch, and finishes it. Content that was loaded before
// answers with that load. While the instance is unavailable Run waits. When
// ctx ends, the batch under way is completed and the load can be resumed.
func (r *Runner) Run(ctx context.Context, f Source, stream string, begin *facadev1.BeginRequest) (*facadev1.Load, error) {
	ctx, execution := withExecution(ctx)
	log := r.Log.With("feed", begin.GetFeed(), "file", begin.GetFile(), "execution_id", execution)
	retry := retrier{log: log}

	var begun *facadev1.BeginResponse
	err := retry.do(ctx, "begin", func(ctx context.Context) (err error) {
		begun, err = r.Loads.Begin(ctx, begin)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("begin load of %s: %w", begin.GetFile(), err)
	}
	log = log.With("load", begun.GetLoadId())
	run := &run{Runner: r, retry: retry, log: log, load: begun.GetLoadId(), last: begun.GetResume(), balance: begun.GetBalance(), started: time.Now()}
	if begun.GetFinished() {
		log.InfoContext(ctx, "content was loaded before; nothing to do")
		if r.Again != nil {
			r.Again()
		}
		return run.finish(ctx, "")
	}
	log.InfoContext(ctx, "load started", "from_record", begun.GetResume().GetRecord(), "dry_run", begin.GetDryRun())
	if err := run.stream(ctx, f, stream, begun.GetResume()); err != nil {
		if ctx.Err() == nil && crm.KindOf(err) == crm.Invalid {
			return run.finish(ctx, err.Error())
		}
		return nil, fmt.Errorf("load %s of %s: %w", begun.GetLoadId(), begin.GetFile(), err)
	}
	return run.finish(ctx, "")
}

// run is one load under way.
type run struct {
	*Runner
	retry   retrier
	log     *slog.Logger
	load    string
	last    *facadev1.Position
	balance *facadev1.Balance
	started time.Time
	first   int64 // progress at the first batch of this run
	logged  time.Time
}

// underway is how many batches may be on their way at once: the instance
// prepares one while it commits the one before.
const underway = 2

// stream reads and applies side by side: while batches are on their way, the
// next is being read. They are taken in their order, because each position
// stands on the one before it.
func (r *run) stream(ctx context.Context, f Source, stream string, from *facadev1.Position) error {
	batches := make(chan *facadev1.ApplyRequest, 1)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(batches)
		b := batcher{load: r.load, size: min(r.Batch, MaxBatch), last: from, send: func(req *facadev1.ApplyRequest) error {
			select {
			case batches <- req:
				return nil
			case <-gctx.Done():
				return gctx.Err()
			}
		}}
		if b.size <= 0 {
			b.size = defaultBatch
		}
		if err := f.Read(gctx, stream, from, b.take); err != nil {
			return err
		}
		return b.flush()
	})
	g.Go(func() error {
		before := make(chan struct{}) // closed when the batch before is taken
		close(before)
		slots := make(chan struct{}, underway)
		for req := range batches {
			select {
			case slots <- struct{}{}:
			case <-gctx.Done():
				return gctx.Err()
			}
			turn, taken := before, make(chan struct{})
			before = taken
			g.Go(func() error {
				if err := r.apply(gctx, req, turn); err != nil {
					return err // its slot stays taken: nothing is sent behind it
				}
				close(taken)
				<-slots
				return nil
			})
		}
		return nil
	})
	return g.Wait()
}

// apply sends one batch until the instance has taken it, and notes it in its
// turn. The same position twice is a no-op there, so a lost answer costs
// nothing.
func (r *run) apply(ctx context.Context, req *facadev1.ApplyRequest, turn <-chan struct{}) error {
	resp := r.ahead(ctx, req, turn)
	select {
	case <-turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if resp == nil {
		err := r.retry.do(ctx, "apply", func(ctx context.Context) (err error) {
			resp, err = r.Loads.Apply(ctx, req)
			return err
		})
		if err != nil {
			return fmt.Errorf("apply up to record %d: %w", req.GetPosition().GetRecord(), err)
		}
	}
	r.last, r.balance = req.GetPosition(), resp.GetBalance()
	if r.Notify != nil {
		r.Notify(r.balance, req.GetProgress())
	}
	r.progress(ctx, req.GetProgress())
	return nil
}

// ahead sends a batch while the one before it is under way. If nothing comes
// of that, whatever the reason, it is sent again in its turn.
func (r *run) ahead(ctx context.Context, req *facadev1.ApplyRequest, turn <-chan struct{}) (resp *facadev1.ApplyResponse) {
	select {
	case <-turn:
		return nil // it is its turn
	default:
	}
	err := once(ctx, func(ctx context.Context) (err error) {
		resp, err = r.Loads.Apply(ctx, req)
		return err
	})
	if err != nil {
		return nil
	}
	return resp
}

func (r *run) progress(ctx context.Context, p *facadev1.Progress) {
	every := r.Every
	if every == 0 {
		every = defaultEvery
	}
	now := time.Now()
	switch {
	case r.logged.IsZero():
		r.first, r.started, r.logged = p.GetDone(), now, now
		return
	case now.Sub(r.logged) < every:
		return
	}
	r.logged = now
	left := 0.0
	if done := p.GetDone() - r.first; done > 0 && p.GetTotal() > p.GetDone() {
		left = now.Sub(r.started).Seconds() / float64(done) * float64(p.GetTotal()-p.GetDone())
	}
	r.log.InfoContext(ctx, "loading", "record", r.last.GetRecord(), "done", p.GetDone(), "total", p.GetTotal(), "unit", p.GetUnit(),
		"rejected", r.balance.GetRejected(), "seconds_left", int64(left))
}

// finish closes the load; halt says why it must end as halted.
func (r *run) finish(ctx context.Context, halt string) (*facadev1.Load, error) {
	var resp *facadev1.FinishResponse
	err := r.retry.do(ctx, "finish", func(ctx context.Context) (err error) {
		resp, err = r.Loads.Finish(ctx, &facadev1.FinishRequest{LoadId: r.load, Read: r.last.GetRecord(), Halt: halt})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("finish load %s: %w", r.load, err)
	}
	l := resp.GetLoad()
	if l.GetState() == "halted" {
		return l, &HaltedError{Load: l}
	}
	b := l.GetBalance()
	r.log.InfoContext(ctx, "load finished", "state", l.GetState(), "read", b.GetRead(), "inserted", b.GetInserted(), "updated", b.GetUpdated(),
		"unchanged", b.GetUnchanged(), "rejected", b.GetRejected(), "filtered", b.GetFiltered(), "dry_run", l.GetDryRun())
	return l, nil
}

// batcher gathers what a facade emits into requests that end at a position.
type batcher struct {
	load     string
	size     int
	last     *facadev1.Position // of the batch before
	at       *facadev1.Position // the latest emitted
	rows     []*facadev1.Row
	rejects  []*facadev1.Reject
	progress *facadev1.Progress
	send     func(*facadev1.ApplyRequest) error
}

func (b *batcher) take(item *facadev1.ReadResponse) error {
	switch it := item.GetItem().(type) {
	case *facadev1.ReadResponse_Row:
		b.rows = append(b.rows, it.Row)
	case *facadev1.ReadResponse_Reject:
		b.rejects = append(b.rejects, it.Reject)
	case *facadev1.ReadResponse_Progress:
		b.progress = it.Progress
	case *facadev1.ReadResponse_Position:
		b.at = it.Position
		// Filtered records cost nothing to send, but their position must be
		// kept now and then, or a crash would read them all again.
		if len(b.rows)+len(b.rejects) >= b.size || b.at.GetRecord()-b.last.GetRecord() >= int64(100*b.size) {
			return b.flush()
		}
	}
	return nil
}

// flush sends what was gathered up to the latest position.
func (b *batcher) flush() error {
	if b.at == nil || b.at.GetRecord() <= b.last.GetRecord() {
		if len(b.rows)+len(b.rejects) > 0 {
			return errors.New("the facade emitted records without a position after them")
		}
		return nil
	}
	n := int64(len(b.rows) + len(b.rejects))
	req := &facadev1.ApplyRequest{
		LoadId: b.load, Rows: b.rows, Rejects: b.rejects, Position: b.at, Progress: b.progress,
		Filtered: b.at.GetRecord() - b.last.GetRecord() - n,
	}
	b.last, b.rows, b.rejects = b.at, nil, nil
	return b.send(req)
}
