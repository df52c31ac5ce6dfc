package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type policyCmd struct {
	Test  policyTestCmd  `cmd:"" help:"Run the Rego tests of the bundle in force, or of a folder."`
	Check policyCheckCmd `cmd:"" help:"Compile strictly; with --live all that a proposal is held to."`
	Eval  policyEvalCmd  `cmd:"" help:"Show the SQL filter that a subject's action compiles to."`
	Show  policyShowCmd  `cmd:"" help:"Show the rules in force."`

	New       policyNewCmd       `cmd:"" help:"Write a bundle into a folder, to be edited."`
	Edit      policyEditCmd      `cmd:"" help:"Change a folder's rules in your editor; tests and checks them when you are done."`
	Fmt       policyFmtCmd       `cmd:"" help:"Set a folder's files in their one form."`
	Diff      policyDiffCmd      `cmd:"" help:"Show which rules differ, and how."`
	Propose   policyProposeCmd   `cmd:"" help:"Ask a second officer to put a folder's bundle in force."`
	Proposals policyProposalsCmd `cmd:"" help:"List proposals, or show one with its checks and signatures."`
	Approve   policyApproveCmd   `cmd:"" help:"Sign a colleague's proposal as the second officer."`
	Activate  policyActivateCmd  `cmd:"" help:"Put an approved proposal in force, at one instance or over several."`
	Rollback  policyRollbackCmd  `cmd:"" help:"Put a bundle in force again that was before. One signature."`
	History   policyHistoryCmd   `cmd:"" help:"What was in force when, and why."`
	Keys      policyKeysCmd      `cmd:"" help:"Officers' keys."`
	Deny      policyDenyCmd      `cmd:"" help:"Close something at once, for a day at most. One signature."`
	Shadow    policyShadowCmd    `cmd:"" help:"Try a bundle on live reads beside the one in force."`

	Impact policyImpactCmd `cmd:"" help:"Show what another bundle would change, for everybody, before it is in force."`
	Past   policyPastCmd   `cmd:"" help:"Who could see a record on a past date, and what could somebody see."`
	Replay policyReplayCmd `cmd:"" help:"Decide a day of reads again, under another bundle."`
}

// Help shows the verbs at work.
func (policyCmd) Help() string {
	return `The life of a change (docs/policy-lifecycle.md):

  meridian policy edit my-rules --as officer.a@amer         # the bundle in force, in your editor
  meridian policy check --dir my-rules --live --as officer.a@amer
  meridian policy diff my-rules --as officer.a@amer
  meridian policy impact my-rules --as officer.a@amer
  meridian policy propose my-rules --note "close X to Y" --as officer.a@amer
  meridian policy approve 3f2a91c0 --as officer.b@amer      # another officer, of another department
  meridian policy activate 3f2a91c0 --as officer.b@amer
  meridian policy rollback --reason "it was wrong" --as officer.a@amer

Looking at rules:

  meridian policy test --as officer.a@amer
  meridian policy check --dir policy/bundle --as officer.a@amer
  meridian policy eval account --subject rep.west@amer --as officer.a@amer
  meridian policy show --as officer.a@amer > rules.rego`
}

// rules is a folder with a bundle that is not in force.
type rules struct {
	Dir string `type:"existingdir" help:"Folder of .rego files; the bundle in force if absent."`
}

func (r rules) modules() ([]*policyv1.Module, error) {
	if r.Dir == "" {
		return nil, nil
	}
	files, err := readFiles(r.Dir)
	if err != nil {
		return nil, err
	}
	var out []*policyv1.Module
	for _, path := range slices.Sorted(maps.Keys(files)) {
		out = append(out, &policyv1.Module{Path: path, Text: files[path]})
	}
	return out, nil
}

type policyTestCmd struct {
	remote
	rules
	Verbose bool `short:"v" help:"Also the tests that pass."`
}

// errPolicy fails the verb after it printed what is wrong.
var errPolicy = errors.New("the bundle must not be activated")

