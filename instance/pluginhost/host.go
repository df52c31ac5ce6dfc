// Package pluginhost starts, watches and stops the plugins of an instance and
// runs their steps on drafts of writes.
//
// Invariants: a write never passes a step that did not answer (a crash, a
// timeout, an unset verdict refuse it, unless the step is a declared
// observer); a step sees the fields it declared and sets no other; only the
// plugin bound to the slot "assignment" sets governance. The host knows
// nothing of storage and policy; it runs outside any transaction.
package pluginhost

import (
	"context"
	"errors"
	"log/slog"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/plugins"
)

// Config says what to run.
type Config struct {
	Instance    string
	Dir         string // folder of the binaries meridian-plugin-<name>
	Lock        string // file of their digests; Dir/plugins.lock.json if empty
	Plugins     []Ref
	Slots       map[string]string // slot -> plugin; may be left out for a slot that one plugin offers
	Definitions []crm.Definition  // effective schema: hooks may name no other entity or field
	Log         *slog.Logger
}

// Ref names a plugin to run with its configuration (JSON).
type Ref struct {
	Name    string
	Config  []byte
	Builtin func() plugins.Plugin // in this process instead of one of its own
}

// Status tells how a plugin is.
type Status struct {
	Name, Version, Digest string
	State                 string // starting, ready, degraded, failed or stopped
	PID                   int    // 0 unless it runs in a process of its own
	Restarts              int64
	Steps, Slots          []string
	LastError             string
	Mode                  string // builtin or process
}

// Host runs plugins. It implements access.Hooks.
type Host struct{ cfg Config }

var _ access.Hooks = (*Host)(nil)

// New checks the configuration; nothing runs yet.
func New(cfg Config) (*Host, error) { return &Host{cfg: cfg}, nil }

// Start starts every plugin and compiles the plan. On an error nothing is
// left running. ctx bounds the start only.
func (h *Host) Start(ctx context.Context) error { return errors.New("pluginhost: not built yet") }

// Close stops every plugin and waits for it; Run then refuses.
func (h *Host) Close() {}

// Run runs the plan on drafts and edits them in place.
func (h *Host) Run(ctx context.Context, execution string, drafts []*access.Draft) {}

// Status tells of every plugin, by name.
func (h *Host) Status() []Status { return nil }
