// Package access is the only door to records: a subject and an action become
// a decision, and the decision a filter, masks and a line in the decision log.
//
// Invariants. No record row leaves the store but through a policy.Filter made
// for its reader. Denied answers as absent: same statements, same error. What
// was read under an access stamp that moved meanwhile is thrown away and read
// again. A write is authorised on the record as it was before any plugin sees
// it, and as it became inside its transaction. The package must not know of
// wire formats, plugins or Kafka.
package access

import (
	"context"
	"log/slog"
	"sync/atomic"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// Config is what a Door is made of.
type Config struct {
	Instance string // name of this instance: home of the records it writes
	Store    *store.Store
	Engine   *policy.Engine
	Hooks    Hooks // nil runs none
	Log      *slog.Logger
}

// Door decides every access of one instance. It is safe for concurrent use.
type Door struct {
	instance string
	store    *store.Store
	hooks    Hooks
	log      *slog.Logger
	engine   atomic.Pointer[policy.Engine]
}

// New makes the door of an instance.
func New(c Config) *Door {
	d := &Door{instance: c.Instance, store: c.Store, hooks: c.Hooks, log: c.Log}
	d.engine.Store(c.Engine)
	return d
}

// Run writes the decisions on reads to the decision log until ctx ends, and
// then those that are left.
func (d *Door) Run(ctx context.Context) error { return unbuilt }

// Engine is the policy engine in force.
func (d *Door) Engine() *policy.Engine { return d.engine.Load() }

// Activate puts another bundle in force for the next statement of everybody:
// the access stamp moves, and watchers and exchange hear of it.
func (d *Door) Activate(ctx context.Context, c crm.Caller, e *policy.Engine) error { return unbuilt }

// Stamp is the access stamp in force.
func (d *Door) Stamp(ctx context.Context) (int64, error) { return 0, unbuilt }

// Subject is who id is as policy sees it now. An unknown id is denied.
func (d *Door) Subject(ctx context.Context, id crm.SubjectID) (crm.Subject, error) {
	return crm.Subject{}, unbuilt
}

// Permit answers denied unless policy gives the caller a service-level
// permission such as "agreement.write".
func (d *Door) Permit(ctx context.Context, c crm.Caller, permission string) error { return unbuilt }

// Definitions lists the entities' schemas. Schemas are not secret, records are.
func (d *Door) Definitions(ctx context.Context, c crm.Caller) ([]crm.Definition, error) {
	return nil, unbuilt
}