// Run prints each test that fails, and how many passed.
func (p policyTestCmd) Run(ctx context.Context, out output) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	modules, err := p.modules()
	if err != nil {
		return err
	}
	resp, err := c.policy.TestBundle(ctx, &policyv1.TestBundleRequest{Modules: modules})
	if err != nil {
		return err
	}
	if p.JSON {
		err = printProto(out.Stdout, resp)
	} else {
		p.print(out, resp)
	}
	if err == nil && !resp.GetPassed() {
		err = errPolicy
	}
	return err
}

func (p policyTestCmd) print(out output, resp *policyv1.TestBundleResponse) {
	passed := 0
	for _, r := range resp.GetResults() {
		switch {
		case !r.GetPassed():
			fmt.Fprintf(out.Stdout, "FAIL  %s  %s\n", r.GetName(), printable(r.GetMessage()))
			continue
		case p.Verbose:
			fmt.Fprintf(out.Stdout, "pass  %s\n", r.GetName())
		}
		passed++
	}
	fmt.Fprintf(out.Stdout, "%d of %d tests pass\n", passed, len(resp.GetResults()))
}

type policyCheckCmd struct {
	remote
	rules
	Live bool `help:"Hold the folder to all that a proposal is held to, on live records."`
}

// Run prints what keeps the bundle from being activated.
func (p policyCheckCmd) Run(ctx context.Context, out output) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	modules, err := p.modules()
	if err != nil {
		return err
	}
	if p.Live {
		return p.examine(ctx, c, out)
	}
	resp, err := c.policy.CheckBundle(ctx, &policyv1.CheckBundleRequest{Modules: modules})
	if err != nil {
		return err
	}
	if p.JSON {
		if err := printProto(out.Stdout, resp); err != nil {
			return err
		}
	} else {
		for _, problem := range resp.GetProblems() {
			fmt.Fprintln(out.Stdout, problem)
		}
	}
	if len(resp.GetProblems()) > 0 {
		return errPolicy
	}
	if !p.JSON {
		fmt.Fprintf(out.Stdout, "bundle %s compiles and keeps the form of a policy. What it would change is not looked at: policy check --dir DIR --live tries it, policy impact DIR says for whom it changes what\n", resp.GetDigest())
	}
	return nil
}

type policyEvalCmd struct {
	remote
	Entity  string `arg:""`
	Action  string `default:"read" help:"read, create, update, delete, share or withhold."`
	Subject string `help:"Whose filter, or contract:<id> for what a receiving instance is sent; your own if absent. Another's is for officers."`
}

// Run prints the filter with its bound values.
func (p policyEvalCmd) Run(ctx context.Context, out output) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	resp, err := c.policy.Eval(ctx, &policyv1.EvalRequest{Subject: p.Subject, Action: p.Action, Entity: p.Entity})
	if err != nil {
		return err
	}
	if p.JSON {
		return printProto(out.Stdout, resp)
	}
	fmt.Fprintln(out.Stdout, resp.GetSql())
	for i, a := range resp.GetArgs() {
		fmt.Fprintf(out.Stdout, "  $%d = %s\n", i+1, clipped(a, 160))
	}
	fmt.Fprintf(out.Stdout, "bundle %s\n", resp.GetBundle())
	return nil
}

type policyShowCmd struct {
	remote
	Module string `arg:"" optional:"" help:"One module only, as territory.rego."`
}

// Run prints the modules, each under its name.
func (p policyShowCmd) Run(ctx context.Context, out output) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	resp, err := c.policy.GetBundle(ctx, &policyv1.GetBundleRequest{})
	if err != nil {
		return err
	}
	if p.JSON {
		return printProto(out.Stdout, resp)
	}
	shown := false
	for _, m := range resp.GetModules() {
		if p.Module != "" && m.GetPath() != p.Module {
			continue
		}
		shown = true
		fmt.Fprintf(out.Stdout, "# ---- %s\n%s\n", m.GetPath(), m.GetText())
	}
	if !shown {
		return crm.Errorf(crm.NotFound, "the bundle has no module %s", p.Module)
	}
	fmt.Fprintf(out.Stdout, "# bundle %s\n", resp.GetDigest())
	return nil
}
