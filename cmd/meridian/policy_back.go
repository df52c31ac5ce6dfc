package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type policyHistoryCmd struct {
	remote
	Limit int32 `default:"20" help:"At most so many."`
}

// Help explains the first column.
func (policyHistoryCmd) Help() string {
	return `The newest first. "rollback goes here" is where meridian policy rollback would go, "may go back" what it
may be told to go to by name; what is "withdrawn" was rolled back, and comes again by a proposal alone.`
}

// Run lists activations.
func (h policyHistoryCmd) Run(ctx context.Context, out output) error {
	c, err := h.dial()
	if err != nil {
		return err
	}
	resp, err := c.bundles.GetLife(ctx, &policyv1.GetLifeRequest{Limit: h.Limit})
	if err != nil {
		return err
	}
	if h.JSON {
		return printProto(out.Stdout, resp)
	}
	marks := marksOf(resp)
	t := table{headings: []string{"", "BUNDLE", "KIND", "SINCE", "BY", "PROPOSAL", "REASON"}}
	for i, a := range resp.GetActivations() {
		t.add(marks[i], a.GetDigest()[:12], a.GetKind(), a.GetAt().AsTime().Format("2006-01-02 15:04:05"), a.GetBy(), fmt.Sprintf("%.12s", a.GetProposal()), clipped(a.GetReason(), 50))
	}
	t.print(out.Stdout, "nothing was in force yet")
	for i, a := range resp.GetActivations() {
		if a.GetUnproven() == "" {
			continue
		}
		fmt.Fprintf(out.Stdout, "NO PROOF of activation %d, %s by %s: %s\n", a.GetSequence(), a.GetKind(), cmp.Or(printable(a.GetBy()), "the product"), printable(a.GetUnproven()))
		if i == 0 {
			fmt.Fprintln(out.Stdout, "  nothing is decided by it. Go back: meridian policy rollback --reason \"...\"; or propose a bundle, and let a second officer approve")
		}
	}
	for _, s := range resp.GetShipped() {
		fmt.Fprintf(out.Stdout, "not in force: bundle %.12s came with version %s; look at it with policy diff %.12s\n", s.GetDigest(), s.GetVersion(), s.GetDigest())
	}
	return nil
}

// marksOf says of each activation what became of its bundle. Where a rollback
// may go is marked once, at the last activation of it.
func marksOf(life *policyv1.GetLifeResponse) []string {
	targets := map[string]string{}
	for i, digest := range life.GetTargets() {
		targets[digest] = map[bool]string{true: "rollback goes here", false: "may go back"}[i == 0]
	}
	marks := make([]string, len(life.GetActivations()))
	for i, a := range life.GetActivations() {
		switch {
		case i == 0 && a.GetUnproven() != "":
			marks[i] = "decides nothing"
		case i == 0:
			marks[i] = "in force"
		case a.GetUnproven() != "":
			marks[i] = "no proof"
		case a.GetWithdrawn():
			marks[i] = "withdrawn"
		default:
			marks[i] = targets[a.GetDigest()]
			delete(targets, a.GetDigest())
		}
	}
	return marks
}

type policyRollbackCmd struct {
	officer
	Digest    string   `arg:"" optional:"" help:"A bundle below the one in force, by the beginning of its digest; the one right below if absent."`
	Reason    string   `required:"" help:"Why; it is logged and listed."`
	Instances []string `help:"Roll back at these instances. With --json one object, by instance."`
	Now       bool     `help:"Sign first and say what it changes afterwards."`
}

// lookAtMost is how long a rollback waits to hear what it changes: what has to
// go back does not wait for long.
const lookAtMost = 10 * time.Second

// Help says how far one signature goes.
func (policyRollbackCmd) Help() string {
	return `Goes back to the bundle below the one in force, with one signature. A second rollback goes one further
back; none goes forward: what was rolled back is withdrawn, and comes again when it is proposed and a
second officer approves. meridian policy history shows where a rollback goes and what is withdrawn.

Going back may open records again, so the command says first to whom, and goes back without asking. It
looks for 10 seconds at most; with --now, or if that is not enough, it says so afterwards.

  meridian policy rollback --reason "it was wrong" --as officer.a@amer
  meridian policy rollback --now --reason "it leaks" --as officer.a@amer
  meridian policy rollback 3f2a91c0 --reason "as last month" --instances amer,emea --as officer.a@amer`
}

// Run rolls back, instance by instance: one that fails does not keep the others
// from it, and nobody waits to be told what it changed elsewhere.
func (r policyRollbackCmd) Run(ctx context.Context, out output) error {
	if _, err := r.private(); err != nil { // before anybody waits
		return err
	}
	stands, err := r.stands(ctx, r.Instances)
	if err != nil {
		return err
	}
	var failed []error
	var untold []stand
	said := answers{instances: r.Instances}
	for _, at := range stands {
		told, err := r.one(ctx, out, at, &said)
		switch {
		case err != nil:
			said.fail(at.place.Instance, err)
			if len(stands) > 1 {
				fmt.Fprintf(out.Stderr, "%s: NOT ROLLED BACK: %s\n", at.place.Instance, brief(err))
			}
			failed = append(failed, err)
		case !told:
			untold = append(untold, at)
		}
	}
	for _, at := range untold {
		if err := at.tell(ctx, out, at.place.Base, ""); err != nil { // it is done; that nobody can say more does not undo it
			fmt.Fprintf(out.Stdout, "%s: what that changes is not known: %s\n", at.place.Instance, brief(err))
		}
	}
	if r.JSON {
		failed = append(failed, said.print(out.Stdout))
	}
	return errors.Join(failed...)
}

