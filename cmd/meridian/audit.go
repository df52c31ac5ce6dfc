package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Prove that nobody rewrote the log of who looked at what."`
	Tail   auditTailCmd   `cmd:"" help:"Show who looked at what, newest first."`
}

// Help shows the verbs at work.
func (auditCmd) Help() string {
	return `  meridian audit verify --as officer.a@amer
  meridian audit verify --anchor 1812:9f3c... --as officer.a@amer
  meridian audit tail --record 0192f3c0-... --as officer.a@amer
  meridian audit tail --subject rep.west@amer --last 24h --as officer.a@amer`
}

type auditVerifyCmd struct {
	remote
	Anchor string `placeholder:"ROOT:HASH" help:"A head that verify printed before, noted elsewhere: the chain must still hold it."`
}

// errAudit fails the verb after it printed where the chain is broken.
var errAudit = errors.New("the decision log was tampered with")

// errUnproven fails the verb although the log is whole.
var errUnproven = errors.New("a policy came into force without proof that two officers signed it (meridian policy history)")

// Run prints how far the log was verified, or the first place that is wrong.
func (a auditVerifyCmd) Run(ctx context.Context, out output) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	resp, err := c.audit.Verify(ctx, &policyv1.VerifyRequest{Anchor: a.Anchor})
	if err != nil {
		return err
	}
	switch {
	case a.JSON:
		err = printProto(out.Stdout, resp)
	case resp.GetWhole():
		fmt.Fprintf(out.Stdout, "whole: %d decisions in %d batches under %d roots\n", resp.GetDecisions(), resp.GetBatches(), resp.GetRoots())
		if n := resp.GetRemoved(); n > 0 {
			fmt.Fprintf(out.Stdout, "removed by retention: %d older decisions\n", n)
		}
		if n := resp.GetPending(); n > 0 {
			fmt.Fprintf(out.Stdout, "not sealed yet, behind an open transaction: %d decisions\n", n)
		}
		if n := resp.GetSignedFrom(); n > 0 {
			fmt.Fprintf(out.Stdout, "signed since root %d\n", n)
		}
		if resp.GetHead() != "" {
			fmt.Fprintf(out.Stdout, "head, to be noted elsewhere: %s  (%s)\n", resp.GetHead(), day(resp.GetHeadAt()))
		}
	default:
		b := resp.GetBreak()
		fmt.Fprintf(out.Stdout, "broken: %s: %s\n", b.GetKind(), printable(b.GetText()))
		for _, place := range []struct {
			name string
			at   int64
		}{{"root", b.GetRoot()}, {"batch", b.GetBatch()}, {"decision", b.GetDecision()}} {
			if place.at > 0 {
				fmt.Fprintf(out.Stdout, "  %-9s %d\n", place.name, place.at)
			}
		}
		if b.GetWriter() != "" {
			fmt.Fprintf(out.Stdout, "  %-9s %s\n", "writer", printable(b.GetWriter()))
		}
	}
	if !a.JSON {
		for _, u := range resp.GetUnproven() {
			fmt.Fprintf(out.Stdout, "no proof: activation %d (%s by %s, %s) of bundle %.12s: %s%s\n", u.GetActivation(), u.GetKind(), cmp.Or(printable(u.GetBy()), "the product"),
				day(u.GetAt()), u.GetDigest(), printable(u.GetWhy()), map[bool]string{true: " - it is in force, and decides nothing"}[u.GetInForce()])
		}
	}
	switch {
	case err != nil:
		return err
	case !resp.GetWhole():
		return errAudit
	case len(resp.GetUnproven()) > 0:
		return errUnproven
	}
	return nil
}

type auditTailCmd struct {
	remote
	Record    string `placeholder:"ID" help:"Who saw, changed or was refused this record: its id."`
	Subject   string `help:"What one person or service did."`
	Action    string `help:"One action only: get, list, update, agreement.write, ..."`
	Execution string `placeholder:"ID" help:"What came of one call."`
	Last      span   `help:"Only the last, as 24h."`
	Since     past   `help:"Only from then on, as 2026-11-22, '2026-11-22 09:00' (UTC) or 90m (ago)."`
	Until     past   `help:"Only before, likewise."`
	Before    int64  `placeholder:"ID" help:"Only older than a decision: the next page."`
	Limit     int32  `short:"n" default:"50" help:"Newest first, at most 1000."`
}

// Run lists decisions; they hold ids and no values.
func (a auditTailCmd) Run(ctx context.Context, out output) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	if a.Record != "" {
		if _, err := crm.ParseRecordID(a.Record); err != nil {
			return crm.FieldErrorf("record", "%w", err)
		}
	}
	since := a.Since.proto()
	if a.Last > 0 {
		since = timestamppb.New(time.Now().Add(-time.Duration(a.Last)))
	}
	resp, err := c.audit.ListDecisions(ctx, &policyv1.ListDecisionsRequest{
		Record: a.Record, Subject: a.Subject, Action: a.Action, ExecutionId: a.Execution,
		Since: since, Until: a.Until.proto(), Before: a.Before, Limit: a.Limit,
	})
	if err != nil {
		return err
	}
	if a.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"ID", "AT", "SUBJECT", "ACTION", "ENTITY", "ALLOWED", "RECORDS", "REFUSED", "REASONS", "EXECUTION"}}
	for _, d := range resp.GetDecisions() {
		t.add(number(d.GetId()), day(d.GetAt()), d.GetSubject(), d.GetAction(), d.GetEntity(), yes(d.GetAllowed()), few(d.GetRecords()),
			few(d.GetRefused()), clipped(strings.Join(d.GetReasons(), ","), 40), d.GetExecutionId())
	}
	t.print(out.Stdout, "no decisions")
	if next := resp.GetNext(); next > 0 {
		fmt.Fprintf(out.Stderr, "older ones: --before %d\n", next)
	}
	return nil
}
