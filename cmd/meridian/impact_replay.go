package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type policyReplayCmd struct {
	remote
	tried
	Day    past    `help:"The day, as 2026-11-22 (UTC)."`
	Since  past    `help:"Instead of a day: from then on, as 2026-11-22, '2026-11-22 09:00' (UTC) or 90m (ago)."`
	Until  past    `help:"Instead of a day: before then; now if absent."`
	Sample float64 `help:"Part of the decisions to take, as 0.1; all if absent."`
}

// Help shows the verb at work.
func (policyReplayCmd) Help() string {
	return `Takes the decisions of a day from the decision log, on reads and on writes, and decides them again under
another bundle, each by the records and facts of its moment. Prints what would have fallen out otherwise,
and why, and at the end what became of each action.

What a list or a count was asked for is not in the log. The records it answered are decided again; what else
could be in it is bounded: by all records that the subject would newly have seen at that moment. Where there
are none it is the same, otherwise it is open, and the bound is printed.

  meridian policy replay ./my-rules --day 2026-11-22 --as officer.a@amer
  meridian policy replay 3f2a91c0 --since 2026-11-01 --sample 0.1 --as officer.a@amer`
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
		since = p.Day.UTC().Truncate(24 * time.Hour) // also of a time in it
		until = since.AddDate(0, 0, 1)
	case since.IsZero():
		return crm.Errorf(crm.Invalid, "say which day: --day 2026-11-22, or --since and --until")
	case until.IsZero():
		until = time.Now()
	}
	if since.After(time.Now()) {
		return crm.FieldErrorf("since", "%s is not past yet, and nothing was decided then", since.Format(time.RFC3339))
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
	fmt.Fprintf(out.Stdout, "%d records judged: %d would have been shown or let be written and were not, %d would have been hidden or refused, %d are gone\n",
		s.GetRecords(), s.GetOpened(), s.GetClosed(), s.GetGone())
	t := table{headings: []string{"ACTION", "DECISIONS", "SAME", "DIFFER", "OPEN", "NOT REPLAYED", "WHY"}}
	for _, a := range s.GetActions() {
		t.add(a.GetAction(), fmt.Sprint(a.GetDecisions()), fmt.Sprint(a.GetSame()), fmt.Sprint(a.GetDiffering()), fmt.Sprint(a.GetOpen()), fmt.Sprint(a.GetSkipped()),
			strings.Join(slices.Sorted(maps.Keys(a.GetWhy())), "; "))
	}
	t.print(out.Stdout, "nothing was decided then")
	return nil
}

func printReplayed(w io.Writer, d *policyv1.ReplayedDecision) {
	fmt.Fprintf(w, "%s  %s  %s %s\n", day(d.GetAt()), printable(d.GetSubject()), printable(d.GetAction()), printable(d.GetEntity()))
	for _, r := range d.GetRecords() {
		verdicts := [3]string{"shown otherwise", "!! would be shown", "would be hidden"}
		if r.GetAction() != "read" {
			verdicts = [3]string{"would be refused if they wrote it themselves, ", "!! would be allowed, ", "would be refused, "}
		}
		verdict := verdicts[0]
		switch {
		case r.GetIs() && !r.GetWas():
			verdict = verdicts[1]
		case r.GetWas() && !r.GetIs():
			verdict = verdicts[2]
		}
		if r.GetAction() != "read" {
			verdict += r.GetAction()
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
	if why := d.GetOpen(); why != "" {
		fmt.Fprintf(w, "  cannot be said: %s\n", why)
	}
	b := d.GetBound()
	for _, part := range []struct {
		n    int64
		says string
		ids  []string
	}{
		{b.GetGained(), "could newly be in it", b.GetGainedIds()}, {b.GetChanged(), "could be in it, or not any more: shown otherwise", b.GetChangedIds()}, {b.GetLost(), "could be missing", b.GetLostIds()},
	} {
		if part.n > 0 {
			fmt.Fprintf(w, "  %d %s, as %s\n", part.n, part.says, strings.Join(part.ids[:min(len(part.ids), 3)], " "))
		}
	}
}
