package fleet

import (
	"context"
	"errors"
	"time"

	"meridian/instance/crm"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// exchangePatience is how long the exchange may take to come to rest.
const exchangePatience = 3 * time.Minute

// waitExchanged waits until every instance holds what the others let it have
// of what was written before we looked. A fleet that was ready before is not
// given up when that takes long: its users may write all the while.
func (r *run) waitExchanged(ctx context.Context) error {
	if len(r.file.Contracts) == 0 {
		return nil
	}
	done, err := r.folder.progress()
	if err != nil {
		return err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, exchangePatience)
	defer cancel()
	var behind string
	rested := rest{}
	err = poll(ctx, 100*time.Millisecond, func() (bool, error) {
		all := map[*node]*exchangev1.GetStatusResponse{}
		for _, n := range r.nodes {
			resp, err := n.exchange().GetStatus(ctx, &exchangev1.GetStatusRequest{})
			if unavailable(err) {
				behind = n.Name + " does not answer"
				return false, n.child.hopelessly()
			}
			if err != nil {
				return false, at(n, "exchange status", err)
			}
			all[n] = resp
		}
		behind = rested.lagging(all)
		if behind != "" {
			r.progress("  ..  exchanging: %s", behind)
		}
		return behind == "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		if !done.Exchanged {
			return crm.Errorf(crm.Unavailable, "the exchange does not come to rest: %s", behind)
		}
		r.warn("the exchange is still catching up: %s", behind)
		return nil
	}
	if err != nil {
		return err
	}
	r.step("exchange", began)
	done.Exchanged = true
	return writeJSON(r.folder.file("progress.json"), done)
}

// rest is how far an instance's streams out were, by stream, at a moment when
// its relay had read every change.
type rest map[*node]map[string]int64

// lagging names one thing that is not exchanged yet, or nothing. Every relay
// must have come to rest once, not all at the same moment: a fleet in use may
// never do that. What it stored until then must be applied.
func (r rest) lagging(all map[*node]*exchangev1.GetStatusResponse) (behind string) {
	applied := map[string]int64{}
	for n, status := range all {
		out := map[string]int64{}
		for _, s := range status.Streams {
			if s.Direction == "in" {
				applied[s.Stream] = s.Sequence
			} else {
				out[s.Stream] = s.Sequence
			}
		}
		switch {
		case r[n] != nil:
		case status.RelayBacklog > 0:
			behind = n.Name + " has changes to read"
		default:
			r[n] = out
		}
	}
	for _, out := range r {
		for stream, sequence := range out {
			if applied[stream] < sequence {
				behind = stream
			}
		}
	}
	return behind
}
