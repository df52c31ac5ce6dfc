// Package adapters is the contract and the SDK of facades: throw-away
// processes that stand in front of legacy systems.
//
// A Facade reads records out of a legacy system in a stable order and maps
// them. A Runner drives that into an instance through the public LoadService,
// with the facade's own token and nothing else; Serve shows the facade to
// tools. The facade keeps no state about loads: the position lives with the
// rows in the instance, so a facade may be killed at any point and started
// anywhere. The package must know nothing of an instance's inside: it sees the
// public contracts and the vocabulary only.
package adapters

import (
	"context"

	facadev1 "meridian/proto/gen/meridian/facade/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// Capabilities a facade may declare; it must do what it declares and refuse
// the rest as Unimplemented.
const (
	CanRead  = "read"
	CanWrite = "write"
	CanProbe = "probe"
)

// PositionEvery is how far apart the positions that a facade emits may be:
// batches end at a position.
const PositionEvery = 100

// Facade stands in front of one legacy system. Methods are safe for
// concurrent use. adaptertest holds what every facade must do.
type Facade interface {
	// Spec says what the facade is, who owns it, when it expires, what it can.
	Spec(ctx context.Context) (*facadev1.SpecResponse, error)
	// Check tries the configuration against the legacy system and lists what is
	// wrong; an error means that it could not be tried.
	Check(ctx context.Context) (problems []string, err error)
	// Discover lists the streams, in the same order every time.
	Discover(ctx context.Context) ([]*facadev1.Stream, error)
	// Read emits what follows a position, in the order of the source: rows,
	// rejects, progress, and at least every PositionEvery records a position up
	// to which everything has been emitted. Records that are neither row nor
	// reject were filtered. Reading from a position emitted earlier gives the
	// same rest. It ends with a last position, or as soon as emit or ctx fails.
	// A source that is damaged is a *crm.Error of kind invalid.
	Read(ctx context.Context, stream string, from *facadev1.Position, emit func(*facadev1.ReadResponse) error) error
	// Write writes rows back; one error detail per row, nil for written.
	Write(ctx context.Context, stream string, rows []*facadev1.Row) ([]*recordv1.ErrorDetail, error)
	// Probe asks whether the legacy system has a key now.
	Probe(ctx context.Context, stream, key string) (bool, error)
}
