package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type policyReplayCmd struct {
	remote
	tried
	Day    moment  `help:"The day, as 2026-11-22 (UTC)."`
	Since  moment  `help:"Instead of a day: from then on."`
	Until  moment  `help:"Instead of a day: before then; now if absent."`
	Sample float64 `help:"Part of the decisions to take, as 0.1; all if absent."`
}

// Help shows the verb at work.
func (policyReplayCmd) Help() string {
	return `Takes the reads of a day from the decision log and decides them again under another bundle, each by
the records and facts of its moment. Prints what would have fallen out otherwise, and why. What a
list or a count was asked for is not in the log: where its rules differ it is counted as open.

  meridian policy replay ./my-rules --day 2026-11-22 --as officer.a@amer
  meridian policy replay 3f2a91c0... --since 2026-11-01 --sample 0.1 --as officer.a@amer`
}

// Run prints the differences as they are found, and the sums.
func (p policyReplayCmd) Run(ctx context.Context, out output) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	candidate, err := p.candidate()
	if err != nil {
		return err
	}
	since, until := p.Since.Time, p.Until.Time
	switch {
	case !p.Day.IsZero():
		since, until = p.Day.Time, p.Day.AddDate(0, 0, 1)
	case since.IsZero():
		return crm.Errorf(crm.Invalid, "say which day: --day 2026-11-22, or --since and --until")
	case until.IsZero():
		until = time.Now()
	}
	stream, err := c.impact.Replay(ctx, &policyv1.ReplayRequest{
		Candidate: candidate, Since: timestamppb.New(since), Until: timestamppb.New(until), Sample: p.Sample,
	})
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // the stream ends with the verb either way
	report := &policyv1.ReplayReport{}
	steps := stepsTo(out.Stderr)
	for stream.Receive() {
		switch m := stream.Msg().GetMessage().(type) {
		case *policyv1.ReplayResponse_Progress:
			steps(m.Progress)
		case *policyv1.ReplayResponse_Decision:
			if p.JSON {
				report.Decisions = append(report.Decisions, m.Decision)
			} else {
				printReplayed(out.Stdout, m.Decision)
			}
		case *policyv1.ReplayResponse_Summary:
			report.Summary = m.Summary
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	if p.JSON {
		return printProto(out.Stdout, report)
	}
	s := report.GetSummary()
	rate := float64(s.GetDecisions()) / max(s.GetSeconds(), 0.001)
	fmt.Fprintf(out.Stdout, "%d decisions in %.1f s (%.0f a second): %d fall out the same, %d differ, %d open, %d not replayed\n",
		s.GetDecisions(), s.GetSeconds(), rate, s.GetSame(), s.GetDiffering(), s.GetOpen(), s.GetSkipped())
	fmt.Fprintf(out.Stdout, "%d records judged: %d would have been shown and were not, %d would have been hidden, %d are gone\n",
		s.GetRecords(), s.GetOpened(), s.GetClosed(), s.GetGone())
	return nil
}

func printReplayed(w io.Writer, d *policyv1.ReplayedDecision) {
	fmt.Fprintf(w, "%s  %s  %s %s\n", day(d.GetAt()), printable(d.GetSubject()), printable(d.GetAction()), printable(d.GetEntity()))
	for _, r := range d.GetRecords() {
		verdict := "shown otherwise"
		switch {
		case r.GetIs() && !r.GetWas():
			verdict = "!! would be shown"
		case r.GetWas() && !r.GetIs():
			verdict = "would be hidden"
		}
		fmt.Fprintf(w, "  %s v%d %s\n", r.GetId(), r.GetVersion(), verdict)
		for _, part := range []struct {
			says string
			of   []*policyv1.Reason
		}{
			{"now opened by", r.GetOpens()}, {"now closed by", r.GetCloses()}, {"no longer opened by", r.GetOpened()}, {"no longer closed by", r.GetClosed()},
		} {
			for _, x := range part.of {
				fmt.Fprintf(w, "    %s %s\n", part.says, reason(x))
			}
		}
		for _, part := range []struct {
			says   string
			groups []string
		}{{"shows", r.GetShows()}, {"masks", r.GetMasks()}, {"hides", r.GetHides()}} {
			if len(part.groups) > 0 {
				fmt.Fprintf(w, "    %s %s\n", part.says, orNone(part.groups))
			}
		}
	}
}
