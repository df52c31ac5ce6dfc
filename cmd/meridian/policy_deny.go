package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type policyDenyCmd struct {
	Add  denyAddCmd  `cmd:"" default:"withargs" help:"Close something at once."`
	List denyListCmd `cmd:"" help:"List what is closed."`
	End  denyEndCmd  `cmd:"" help:"Open it again before its time."`
}

// Help shows the verbs at work.
func (policyDenyCmd) Help() string {
	return `A denial closes to everybody, other instances included, or to one subject. It only closes, whatever the rules say,
and ends by itself. What has to last is a wall (meridian agreement) or a change of the rules.

  meridian policy deny --account source_id:AAPL --hours 24 --reason "incident 4711" --as officer.a@amer
  meridian policy deny --territory DE --subject rep.dach@emea --hours 2 --reason "phished" --as officer.a@emea
  meridian policy deny list --as officer.a@amer
  meridian policy deny end 9f3b22aa --reason "solved" --as officer.b@amer`
}

type denyAddCmd struct {
	officer
	Account   string        `help:"An account: its id, or source_id:<value>."`
	Territory string        `help:"A territory, with everything below it."`
	Subject   crm.SubjectID `help:"To this subject alone."`
	Hours     float64       `default:"24" help:"For how long, at most 24."`
	Reason    string        `required:"" help:"Why."`
}

// Run signs and sends the denial.
func (d denyAddCmd) Run(ctx context.Context, out output) error {
	stands, err := d.stands(ctx, nil)
	if err != nil {
		return err
	}
	n := signed.Denial{
		Account: crm.RecordID(d.Account), Territory: d.Territory, Subject: d.Subject, Reason: d.Reason, For: time.Duration(d.Hours * float64(time.Hour)),
	}
	s, err := d.sign(signed.Deny, n.Digest(), "", stands[0].place)
	if err != nil {
		return err
	}
	resp, err := stands[0].bundles.Deny(ctx, &policyv1.DenyRequest{
		Account: d.Account, Territory: d.Territory, Subject: string(d.Subject), Reason: d.Reason, For: durationpb.New(n.For), Signed: s,
	})
	if err != nil {
		return err
	}
	return d.denied(out, resp.GetDenial())
}

func (r remote) denied(out output, list ...*policyv1.Denial) error {
	if r.JSON {
		return printProto(out.Stdout, &policyv1.ListDenialsResponse{Denials: list})
	}
	t := table{headings: []string{"DENIAL", "CLOSES", "TO", "UNTIL", "BY", "ENDED", "REASON"}}
	for _, d := range list {
		var closes []string
		for _, part := range [][2]string{{"account", d.GetAccount()}, {"territory", d.GetTerritory()}} {
			if part[1] != "" {
				closes = append(closes, part[0]+" "+part[1])
			}
		}
		if len(closes) == 0 {
			closes = []string{"everything"}
		}
		to := d.GetSubject()
		if to == "" {
			to = "everybody"
		}
		t.add(d.GetId()[:12], strings.Join(closes, ", "), to, d.GetUntil().AsTime().Format("2006-01-02 15:04:05"), d.GetBy(), yes(d.GetEnded()), clipped(d.GetReason(), 40))
	}
	t.print(out.Stdout, "nothing is closed by a denial")
	return nil
}

type denyListCmd struct {
	remote
	All bool `help:"Also those that are over."`
}

// Run lists denials.
func (d denyListCmd) Run(ctx context.Context, out output) error {
	c, err := d.dial()
	if err != nil {
		return err
	}
	resp, err := c.bundles.ListDenials(ctx, &policyv1.ListDenialsRequest{All: d.All})
	if err != nil {
		return err
	}
	return d.denied(out, resp.GetDenials()...)
}

type denyEndCmd struct {
	officer
	ID     string `arg:"" help:"The denial, by the beginning of its id."`
	Reason string `required:"" help:"Why."`
}

// Run ends a denial.
func (d denyEndCmd) Run(ctx context.Context, out output) error {
	stands, err := d.stands(ctx, nil)
	if err != nil {
		return err
	}
	list, err := stands[0].bundles.ListDenials(ctx, &policyv1.ListDenialsRequest{})
	if err != nil {
		return err
	}
	var found []string
	for _, x := range list.GetDenials() {
		if strings.HasPrefix(x.GetId(), d.ID) {
			found = append(found, x.GetId())
		}
	}
	if len(found) != 1 {
		return crm.Errorf(crm.NotFound, "%d denials in force begin with %s", len(found), d.ID)
	}
	s, err := d.sign(signed.EndDeny, signed.Digest(found[0]+"\n"+d.Reason), "", stands[0].place)
	if err != nil {
		return err
	}
	resp, err := stands[0].bundles.EndDenial(ctx, &policyv1.EndDenialRequest{Id: found[0], Reason: d.Reason, Signed: s})
	if err != nil {
		return err
	}
	return d.denied(out, resp.GetDenial())
}

