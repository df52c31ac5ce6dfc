package access

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
	"meridian/policy"
)

// Propose asks a second officer to put a bundle in force: it is examined whole,
// on this instance's records, compared with what is in force for everybody, and
// kept only if nothing is found.
func (d *Door) Propose(ctx context.Context, c crm.Caller, files map[string]string, note string, s Signed) (store.Proposal, error) {
	if err := d.Permit(ctx, c, "policy.propose"); err != nil {
		return store.Proposal{}, err
	}
	b, err := policy.NewBundle(files)
	if err != nil {
		return store.Proposal{}, err
	}
	if _, err := signed.Parse(s.Statement); err != nil { // before the work
		return store.Proposal{}, err
	}
	if note == "" {
		return store.Proposal{}, crm.FieldErrorf("note", "say what the change is for; the second officer and the history read it")
	}
	report, err := d.examine(ctx, b)
	if err != nil {
		return store.Proposal{}, err
	}
	if err := report.refusal(); err != nil {
		return store.Proposal{}, err
	}
	if err := d.impacted(ctx, b, &report); err != nil {
		return store.Proposal{}, err
	}
	text, err := json.Marshal(report)
	if err != nil {
		return store.Proposal{}, err
	}
	p := store.Proposal{Purpose: string(signed.Propose), About: b.Digest(), Content: []byte("{}"), Note: note, Report: text}
	return d.proposed(ctx, c, "policy.propose", p, s, func(ctx context.Context, tx *store.Tx) error {
		if active, err := tx.Active(ctx); err != nil || active.Digest != "" && active.Digest != report.Base {
			if err == nil { // signed for what came since: the second officer would read about another change
				err = crm.Errorf(crm.Stale, "another bundle came into force while this one was examined: propose again")
			}
			return err
		}
		return tx.AddBundle(ctx, store.Bundle{Digest: b.Digest(), Files: files, By: c.Subject})
	})
}

// proposed records a proposal with its author's signature, if it follows what
// is in force.
func (d *Door) proposed(ctx context.Context, c crm.Caller, permission string, p store.Proposal, s Signed, also func(context.Context, *store.Tx) error) (store.Proposal, error) {
	err := d.official(ctx, c, permission, func(ctx context.Context, a asking, tx *store.Tx) (store.Decision, error) {
		v, err := d.verify(ctx, s, signed.Purpose(p.Purpose), p.About, a.subject)
		if err != nil {
			return store.Decision{}, err
		}
		active, err := tx.Active(ctx)
		if err != nil {
			return store.Decision{}, err
		}
		if err := follows(v.here, active); err != nil {
			return store.Decision{}, err
		}
		if err := also(ctx, tx); err != nil {
			return store.Decision{}, err
		}
		p.ID, p.Base, p.After, p.By, p.Expires = v.ID(), v.here.Base, v.here.After, c.Subject, v.Expires
		v.record.Proposal = p.ID
		if err := tx.AddSignature(ctx, v.record); err != nil { // first: a replay is a conflict of signatures
			return store.Decision{}, err
		}
		return store.Decision{Action: "policy." + p.Purpose, Facts: []string{p.ID, p.About}}, tx.AddProposal(ctx, p)
	})
	if err != nil {
		return store.Proposal{}, err
	}
	return d.proposal(ctx, p.ID)
}

// follows refuses what was made from another policy than the one in force: its
// checks say nothing about this one.
func follows(p signed.Place, active store.Activation) error {
	if p.After == active.Seq && p.Base == active.Digest {
		return nil
	}
	return crm.Errorf(crm.Stale, "it was made from bundle %.12s after activation %d, and in force is %.12s since activation %d: "+
		"its checks are stale. Take the changes over (meridian policy diff), check and propose again", p.Base, p.After, active.Digest, active.Seq)
}

// proposal is the one that a name, the beginning of its id, means.
func (d *Door) proposal(ctx context.Context, name string) (store.Proposal, error) {
	return oneProposal(name, func() ([]store.Proposal, error) { return d.store.ProposalsNamed(ctx, name) })
}

func oneProposal(name string, find func() ([]store.Proposal, error)) (store.Proposal, error) {
	if len(name) < 8 {
		return store.Proposal{}, crm.FieldErrorf("proposal", "name it by the first 8 characters of its id, at least")
	}
	found, err := find()
	switch {
	case err != nil:
		return store.Proposal{}, err
	case len(found) == 0:
		return store.Proposal{}, crm.Errorf(crm.NotFound, "there is no proposal %s here", name)
	case len(found) > 1:
		return store.Proposal{}, crm.FieldErrorf("proposal", "%s is the beginning of more than one id; write more of it", name)
	}
	return found[0], nil
}

