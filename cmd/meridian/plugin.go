package main

import (
	"context"
	"strconv"
	"strings"

	pluginv1 "meridian/proto/gen/meridian/plugin/v1"
)

type pluginCmd struct {
	List pluginListCmd `cmd:"" help:"List the plugins of an instance and how they are."`
}

type pluginListCmd struct{ remote }

// Run lists plugins.
func (l pluginListCmd) Run(ctx context.Context, out output) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	resp, err := c.plugins.ListPlugins(ctx, &pluginv1.ListPluginsRequest{})
	if err != nil {
		return err
	}
	if l.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"NAME", "VERSION", "STATE", "MODE", "PID", "RESTARTS", "SLOTS", "STEPS", "DIGEST", "LAST ERROR"}}
	for _, p := range resp.GetPlugins() {
		t.add(p.GetName(), p.GetVersion(), p.GetState(), p.GetMode(), strconv.Itoa(int(p.GetPid())), strconv.FormatInt(p.GetRestarts(), 10),
			strings.Join(p.GetSlots(), ","), strings.Join(p.GetSteps(), ","), clipped(p.GetDigest(), 13), clipped(p.GetLastError(), 60))
	}
	t.print(out.Stdout, "no plugins")
	return nil
}
