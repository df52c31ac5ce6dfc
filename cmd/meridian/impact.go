package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// tried names the bundle that a verb tries.
type tried struct {
	Bundle string `arg:"" placeholder:"DIR|DIGEST" help:"A folder of rules, or a bundle that the instance keeps: the first 8 characters of its digest, or more."`
}

// candidate is the folder's files, or the digest.
func (t tried) candidate() (*policyv1.Candidate, error) {
	if s, err := os.Stat(t.Bundle); err == nil && s.IsDir() {
		modules, err := rules{Dir: t.Bundle}.modules()
		return &policyv1.Candidate{Modules: modules}, err
	}
	if len(t.Bundle) < 8 || strings.Trim(t.Bundle, "0123456789abcdef") != "" {
		return nil, crm.FieldErrorf("bundle", "%s is neither a folder nor the beginning of a digest: 8 of the digits 0-9 and a-f, at least", t.Bundle)
	}
	return &policyv1.Candidate{Digest: t.Bundle}, nil
}

type policyImpactCmd struct {
	remote
	tried
	Subjects []string `placeholder:"SUBJECT" help:"Only these, as rep.west@amer or contract:amer-emea-account; all if absent."`
	From     string   `placeholder:"DIGEST" help:"Compare with this kept bundle, not with the one in force. The first 8 characters are enough."`
	Action   string   `default:"read" help:"read, create, update, delete, share or withhold."`
	Places   bool     `help:"Also by territory and segment."`
	IDs      bool     `name:"ids" help:"Also a few ids of records that change."`
	HTML     string   `name:"html" placeholder:"FILE" help:"Write the comparison as a page to look at and to print, and print its first sentence."`
	Records  bool     `help:"Instead every record behind the counts, a line each: subject, entity, change, id, field groups."`
}

// Help shows the verb at work.
func (policyImpactCmd) Help() string {
	return `Compares a bundle with the one in force before anything changes: which records and field groups
every persona and every receiving instance would gain and lose, exactly, and what would have to be
given back. It shows counts and ids, no values, and is noted in the decision log.

  meridian policy impact ./my-rules --as officer.a@amer
  meridian policy impact ./my-rules --subjects rep.west@amer,contract:amer-emea-account --places --ids --as officer.a@amer
  meridian policy impact ./my-rules --subjects rep.west@amer --records --as officer.a@amer > records.tsv
  meridian policy impact ./my-rules --html impact.html --as officer.a@amer    # for the second officer to look at
  meridian policy impact 3f2a91c0 --json --as officer.a@amer > impact.json`
}

// Run prints the comparison: what somebody gains comes first.
func (p policyImpactCmd) Run(ctx context.Context, out output) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	candidate, err := p.candidate()
	if err != nil {
		return err
	}
	report, err := compareBundles(ctx, c, &policyv1.ImpactRequest{Candidate: candidate, From: p.From, Subjects: p.Subjects, Action: p.Action}, out.Stderr)
	if err != nil {
		return err
	}
	switch {
	case p.Records:
		return p.records(ctx, c, candidate, out, report)
	case p.HTML != "":
		page := impactPage{ImpactReport: report, Action: p.Action, Only: p.Subjects, IDs: p.IDs, From: p.From != "", As: string(p.As), Instance: p.place()}
		return page.write(out, p.HTML, p.JSON)
	case p.JSON:
		return printProto(out.Stdout, report)
	}
	p.print(out.Stdout, report)
	return nil
}

// compareBundles asks for an impact, and puts what somebody gains first:
// permissions before records.
func compareBundles(ctx context.Context, c *clients, r *policyv1.ImpactRequest, progress io.Writer) (*policyv1.ImpactReport, error) {
	stream, err := c.impact.Impact(ctx, r)
	if err != nil {
		return nil, err
	}
	defer stream.Close() //nolint:errcheck // the stream ends with the verb either way
	report := &policyv1.ImpactReport{}
	steps := stepsTo(progress)
	for stream.Receive() {
		switch m := stream.Msg().GetMessage().(type) {
		case *policyv1.ImpactResponse_Progress:
			steps(m.Progress)
		case *policyv1.ImpactResponse_Persona:
			report.Personas = append(report.Personas, m.Persona)
		case *policyv1.ImpactResponse_Summary:
			report.Summary = m.Summary
		}
	}
	slices.SortStableFunc(report.Personas, func(a, b *policyv1.PersonaImpact) int {
		return cmp.Or(cmp.Compare(len(b.GetPermissionsGained()), len(a.GetPermissionsGained())), cmp.Compare(gained(b), gained(a)),
			strings.Compare(a.GetSubject(), b.GetSubject()))
	})
	return report, stream.Err()
}

// stepsTo tells once a second how far long work is.
func stepsTo(w io.Writer) func(*policyv1.Progress) {
	last := time.Now()
	return func(p *policyv1.Progress) {
		if time.Since(last) < time.Second {
			return
		}
		last = time.Now()
		fmt.Fprintf(w, "%d of %d %s\n", p.GetDone(), p.GetTotal(), printable(p.GetCurrent()))
	}
}

func gained(p *policyv1.PersonaImpact) (n int64) {
	for _, e := range p.GetEntities() {
		n += e.GetGained() + e.GetLater()
	}
	return n
}

// loud is the part of an entity from which on what somebody newly sees is
// called out before everything else.
const loud = 0.2

