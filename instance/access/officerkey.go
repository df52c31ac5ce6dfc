package access

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
)

// longestSignature bounds how long a signature may be used.
const longestSignature = 31 * 24 * time.Hour

// Signed is a statement with its detached signature.
type Signed struct {
	Statement string
	Signature []byte
}

// verified is a signature that holds: what it says, here, and who made it.
type verified struct {
	signed.Statement
	here   signed.Place
	key    store.OfficerKey
	signer crm.Subject
	record store.Signature
	now    time.Time // when it was verified, by the database
}

// verify says whether s is a good signature of the signer for a purpose about
// a content, at this instance and now. Every refusal says what to do.
func (d *Door) verify(ctx context.Context, s Signed, purpose signed.Purpose, about string, signer crm.Subject) (verified, error) {
	v := verified{signer: signer}
	var err error
	if v.Statement, err = signed.Parse(s.Statement); err != nil {
		return v, err
	}
	refuse := func(format string, args ...any) (verified, error) {
		err := crm.Errorf(crm.Denied, format, args...)
		err.Field = "signature"
		return v, err
	}
	_, now, err := d.store.Stamp(ctx)
	if err != nil {
		return v, err
	}
	v.now = now
	known := false
	if v.key, known, err = d.store.OfficerKey(ctx, v.Key); err != nil {
		return v, err
	}
	here := false
	v.here, here = v.Place(d.instance)
	switch {
	case !known:
		return refuse("no key %.12s is enrolled at %s; two officers enrol one with meridian policy keys enroll", v.Key, d.instance)
	case !ed25519.Verify(v.key.Public, []byte(s.Statement), s.Signature):
		return refuse("the signature does not fit the statement: another key made it, or a byte was changed")
	case v.Purpose != purpose:
		return refuse("the signature is for %s; it does not serve to %s", v.Purpose, purpose)
	case !here:
		return refuse("the signature is for other instances, not for %s; sign for this one too", d.instance)
	case v.About != about:
		return refuse("what was signed (%.12s) is not what was sent (%.12s)", v.About, about)
	case !now.Before(v.Expires):
		return refuse("the signature expired at %s; sign again", v.Expires.Format(time.RFC3339))
	case v.Expires.After(now.Add(longestSignature)):
		return refuse("a signature is good for at most %d days; sign for fewer", longestSignature/(24*time.Hour))
	case v.key.RevokedAt != nil:
		return refuse("the key %.12s of %s was revoked: %s", v.Key, v.key.Subject, v.key.Reason)
	case now.Before(v.key.From) || !now.Before(v.key.To):
		return refuse("the key %.12s of %s is good from %s until %s; enrol another", v.Key, v.key.Subject,
			v.key.From.UTC().Format(time.RFC3339), v.key.To.UTC().Format(time.RFC3339))
	case v.key.Subject != signer.ID:
		return refuse("the key %.12s is of %s, and you are %s: officers sign for themselves", v.Key, v.key.Subject, signer.ID)
	case !slices.Contains(signer.Departments, v.key.Department):
		return refuse("%s does not belong to %s any more; revoke the key and enrol one for the new department", signer.ID, v.key.Department)
	}
	v.record = store.Signature{
		ID: v.ID(), Purpose: string(purpose), About: about, Proposal: v.Proposal, Statement: s.Statement, Signature: s.Signature,
		Key: v.Key, Subject: signer.ID, Department: v.key.Department,
	}
	return v, nil
}

// again verifies a signature that was accepted earlier: it counts only while
// its key does, and its officer may still give it.
func (d *Door) again(ctx context.Context, a asking, s store.Signature, permission string) (verified, error) {
	signer, known, err := d.store.Subject(ctx, s.Subject)
	if err != nil {
		return verified{}, err
	}
	permitted := false
	if known {
		if permitted, err = a.engine.Permit(ctx, signer, permission); err != nil {
			return verified{}, err
		}
	}
	if !permitted {
		return verified{}, crm.Errorf(crm.Denied, "%s may not %s any more: the signature does not count", s.Subject, permission)
	}
	return d.verify(ctx, Signed{s.Statement, s.Signature}, signed.Purpose(s.Purpose), s.About, signer)
}

// independent refuses a second signature that is not another officer's of
// another department.
func independent(first, second verified) error {
	refuse := func(format string, args ...any) error {
		err := crm.Errorf(crm.Denied, format, args...)
		err.Field = "signature"
		return err
	}
	switch {
	case first.Key == second.Key:
		return refuse("both signatures are of one key; a second officer signs with theirs")
	case first.signer.ID == second.signer.ID:
		return refuse("both signatures are of %s; a second officer signs too", first.signer.ID)
	case slices.Contains(first.signer.Departments, second.key.Department) || slices.Contains(second.signer.Departments, first.key.Department):
		return refuse("%s and %s answer for one department; the second signature comes from another", first.signer.ID, second.signer.ID)
	}
	return nil
}

