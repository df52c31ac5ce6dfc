package main

import (
	"context"
	"log/slog"

	"meridian/instance"
)

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
	i, err := instance.Open(ctx, c, buildVersion(), log)
	if err != nil {
		return err
	}
	defer i.Close()
	return i.Run(ctx)
}
