package filedrop

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"

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
	SHA256  string // announced by the caller, "" if it does not say
	Count   int64  // of records, announced by the caller; -1 if it does not say
	Batch   int
	DryRun  bool
	Log     *slog.Logger
	Notify  func(*facadev1.Balance, *facadev1.Progress)
	Again   func() // when the file was loaded before: what is answered is that load
}

// LoadFile verifies and loads one file where it lies, as a person does by
// hand. Markers beside it are heeded; none is required, because whoever names
// a file says that it is all there. Nothing is moved or written.
func LoadFile(ctx context.Context, o LoadFileOptions) (*facadev1.Load, error) {
	m, err := mapping.Read(o.Mapping)
	if err != nil {
		return nil, err
	}
	a, err := readMarkers(o.File, mapping.Control{})
	if err != nil {
		return nil, err
	}
	if o.SHA256 != "" {
		a.sha256 = strings.ToLower(o.SHA256)
	}
	if o.Count >= 0 {
		a.records = o.Count
	}
	x, err := verify(ctx, m, o.File, a)
	if err != nil {
		return nil, err
	}
	feed := o.Feed
	if feed == "" {
		feed = m.Name
	}
	r := &adapters.Runner{Loads: o.Loads, Batch: o.Batch, Log: o.Log, Notify: o.Notify, Again: o.Again}
	return r.Run(ctx, x, feed, x.begin(feed, filepath.Base(o.File), o.DryRun))
}