// ProposeKey asks a second officer to let a key in. The author vouches for it
// by signing.
func (d *Door) ProposeKey(ctx context.Context, c crm.Caller, k signed.Key, note string, s Signed) (store.Proposal, error) {
	if len(k.Public) != ed25519.PublicKeySize || k.Subject == "" || k.Department == "" {
		return store.Proposal{}, crm.FieldErrorf("key", "say whose key it is and for which department, and send the public key")
	}
	k.Until = k.Until.UTC().Truncate(time.Second)
	_, now, err := d.store.Stamp(ctx)
	if err != nil {
		return store.Proposal{}, err
	}
	if !now.Before(k.Until) {
		return store.Proposal{}, crm.FieldErrorf("until", "the key would have ended at %s; name a time to come", k.Until.Format(time.RFC3339))
	}
	content, err := json.Marshal(k)
	if err != nil {
		return store.Proposal{}, err
	}
	return d.proposed(ctx, c, "policy.propose", store.Proposal{Purpose: string(signed.Enroll), About: k.Digest(), Content: content, Note: note, Report: []byte("{}")}, s,
		func(ctx context.Context, _ *store.Tx) error {
			holder, known, err := d.store.Subject(ctx, k.Subject)
			switch {
			case err != nil:
				return err
			case !known || !slices.Contains(holder.Departments, k.Department):
				return crm.FieldErrorf("department", "%s does not belong to department %s here", k.Subject, k.Department)
			}
			return nil
		})
}

// OfficerKeys lists every officer's key, those that are over too.
func (d *Door) OfficerKeys(ctx context.Context, c crm.Caller) ([]store.OfficerKey, error) {
	a, err := d.permit(ctx, c, "policy.read")
	if err != nil {
		return nil, err
	}
	keys, err := d.store.OfficerKeys(ctx)
	if err != nil {
		return nil, err
	}
	return keys, d.journal.add(ctx, a.decision("policy.keys", ""))
}

// RevokeKey ends a key for good: one signature is enough to close.
func (d *Door) RevokeKey(ctx context.Context, c crm.Caller, id, reason string, s Signed) error {
	if reason == "" {
		return crm.FieldErrorf("reason", "say why the key is revoked")
	}
	return d.signs(ctx, c, "policy.approve", signed.Revoke, signed.Digest(id+"\n"+reason), s, func(ctx context.Context, tx *store.Tx, _ verified) (store.Decision, error) {
		d.log.WarnContext(ctx, "an officer's key is revoked", "key", id, "by", c.Subject)
		return store.Decision{Action: "policy.revoke", Facts: []string{id}}, tx.RevokeOfficerKey(ctx, id, c.Subject, reason)
	})
}

// signs runs change, which one officer's signature allows, in one transaction
// with the signature and the decision.
func (d *Door) signs(ctx context.Context, c crm.Caller, permission string, purpose signed.Purpose, about string, s Signed,
	change func(context.Context, *store.Tx, verified) (store.Decision, error),
) error {
	return d.official(ctx, c, permission, func(ctx context.Context, a asking, tx *store.Tx) (store.Decision, error) {
		v, err := d.verify(ctx, s, purpose, about, a.subject)
		if err != nil {
			return store.Decision{}, err
		}
		if err := tx.AddSignature(ctx, v.record); err != nil {
			return store.Decision{}, err
		}
		return change(ctx, tx, v)
	})
}

// official runs a change of policy, alone, for a caller who holds a permission
// at that moment, and logs it in its transaction. A refusal is logged too.
func (d *Door) official(ctx context.Context, c crm.Caller, permission string, change func(context.Context, asking, *store.Tx) (store.Decision, error)) error {
	err := d.permitted(ctx, c, permission, func(ctx context.Context, a asking) error {
		// Here first, without a connection: who holds the lock needs another one.
		select {
		case d.engines.changing <- struct{}{}:
			defer func() { <-d.engines.changing }()
		case <-ctx.Done():
			return ctx.Err()
		}
		return d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (store.Decision, error) {
			if err := tx.LockPolicy(ctx); err != nil {
				return store.Decision{}, err
			}
			if err := a.unmoved(ctx, tx); err != nil { // while it waited
				return store.Decision{}, err
			}
			return change(ctx, a, tx)
		})
	})
	if err == nil {
		return nil
	}
	kind := crm.KindOf(err)
	if kind != crm.Denied && kind != crm.Stale && kind != crm.Conflict && kind != crm.Invalid {
		return err
	}
	digest, digestErr := d.digest(ctx)
	if digestErr != nil {
		return digestErr
	}
	refused := store.Decision{Subject: c.Subject, Action: permission, Reasons: []string{err.Error()}, Bundle: digest, Execution: c.Execution}
	if logErr := d.store.LogDecisions(ctx, []store.Decision{refused}); logErr != nil {
		return logErr
	}
	return err
}
