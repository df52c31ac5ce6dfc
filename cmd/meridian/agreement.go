package main

import (
	"context"
	"strings"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type agreementCmd struct {
	List   agreementListCmd   `cmd:"" help:"List agreements in force or to come."`
	Create agreementCreateCmd `cmd:"" help:"Open an account or an area to a department, or wall it off."`
	End    agreementEndCmd    `cmd:"" help:"End an agreement now."`
}

// Help shows the verbs at work.
func (agreementCmd) Help() string {
	return `An agreement opens an account, or all records of an area, to a department here or at another instance, or walls them off.
An area is a territory, a segment, the records of one department (--on-department), or several of these at once.

  meridian agreement create --as officer.a@amer --account source_id:AAPL --department emea/dach-sales \
      --effect open --to 2027-01-01 --reason "joint pursuit"
  meridian agreement create --as officer.a@amer --territory US-CA --segment Financials --department compliance --reason "state inquiry"
  meridian agreement create --as officer.a@amer --effect wall --on-department us-sales --department operations --reason "information barrier"
  meridian agreement list --as officer.a@amer
  meridian agreement end 0192f3c0-... --as officer.a@amer --reason "pursuit over"`
}

type agreementListCmd struct {
	remote
	All bool `help:"Also those that ended or expired."`
}

// Run lists agreements.
func (l agreementListCmd) Run(ctx context.Context, out output) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	resp, err := c.policy.ListAgreements(ctx, &policyv1.ListAgreementsRequest{All: l.All})
	if err != nil {
		return err
	}
	if l.JSON {
		return printProto(out.Stdout, resp)
	}
	l.table(out, resp.GetAgreements()...)
	return nil
}

func (remote) table(out output, list ...*policyv1.Agreement) {
	t := table{headings: []string{"ID", "ABOUT", "DEPARTMENT", "EFFECT", "GROUPS", "FROM", "TO", "ENDED", "BY", "REASON"}}
	for _, a := range list {
		t.add(a.GetId(), agreedOn(a), a.GetDepartment(), a.GetEffect(), strings.Join(a.GetGroups(), ","),
			day(a.GetFrom()), day(a.GetTo()), yes(a.GetEnded()), a.GetBy(), clipped(a.GetReason(), 40))
	}
	t.print(out.Stdout, "no agreements")
}

// agreedOn is the account of an agreement, or its area.
func agreedOn(a *policyv1.Agreement) string {
	var area []string
	for _, part := range []struct{ what, id string }{
		{"territory", a.GetTerritory()}, {"segment", a.GetSegment()}, {"records of", a.GetOnDepartment()},
	} {
		if part.id != "" {
			area = append(area, part.what+" "+part.id)
		}
	}
	if len(area) == 0 {
		return a.GetAccount()
	}
	return strings.Join(area, ", ")
}

type agreementCreateCmd struct {
	remote
	Account      string   `help:"Id, or source_id:AAPL."`
	Territory    string   `placeholder:"ID" help:"Instead of an account: all records of a territory and what lies below it."`
	Segment      string   `placeholder:"ID" help:"All records of a segment and what lies below it."`
	OnDepartment string   `placeholder:"ID" help:"All records of a department."`
	Department   string   `required:"" help:"dach-sales, or emea/dach-sales for another instance's."`
	Effect       string   `default:"open" enum:"open,wall" help:"open or wall."`
	From         moment   `help:"Begin, as 2026-12-01; now if absent."`
	To           moment   `help:"End, as 2027-01-01 or 90m; for ever if absent."`
	Groups       []string `help:"Field groups it reveals; core if absent."`
	Actions      []string `help:"What it opens; read and publish if absent."`
	Document     string   `help:"Where the paper lies."`
	Reason       string   `required:"" help:"Why; kept with the agreement."`
}

// Run records an agreement and shows it.
func (n agreementCreateCmd) Run(ctx context.Context, out output) error {
	c, err := n.dial()
	if err != nil {
		return err
	}
	resp, err := c.policy.CreateAgreement(ctx, &policyv1.CreateAgreementRequest{Agreement: &policyv1.Agreement{
		Account: n.Account, Territory: n.Territory, Segment: n.Segment, OnDepartment: n.OnDepartment, Department: n.Department, Effect: n.Effect, From: n.From.proto(), To: n.To.proto(),
		Groups: n.Groups, Actions: n.Actions, Document: n.Document, Reason: n.Reason,
	}})
	if err != nil {
		return err
	}
	if n.JSON {
		return printProto(out.Stdout, resp.GetAgreement())
	}
	n.table(out, resp.GetAgreement())
	return nil
}

type agreementEndCmd struct {
	remote
	ID     string `arg:"" help:"Id of the agreement."`
	Reason string `required:"" help:"Why; kept with the agreement."`
}

// Run ends an agreement and shows it.
func (e agreementEndCmd) Run(ctx context.Context, out output) error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	resp, err := c.policy.EndAgreement(ctx, &policyv1.EndAgreementRequest{Id: e.ID, Reason: e.Reason})
	if err != nil {
		return err
	}
	if e.JSON {
		return printProto(out.Stdout, resp.GetAgreement())
	}
	e.table(out, resp.GetAgreement())
	return nil
}