// one rolls one instance back, and says whether it told what that changes.
func (r policyRollbackCmd) one(ctx context.Context, out output, at stand, said *answers) (told bool, err error) {
	digest, err := at.below(ctx, r.Digest)
	if err != nil {
		return false, err
	}
	if told = r.JSON; !told && !r.Now {
		within, cancel := context.WithTimeout(ctx, lookAtMost)
		told = at.tell(within, out, "", digest) == nil
		cancel()
		if ctx.Err() != nil {
			return told, ctx.Err()
		}
	}
	done, err := r.back(ctx, at, digest, r.Reason)
	switch {
	case err != nil:
		return told, err
	case r.JSON:
		return told, said.add(at.place.Instance, done)
	}
	fmt.Fprintf(out.Stdout, "%s: bundle %.12s is in force again, activation %d; %.12s is withdrawn\n", at.place.Instance, done.GetDigest(), done.GetSequence(), at.place.Base)
	return told, nil
}

// below is the whole digest of a bundle to go back to; of the one right below
// for "".
func (s stand) below(ctx context.Context, digest string) (string, error) {
	if digest == "" {
		if len(s.targets) == 0 {
			return "", crm.Errorf(crm.NotFound, "%s: there is nothing to go back to below %.12s. What has to close at once closes with meridian policy deny; "+
				"another policy comes by meridian policy propose and a second officer", s.place.Instance, s.place.Base)
		}
		return s.targets[0], nil
	}
	kept, err := s.bundles.GetFiles(ctx, &policyv1.GetFilesRequest{Digest: digest})
	return kept.GetDigest(), err
}

// tell prints what another bundle changes, for whom it opens first: one that is
// not in force yet, or the one that is now, compared with what was before.
func (s stand) tell(ctx context.Context, out output, from, to string) error {
	if to == "" {
		life, err := s.bundles.GetLife(ctx, &policyv1.GetLifeRequest{Limit: 1})
		if err != nil {
			return err
		}
		to = life.GetActivations()[0].GetDigest()
	}
	report, err := compareBundles(ctx, s.clients, &policyv1.ImpactRequest{From: from, Candidate: &policyv1.Candidate{Digest: to}}, out.Stderr)
	if err == nil {
		printReturn(out.Stdout, s.place.Instance, report)
	}
	return err
}

func printReturn(w io.Writer, instance string, r *policyv1.ImpactReport) {
	s := r.GetSummary()
	fmt.Fprintf(w, "%s: from bundle %.12s back to %.12s\n", instance, s.GetBefore(), s.GetAfter())
	printPermissions(w, r.GetPersonas())
	opens, closes := 0, 0
	for _, x := range r.GetPersonas() {
		again, less := reopened(x)
		if len(again) > 0 {
			opens++
			verb := "sees again"
			if x.GetDestination() != "" {
				verb = "to " + printable(x.GetDestination()) + ": leave again"
			}
			fmt.Fprintf(w, "!! %s %s: %s\n", printable(x.GetSubject()), verb, strings.Join(again, "; "))
		}
		if less {
			closes++
		}
	}
	printPowers(w, r.GetPersonas())
	fmt.Fprintf(w, "of %d subjects and contracts %d see more again, %d see less, %d differ in all\n", s.GetCompared(), opens, closes, s.GetDiffering())
}

// reopened says what somebody sees again, with the field groups, and whether
// they see less of anything.
func reopened(x *policyv1.PersonaImpact) (again []string, less bool) {
	for _, e := range x.GetEntities() {
		var groups []string
		for _, g := range e.GetGroups() {
			less = less || g.GetLost() > 0 || g.GetMasked() > 0
			if g.GetGained() > 0 {
				groups = append(groups, fmt.Sprintf("%s %d", g.GetGroup(), g.GetGained()))
			}
		}
		if less = less || e.GetLost() > 0; e.GetGained() > 0 || len(groups) > 0 {
			again = append(again, fmt.Sprintf("%d of %d %s (%s)", e.GetGained(), e.GetRecords(), e.GetEntity(), strings.Join(groups, ", ")))
		}
	}
	return again, less
}

// back signs a rollback of one instance to a bundle, by its whole digest.
func (o officer) back(ctx context.Context, at stand, digest, reason string) (*policyv1.Activation, error) {
	s, err := o.sign(signed.Rollback, digest, "", at.place)
	if err != nil {
		return nil, err
	}
	resp, err := at.bundles.Rollback(ctx, &policyv1.RollbackRequest{Digest: digest, Reason: reason, Signed: s})
	return resp.GetActivation(), err
}
