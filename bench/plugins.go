package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"meridian/instance/crm"
	"meridian/plugins"
	dataquality "meridian/plugins/data-quality"
	"meridian/plugins/wire"
)

// benchPlugins compares a call of data-quality in a process of its own with
// the same call in this process.
func benchPlugins(ctx context.Context, w *world) ([]measure, error) {
	lock, err := wire.ReadLock(filepath.Join(w.bin, "plugins.lock.json"))
	if err != nil {
		return nil, err
	}
	process, err := wire.Start(ctx, wire.Config{
		Path: filepath.Join(w.bin, "meridian-plugin-data-quality"), SHA256: lock["data-quality"], Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	defer process.Stop()
	local := dataquality.New()
	for _, p := range []plugins.Plugin{process, local} {
		if err := p.Configure(ctx, "bench", nil); err != nil {
			return nil, err
		}
	}
	var steps []string
	for _, h := range local.Manifest().Hooks {
		if h.Entity == "account" && h.Stage == plugins.Validate {
			steps = append(steps, h.Step)
		}
	}
	batch := func(n int) plugins.Batch {
		b := plugins.Batch{Entity: "account", Op: crm.OpCreate, Stage: plugins.Validate, Steps: steps}
		for i := range n {
			b.Records = append(b.Records, plugins.Record{Fields: accountFields(i), Changed: []string{"email", "phone", "country", "state", "website"}})
		}
		return b
	}
	var out []measure
	for _, n := range []int{1, 200} {
		b := batch(n)
		far, near, err := interleave(400, invoke(ctx, process, b), invoke(ctx, local, b))
		if err != nil {
			return nil, err
		}
		out = append(out, measure{
			name:     fmt.Sprintf("plugin call, batch of %d, per record", n),
			measured: fmt.Sprintf("p50 %s", round(far.at(0.5)/time.Duration(n))),
			baseline: fmt.Sprintf("in process p50 %s", round(near.at(0.5)/time.Duration(n))),
			ratio:    ratio(far.at(0.5), near.at(0.5)),
		})
	}
	return out, nil
}

func invoke(ctx context.Context, p plugins.Plugin, b plugins.Batch) func(int) error {
	return func(int) error {
		_, err := p.Invoke(ctx, b)
		return err
	}
}
