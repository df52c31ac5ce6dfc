package store

import (
	"context"
	"slices"
)

// WayBack is where one signature may go from the bundle in force. Bundles lie
// one on top of the other as they came into force, and a rollback takes off
// what lies above the one it goes to: it never goes forward.
type WayBack struct {
	Targets   []string // digests, the nearest first
	Withdrawn []string // digests that were taken off; two officers bring one back, one does not
}

// wayBack follows all activations there were, the oldest first.
func wayBack(history []Activation) (w WayBack) {
	var pile []string // the last is in force
	for _, a := range history {
		if a.Kind != ActivationRollback { // officers or the product put it in force, whatever was withdrawn before
			pile = append(pile, a.Digest)
			w.Withdrawn = slices.DeleteFunc(w.Withdrawn, func(digest string) bool { return digest == a.Digest })
			continue
		}
		to := len(pile) - 2
		for to >= 0 && pile[to] != a.Digest {
			to--
		}
		if to < 0 { // forward, as earlier versions let it: in force, and withdrawn all the same
			pile = append(pile, a.Digest)
			continue
		}
		for _, digest := range pile[to+1:] {
			if !slices.Contains(w.Withdrawn, digest) {
				w.Withdrawn = append(w.Withdrawn, digest)
			}
		}
		pile = pile[:to+1]
	}
	for i := len(pile) - 2; i >= 0; i-- {
		if digest := pile[i]; digest != pile[len(pile)-1] && !slices.Contains(w.Withdrawn, digest) && !slices.Contains(w.Targets, digest) {
			w.Targets = append(w.Targets, digest)
		}
	}
	return w
}

// WayBack says where a rollback may go now.
func (s *Store) WayBack(ctx context.Context) (WayBack, error) { return wayBackOf(ctx, s.pool) }

// WayBack says where a rollback may go, as this transaction sees it.
func (t *Tx) WayBack(ctx context.Context) (WayBack, error) { return wayBackOf(ctx, t.tx) }

func wayBackOf(ctx context.Context, q queries) (WayBack, error) {
	history, err := activations(ctx, q, "order by seq")
	return wayBack(history), err
}
