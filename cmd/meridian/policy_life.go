package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/policy"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// baseFile says, in a folder, which bundle it was made from.
const baseFile = ".base"

type policyNewCmd struct {
	remote
	Dir    string `arg:"" type:"path" help:"Folder to write; it must not be there."`
	Digest string `help:"The bundle; the one in force if absent. The first 8 characters are enough."`
}

// Run writes the files, and which bundle they are.
func (n policyNewCmd) Run(ctx context.Context, out output) error {
	c, err := n.dial()
	if err != nil {
		return err
	}
	if _, err := os.Stat(n.Dir); !errors.Is(err, fs.ErrNotExist) {
		return crm.FieldErrorf("dir", "%s is there; name another folder, or change it with meridian policy edit", n.Dir)
	}
	resp, err := writeBundle(ctx, c, n.Dir, n.Digest)
	if err != nil {
		return err
	}
	if n.JSON {
		return printJSON(out.Stdout, map[string]any{"dir": n.Dir, "base": resp.GetDigest(), "files": len(resp.GetFiles())})
	}
	fmt.Fprintf(out.Stdout, "%d files of bundle %.12s in %s: edit rules and tests, then policy fmt, check, propose\n", len(resp.GetFiles()), resp.GetDigest(), n.Dir)
	return nil
}

// writeBundle writes a bundle's files, and which bundle they are, into a new
// folder.
func writeBundle(ctx context.Context, c *clients, dir, digest string) (*policyv1.GetFilesResponse, error) {
	resp, err := c.bundles.GetFiles(ctx, &policyv1.GetFilesRequest{Digest: digest})
	if err != nil {
		return nil, err
	}
	for _, f := range resp.GetFiles() {
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(f.GetPath())), f.GetText()); err != nil {
			return nil, err
		}
	}
	return resp, writeFile(filepath.Join(dir, baseFile), resp.GetDigest()+"\n")
}

type policyFmtCmd struct {
	Dir string `arg:"" type:"existingdir" help:"Folder of a bundle."`
}

// Run rewrites the files that are not in their form.
func (f policyFmtCmd) Run(_ context.Context, out output) error {
	files, err := readFiles(f.Dir)
	if err != nil {
		return err
	}
	set, err := setFiles(f.Dir, files)
	for _, path := range set {
		fmt.Fprintln(out.Stdout, path)
	}
	return err
}

// setFiles sets a folder's files in their one form, and says which it changed.
func setFiles(dir string, files map[string]string) (changed []string, err error) {
	set, err := policy.Format(files)
	if err != nil {
		return nil, err
	}
	changed = []string{}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if set[path] == files[path] {
			continue
		}
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(path)), set[path]); err != nil {
			return changed, err
		}
		changed = append(changed, path)
	}
	return changed, nil
}

type policyDiffCmd struct {
	remote
	What string `arg:"" optional:"" help:"A folder, or the beginning of a bundle's digest; the one before the one in force if absent."`
	From string `help:"Digest to compare with; the bundle in force if absent."`
}

// Run prints each rule that differs.
func (d policyDiffCmd) Run(ctx context.Context, out output) error {
	c, err := d.dial()
	if err != nil {
		return err
	}
	from, err := kept(ctx, c, d.From)
	if err != nil {
		return err
	}
	var to *policy.Bundle
	if info, statErr := os.Stat(d.What); d.What != "" && statErr == nil && info.IsDir() {
		files, err := readFiles(d.What)
		if err != nil {
			return err
		}
		to, err = policy.NewBundle(files)
		if err != nil {
			return err
		}
	} else {
		if d.What == "" {
			life, err := c.bundles.GetLife(ctx, &policyv1.GetLifeRequest{Limit: 2})
			if err != nil {
				return err
			}
			if len(life.GetActivations()) < 2 {
				return crm.Errorf(crm.NotFound, "nothing was in force before; name a folder or a digest")
			}
			to = from
			if from, err = kept(ctx, c, life.GetActivations()[1].GetDigest()); err != nil {
				return err
			}
		} else if to, err = kept(ctx, c, d.What); err != nil {
			return err
		}
	}
	changes := policy.Changes(from, to)
	if d.JSON {
		return printJSON(out.Stdout, map[string]any{"from": from.Digest(), "to": to.Digest(), "changes": changes})
	}
	fmt.Fprintf(out.Stdout, "from %.12s to %.12s: %d rules differ\n", from.Digest(), to.Digest(), len(changes))
	for _, c := range changes {
		printChange(out.Stdout, c)
	}
	return nil
}

