package main

import (
	"context"

	"meridian/cmd/meridian/fleet"
)

type upCmd struct {
	Fleet     string `required:"" type:"existingfile" help:"The fleet file."`
	Data      string `default:"./.meridian" help:"Folder for everything the fleet keeps."`
	PortBase  int    `default:"7001" help:"Port of the first instance; the others follow."`
	ReadyFile string `help:"File to write once all is loaded and exchanged: URLs, tokens and process ids."`
	Fresh     bool   `help:"Throw away what the data folder holds and start over."`
}

// Run runs the fleet until ctx ends.
func (u upCmd) Run(ctx context.Context, out output) error {
	return fleet.Up(ctx, fleet.Options{
		Fleet: u.Fleet, Data: u.Data, PortBase: u.PortBase, ReadyFile: u.ReadyFile, Fresh: u.Fresh,
		Stdout: out.Stdout, Stderr: out.Stderr,
	})
}