// Proposal is one proposal with its report and signatures.
func (d *Door) Proposal(ctx context.Context, c crm.Caller, name string) (store.Proposal, error) {
	a, err := d.permit(ctx, c, "policy.read")
	if err != nil {
		return store.Proposal{}, err
	}
	p, err := d.proposal(ctx, name)
	if err != nil {
		return p, err
	}
	decision := a.decision("policy.proposal", "")
	decision.Facts = []string{p.ID}
	return p, d.journal.add(ctx, decision)
}

// Proposals lists the newest proposals.
func (d *Door) Proposals(ctx context.Context, c crm.Caller, limit int) ([]store.Proposal, error) {
	a, err := d.permit(ctx, c, "policy.read")
	if err != nil {
		return nil, err
	}
	ps, err := d.store.Proposals(ctx, clamped(limit))
	if err != nil {
		return nil, err
	}
	return ps, d.journal.add(ctx, a.decision("policy.proposals", ""))
}

func clamped(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, maxLimit)
}

// Approve is the second signature: of another officer of another department,
// over the same content, while its checks still hold. An approved key is
// enrolled at once; a bundle waits to be activated.
func (d *Door) Approve(ctx context.Context, c crm.Caller, name string, s Signed) (store.Proposal, error) {
	var p store.Proposal
	err := d.official(ctx, c, "policy.approve", func(ctx context.Context, a asking, tx *store.Tx) (_ store.Decision, err error) {
		if p, err = oneProposal(name, func() ([]store.Proposal, error) { return tx.ProposalsNamed(ctx, name) }); err != nil {
			return store.Decision{}, err
		}
		v, err := d.verify(ctx, s, signed.Approve, p.About, a.subject)
		if err != nil {
			return store.Decision{}, err
		}
		if err := d.approvable(ctx, a, tx, p, v); err != nil {
			return store.Decision{}, err
		}
		if p.Purpose == string(signed.Propose) { // what was read is what is kept
			if _, _, err := d.store.Bundle(ctx, p.About); err != nil {
				return store.Decision{}, err
			}
		}
		if err := tx.AddSignature(ctx, v.record); err != nil {
			return store.Decision{}, err
		}
		if p.Purpose == string(signed.Enroll) {
			var k signed.Key
			if err := json.Unmarshal(p.Content, &k); err != nil {
				return store.Decision{}, err
			}
			if !v.now.Before(k.Until) {
				return store.Decision{}, crm.FieldErrorf("until", "the key ended at %s, while the proposal waited; enrol it again with a later day", k.Until.Format(time.RFC3339))
			}
			err = tx.AddOfficerKey(ctx, store.OfficerKey{
				ID: signed.KeyID(k.Public), Subject: k.Subject, Department: k.Department, Public: k.Public, Proposal: p.ID, To: k.Until,
			})
		}
		return store.Decision{Action: "policy.approve", Facts: []string{p.ID, p.About}}, err
	})
	if err != nil {
		return store.Proposal{}, err
	}
	return d.proposal(ctx, p.ID)
}

// approvable says whether v may be the second signature under p.
func (d *Door) approvable(ctx context.Context, a asking, tx *store.Tx, p store.Proposal, v verified) error {
	if v.Proposal != p.ID {
		return crm.Errorf(crm.Denied, "the signature approves proposal %.12s, not %.12s", v.Proposal, p.ID)
	}
	if v.here.After != p.After || v.here.Base != p.Base {
		return crm.Errorf(crm.Denied, "the signature is for another base than the proposal's; sign what the proposal says")
	}
	if p.Done {
		return crm.Errorf(crm.Conflict, "proposal %.12s is done already", p.ID)
	}
	active, err := tx.Active(ctx)
	if err != nil {
		return err
	}
	if err := follows(v.here, active); p.Purpose == string(signed.Propose) && err != nil {
		return err
	}
	author, err := d.author(ctx, a, p)
	if err != nil {
		return err
	}
	return independent(author, v)
}

// author is the first signature of a proposal, if it still counts.
func (d *Door) author(ctx context.Context, a asking, p store.Proposal) (verified, error) {
	for _, s := range p.Signatures {
		if s.ID == p.ID {
			return d.again(ctx, a, s, "policy.propose")
		}
	}
	return verified{}, crm.Errorf(crm.Denied, "proposal %.12s has no author's signature", p.ID)
}

