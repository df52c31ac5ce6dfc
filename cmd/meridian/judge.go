package main

import (
	"context"
	"strings"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// judgement is what share and withhold have in common.
type judgement struct {
	remote
	Entity string   `arg:""`
	ID     string   `arg:"" help:"Id, or a unique field as source_id:AAPL."`
	With   string   `required:"" placeholder:"WHOM" help:"A colleague (rep.east@amer) or a department (d:legal)."`
	Groups []string `help:"Field groups a share reveals; core if absent."`
	Until  moment   `help:"End, as 2027-01-01 or 90m; in 30 days if absent."`
	Reason string   `required:"" help:"Why; kept with the judgement."`
}

func (j judgement) judge(ctx context.Context, out output, kind crm.GrantKind) error {
	c, err := j.dial()
	if err != nil {
		return err
	}
	id, err := c.resolve(ctx, j.Entity, j.ID)
	if err != nil {
		return err
	}
	resp, err := c.policy.Judge(ctx, &policyv1.JudgeRequest{Grant: &policyv1.Grant{
		Entity: j.Entity, Record: id, Kind: string(kind), With: grantKey(j.With), Groups: j.Groups, To: j.Until.proto(), Reason: j.Reason,
	}})
	if err != nil {
		return err
	}
	return j.grants(out, resp.GetGrant())
}

// grantKey is the key of whom is meant: a name with an @ is a colleague's.
func grantKey(whom string) string {
	switch {
	case strings.HasPrefix(whom, "s:"), strings.HasPrefix(whom, "d:"):
		return whom
	case strings.Contains(whom, "@"):
		return "s:" + whom
	}
	return "d:" + whom
}

func (r remote) grants(out output, list ...*policyv1.Grant) error {
	if r.JSON {
		return printProto(out.Stdout, &policyv1.ListGrantsResponse{Grants: list})
	}
	t := table{headings: []string{"ID", "KIND", "WITH", "GROUPS", "FROM", "TO", "STATE", "BY", "REASON"}}
	for _, g := range list {
		t.add(g.GetId(), g.GetKind(), g.GetWith(), strings.Join(g.GetGroups(), ","), day(g.GetFrom()), day(g.GetTo()),
			grantState(g), g.GetBy(), clipped(g.GetReason(), 40))
	}
	t.print(out.Stdout, "no judgements")
	return nil
}

func grantState(g *policyv1.Grant) string {
	switch {
	case g.GetEnded():
		return "ended"
	case g.GetSuspended():
		return "suspended"
	case g.GetReviewedBy() != "":
		return "kept by " + g.GetReviewedBy()
	}
	return ""
}

type shareCmd struct{ judgement }

// Help shows the verb at work.
func (shareCmd) Help() string {
	return `Nobody shares more than they see.

  meridian share account source_id:AAPL --with rep.east@amer --groups core,commercial \
      --until 2027-01-01 --reason "covers for me" --as rep.west@amer`
}

// Run opens a record to somebody.
func (s shareCmd) Run(ctx context.Context, out output) error {
	return s.judge(ctx, out, crm.GrantShare)
}

type withholdCmd struct{ judgement }

// Help shows the verb at work.
func (withholdCmd) Help() string {
	return `  meridian withhold account source_id:AAPL --with d:trading --reason "pending merger" --as rep.west@amer`
}

// Run closes a record to somebody.
func (w withholdCmd) Run(ctx context.Context, out output) error {
	return w.judge(ctx, out, crm.GrantWithhold)
}

type grantsCmd struct {
	List grantsListCmd `cmd:"" help:"List the judgements about a record you can see."`
	End  grantsEndCmd  `cmd:"" help:"End a judgement now."`

	Reinstate grantsReinstateCmd `cmd:"" help:"Let a suspended judgement hold again; officers only."`
}

// Help shows the verbs at work.
func (grantsCmd) Help() string {
	return `A share is suspended when its giver loses access to what they shared: it opens nothing until an officer reinstates or ends it.
If the giver has access again within a week, or if it was a policy that is not in force any more, it holds again by itself.

  meridian grants list account source_id:AAPL --as rep.west@amer
  meridian grants list --suspended --as officer.a@amer
  meridian grants reinstate 0192f3c0-... --as officer.a@amer --reason "the handover is agreed"`
}

type grantsListCmd struct {
	remote
	Entity    string `arg:"" optional:""`
	ID        string `arg:"" optional:"" help:"Id, or a unique field as source_id:AAPL."`
	Suspended bool   `help:"Only those that wait for review; without a record all of them, for officers."`
}

// Run lists judgements.
func (l grantsListCmd) Run(ctx context.Context, out output) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	req := &policyv1.ListGrantsRequest{Entity: l.Entity, Suspended: l.Suspended}
	switch {
	case l.ID != "":
		if req.Record, err = c.about(ctx, l.Entity, l.ID); err != nil {
			return err
		}
	case !l.Suspended || l.Entity != "":
		return crm.Errorf(crm.Invalid, "name a record, as: grants list account source_id:AAPL; or ask for --suspended")
	}
	resp, err := c.policy.ListGrants(ctx, req)
	if err != nil {
		return err
	}
	return l.grants(out, resp.GetGrants()...)
}

type grantsEndCmd struct {
	remote
	ID     string `arg:"" help:"Id of the judgement."`
	Reason string `required:"" help:"Why; kept with the judgement."`
}

// Run ends a judgement.
func (e grantsEndCmd) Run(ctx context.Context, out output) error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	resp, err := c.policy.EndGrant(ctx, &policyv1.EndGrantRequest{Id: e.ID, Reason: e.Reason})
	if err != nil {
		return err
	}
	return e.grants(out, resp.GetGrant())
}

type grantsReinstateCmd struct {
	remote
	ID     string `arg:"" help:"Id of the judgement."`
	Reason string `required:"" help:"Why; you answer for the judgement from then on."`
}

// Run reinstates a judgement.
func (r grantsReinstateCmd) Run(ctx context.Context, out output) error {
	c, err := r.dial()
	if err != nil {
		return err
	}
	resp, err := c.policy.ReinstateGrant(ctx, &policyv1.ReinstateGrantRequest{Id: r.ID, Reason: r.Reason})
	if err != nil {
		return err
	}
	return r.grants(out, resp.GetGrant())
}
