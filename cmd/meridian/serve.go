package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"

	"meridian/instance"
)

// garbage is how much of it, in percent of what lives, gathers before it is
// collected. An instance lives in some tens of megabytes: at Go's 100 an eighth
// of its CPU went to the collector. The variable GOGC overrides it.
const garbage = 400

type serveCmd struct {
	Config string `required:"" type:"existingfile" help:"The instance's YAML file."`
}

// Run serves one instance until ctx ends.
func (s serveCmd) Run(ctx context.Context, out output) error {
	c, err := instance.LoadConfig(s.Config)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(out.Stderr, &slog.HandlerOptions{Level: c.Log.Level})).With("instance", c.Instance)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	i, err := instance.Open(ctx, c, buildVersion(), log)
	if err != nil {
		return err
	}
	defer i.Close()
	return i.Run(ctx)
}
