package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"meridian/cmd/meridian/fleet"
	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

//go:embed impact_page.css
var impactStyle string

//go:embed impact_page.tmpl
var impactTemplate string

// impactPage is a comparison as a page: it holds what the text holds, and
// needs no network, no script and no other file.
type impactPage struct {
	*policyv1.ImpactReport
	Action   string
	From     bool // compared with a kept bundle, not with the one in force
	Only     []string
	IDs      bool
	Instance string
	As       string
	Proposal *policyv1.Proposal // which the page is about, if it is
}

// write writes the page into a file and says what it says first.
func (p impactPage) write(out output, path string, asJSON bool) error {
	if err := writePage(path, p); err != nil {
		return err
	}
	if asJSON {
		return printJSON(out.Stdout, map[string]any{"html": path, "headline": p.Headline(), "differing": p.GetSummary().GetDiffering()})
	}
	fmt.Fprintf(out.Stdout, "%s: %s\n", path, p.Headline())
	return nil
}

// page compares a proposal's bundle with what is in force now, which its
// report, made when it was proposed, has in words only.
func (p policyProposalsCmd) page(ctx context.Context, c *clients, out output, proposal *policyv1.Proposal) error {
	if proposal.GetKey() != nil {
		return crm.FieldErrorf("html", "the proposal is about a key and changes nothing that could be counted; read it without --html")
	}
	report, err := compareBundles(ctx, c, &policyv1.ImpactRequest{Candidate: &policyv1.Candidate{Digest: proposal.GetAbout()}}, out.Stderr)
	if err != nil {
		return err
	}
	page := impactPage{ImpactReport: report, Action: string(crm.ActionRead), As: string(p.As), Instance: p.place(), Proposal: proposal}
	return page.write(out, p.HTML, p.JSON)
}

// place is the instance that is asked, as far as the command line says it.
func (r remote) place() string {
	if r.Instance != "" {
		return r.Instance
	}
	_, home, _ := fleet.SplitSubject(r.As)
	return home
}

// writePage writes the page beside its place and then puts it there, so that
// nobody reads half of one.
func writePage(path string, p impactPage) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".impact-*.html")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone once it has its name
	if err = p.render(f); err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// render writes the page. Its style is named by its digest, and nothing else
// may be loaded or run.
func (p impactPage) render(w io.Writer) error {
	t, err := template.New("impact").Funcs(template.FuncMap{
		"n": count, "share": shareOf, "bar": barOf, "name": nameOf, "lines": linesOf, "short": shortDigest, "day": day,
		"join": strings.Join, "state": stateOf, "touches": touched, "entity": entityOf, "number": numberOf, "part": partOf, "path": pathOf, "places": placesOf, "ids": idsOf, "shares": sharesOf,
	}).Parse(impactTemplate)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(impactStyle))
	return t.Execute(w, struct {
		impactPage
		Style  template.CSS
		Policy string
	}{p, template.CSS(impactStyle), //nolint:gosec // our own text
		"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'"})
}

// Headline says the largest thing first.
func (p impactPage) Headline() string {
	s := p.GetSummary()
	switch {
	case s.GetLargestShare() > 0:
		said := "would newly see " + shareWords(s.GetLargestShare()) + " " + s.GetLargestEntity() + " records"
		if more := p.gaining() - 1; more > 0 {
			said += ", and " + strings.Replace(others(more), " subject", " other subject", 1) + " would see more"
		}
		if n := p.permitted(); n > 0 {
			said += "; " + others(n) + " would newly be permitted something"
		}
		return nameOf(s.GetLargestSubject()) + " " + said
	case p.permitted() > 0:
		return capital(others(p.permitted())) + " would newly be permitted something"
	case s.GetLost() > 0 || s.GetGiveBack() > 0:
		return "Nobody would see more; " + others(p.losing()) + " would see less"
	case len(p.GetPersonas()) > 0:
		return "The same records, shown otherwise to " + others(len(p.GetPersonas()))
	case len(s.GetWarnings())+len(s.GetSuspended())+len(s.GetResumed()) > 0:
		return "Nobody would see anything else, but the bundle itself or shares would change"
	}
	return "Nothing changes for anybody"
}