// Activate puts a proposed bundle in force for the next statement of everybody.
// Both signatures are verified again, over the bytes that are kept. It is not
// carried out after a time, unless that is zero: a request may lie unread in a
// process that stood still, and its sender has turned back meanwhile.
func (d *Door) Activate(ctx context.Context, c crm.Caller, name, reason string, notAfter time.Time) (store.Activation, error) {
	var done store.Activation
	err := d.official(ctx, c, "policy.activate", func(ctx context.Context, a asking, tx *store.Tx) (store.Decision, error) {
		p, err := oneProposal(name, func() ([]store.Proposal, error) { return tx.ProposalsNamed(ctx, name) })
		switch {
		case err != nil:
			return store.Decision{}, err
		case p.Purpose != string(signed.Propose):
			return store.Decision{}, crm.Errorf(crm.Invalid, "proposal %.12s is not of a bundle", p.ID)
		case p.Done:
			return store.Decision{}, crm.Errorf(crm.Conflict, "proposal %.12s was activated, and serves once: propose its bundle again, and let a second officer approve", p.ID)
		}
		active, err := tx.Active(ctx)
		if err != nil {
			return store.Decision{}, err
		}
		if err := follows(signed.Place{After: p.After, Base: p.Base}, active); err != nil {
			return store.Decision{}, err
		}
		if err := d.countersigned(ctx, a, p); err != nil {
			return store.Decision{}, err
		}
		if _, err := d.EngineOf(ctx, p.About); err != nil { // its bytes are of its digest, and compile
			return store.Decision{}, err
		}
		if reason == "" {
			reason = p.Note
		}
		if err := tx.NotAfter(ctx, notAfter); err != nil {
			return store.Decision{}, err
		}
		done, err = tx.Activate(ctx, store.Activation{
			Digest: p.About, Kind: store.ActivationOfficers, Proposal: p.ID, Reason: reason, By: c.Subject, Execution: c.Execution,
		}, p.After)
		if err == nil {
			err = d.holds(ctx, tx, done)
		}
		return store.Decision{Action: "policy.activate", Facts: []string{p.ID, p.About}}, err
	})
	if err == nil {
		d.log.WarnContext(ctx, "another policy is in force", "bundle", done.Digest, "activation", done.Seq, "by", c.Subject, "proposal", done.Proposal)
	}
	return done, err
}

// countersigned refuses a proposal without two signatures that count now.
func (d *Door) countersigned(ctx context.Context, a asking, p store.Proposal) error {
	author, err := d.author(ctx, a, p)
	if err != nil {
		return err
	}
	missing := error(crm.Errorf(crm.Denied, "proposal %.12s has one signature; a second officer of another department approves it first", p.ID))
	for _, s := range p.Signatures {
		if s.Purpose != string(signed.Approve) {
			continue
		}
		second, err := d.again(ctx, a, s, "policy.approve")
		if err == nil {
			err = independent(author, second)
		}
		if err == nil {
			return nil
		}
		if missing = err; crm.KindOf(err) != crm.Denied {
			return err
		}
	}
	return missing
}

// Rollback goes back to a bundle that lies below the one in force. One
// signature is enough: two officers or the product put it in force, and nobody
// took it back since. It never goes forward: what it leaves is withdrawn, and
// comes again by a proposal.
func (d *Door) Rollback(ctx context.Context, c crm.Caller, digest, reason string, s Signed) (store.Activation, error) {
	if reason == "" {
		return store.Activation{}, crm.FieldErrorf("reason", "say why; it is logged and listed")
	}
	var done store.Activation
	err := d.signs(ctx, c, "policy.activate", signed.Rollback, digest, s, func(ctx context.Context, tx *store.Tx, v verified) (store.Decision, error) {
		active, err := tx.Active(ctx)
		if err != nil {
			return store.Decision{}, err
		}
		if err := d.returns(ctx, tx, v.here, active, digest); err != nil {
			return store.Decision{}, err
		}
		if _, err := d.EngineOf(ctx, digest); err != nil {
			return store.Decision{}, err
		}
		done, err = tx.Activate(ctx, store.Activation{
			Digest: digest, Kind: store.ActivationRollback, Reason: reason, By: c.Subject, Execution: c.Execution,
		}, active.Seq)
		if err == nil {
			err = d.holds(ctx, tx, done)
		}
		return store.Decision{Action: "policy.rollback", Facts: []string{digest}}, err
	})
	if err == nil {
		d.log.WarnContext(ctx, "policy rolled back by one officer", "bundle", digest, "activation", done.Seq, "by", c.Subject)
	}
	return done, err
}