func kept(ctx context.Context, c *clients, digest string) (*policy.Bundle, error) {
	resp, err := c.bundles.GetFiles(ctx, &policyv1.GetFilesRequest{Digest: digest})
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, f := range resp.GetFiles() {
		files[f.GetPath()] = f.GetText()
	}
	return policy.NewBundle(files)
}

// printChange shows a rule's lines: those that both have unmarked.
func printChange(w io.Writer, c policy.Change) {
	fmt.Fprintf(w, "\n%s %s %s\n", c.Kind, c.Path, c.Rule)
	old, now := strings.SplitAfter(c.Old, "\n"), strings.SplitAfter(c.New, "\n")
	// common[i][j] is how many lines old[i:] and now[j:] share at most, in order.
	common := make([][]int, len(old)+1)
	for i := range common {
		common[i] = make([]int, len(now)+1)
	}
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(now) - 1; j >= 0; j-- {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); old[i] == now[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	show := func(mark, line string) {
		if line != "" {
			fmt.Fprintf(w, "  %s %s\n", mark, strings.TrimSuffix(line, "\n"))
		}
	}
	for i, j := 0, 0; i < len(old) || j < len(now); {
		switch {
		case i < len(old) && j < len(now) && old[i] == now[j]:
			show(" ", old[i])
			i, j = i+1, j+1
		case j == len(now) || i < len(old) && common[i+1][j] >= common[i][j+1]:
			show("-", old[i])
			i++
		default:
			show("+", now[j])
			j++
		}
	}
}

// examine prints the checks of a folder's bundle.
func (p policyCheckCmd) examine(ctx context.Context, c *clients, out output) error {
	if p.Dir == "" {
		return crm.FieldErrorf("dir", "name the folder: --dir my-rules")
	}
	files, err := readFiles(p.Dir)
	if err != nil {
		return err
	}
	resp, err := c.bundles.Examine(ctx, &policyv1.ExamineRequest{Files: protoFiles(files)})
	if err != nil {
		return err
	}
	if p.JSON {
		err = printProto(out.Stdout, resp)
	} else {
		printReport(out.Stdout, resp.GetReport())
	}
	if err == nil && !resp.GetReport().GetPassed() {
		err = errPolicy
	}
	return err
}

func protoFiles(files map[string]string) (out []*policyv1.File) {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		out = append(out, &policyv1.File{Path: path, Text: files[path]})
	}
	return out
}

func printReport(w io.Writer, r *policyv1.Report) {
	fmt.Fprintf(w, "bundle %.12s, examined against %.12s\n", r.GetDigest(), r.GetBase())
	for _, c := range r.GetChecks() {
		state := "pass"
		if len(c.GetProblems()) > 0 {
			state = "FAIL"
		}
		fmt.Fprintf(w, "  %s  %-9s %s\n", state, c.GetName(), strings.ReplaceAll(c.GetDetail(), "\n", "\n                  "))
		for _, p := range c.GetProblems() {
			fmt.Fprintf(w, "        %s\n", printable(p))
		}
	}
	for _, warning := range r.GetWarnings() {
		fmt.Fprintf(w, "  warning: %s\n", printable(warning))
	}
}

type policyProposeCmd struct {
	officer
	Dir       string   `arg:"" type:"existingdir" help:"Folder of the bundle."`
	Note      string   `required:"" help:"What the change is for: the second officer and the history read it."`
	Instances []string `help:"Propose to these instances at once, with one signature: amer,emea. With --json one object, by instance."`
}

// Run signs the bundle for every instance and sends it to each.
func (p policyProposeCmd) Run(ctx context.Context, out output) error {
	files, err := readFiles(p.Dir)
	if err != nil {
		return err
	}
	b, err := policy.NewBundle(files)
	if err != nil {
		return err
	}
	stands, err := p.stands(ctx, p.Instances)
	if err != nil {
		return err
	}
	made, err := baseOf(p.Dir)
	if err != nil {
		return err
	}
	var places []signed.Place
	for _, s := range stands {
		if made != "" && made != s.place.Base {
			return crm.Errorf(crm.Stale, "%s was made from bundle %.12s, and in force at %s is %.12s: begin again with meridian policy new, and take your changes over",
				p.Dir, made, s.place.Instance, s.place.Base)
		}
		places = append(places, s.place)
	}
	s, err := p.sign(signed.Propose, b.Digest(), "", places...)
	if err != nil {
		return err
	}
	said := answers{instances: p.Instances}
	for _, at := range stands {
		resp, err := at.bundles.Propose(ctx, &policyv1.ProposeRequest{Files: protoFiles(files), Note: p.Note, Signed: s})
		if err != nil {
			return errors.Join(said.print(out.Stdout), err)
		}
		if !p.JSON {
			printProposed(out.Stdout, at.place.Instance, resp.GetProposal())
		} else if err := said.add(at.place.Instance, resp.GetProposal()); err != nil {
			return err
		}
	}
	return said.print(out.Stdout)
}

