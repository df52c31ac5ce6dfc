package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	leaseTry   = 500 * time.Millisecond // between two tries of a standby
	leaseCheck = time.Second            // between two looks whether the lease is still ours
	leaseLimit = 3 * time.Second        // a look that takes longer means it is not
)

// errLeaseLost ends the context of who leads.
var errLeaseLost = errors.New("the lease was lost with its connection")

// Lead runs lead whenever this process holds the named lease of the database,
// until ctx ends or lead fails; then it answers lead's error. The lease is an
// advisory lock on a connection of its own, so it is free the moment its
// holder dies. It saves work, it does not guard data: what leads must stay
// right when two lead for a moment, by comparing positions where it commits.
func (s *Store) Lead(ctx context.Context, name string, lead func(context.Context) error) error {
	warned := false
	for ctx.Err() == nil {
		err := s.leadOnce(ctx, name, lead)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case errors.Is(err, errLeaseLost):
			s.log.WarnContext(ctx, "lease lost, standing by", "lease", name)
		case errors.Is(err, errNoLease):
			if !warned {
				s.log.WarnContext(ctx, "cannot ask for a lease, retrying", "lease", name, "error", err)
				warned = true
			}
			wait(ctx, leaseTry)
		default:
			return err
		}
	}
	return nil
}

var errNoLease = errors.New("no lease")

func (s *Store) leadOnce(ctx context.Context, name string, lead func(context.Context) error) error {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoLease, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseLimit)
		defer cancel()
		_ = conn.Close(ctx) // the lock goes with it, closed well or not
	}()
	for {
		var ours bool
		if err := conn.QueryRow(ctx, "select pg_try_advisory_lock(hashtextextended('meridian/' || $1, 0))", name).Scan(&ours); err != nil {
			return fmt.Errorf("%w: %w", errNoLease, err)
		}
		if ours {
			break
		}
		if !wait(ctx, leaseTry) {
			return nil
		}
	}
	leading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for wait(leading, leaseCheck) {
			look, cancel := context.WithTimeout(leading, leaseLimit)
			err := conn.Ping(look)
			cancel()
			if err != nil && leading.Err() == nil {
				stop(errLeaseLost)
			}
		}
	}()
	err = lead(leading)
	lost := context.Cause(leading)
	stop(nil)
	<-watched
	if errors.Is(lost, errLeaseLost) {
		return errLeaseLost
	}
	return err
}

// wait waits for d and reports whether ctx is still alive.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
