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

// waitExchanged waits until every instance holds what the others let it have:
// no change unread by a relay, nothing unsent, and every stream applied at its
// end as far as it was stored at its beginning.
func (r *run) waitExchanged(ctx context.Context) error {
	if len(r.file.Contracts) == 0 {
		return nil
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, exchangePatience)
	defer cancel()
	var behind string
	err := poll(ctx, 100*time.Millisecond, func() (bool, error) {
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
		behind = lagging(all)
		if behind != "" {
			r.progress("  ..  exchanging: %s", behind)
		}
		return behind == "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return crm.Errorf(crm.Unavailable, "the exchange does not come to rest: %s", behind)
	}
	if err == nil {
		r.step("exchange", began)
	}
	return err
}

// lagging names one thing that is not exchanged yet, or nothing.
func lagging(all map[*node]*exchangev1.GetStatusResponse) string {
	applied := map[string]int64{}
	for _, status := range all {
		for _, s := range status.Streams {
			if s.Direction == "in" {
				applied[s.Stream] = s.Sequence
			}
		}
	}
	for n, status := range all {
		if status.RelayBacklog > 0 {
			return n.Name + " has changes to read"
		}
		for _, s := range status.Streams {
			if s.Direction == "out" && (s.Pending > 0 || applied[s.Stream] < s.Sequence) {
				return s.Stream
			}
		}
	}
	return ""
}
