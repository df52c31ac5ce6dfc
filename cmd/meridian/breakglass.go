package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type glassCmd struct {
	Open   glassOpenCmd   `cmd:"" help:"Read one record now, with a reason, for an hour at most; an officer reviews it."`
	List   glassListCmd   `cmd:"" help:"Your own; for officers everybody's, with what was read."`
	End    glassEndCmd    `cmd:"" help:"Close again before the time is over."`
	Review glassReviewCmd `cmd:"" help:"Say whether it was justified; officers only, once it is closed."`
}

// Help shows the verbs at work.
func (glassCmd) Help() string {
	return `Break the glass when a record cannot wait for an agreement or a share. It is opened to you alone, to read and nothing else, for an hour at most.
The instance logs it before you read, warns its operators and puts an item before an officer, who sees what you read. A wall, a withhold or a denial
stays closed: the answer is then "not found", as for what is not there. Put no customer's data into the reason.

  meridian breakglass open account source_id:GOOS.TO --reason "outage, the customer waits" --ticket INC-7 --for 30m --as manager.us@amer
  meridian breakglass list --open --as officer.a@amer
  meridian breakglass end 0192f3c0-... --reason "solved" --as manager.us@amer
  meridian breakglass review 0192f3c0-... --verdict justified --reason "the call is on record" --as officer.a@amer`
}

type glassOpenCmd struct {
	remote
	Entity string `arg:""`
	ID     string `arg:"" help:"Id, or the entity's key as source_id:AAPL."`
	Reason string `required:"" help:"Why it cannot wait: a sentence, for the officer who reviews it."`
	Ticket string `help:"Where it is written down, as INC-7."`
	For    span   `placeholder:"30m" help:"For how long; an hour if absent."`
}

// Run breaks the glass.
func (o glassOpenCmd) Run(ctx context.Context, out output) error {
	c, err := o.dial()
	if err != nil {
		return err
	}
	req := &policyv1.BreakGlassRequest{Entity: o.Entity, Record: o.ID, Reason: o.Reason, Ticket: o.Ticket}
	if o.For != 0 {
		req.For = durationpb.New(time.Duration(o.For))
	}
	resp, err := c.glass.BreakGlass(ctx, req)
	if err != nil {
		return err
	}
	return o.emergencies(out, resp.GetEmergency())
}

type glassListCmd struct {
	remote
	Open    bool   `help:"Only what waits for review."`
	Subject string `help:"Only what one person opened."`
	Limit   int32  `short:"n" default:"50" help:"Newest first, at most 1000."`
}

// Run lists broken glass.
func (l glassListCmd) Run(ctx context.Context, out output) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	resp, err := c.glass.ListEmergencies(ctx, &policyv1.ListEmergenciesRequest{Waiting: l.Open, Subject: l.Subject, Limit: l.Limit})
	if err != nil {
		return err
	}
	return l.emergencies(out, resp.GetEmergencies()...)
}

type glassEndCmd struct {
	remote
	ID     string `arg:"" help:"Id of the broken glass."`
	Reason string `required:"" help:"Why before its time."`
}

// Run closes the record again.
func (e glassEndCmd) Run(ctx context.Context, out output) error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	resp, err := c.glass.EndEmergency(ctx, &policyv1.EndEmergencyRequest{Id: e.ID, Reason: e.Reason})
	if err != nil {
		return err
	}
	return e.emergencies(out, resp.GetEmergency())
}

type glassReviewCmd struct {
	remote
	ID      string `arg:"" help:"Id of the broken glass."`
	Verdict string `required:"" enum:"justified,unjustified" help:"justified or unjustified."`
	Reason  string `required:"" help:"Why; kept with the verdict."`
}

// Run records the verdict.
func (r glassReviewCmd) Run(ctx context.Context, out output) error {
	c, err := r.dial()
	if err != nil {
		return err
	}
	resp, err := c.glass.ReviewEmergency(ctx, &policyv1.ReviewEmergencyRequest{Id: r.ID, Verdict: r.Verdict, Reason: r.Reason})
	if err != nil {
		return err
	}
	return r.emergencies(out, resp.GetEmergency())
}

// emergencies prints broken glass, and under each what was read.
func (r remote) emergencies(out output, list ...*policyv1.Emergency) error {
	if r.JSON {
		return printProto(out.Stdout, &policyv1.ListEmergenciesResponse{Emergencies: list})
	}
	t := table{headings: []string{"ID", "WHO", "ENTITY", "RECORD", "FROM", "TO", "STATE", "TICKET", "REASON"}}
	for _, e := range list {
		t.add(e.GetId(), e.GetSubject(), e.GetEntity(), e.GetRecord(), day(e.GetFrom()), day(e.GetTo()), emergencyState(e), e.GetTicket(), clipped(e.GetReason(), 40))
	}
	t.print(out.Stdout, "no broken glass")
	for _, e := range list {
		for _, d := range e.GetReads() {
			fmt.Fprintf(out.Stdout, "%s  read %s: %s, execution %s\n", e.GetId(), day(d.GetAt()), d.GetAction(), d.GetExecutionId())
		}
	}
	overdue := 0
	for _, e := range list {
		if e.GetOverdue() {
			overdue++
		}
	}
	if overdue > 0 {
		fmt.Fprintf(out.Stderr, "\x1b[31m%d waited for review for more than a week\x1b[0m\n", overdue)
	}
	return nil
}

func emergencyState(e *policyv1.Emergency) string {
	var states []string
	if e.GetOpen() {
		states = append(states, "open")
	}
	switch {
	case e.GetVerdict() != "":
		states = append(states, e.GetVerdict()+" by "+e.GetVerdictBy())
	case e.GetOverdue():
		states = append(states, "OVERDUE for review")
	default:
		states = append(states, "waits for review")
	}
	return strings.Join(states, ", ")
}