type policyProposalsCmd struct {
	remote
	ID    string `arg:"" optional:"" help:"One proposal, by the beginning of its id."`
	Limit int32  `default:"20" help:"At most so many."`
	HTML  string `name:"html" placeholder:"FILE" help:"Write one proposal, with what it would change now, as a page to look at and to print."`
}

// Run lists proposals, or shows one.
func (p policyProposalsCmd) Run(ctx context.Context, out output) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	if p.ID != "" {
		resp, err := c.bundles.GetProposal(ctx, &policyv1.GetProposalRequest{Id: p.ID})
		if err != nil {
			return err
		}
		if p.HTML != "" {
			return p.page(ctx, c, out, resp.GetProposal())
		}
		if p.JSON {
			return printProto(out.Stdout, resp)
		}
		printProposal(out.Stdout, resp.GetProposal())
		return nil
	}
	if p.HTML != "" {
		return crm.FieldErrorf("html", "name the proposal: meridian policy proposals 3f2a91c0 --html proposal.html")
	}
	resp, err := c.bundles.ListProposals(ctx, &policyv1.ListProposalsRequest{Limit: p.Limit})
	if err != nil {
		return err
	}
	if p.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"PROPOSAL", "OF", "BY", "AT", "STATE", "NOTE"}}
	for _, x := range resp.GetProposals() {
		t.add(x.GetId()[:12], what(x), x.GetBy(), x.GetAt().AsTime().Format("2006-01-02 15:04"), stateOf(x), clipped(x.GetNote(), 50))
	}
	t.print(out.Stdout, "no proposals")
	return nil
}

func what(p *policyv1.Proposal) string {
	if k := p.GetKey(); k != nil {
		return "key of " + k.GetSubject()
	}
	return "bundle " + p.GetAbout()[:12]
}

func stateOf(p *policyv1.Proposal) string {
	switch {
	case p.GetDone():
		return "done"
	case len(p.GetSignatures()) > 1:
		return "approved"
	}
	return "waits for a second officer"
}

func printProposal(w io.Writer, p *policyv1.Proposal) {
	fmt.Fprintf(w, "proposal %s\n%s, %s\n%s\nmade from %.12s, after activation %d\n", p.GetId(), what(p), stateOf(p), printable(p.GetNote()), p.GetBase(), p.GetAfter())
	for _, s := range p.GetSignatures() {
		fmt.Fprintf(w, "  %s by %s of %s, key %.12s, %s\n", s.GetPurpose(), s.GetSubject(), s.GetDepartment(), s.GetKey(), s.GetAt().AsTime().Format("2006-01-02 15:04"))
	}
	if p.GetKey() == nil {
		printReport(w, p.GetReport())
	}
}

type policyApproveCmd struct {
	officer
	ID        string   `arg:"" help:"The proposal, by the beginning of its id."`
	Instances []string `help:"Approve at these instances at once. With --json one object, by instance."`
}

// Run shows what is signed, signs it and sends it to each instance.
func (a policyApproveCmd) Run(ctx context.Context, out output) error {
	stands, err := a.stands(ctx, a.Instances)
	if err != nil {
		return err
	}
	var places []signed.Place
	var first *policyv1.Proposal
	for _, at := range stands {
		resp, err := at.bundles.GetProposal(ctx, &policyv1.GetProposalRequest{Id: a.ID})
		if err != nil {
			return err
		}
		p := resp.GetProposal()
		if first == nil {
			first = p
		}
		if p.GetAbout() != first.GetAbout() || p.GetId() != first.GetId() {
			return crm.Errorf(crm.Conflict, "proposal %s is another one at %s", a.ID, at.place.Instance)
		}
		places = append(places, signed.Place{Instance: at.place.Instance, After: p.GetAfter(), Base: p.GetBase()})
	}
	if !a.JSON {
		printProposal(out.Stdout, first)
	}
	s, err := a.sign(signed.Approve, first.GetAbout(), first.GetId(), places...)
	if err != nil {
		return err
	}
	said := answers{instances: a.Instances}
	for _, at := range stands {
		resp, err := at.bundles.Approve(ctx, &policyv1.ApproveRequest{Id: first.GetId(), Signed: s})
		if err != nil {
			return errors.Join(said.print(out.Stdout), err)
		}
		if !a.JSON {
			fmt.Fprintf(out.Stdout, "%s: approved by %s\n", at.place.Instance, a.at(at.place.Instance).As)
		} else if err := said.add(at.place.Instance, resp.GetProposal()); err != nil {
			return err
		}
	}
	return said.print(out.Stdout)
}
