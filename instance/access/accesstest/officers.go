// Package accesstest puts policies in force for tests and benchmarks as two
// officers do, with signatures that a door verifies. Its officers' private keys
// are known to everybody: no instance that serves may vouch for them.
package accesstest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
	"meridian/policy"
)

// signers are an author and a second officer of another department.
var signers = []struct {
	subject    crm.SubjectID
	department string
}{{"author@accesstest", "accesstest-a"}, {"second@accesstest", "accesstest-b"}}

func private(i int) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("meridian accesstest " + signers[i].subject))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Trusted are the officers' keys, for access.Config.Officers.
func Trusted() []store.TrustedKey {
	var out []store.TrustedKey
	for i, s := range signers {
		public, _ := private(i).Public().(ed25519.PublicKey)
		out = append(out, store.TrustedKey{ID: signed.KeyID(public), Subject: s.subject, Department: s.department, Public: public, Until: crm.Forever})
	}
	return out
}

// Enrol adds the officers' keys to those that the operator vouches for already.
func Enrol(ctx context.Context, s *store.Store) error {
	kept, err := s.OfficerKeys(ctx)
	if err != nil {
		return err
	}
	all := Trusted()
	for _, k := range kept {
		if k.Proposal == "" && k.RevokedAt == nil && !slices.ContainsFunc(all, func(t store.TrustedKey) bool { return t.ID == k.ID }) {
			all = append(all, store.TrustedKey{ID: k.ID, Subject: k.Subject, Department: k.Department, Public: k.Public, Until: k.To})
		}
	}
	return s.TrustKeys(ctx, all)
}

// Activate puts a bundle in force at an instance, proposed and approved for
// what is in force there now. The bundle is not examined.
func Activate(ctx context.Context, s *store.Store, instance string, b *policy.Bundle, c crm.Caller) error {
	return s.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.LockPolicy(ctx); err != nil {
			return err
		}
		if err := tx.AddBundle(ctx, store.Bundle{Digest: b.Digest(), Files: b.Modules(), By: c.Subject}); err != nil {
			return err
		}
		now, err := tx.Active(ctx)
		if err != nil {
			return err
		}
		if err := tx.Attribute(ctx, c); err != nil {
			return err
		}
		st := signed.Statement{
			Purpose: signed.Propose, About: b.Digest(), Places: []signed.Place{{Instance: instance, After: now.Seq, Base: now.Digest}},
			Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second),
		}
		p := store.Proposal{
			Purpose: string(signed.Propose), About: b.Digest(), Base: now.Digest, After: now.Seq, Content: []byte("{}"), Report: []byte("{}"),
			By: c.Subject, Expires: st.Expires,
		}
		for i, by := range signers {
			text, signature := st.Sign(private(i))
			if i == 0 {
				p.ID = signed.Digest(text)
			}
			err := tx.AddSignature(ctx, store.Signature{
				ID: signed.Digest(text), Purpose: string(st.Purpose), About: st.About, Proposal: p.ID, Statement: text, Signature: signature,
				Key: Trusted()[i].ID, Subject: by.subject, Department: by.department,
			})
			if err != nil {
				return err
			}
			st.Purpose, st.Proposal = signed.Approve, p.ID
		}
		if err := tx.AddProposal(ctx, p); err != nil {
			return err
		}
		_, err = tx.Activate(ctx, store.Activation{Digest: b.Digest(), Kind: store.ActivationOfficers, Proposal: p.ID, By: c.Subject}, now.Seq)
		return err
	})
}
