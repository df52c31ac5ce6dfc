package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"meridian/adapters"
	"meridian/adapters/filedrop"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
)

type loadCmd struct {
	Run     loadRunCmd     `cmd:"" help:"Load one file."`
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

type loadRunCmd struct {
	remote
	File    string `arg:"" type:"existingfile" help:"The delimited file. A FILE.sha256 or FILE.control beside it is heeded."`
	Mapping string `required:"" type:"existingfile" help:"The mapping: how its columns become fields."`
	Feed    string `help:"Name of the feed; the mapping's if absent."`
	Batch   int    `default:"500" help:"Records of one transaction."`
	SHA256  string `name:"sha256" help:"The digest that the sender announced, in hex."`
	Count   int64  `default:"-1" help:"How many records the sender announced; -1 if nothing."`
	DryRun  bool   `help:"Count what would happen; nothing is written but the load itself."`
}

// Help shows the verb at work.
func (loadRunCmd) Help() string {
	return `Loads one file here and now, with your own token. The same file again changes nothing; an interrupted
load is taken up where it stopped. A record that cannot be taken is kept with its reason: load rejects.

  meridian load run companies.csv --mapping deploy/examples/mappings/companies-amer.yaml --as loader@amer --dry-run`
}

// Run loads the file and prints the balance.
func (l loadRunCmd) Run(ctx context.Context, out output) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	load, err := filedrop.LoadFile(ctx, filedrop.LoadFileOptions{
		Loads: c.loads, Feed: l.Feed, File: l.File, Mapping: l.Mapping, SHA256: l.SHA256, Count: l.Count, Batch: l.Batch, DryRun: l.DryRun,
		Log:    slog.New(slog.NewTextHandler(out.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Notify: progressTo(out.Stderr),
		Again: func() {
			fmt.Fprintln(out.Stderr, "this content was loaded before; nothing was changed. This is that load:")
		},
	})
	if halted, ok := errors.AsType[*adapters.HaltedError](err); ok {
		load = halted.Load
	}
	if load == nil {
		return err
	}
	if l.JSON {
		return errors.Join(printProto(out.Stdout, load), err)
	}
	loadTable(out, load)
	return err
}

// progressTo writes a line now and then, with the time left.
func progressTo(w io.Writer) func(*facadev1.Balance, *facadev1.Progress) {
	began, last := time.Now(), time.Now()
	return func(b *facadev1.Balance, p *facadev1.Progress) {
		if time.Since(last) < time.Second {
			return
		}
		last = time.Now()
		left := ""
		if done, total := p.GetDone(), p.GetTotal(); done > 0 && total > done {
			rest := time.Duration(float64(time.Since(began)) / float64(done) * float64(total-done))
			left = fmt.Sprintf(", %d%%, %s left", done*100/total, rest.Round(time.Second))
		}
		fmt.Fprintf(w, "%d read, %d rejected%s\n", b.GetRead(), b.GetRejected(), left)
	}
}
