package main

import (
	"context"
	"fmt"
	"strings"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type explainCmd struct {
	remote
	Entity  string `arg:""`
	ID      string `arg:"" help:"Id, or a unique field as source_id:AAPL."`
	Action  string `default:"read" help:"read, update, delete, share or withhold."`
	Subject string `help:"Somebody else; officers may ask about anybody."`
}

// Help shows the verb at work.
func (explainCmd) Help() string {
	return `Says which grounds of the policy open or close a record, and which field groups they reveal.

  meridian explain account source_id:AAPL --as rep.west@amer
  meridian explain account 0192f3c0-... --subject rep.dach@emea --as officer.a@emea`
}

// Run prints the decision and its reasons.
func (e explainCmd) Run(ctx context.Context, out output) error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	id, err := c.resolve(ctx, e.Entity, e.ID)
	if err != nil {
		return err
	}
	resp, err := c.policy.Explain(ctx, &policyv1.ExplainRequest{Entity: e.Entity, Id: id, Action: e.Action, Subject: e.Subject})
	if err != nil {
		return err
	}
	if e.JSON {
		return printProto(out.Stdout, resp)
	}
	verdict := "may not"
	if resp.GetAllowed() {
		verdict = "may"
	}
	fmt.Fprintf(out.Stdout, "%s %s %s this %s\n", resp.GetSubject(), verdict, resp.GetAction(), e.Entity)
	for _, r := range resp.GetOpens() {
		fmt.Fprintf(out.Stdout, "  opened by %s\n", reason(r))
	}
	for _, r := range resp.GetCloses() {
		fmt.Fprintf(out.Stdout, "  closed by %s\n", reason(r))
	}
	if len(resp.GetOpens()) == 0 {
		fmt.Fprintln(out.Stdout, "  no ground opens it")
	}
	fmt.Fprintf(out.Stdout, "  revealed: %s\n  withheld: %s\n  bundle:   %s\n",
		orNone(resp.GetRevealed()), orNone(resp.GetWithheld()), resp.GetBundle())
	return nil
}

func reason(r *policyv1.Reason) string {
	s := r.GetGround()
	if r.GetText() != "" {
		s += ": " + printable(r.GetText())
	}
	if r.GetFactId() != "" {
		s += " (" + r.GetFactId() + ")"
	}
	return s
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
