// Package load keeps the books of loads: what a facade read, what became of
// every row, and how far it came.
//
// A facade drives the load (docs/adr/0002); this package makes it safe to
// repeat. I-load-1: rows, counters, rejects and position are committed in one
// transaction. I-load-2: a position that was committed is never applied again.
// I-load-3: read = inserted + updated + unchanged + rejected + filtered, at
// every commit. Records are reached only through access; this package decides
// no rights but whose load it is, and knows no file format.
package load

import (
	"context"
	"log/slog"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

// The permissions of the service.
const (
	permitRun  = "load.run"  // begin, apply, finish; see one's own loads
	permitRead = "load.read" // see every load
)

// Door is what a load asks of access.
type Door interface {
	Permit(ctx context.Context, c crm.Caller, permission string) error
	Upsert(ctx context.Context, c crm.Caller, r access.UpsertRequest) ([]access.UpsertOutcome, error)
}

// Service answers meridian.facade.v1.LoadService for an authenticated caller.
type Service struct {
	door  Door
	store *store.Store
	log   *slog.Logger
	turns turns
}

// New makes the service.
func New(door Door, st *store.Store, log *slog.Logger) *Service {
	return &Service{door: door, store: st, log: log}
}

// Begin opens a load, or finds the one that was interrupted and says where to
// resume. Content that this instance has loaded under the same mapping answers
// as finished.
func (s *Service) Begin(ctx context.Context, c crm.Caller, r *facadev1.BeginRequest) (*facadev1.BeginResponse, error) {
	if err := s.door.Permit(ctx, c, permitRun); err != nil {
		return nil, err
	}
	l, err := s.beginning(c, r)
	if err != nil {
		return nil, err
	}
	l, found, err := s.store.BeginLoad(ctx, l)
	if err != nil {
		return nil, err
	}
	finished := l.State != store.LoadApplying
	if found && !finished && l.By != c.Subject {
		return nil, crm.Errorf(crm.Conflict, "another identity is loading this content; let it finish, or halt that load first")
	}
	s.log.InfoContext(ctx, "load begun", "load", l.ID, "feed", l.Feed, "entity", l.Entity, "resumed", found && !finished,
		"finished", finished, "record", l.Position.Record, "dry_run", l.DryRun, "execution_id", c.Execution)
	return &facadev1.BeginResponse{
		LoadId: l.ID, Finished: finished, Balance: balanceMessage(l.Balance),
		Resume: &facadev1.Position{Record: l.Position.Record, Offset: l.Position.Offset},
	}, nil
}

// beginning checks the request and makes the load it asks for.
func (s *Service) beginning(c crm.Caller, r *facadev1.BeginRequest) (store.Load, error) {
	none := store.Load{}
	def, ok := s.store.Definition(r.GetEntity())
	switch {
	case !ok:
		return none, crm.FieldErrorf("entity", "this instance has no entity %q", r.GetEntity())
	case def.Key == "":
		return none, crm.FieldErrorf("entity", "%s has no key to find records by, so it cannot be loaded", r.GetEntity())
	case r.GetFeed() == "":
		return none, crm.FieldErrorf("feed", "name the feed")
	case r.GetMapping() == "" || r.GetMappingVersion() < 1:
		return none, crm.FieldErrorf("mapping", "name the mapping and its version")
	case !isDigest(r.GetSha256()):
		return none, crm.FieldErrorf("sha256", "give the SHA-256 of the content as 64 lower-case hex digits")
	}
	return store.Load{
		ID: string(crm.NewRecordID()), Feed: r.GetFeed(), Entity: r.GetEntity(), File: r.GetFile(), SHA256: r.GetSha256(),
		Mapping: r.GetMapping(), MappingVersion: int(r.GetMappingVersion()), ControlCount: max(r.GetControlCount(), -1),
		DryRun: r.GetDryRun(), By: c.Subject,
	}, nil
}

func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, b := range []byte(s) {
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return false
		}
	}
	return true
}

// own finds a load that the caller began. Another's load answers as an absent
// one.
func (s *Service) own(ctx context.Context, c crm.Caller, id string) (store.Load, error) {
	if err := s.door.Permit(ctx, c, permitRun); err != nil {
		return store.Load{}, err
	}
	l, err := s.find(ctx, id)
	if err == nil && l.By != c.Subject {
		err = noLoad(id)
	}
	return l, err
}

func (s *Service) find(ctx context.Context, id string) (store.Load, error) {
	if _, err := crm.ParseRecordID(id); err != nil {
		return store.Load{}, noLoad(id)
	}
	l, ok, err := s.store.FindLoad(ctx, id)
	if err == nil && !ok {
		err = noLoad(id)
	}
	return l, err
}

func noLoad(id string) error { return crm.Errorf(crm.NotFound, "no load %q", id) }

// Finish closes a load. What the facade read, what the sender said it sent and
// what was counted must be the same number; otherwise the load ends as halted,
// and what was applied stays visible in its balance.
func (s *Service) Finish(ctx context.Context, c crm.Caller, r *facadev1.FinishRequest) (*facadev1.FinishResponse, error) {
	l, err := s.own(ctx, c, r.GetLoadId())
	if err != nil {
		return nil, err
	}
	if l.State == store.LoadApplying { // a repeated Finish answers as the first did
		state, reason := closing(l, r)
		if l, err = s.store.FinishLoad(ctx, l.ID, state, reason); err != nil {
			return nil, err
		}
		s.log.InfoContext(ctx, "load finished", "load", l.ID, "feed", l.Feed, "state", l.State, "read", l.Balance.Read,
			"rejected", l.Balance.Rejected, "execution_id", c.Execution)
	}
	return &facadev1.FinishResponse{Load: loadMessage(l)}, nil
}

// closing decides how a load ends.
func closing(l store.Load, r *facadev1.FinishRequest) (state store.LoadState, reason string) {
	switch b := l.Balance; {
	case r.GetHalt() != "":
		return store.LoadHalted, r.GetHalt()
	case r.GetRead() != b.Read:
		return store.LoadHalted, crm.Errorf(crm.Conflict, "the facade read %d records, the balance holds %d", r.GetRead(), b.Read).Error()
	case l.ControlCount >= 0 && l.ControlCount != b.Read:
		return store.LoadHalted, crm.Errorf(crm.Conflict, "the sender announced %d records, %d came", l.ControlCount, b.Read).Error()
	case b.Rejected > 0:
		return store.LoadCompleteWithRejects, ""
	}
	return store.LoadComplete, ""
}
