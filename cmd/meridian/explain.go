package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type explainCmd struct {
	remote
	Entity  string `arg:"" optional:""`
	ID      string `arg:"" optional:"" help:"Id, or a unique field as source_id:AAPL."`
	Action  string `default:"read" help:"read, update, delete, share or withhold."`
	Subject string `help:"Somebody else; officers may ask about anybody."`
	Who     bool   `xor:"ask" help:"List who can see the record; officers only."`
	What    string `xor:"ask" placeholder:"SUBJECT" help:"Count what somebody can see; officers only."`
}

// Help shows the verb at work.
func (explainCmd) Help() string {
	return `Says which grounds of the policy open or close a record, and which field groups they reveal.

  meridian explain account source_id:AAPL --as rep.west@amer
  meridian explain account 0192f3c0-... --subject rep.dach@emea --as officer.a@emea
  meridian explain account source_id:AAPL --who --as officer.a@amer
  meridian explain --what rep.west@amer --as officer.a@amer`
}

// Run prints the decision and its reasons.
func (e explainCmd) Run(ctx context.Context, out output) error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	if e.What != "" {
		return e.what(ctx, c, out)
	}
	if e.Entity == "" || e.ID == "" {
		return crm.Errorf(crm.Invalid, "name a record, as: explain account source_id:AAPL; or a person: explain --what rep.west@amer")
	}
	if e.Who {
		return e.who(ctx, c, out)
	}
	id, err := c.about(ctx, e.Entity, e.ID)
	if e, _ := errorOf(err); e != nil && e.Kind == crm.NotFound {
		id, err = string(crm.NewRecordID()), nil // of nothing: the answer names what may be done about what is hidden
	}
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
	for _, r := range resp.GetSteps() {
		fmt.Fprintf(out.Stdout, "  next step: %s\n", reason(r))
	}
	fmt.Fprintf(out.Stdout, "  revealed: %s\n  masked:   %s\n  withheld: %s\n  bundle:   %s\n",
		orNone(resp.GetRevealed()), orNone(resp.GetMasked()), orNone(resp.GetWithheld()), resp.GetBundle())
	return nil
}

// sees are the groups that somebody sees, and those they see masked.
func sees(v *policyv1.Viewer) string {
	groups := slices.Clone(v.GetRevealed())
	for _, g := range v.GetMasked() {
		groups = append(groups, g+" (masked)")
	}
	return orNone(groups)
}

// who prints everybody who can see a record.
func (e explainCmd) who(ctx context.Context, c *clients, out output) error {
	resp, err := c.policy.ExplainRecord(ctx, &policyv1.ExplainRecordRequest{Entity: e.Entity, Id: e.ID})
	if err != nil {
		return err
	}
	if e.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"SUBJECT", "KIND", "BY", "REVEALED"}}
	for _, v := range resp.GetViewers() {
		var by []string
		for _, r := range v.GetOpens() {
			by = append(by, r.GetGround())
		}
		t.add(v.GetSubject(), v.GetKind(), strings.Join(by, ","), sees(v))
	}
	t.print(out.Stdout, "nobody can see it")
	for _, v := range resp.GetViewers() {
		for _, r := range v.GetBounds() {
			fmt.Fprintf(out.Stdout, "%s: %s, whatever the rules show\n", v.GetSubject(), r.GetText())
		}
	}
	return nil
}

// what prints how much somebody can see.
func (e explainCmd) what(ctx context.Context, c *clients, out output) error {
	resp, err := c.policy.ExplainSubject(ctx, &policyv1.ExplainSubjectRequest{Subject: e.What})
	if err != nil {
		return err
	}
	if e.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"ENTITY", "RECORDS", "BY GROUND", "BY TERRITORY", "BY SEGMENT"}}
	for _, s := range resp.GetSights() {
		t.add(s.GetEntity(), strconv.FormatInt(s.GetTotal(), 10), largest(s.GetGrounds()), largest(s.GetTerritories()), largest(s.GetSegments()))
	}
	t.print(out.Stdout, "nothing")
	return nil
}

// largest are the few largest counts, for a column; --json has all of them.
func largest(counts map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	const few = 3
	var cells []string
	for i, n := range names {
		if i == few {
			cells = append(cells, fmt.Sprintf("%d more", len(names)-few))
			break
		}
		cells = append(cells, fmt.Sprintf("%s %d", n, counts[n]))
	}
	return strings.Join(cells, ", ")
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