// returns refuses a rollback that does not go back from what its officer saw in
// force.
func (d *Door) returns(ctx context.Context, tx *store.Tx, seen signed.Place, active store.Activation, digest string) error {
	if seen.After != active.Seq || seen.Base != active.Digest {
		return crm.Errorf(crm.Stale, "in force is %.12s since activation %d (%s by %s), not what you go back from: "+
			"look at meridian policy history before you go further back", active.Digest, active.Seq, active.Kind, cmp.Or(string(active.By), "the product"))
	}
	p, e, err := d.proven(ctx, tx)
	if err != nil {
		return err
	}
	was := slices.ContainsFunc(e.Activations, func(a store.Activation) bool { return a.Digest == digest })
	switch way := p.way; {
	case digest == active.Digest && p.unproven[active.Seq] == "":
		return crm.Errorf(crm.Conflict, "bundle %.12s is in force", digest)
	case slices.Contains(way.Withdrawn, digest):
		return crm.Errorf(crm.Denied, "bundle %.12s was rolled back, and one officer does not bring it back: take it up with meridian policy new DIR --digest %.12s, "+
			"propose it, and let a second officer approve", digest, digest)
	case !slices.Contains(way.Targets, digest) && was:
		return crm.Errorf(crm.Denied, "nothing proves that bundle %.12s was put in force by officers or the product (meridian policy history says why): propose it, and let a second officer approve", digest)
	case !slices.Contains(way.Targets, digest):
		return crm.Errorf(crm.Denied, "bundle %.12s was never in force here: propose it, and let a second officer approve", digest)
	}
	return nil
}

// Life is what was in force when, where one signature may go back to, and what
// this build ships that never was.
type Life struct {
	Instance    string
	Activations []store.Activation // newest first; the first is in force
	Unproven    map[int64]string   // by number: why nothing proves that it was lawful; what is in force then decides nothing
	WayBack     store.WayBack
	Shipped     []store.Bundle
	Now         time.Time
}

// PolicyLife lists what was in force when.
func (d *Door) PolicyLife(ctx context.Context, c crm.Caller, limit int) (Life, error) {
	a, err := d.permit(ctx, c, "policy.read")
	if err != nil {
		return Life{}, err
	}
	l := Life{Instance: d.instance}
	p, e, err := d.proven(ctx, d.store)
	if err != nil {
		return l, err
	}
	l.Unproven, l.WayBack = p.unproven, p.way
	slices.Reverse(e.Activations)
	l.Activations = e.Activations[:min(len(e.Activations), clamped(limit))]
	if l.Shipped, err = d.store.Shipped(ctx); err != nil {
		return l, err
	}
	if _, l.Now, err = d.store.Stamp(ctx); err != nil {
		return l, err
	}
	return l, d.journal.add(ctx, a.decision("policy.history", ""))
}

// BundleNamed is the kept bundle that the beginning of a digest means; the one
// in force for "".
func (d *Door) BundleNamed(ctx context.Context, c crm.Caller, name string) (store.Bundle, error) {
	a, err := d.permit(ctx, c, "policy.read")
	if err != nil {
		return store.Bundle{}, err
	}
	if name == "" {
		if name, err = d.digest(ctx); err != nil {
			return store.Bundle{}, err
		}
	}
	digest, err := d.bundleNamed(ctx, name)
	if err != nil {
		return store.Bundle{}, err
	}
	b, _, err := d.store.Bundle(ctx, digest)
	if err != nil {
		return b, err
	}
	decision := a.decision("policy.read", "")
	decision.Facts = []string{digest}
	return b, d.journal.add(ctx, decision)
}

// bundleNamed is the whole digest of the kept bundle that its beginning means.
func (d *Door) bundleNamed(ctx context.Context, name string) (string, error) {
	if len(name) < 8 {
		return "", crm.FieldErrorf("bundle", "name it by the first 8 characters of its digest, at least")
	}
	digests, err := d.store.BundlesNamed(ctx, name)
	switch {
	case err != nil:
		return "", err
	case len(digests) == 0:
		return "", crm.Errorf(crm.NotFound, "no bundle %s is kept here; meridian policy history and policy proposals list those that are", name)
	case len(digests) > 1:
		return "", crm.FieldErrorf("bundle", "%s is the beginning of more than one digest; write more of it: %s", name, strings.Join(digests, ", "))
	}
	return digests[0], nil
}
