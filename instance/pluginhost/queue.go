package pluginhost

import (
	"context"
	"strings"
	"sync"
	"time"

	"meridian/plugins"
)

// A plugin has at most maxInFlight calls at a time, of at most maxRecords
// records each.
const (
	maxInFlight = 2
	maxRecords  = 256
)

// queue unites the calls of concurrent writes. A call goes out at once while
// the plugin is idle; what comes meanwhile waits and goes with the next call,
// so that a busy plugin gets few large batches (the cost of a call is its
// wake-ups) and a lone write waits for nobody. That is sound because any
// split of a batch gives the same results.
type queue struct {
	call func(context.Context, plugins.Batch, time.Duration) ([]plugins.Result, error)

	mu       sync.Mutex
	inFlight int
	waiting  []*job
	working  sync.WaitGroup
}

// job is a part of one write's batch.
type job struct {
	batch    plugins.Batch
	deadline time.Duration
	results  []plugins.Result
	err      error
	done     chan struct{}
	left     bool // its caller has gone; guarded by queue.mu
}

func newQueue(call func(context.Context, plugins.Batch, time.Duration) ([]plugins.Result, error)) *queue {
	return &queue{call: call}
}

// invoke sends the batch, alone or united with others, and waits at most
// deadline for the answer.
func (q *queue) invoke(ctx context.Context, b plugins.Batch, deadline time.Duration) ([]plugins.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var jobs []*job
	for rest := b.Records; len(rest) > 0; {
		n := min(len(rest), maxRecords)
		part := b
		part.Records, rest = rest[:n], rest[n:]
		j := &job{batch: part, deadline: deadline, done: make(chan struct{})}
		jobs = append(jobs, j)
		q.submit(j)
	}
	results := make([]plugins.Result, 0, len(b.Records))
	for _, j := range jobs {
		select {
		case <-j.done:
		case <-ctx.Done():
			q.leave(jobs)
			return nil, ctx.Err()
		}
		if j.err != nil {
			q.leave(jobs)
			return nil, j.err
		}
		results = append(results, j.results...)
	}
	return results, nil
}

// submit sends the job if a call is free, or lets it wait.
func (q *queue) submit(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inFlight == maxInFlight {
		q.waiting = append(q.waiting, j)
		return
	}
	q.inFlight++
	q.working.Go(func() {
		for jobs := []*job{j}; len(jobs) > 0; jobs = q.next() {
			q.send(jobs)
		}
	})
}

// send makes one call of jobs of a kind and hands each its part of the answer.
func (q *queue) send(jobs []*job) {
	b := jobs[0].batch
	if len(jobs) > 1 {
		b.Records = nil
		for _, j := range jobs {
			b.Records = append(b.Records, j.batch.Records...)
		}
	}
	// The call belongs to all its writers: none of them can cancel it.
	results, err := q.call(context.Background(), b, jobs[0].deadline)
	for _, j := range jobs {
		if j.err = err; err == nil {
			n := len(j.batch.Records)
			j.results, results = results[:n], results[n:]
		}
		close(j.done)
	}
}

// next takes the longest waiting job and all that can go with it, or gives
// the call back if none waits.
func (q *queue) next() []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	var taken, rest []*job
	records := 0
	for _, j := range q.waiting {
		switch {
		case j.left:
		case len(taken) == 0, records+len(j.batch.Records) <= maxRecords && sameCall(taken[0], j):
			taken = append(taken, j)
			records += len(j.batch.Records)
		default:
			rest = append(rest, j)
		}
	}
	q.waiting = rest
	if len(taken) == 0 {
		q.inFlight--
	}
	return taken
}

func sameCall(a, b *job) bool {
	return a.batch.Entity == b.batch.Entity && a.batch.Op == b.batch.Op && a.batch.Stage == b.batch.Stage &&
		strings.Join(a.batch.Steps, ",") == strings.Join(b.batch.Steps, ",")
}

// leave marks jobs whose caller waits no longer, so that they are not sent.
func (q *queue) leave(jobs []*job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range jobs {
		j.left = true
	}
}

// drain waits until no call is in flight.
func (q *queue) drain() { q.working.Wait() }
