package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"meridian/instance/api"
	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

type exportCmd struct {
	remote
	Entity string `arg:"" help:"account, contact, ..."`
	Filter string `short:"f" help:"Only these, as in record list."`
	Format string `enum:"ndjson,csv" default:"ndjson" help:"ndjson (a record a line) or csv (for spreadsheets)."`
	Out    string `short:"o" placeholder:"FILE" help:"Where to write; standard output if absent."`
}

// Help shows the verb at work.
func (exportCmd) Help() string {
	return `Writes every record you may see, in batches that are each decided anew: what you lose the right
to while it runs is not in what follows. Every batch is in the decision log before it leaves.
A file appears under its name when it is complete.

  meridian export account --as rep.west@amer --out accounts.ndjson
  meridian export account --as rep.west@amer --filter "country = 'US'" --format csv --out us.csv
` + exitCodeHelp
}

// Run streams the export into the file.
func (e exportCmd) Run(ctx context.Context, out output) error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	total, err := c.records.Count(ctx, &recordv1.CountRequest{Entity: e.Entity, Filter: e.Filter})
	if err != nil {
		return err
	}
	counter := &progress{csv: e.Format == "csv", total: total.GetCount(), out: out.Stderr, next: time.Now().Add(time.Second)}
	if e.Out == "" {
		return e.stream(ctx, c, io.MultiWriter(out.Stdout, counter))
	}
	part := e.Out + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // records are the reader's own
	if err != nil {
		return err
	}
	err = errors.Join(e.stream(ctx, c, io.MultiWriter(f, counter)), f.Close())
	if err == nil {
		err = os.Rename(part, e.Out)
	}
	if err != nil {
		_ = os.Remove(part) // a part is no export
		return err
	}
	fmt.Fprintf(out.Stderr, "%d records of %s in %s\n", counter.records(), e.Entity, e.Out)
	return nil
}

func (e exportCmd) stream(ctx context.Context, c *clients, to io.Writer) error {
	q := url.Values{"format": {e.Format}}
	if e.Filter != "" {
		q.Set("filter", e.Filter)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/"+url.PathEscape(e.Entity)+":export?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	c.token.header(req.Header)
	resp, err := c.http.Do(req)
	if err != nil {
		return crm.Errorf(crm.Unavailable, "%w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var p api.Problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
			return fmt.Errorf("the instance answers %s", resp.Status)
		}
		return &crm.Error{Kind: crm.Kind(p.Kind), Msg: p.Detail, Field: p.Field, Reasons: p.Reasons}
	}
	if _, err := io.Copy(to, resp.Body); err != nil {
		return crm.Errorf(crm.Unavailable, "the export was broken off: %w", err)
	}
	return nil
}

// progress counts the records that pass, and says so every second.
type progress struct {
	csv    bool
	quoted bool // csv: inside of quotes
	lines  int64
	total  int64
	out    io.Writer
	next   time.Time
}

func (p *progress) Write(b []byte) (int, error) {
	if !p.csv {
		p.lines += int64(bytes.Count(b, []byte{'\n'}))
	} else {
		for _, c := range b {
			switch {
			case c == '"':
				p.quoted = !p.quoted
			case c == '\n' && !p.quoted:
				p.lines++
			}
		}
	}
	if now := time.Now(); now.After(p.next) {
		p.next = now.Add(time.Second)
		fmt.Fprintf(p.out, "%d of %d records\n", p.records(), p.total)
	}
	return len(b), nil
}

// records are the lines without the heading.
func (p *progress) records() int64 {
	if p.csv {
		return max(0, p.lines-1)
	}
	return p.lines
}
