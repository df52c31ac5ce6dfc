package api

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"meridian/instance/access"
	"meridian/instance/crm"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	fleetv1 "meridian/proto/gen/meridian/fleet/v1"
	pluginv1 "meridian/proto/gen/meridian/plugin/v1"
)

// Config is what the API of one instance is made of. Door and Verifier are
// needed; a part that is absent answers unavailable.
type Config struct {
	Instance string
	Version  string
	Door     *access.Door
	Verifier Verifier
	Watch    Watch
	Exchange Exchange
	Plugins  Plugins
	Loads    Loads
	// Describe tells the state of the parts that can fail alone.
	Describe func(ctx context.Context) *fleetv1.DescribeResponse
	// Registry takes the API's metrics and is served at /metrics.
	Registry *prometheus.Registry
	Log      *slog.Logger
	// Conns is how many connections the instance has to its database; the
	// questions that take long share a quarter of them.
	Conns int
}

// Verifier tells who a bearer token speaks for, without asking anybody.
type Verifier interface {
	Verify(token string) (crm.SubjectID, error)
}

// Watch streams what the caller may see of an entity's changes until ctx ends
// or emit fails. Its first event is ready.
type Watch func(ctx context.Context, caller crm.Caller, entity, filter string, emit func(Event) error) error

// Event is one event of a watch.
type Event struct {
	Type      string       // ready, upsert, gone or heartbeat
	ID        crm.RecordID // the record it is about; empty for ready and heartbeat
	Record    *crm.Record  // upsert: as the caller may see it
	At        time.Time
	Execution string
}

// Exchange tells operators what flows between instances. The API asks the door
// for permission first.
type Exchange interface {
	Contracts(ctx context.Context) ([]crm.Contract, error)
	Status(ctx context.Context) (*exchangev1.GetStatusResponse, error)
	Ledger(ctx context.Context, ask *exchangev1.ListLedgerRequest) ([]*exchangev1.LedgerEntry, error)
}

// Plugins tells which plugins run here and how they are.
type Plugins interface {
	Status() []*pluginv1.PluginStatus
}

// Loads takes what facades bring. It asks the door itself.
type Loads interface {
	Begin(ctx context.Context, caller crm.Caller, req *facadev1.BeginRequest) (*facadev1.BeginResponse, error)
	Apply(ctx context.Context, caller crm.Caller, req *facadev1.ApplyRequest) (*facadev1.ApplyResponse, error)
	Finish(ctx context.Context, caller crm.Caller, req *facadev1.FinishRequest) (*facadev1.FinishResponse, error)
	ListLoads(ctx context.Context, caller crm.Caller, req *facadev1.ListLoadsRequest) (*facadev1.ListLoadsResponse, error)
	ListRejects(ctx context.Context, caller crm.Caller, req *facadev1.ListRejectsRequest) (*facadev1.ListRejectsResponse, error)
}
