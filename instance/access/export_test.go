package access

import (
	"context"

	"meridian/instance/store"
)

// Journal is the journal of decisions on reads, for tests.
type Journal struct{ *journal }

func NewJournal(s *store.Store) Journal { return Journal{newJournal(s)} }

func (j Journal) Add(ctx context.Context, d store.Decision) error { return j.add(ctx, d) }
func (j Journal) Flush(ctx context.Context) error                 { return j.flush(ctx) }