func (p policyImpactCmd) print(w io.Writer, r *policyv1.ImpactReport) {
	s := r.GetSummary()
	which := map[bool]string{true: ", which is in force"}[p.From == ""]
	fmt.Fprintf(w, "bundle   %.12s instead of %.12s%s\ncompared %d subjects and contracts for %s; %d differ\n\n",
		s.GetAfter(), s.GetBefore(), which, s.GetCompared(), p.Action, s.GetDiffering())
	for _, warning := range s.GetWarnings() {
		fmt.Fprintf(w, "!! %s\n", printable(warning))
	}
	printPermissions(w, r.GetPersonas())
	for _, x := range r.GetPersonas() {
		for _, e := range x.GetEntities() {
			of, once := e.GetGained(), ""
			if e.GetLater() > 0 {
				of, once = of+e.GetLater(), ", once the denials, walls and withholdings of today have ended"
			}
			if newly := part(of, e); newly >= loud {
				what := fmt.Sprintf("%.0f %% of all %s records", newly*100, e.GetEntity())
				if of == e.GetRecords() {
					what = "EVERYTHING: every " + e.GetEntity() + " record"
				}
				fmt.Fprintf(w, "!! %s would newly see %s (%d of %d)%s\n", printable(x.GetSubject()), what, of, e.GetRecords(), once)
			}
		}
	}
	section := func(title string, of func(*policyv1.PersonaImpact) bool) {
		first := true
		for _, x := range r.GetPersonas() {
			if !of(x) {
				continue
			}
			if first {
				fmt.Fprintf(w, "\n%s\n", title)
				first = false
			}
			p.persona(w, x)
		}
	}
	contract := func(x *policyv1.PersonaImpact) bool { return x.GetDestination() != "" }
	printPowers(w, r.GetPersonas())
	section("DENIALS THAT BECOME ALLOWED", func(x *policyv1.PersonaImpact) bool { return !contract(x) && gained(x) > 0 })
	section("OTHER CHANGES", func(x *policyv1.PersonaImpact) bool {
		return !contract(x) && gained(x) == 0 && touchesRecords(x)
	})
	section("RECEIVING INSTANCES", func(x *policyv1.PersonaImpact) bool { return contract(x) && touchesRecords(x) })
	p.shares(w, "SHARES THAT WOULD BE SUSPENDED, their givers would lose access", s.GetSuspended())
	p.shares(w, "SHARES THAT WOULD HOLD AGAIN", s.GetResumed())
	if len(r.GetPersonas())+len(s.GetWarnings())+len(s.GetSuspended())+len(s.GetResumed()) == 0 {
		fmt.Fprintln(w, "nothing changes for anybody")
	}
}

// part is how much of an entity n of its records are.
func part(n int64, e *policyv1.EntityImpact) float64 {
	if e.GetRecords() == 0 {
		return 0
	}
	return float64(n) / float64(e.GetRecords())
}

func (p policyImpactCmd) persona(w io.Writer, x *policyv1.PersonaImpact) {
	name := printable(x.GetSubject())
	if x.GetDestination() != "" {
		name += " to " + printable(x.GetDestination())
	}
	fmt.Fprintf(w, "  %s\n", name)
	if x.GetRefused() != "" {
		fmt.Fprintf(w, "    !! the bundle cannot be applied to it; it would see nothing: %s\n", printable(x.GetRefused()))
	}
	for _, e := range x.GetEntities() {
		fmt.Fprintf(w, "    %-12s +%-8d %s\n", e.GetEntity(), e.GetGained(), bar(part(e.GetGained(), e)))
		fmt.Fprintf(w, "    %-12s -%-8d %s\n", "", e.GetLost(), bar(part(e.GetLost(), e)))
		if e.GetLater() > 0 {
			fmt.Fprintf(w, "    %-12s +%d more once the denials, walls and withholdings of today have ended\n", "", e.GetLater())
		}
		for _, g := range e.GetGroups() {
			fmt.Fprintf(w, "    %-12s group %s: shown on %d more, masked on %d, hidden on %d\n", "", g.GetGroup(), g.GetGained(), g.GetMasked(), g.GetLost())
		}
		if x.GetDestination() != "" {
			fmt.Fprintf(w, "    %-12s gives back %d that it holds; %d newly leave\n", "", e.GetGiveBack(), e.GetGained())
		}
		if p.Places {
			p.places(w, "territory", e.GetTerritories())
			p.places(w, "segment", e.GetSegments())
		}
		if p.IDs {
			for _, ids := range []struct {
				name string
				ids  []string
			}{{"gained", e.GetGainedIds()}, {"lost", e.GetLostIds()}, {"changed", e.GetChangedIds()}, {"given back", e.GetGiveBackIds()}} {
				if len(ids.ids) > 0 {
					fmt.Fprintf(w, "    %-12s %s: %s\n", "", ids.name, strings.Join(ids.ids, " "))
				}
			}
		}
	}
	if others := x.GetOtherActions(); len(others) > 0 {
		fmt.Fprintf(w, "    %s would fall out otherwise too: --action %s\n", strings.Join(others, ", "), others[0])
	}
}

func (p policyImpactCmd) places(w io.Writer, kind string, places []*policyv1.PlaceImpact) {
	for _, x := range places {
		fmt.Fprintf(w, "    %-12s %s %s: +%d -%d, %d shown otherwise\n", "", kind, printable(x.GetId()), x.GetGained(), x.GetLost(), x.GetChanged())
	}
}
