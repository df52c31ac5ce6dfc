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
	"slices"
	"sync/atomic"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// Config is what a Door is made of.
type Config struct {
	Instance string // name of this instance: home of the records it writes
	Store    *store.Store
	Engine   *policy.Engine // of the shipped bundle; decides while the database names none
	Hooks    Hooks          // nil runs none
	// Officers are the keys that the operator vouches for: every signature must
	// come back to them. Delivered are digests of bundles that other builds of the
	// product brought, beside those that this build knows.
	Officers  []store.TrustedKey
	Delivered []string
	Log       *slog.Logger
	// HoldAtMost is how long others wait to change what decides access because a
	// preview supposes something else; after it they get their turn. 250 ms if zero.
	HoldAtMost time.Duration
}

// Door decides every access of one instance. It is safe for concurrent use.
type Door struct {
	instance  string
	store     *store.Store
	hooks     Hooks
	log       *slog.Logger
	engines   *engines
	shade     *shade
	subjects  *cache[crm.SubjectID]
	receivers *cache[string] // by contract id
	journal   *journal
	tried     atomic.Pointer[policy.Engine] // the candidate that was compiled last
	broken    atomic.Int64                  // glass, since the start
	holding   chan struct{}                 // holds a token while a batch of writes has changes of facts wait

	holdAtMost time.Duration
}

// New makes the door of an instance.
func New(c Config) *Door {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.HoldAtMost == 0 {
		c.HoldAtMost = 250 * time.Millisecond
	}
	d := &Door{
		holdAtMost: c.HoldAtMost,
		instance:   c.Instance, store: c.Store, hooks: c.Hooks, log: c.Log,
		subjects: newCache[crm.SubjectID](), receivers: newCache[string](),
		journal: newJournal(c.Store), holding: make(chan struct{}, 1), engines: newEngines(c.Store, c.Engine, c.trust(), c.Log), shade: newShade(),
	}
	return d
}

// trust is what the door knows without asking its database.
func (c Config) trust() trust {
	t := trust{instance: c.Instance, officers: map[string]store.TrustedKey{}, delivered: map[string]bool{}}
	for _, k := range c.Officers {
		t.officers[k.ID] = k
	}
	for _, digest := range slices.Concat(policy.Delivered(), c.Delivered) {
		t.delivered[digest] = true
	}
	if c.Engine != nil {
		t.delivered[c.Engine.Digest()] = true
	}
	return t
}

// Run writes the decisions on reads to the decision log until ctx ends, and
// then those that are left.
func (d *Door) Run(ctx context.Context) error { return d.journal.run(ctx, d.log) }

// Stamp is the access stamp in force.
func (d *Door) Stamp(ctx context.Context) (int64, error) {
	stamp, _, err := d.store.Stamp(ctx)
	return stamp, err
}

// Subject is who id is as policy sees it now. An unknown id is denied.
func (d *Door) Subject(ctx context.Context, id crm.SubjectID) (crm.Subject, error) {
	s, known, err := d.store.Subject(ctx, id)
	if err == nil && !known {
		err = stranger()
	}
	return s, err
}

// Permit answers denied unless policy gives the caller a service-level
// permission such as "agreement.write".
func (d *Door) Permit(ctx context.Context, c crm.Caller, permission string) error {
	_, err := d.permit(ctx, c, permission)
	return err
}

// permit is Permit, and the asking it held for.
func (d *Door) permit(ctx context.Context, c crm.Caller, permission string) (asking, error) {
	permitted := false
	ask := d.under
	if slices.Contains(ofOffice, permission) {
		ask = d.inOffice
	}
	a, err := ask(ctx, c, func(ctx context.Context, a asking) (stamp int64, err error) {
		if permitted, err = a.engine.Permit(ctx, a.subject, permission); err != nil {
			return 0, err
		}
		stamp, _, err = d.store.Stamp(ctx)
		return stamp, err
	})
	if err != nil {
		return a, err
	}
	if !permitted {
		refusal := a.decision(permission, "")
		refusal.Allowed, refusal.Reasons = false, []string{permission}
		if err := d.journal.add(ctx, refusal); err != nil {
			return a, err
		}
		return a, lacks(permission)
	}
	return a, nil
}

// Definitions lists the entities' schemas. Schemas are not secret, records are.
func (d *Door) Definitions(ctx context.Context, c crm.Caller) ([]crm.Definition, error) {
	if err := d.Permit(ctx, c, "schema.read"); err != nil {
		return nil, err
	}
	return d.store.Definitions(), nil
}

func (d *Door) definition(entity string) (crm.Definition, error) {
	def, ok := d.store.Definition(entity)
	if !ok {
		return def, crm.Errorf(crm.NotFound, "this instance has no entity %q", entity)
	}
	return def, nil
}

// absent is the one answer about a record that is not there and about one the
// caller may not know of.
func absent() error { return &crm.Error{Kind: crm.NotFound, Msg: "not found"} }

func lacks(permission string) error {
	msg := "you need the permission " + permission
	return &crm.Error{Kind: crm.Denied, Msg: msg, Reasons: []string{msg}}
}

func stranger() error {
	return &crm.Error{Kind: crm.Denied, Msg: "this instance does not know you; ask its operator for an assignment"}
}
