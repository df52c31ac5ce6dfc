package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	feedv1 "meridian/proto/gen/meridian/feed/v1"
)

type watchCmd struct {
	remote
	Entity string `arg:""`
	Filter string `short:"f" help:"What you want to watch, as in record list."`
	Field  string `default:"name" help:"Field to show of each record."`
	Count  int    `short:"n" help:"Stop after this many changes; 0 never stops."`
	For    span   `help:"Stop after this long; 0 never stops."`
}

// Help shows the verb at work.
func (watchCmd) Help() string {
	return `Shows changes as they happen, here and in other instances, until Ctrl-C. A record that leaves
your sight, for whatever reason, is gone.

  meridian watch account --as rep.west@amer
  meridian watch account --as banker@finserv --filter "country = 'DE'" --json`
}

// eventView is one event for programs, as the server-sent events of REST.
type eventView struct {
	Event       string      `json:"event"`
	ID          string      `json:"id,omitempty"`
	Record      *recordView `json:"record,omitempty"`
	At          time.Time   `json:"at"`
	ExecutionID string      `json:"execution_id,omitempty"`
}

// Run prints a line for each change.
func (w watchCmd) Run(ctx context.Context, out output) error {
	c, err := w.dial()
	if err != nil {
		return err
	}
	if w.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(w.For))
		defer cancel()
	}
	stream, err := c.feed.Watch(ctx, &feedv1.WatchRequest{Entity: w.Entity, Filter: w.Filter})
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // the stream ends with the verb either way
	seen := 0
	for stream.Receive() {
		e := stream.Msg()
		if err := w.print(out, e); err != nil {
			return err
		}
		if e.GetEvent() == "upsert" || e.GetEvent() == "gone" {
			seen++
		}
		if w.Count > 0 && seen >= w.Count {
			return nil
		}
	}
	if w.For > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	return stream.Err()
}

func (w watchCmd) print(out output, e *feedv1.WatchResponse) error {
	if w.JSON {
		v := eventView{Event: e.GetEvent(), ID: e.GetId(), At: e.GetAt().AsTime(), ExecutionID: e.GetExecutionId()}
		if r := e.GetRecord(); r != nil {
			rec, err := viewOf(r)
			if err != nil {
				return err
			}
			v.Record = &rec
		}
		return json.NewEncoder(out.Stdout).Encode(v)
	}
	switch e.GetEvent() {
	case "ready":
		fmt.Fprintln(out.Stderr, "watching; Ctrl-C stops")
	case "heartbeat":
	case "gone":
		fmt.Fprintf(out.Stdout, "%s  gone    %s\n", e.GetAt().AsTime().Format(time.TimeOnly), e.GetId())
	default:
		r := e.GetRecord()
		fmt.Fprintf(out.Stdout, "%s  %s  %s  v%s  %s\n", e.GetAt().AsTime().Format(time.TimeOnly), e.GetEvent(), e.GetId(),
			strconv.FormatInt(r.GetVersion(), 10), printable(text(r.GetFields()[w.Field])))
	}
	return nil
}
