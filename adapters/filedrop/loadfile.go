package filedrop

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"meridian/adapters"
	"meridian/adapters/mapping"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
)

// LoadFileOptions say which file to load how, without a drop folder.
type LoadFileOptions struct {
	Loads   facadev1connect.LoadServiceClient
	Feed    string // the mapping's name if empty
	File    string // path
	Mapping string // path
	Batch   int
	DryRun  bool
	Log     *slog.Logger
	Notify  func(*facadev1.Balance, *facadev1.Progress)
}

// LoadFile verifies and loads one file where it lies, as a person does by
// hand. Markers beside it are heeded; none is required, because whoever names
// a file says that it is all there. Nothing is moved or written.
func LoadFile(ctx context.Context, o LoadFileOptions) (*facadev1.Load, error) {
	m, err := mapping.Read(o.Mapping)
	if err != nil {
		return nil, err
	}
	m.Source.Control.Checksum, m.Source.Control.Count = false, false
	if _, err := os.Stat(o.File); err != nil {
		return nil, err
	}
	x, err := verify(ctx, m, o.File, markers{checksum: o.File + checksumSuffix, control: o.File + controlSuffix})
	if err != nil {
		return nil, err
	}
	feed := o.Feed
	if feed == "" {
		feed = m.Name
	}
	r := &adapters.Runner{Loads: o.Loads, Batch: o.Batch, Log: o.Log, Notify: o.Notify}
	return r.Run(ctx, x, feed, x.begin(feed, filepath.Base(o.File), o.DryRun))
}
