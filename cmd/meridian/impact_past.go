package main

import (
	"context"
	"fmt"
	"strings"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type policyPastCmd struct {
	remote
	Subject string `placeholder:"SUBJECT" xor:"about" help:"What could this person see, or what was sent under contract:<id>?"`
	Record  string `placeholder:"ID" xor:"about" help:"Who could see this record? Id, or a unique field as source_id:AAPL."`
	Entity  string `default:"account" help:"Entity of the record."`
	At      past   `required:"" help:"When: 2026-03-01 (its first moment, UTC), '2026-03-01 09:00' (UTC), 2026-03-01T09:00:00Z or 90m (ago)."`
	IDs     int32  `name:"ids" default:"20" help:"How many ids of each entity to list for a subject, at most 1000."`
}

// Help shows the verb at work.
func (policyPastCmd) Help() string {
	return `Answers for a past date: by the records, the facts and the policy of that date, as they were
recorded then. The question is for officers, and in the decision log before it is answered.
A record that another instance took back since has left its past too.

  meridian policy past --subject rep.west@amer --at 2026-03-01 --as officer.a@amer
  meridian policy past --subject contract:amer-emea-account --at 90m --as officer.a@amer
  meridian policy past --record source_id:AAPL --at 2026-03-01T09:00:00Z --as officer.a@amer`
}

// Run prints what could be seen, or by whom and why.
func (p policyPastCmd) Run(ctx context.Context, out output) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	switch {
	case p.Subject != "":
		return p.subject(ctx, c, out)
	case p.Record != "":
		return p.record(ctx, c, out)
	}
	return crm.Errorf(crm.Invalid, "ask about somebody, --subject rep.west@amer, or about a record, --record source_id:AAPL")
}

func (p policyPastCmd) subject(ctx context.Context, c *clients, out output) error {
	resp, err := c.impact.PastSubject(ctx, &policyv1.PastSubjectRequest{Subject: p.Subject, At: p.At.proto(), Limit: p.IDs})
	if err != nil {
		return err
	}
	if p.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"ENTITY", "RECORDS", "BY GROUND", "BY TERRITORY", "BY SEGMENT"}}
	for _, s := range resp.GetSights() {
		t.add(s.GetEntity(), number(s.GetTotal()), largest(s.GetGrounds()), largest(s.GetTerritories()), largest(s.GetSegments()))
	}
	t.print(out.Stdout, "nothing")
	for _, s := range resp.GetSights() {
		if len(s.GetIds()) > 0 {
			fmt.Fprintf(out.Stdout, "%s: %s\n", s.GetEntity(), strings.Join(s.GetIds(), " "))
		}
	}
	fmt.Fprintf(out.Stdout, "bundle %s\n", resp.GetBundle())
	return nil
}

func (p policyPastCmd) record(ctx context.Context, c *clients, out output) error {
	resp, err := c.impact.PastRecord(ctx, &policyv1.PastRecordRequest{Entity: p.Entity, Id: p.Record, At: p.At.proto()})
	if err != nil {
		return err
	}
	if p.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"SUBJECT", "KIND", "REVEALED", "WHY"}}
	for _, v := range resp.GetViewers() {
		for i, r := range v.GetOpens() {
			if i == 0 {
				t.add(v.GetSubject(), v.GetKind(), sees(v), reason(r))
			} else {
				t.add("", "", "", reason(r))
			}
		}
	}
	t.print(out.Stdout, "nobody could see it")
	fmt.Fprintf(out.Stdout, "record %s, version %d, bundle %s\n", resp.GetId(), resp.GetVersion(), resp.GetBundle())
	return nil
}
