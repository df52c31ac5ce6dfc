// Package wire runs a plugin in a process of its own: Serve in the plugin's
// main, Start in the host. It speaks gRPC over a private unix socket with
// mutual TLS, by hashicorp/go-plugin, which no other package imports.
//
// A process is started only if its binary has the digest the caller names,
// gets no environment of the host, and never outlives it.
package wire

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"meridian/plugins"
)

// Config says which binary to start and how.
type Config struct {
	Path   string // the binary
	SHA256 string // its digest in hex; any other binary is refused
	Log    *slog.Logger
	// StartTimeout bounds start, handshake and manifest; 10 s if zero.
	StartTimeout time.Duration
}

// Process is a running plugin; it is a plugins.Plugin.
type Process struct {
	plugins.Plugin
}

// Start starts the binary and reads its manifest.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	return nil, errors.New("wire: not built yet")
}

// PID is the process id.
func (p *Process) PID() int { return 0 }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return nil }

// Stop ends the process: politely, then by SIGKILL. It returns once the
// process is gone.
func (p *Process) Stop() {}

// Serve runs the plugin that make returns until the host ends it. It is all a
// plugin's main does.
func Serve(make func() plugins.Plugin) {}