func others(n int) string {
	if n == 1 {
		return "one subject or contract"
	}
	return fmt.Sprintf("%d subjects and contracts", n)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func shareWords(share float64) string {
	if share >= 1 {
		return "EVERY one of the"
	}
	return percent(share) + " of all"
}

func (p impactPage) gaining() (n int) {
	for _, x := range p.GetPersonas() {
		if gained(x) > 0 {
			n++
		}
	}
	return n
}

// permitted is how many would newly hold a permission.
func (p impactPage) permitted() (n int) {
	for _, x := range p.GetPersonas() {
		if len(x.GetPermissionsGained()) > 0 {
			n++
		}
	}
	return n
}

func (p impactPage) losing() (n int) {
	for _, x := range p.GetPersonas() {
		if slices.ContainsFunc(x.GetEntities(), func(e *policyv1.EntityImpact) bool { return e.GetLost() > 0 || e.GetGiveBack() > 0 }) {
			n++
		}
	}
	return n
}

// Loud are the warnings that come before everything else.
func (p impactPage) Loud() (lines []string) {
	var permitted alike
	for _, x := range p.GetPersonas() {
		var said []string
		for _, g := range x.GetPermissionsGained() {
			said = append(said, g.GetPermission()+" ("+g.GetText()+")")
		}
		permitted.add(x.GetSubject(), said...)
	}
	for _, said := range permitted.order {
		lines = append(lines, nameOf(strings.Join(permitted.of[said], ", "))+" would newly be PERMITTED: "+nameOf(strings.ReplaceAll(said, "\n", ", ")))
	}
	for _, x := range p.GetPersonas() {
		for _, e := range x.GetEntities() {
			if newly := part(e.GetGained(), e); newly >= loud {
				lines = append(lines, fmt.Sprintf("%s would newly see %s %s records (%s of %s)", nameOf(x.GetSubject()), shareWords(newly), e.GetEntity(), grouped(e.GetGained()), grouped(e.GetRecords())))
			}
		}
	}
	for _, x := range p.GetPersonas() {
		if x.GetRefused() != "" {
			lines = append(lines, fmt.Sprintf("The bundle cannot be applied to %s, who would see nothing: %s", nameOf(x.GetSubject()), nameOf(x.GetRefused())))
		}
	}
	for _, w := range p.GetSummary().GetWarnings() {
		lines = append(lines, nameOf(w))
	}
	return lines
}

// Then are the warnings of the proposal's examination that do not hold now, or
// are not known now.
func (p impactPage) Then() []string {
	return slices.DeleteFunc(slices.Clone(p.Proposal.GetReport().GetWarnings()), func(w string) bool {
		return slices.Contains(p.GetSummary().GetWarnings(), w)
	})
}

// Touched are those for whom records change, the largest part gained first,
// and so are their entities.
func (p impactPage) Touched() (out []*policyv1.PersonaImpact) {
	for _, x := range p.GetPersonas() {
		if len(x.GetEntities()) > 0 {
			x = proto.CloneOf(x)
			slices.SortStableFunc(x.Entities, moreFirst)
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, func(a, b *policyv1.PersonaImpact) int {
		return cmp.Or(moreFirst(a.Entities[0], b.Entities[0]), cmp.Compare(a.GetSubject(), b.GetSubject()))
	})
	return out
}

func moreFirst(a, b *policyv1.EntityImpact) int {
	return cmp.Or(
		cmp.Compare(part(b.GetGained(), b), part(a.GetGained(), a)),
		cmp.Compare(part(b.GetLost(), b), part(a.GetLost(), a)),
		cmp.Compare(part(b.GetChanged(), b), part(a.GetChanged(), a)))
}

// People are those who would be treated otherwise here, Contracts the
// destinations.
func (p impactPage) People() []*policyv1.PersonaImpact { return p.where(false) }

// Contracts are the destinations that would receive otherwise.
func (p impactPage) Contracts() []*policyv1.PersonaImpact { return p.where(true) }

func (p impactPage) where(contract bool) (out []*policyv1.PersonaImpact) {
	for _, x := range p.GetPersonas() {
		if (x.GetDestination() != "") == contract {
			out = append(out, x)
		}
	}
	return out
}

// Sum adds up permissions that are newly held.
func (p impactPage) Sum() (permissions int) {
	for _, x := range p.GetPersonas() {
		permissions += len(x.GetPermissionsGained())
	}
	return permissions
}

func touched(x *policyv1.PersonaImpact) bool {
	return len(x.GetPermissionsGained())+len(x.GetPermissionsLost())+len(x.GetLimits()) > 0
}