type policyShadowCmd struct {
	Start  shadowStartCmd  `cmd:"" default:"withargs" help:"Begin to try a bundle."`
	Status shadowStatusCmd `cmd:"" help:"What it would have answered otherwise, so far."`
	Stop   shadowStopCmd   `cmd:"" help:"End it."`
}

// Help shows the verbs at work.
func (policyShadowCmd) Help() string {
	return `A shadow decides live requests a second time, in the background, under a bundle that is kept: a proposal's, or an earlier
one. It never delays or fails one; what it cannot keep up with is dropped and counted. Records are told as ids and counts.

Every way of reading is compared: get, list, search, count, aggregate, watch, history and export; of counts and totals the
records gained and lost underneath are told, not the numbers. Of writes and judgements it is compared who may do them.
At the end of a line stand the grounds of the rules that differ, and on how many of the records that were looked into.

  meridian policy shadow 3f2a91c0 --as officer.a@amer
  meridian policy shadow status --as officer.a@amer
  meridian policy shadow stop --as officer.a@amer`
}

type shadowStartCmd struct {
	remote
	Digest string `arg:"" help:"The bundle, by the beginning of its digest."`
}

// Run starts a shadow.
func (s shadowStartCmd) Run(ctx context.Context, out output) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	resp, err := c.bundles.StartShadow(ctx, &policyv1.StartShadowRequest{Digest: s.Digest})
	if err != nil {
		return err
	}
	return s.shadow(out, resp.GetShadow())
}

type shadowStatusCmd struct{ remote }

// Run shows what differs.
func (s shadowStatusCmd) Run(ctx context.Context, out output) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	resp, err := c.bundles.GetShadow(ctx, &policyv1.GetShadowRequest{})
	if err != nil {
		return err
	}
	return s.shadow(out, resp.GetShadow())
}

type shadowStopCmd struct{ remote }

// Run stops the shadow.
func (s shadowStopCmd) Run(ctx context.Context, out output) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	resp, err := c.bundles.StopShadow(ctx, &policyv1.StopShadowRequest{})
	if err != nil {
		return err
	}
	return s.shadow(out, resp.GetShadow())
}

func (r remote) shadow(out output, w *policyv1.Shadow) error {
	if r.JSON {
		return printProto(out.Stdout, w)
	}
	state := "runs"
	if w.GetStopped() != nil {
		state = "ended " + w.GetStopped().AsTime().Format("2006-01-02 15:04:05")
	}
	fmt.Fprintf(out.Stdout, "shadow of bundle %.12s, since %s, %s\n", w.GetDigest(), w.GetStarted().AsTime().Format("2006-01-02 15:04:05"), state)
	t := table{headings: []string{"SUBJECT", "ACTION", "ENTITY", "COMPARED", "DIFFER", "GAINED", "LOST", "GROUPS", "REFUSED", "OPEN", "FAILED", "DROPPED", "GROUNDS"}}
	for _, d := range w.GetDifferences() {
		t.add(d.GetSubject(), d.GetAction(), d.GetEntity(), fmt.Sprint(d.GetReads()), fmt.Sprint(d.GetDiffered()), fmt.Sprint(d.GetGained()),
			fmt.Sprint(d.GetLost()), fmt.Sprint(d.GetGroups()), fmt.Sprint(d.GetRefused()), fmt.Sprint(d.GetOpen()), fmt.Sprint(d.GetFailed()), fmt.Sprint(d.GetDropped()),
			shadowGrounds(d.GetGrounds()))
	}
	t.print(out.Stdout, "nothing was compared yet")
	return nil
}

// shadowGrounds says which grounds differ, and on how many records.
func shadowGrounds(gs []*policyv1.ShadowGround) string {
	said := make([]string, len(gs))
	for i, g := range gs {
		said[i] = fmt.Sprintf("%s %s %d", g.GetGround(), g.GetChange(), g.GetRecords())
	}
	return strings.Join(said, ", ")
}
