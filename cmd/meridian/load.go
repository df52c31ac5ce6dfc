package main

import (
	"context"
	"fmt"
	"time"

	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
)

type loadCmd struct {
	Status  loadStatusCmd  `cmd:"" help:"List loads, newest first, with their balance."`
	Rejects loadRejectsCmd `cmd:"" help:"List the records of a load that were refused, with the reasons."`
}

// Help shows the verbs at work.
func (loadCmd) Help() string {
	return `  meridian load run companies.csv --mapping companies.yaml --as loader@amer
  meridian load status --as ops@amer
  meridian load rejects 0192f3c0-... --as ops@amer

The balance of every load closes: read = inserted + updated + unchanged + rejected + filtered.`
}

type loadStatusCmd struct {
	remote
	Feed  string `help:"One feed only."`
	Limit int32  `short:"n" default:"20"`
}

// Run lists loads.
func (l loadStatusCmd) Run(ctx context.Context, out output) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	resp, err := c.loads.ListLoads(ctx, &facadev1.ListLoadsRequest{Feed: l.Feed, Limit: l.Limit})
	if err != nil {
		return err
	}
	if l.JSON {
		return printProto(out.Stdout, resp)
	}
	loadTable(out, resp.GetLoads()...)
	return nil
}

func loadTable(out output, loads ...*facadev1.Load) {
	t := table{headings: []string{"ID", "FEED", "FILE", "STATE", "READ", "INSERTED", "UPDATED", "UNCHANGED", "REJECTED", "FILTERED", "STARTED", "LEFT", "ERROR"}}
	for _, l := range loads {
		b, left := l.GetBalance(), ""
		if s := l.GetSecondsLeft(); s > 0 {
			left = time.Duration(s * float64(time.Second)).Round(time.Second).String()
		}
		state := l.GetState()
		if l.GetDryRun() {
			state += " (dry run)"
		}
		t.add(l.GetId(), l.GetFeed(), l.GetFile(), state, number(b.GetRead()), number(b.GetInserted()), number(b.GetUpdated()),
			number(b.GetUnchanged()), number(b.GetRejected()), number(b.GetFiltered()), day(l.GetStarted()), left, clipped(l.GetError(), 60))
	}
	t.print(out.Stdout, "no loads")
}

type loadRejectsCmd struct {
	remote
	Load     string `arg:"" help:"Id of the load."`
	Limit    int    `short:"n" default:"100" help:"How many, from the first; 0 for all."`
	Original bool   `help:"Print the original lines and nothing else, to be corrected and loaded again."`
}

// Run lists rejects. Their lines are customer data and leave only when asked
// for.
func (l loadRejectsCmd) Run(ctx context.Context, out output) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	rejects, err := l.all(ctx, c.loads)
	if err != nil {
		return err
	}
	switch {
	case l.JSON:
		return printProto(out.Stdout, &facadev1.ListRejectsResponse{Rejects: rejects})
	case l.Original:
		for _, r := range rejects {
			if _, err := fmt.Fprintf(out.Stdout, "%s\n", r.GetOriginal()); err != nil {
				return err
			}
		}
		return nil
	}
	t := table{headings: []string{"RECORD", "CODE", "FIELD", "MESSAGE"}}
	for _, r := range rejects {
		t.add(number(r.GetNumber()), r.GetCode(), r.GetField(), clipped(r.GetMessage(), 100))
	}
	t.print(out.Stdout, "nothing was rejected")
	return nil
}

// all reads page after page, up to the limit.
func (l loadRejectsCmd) all(ctx context.Context, loads facadev1connect.LoadServiceClient) ([]*facadev1.Reject, error) {
	const page = 1000
	var out []*facadev1.Reject
	req := &facadev1.ListRejectsRequest{LoadId: l.Load, Limit: page}
	for {
		resp, err := loads.ListRejects(ctx, req)
		if err != nil {
			return nil, err
		}
		got := resp.GetRejects()
		out = append(out, got...)
		switch {
		case l.Limit > 0 && len(out) >= l.Limit:
			return out[:l.Limit], nil
		case len(got) < page:
			return out, nil
		}
		req.After = got[len(got)-1].GetNumber()
	}
}
