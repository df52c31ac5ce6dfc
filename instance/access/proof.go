package access

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
)

// trust is what this process knows without asking the database: which keys its
// operator vouches for, and which bundles the product brought. Whoever owns the
// database has no say in it.
type trust struct {
	instance  string
	officers  map[string]store.TrustedKey // by id
	delivered map[string]bool             // digests
}

// proofs is what the evidence proves to who trusts.
type proofs struct {
	unproven map[int64]string // by number of the activation: why it has no proof
	digests  map[int64]string // of every activation there is
	order    []int64          // the oldest first
	way      store.WayBack
}

// prove verifies everything that ever came into force, from signatures alone:
// who owns the database can write any line of it, but sign none.
func (t trust) prove(e store.Evidence) proofs {
	p := prover{trust: t, evidence: e, rollbacks: map[signed.Place][]store.Signature{}, keys: map[string]*provenKey{}, inForce: map[string]bool{}}
	for _, s := range e.Rollbacks {
		if st, err := signed.Parse(s.Statement); err == nil {
			if here, ok := st.Place(t.instance); ok {
				p.rollbacks[here] = append(p.rollbacks[here], s)
			}
		}
	}
	out := proofs{unproven: map[int64]string{}, digests: map[int64]string{}}
	for i, a := range e.Activations {
		var before store.Activation
		if i > 0 {
			before = e.Activations[i-1]
		}
		err := p.activation(a, before)
		if err != nil {
			out.unproven[a.Seq] = err.Error()
		}
		out.digests[a.Seq], out.order = a.Digest, append(out.order, a.Seq)
		p.pile.Add(a, err == nil)
		p.inForce[a.Digest] = true
		p.chosen = p.chosen || err == nil && (a.Kind == store.ActivationOfficers || a.Kind == store.ActivationRollback)
	}
	out.way = p.pile.WayBack()
	return out
}

// prover goes through the activations, the oldest first.
type prover struct {
	trust
	evidence  store.Evidence
	rollbacks map[signed.Place][]store.Signature // by what they say they follow
	keys      map[string]*provenKey
	pile      store.Pile      // of the activations before
	inForce   map[string]bool // digests that were, before
	chosen    bool            // by officers, before
}

// provenKey is a key with whether its enrolment is proven.
type provenKey struct {
	store.OfficerKey
	err error
}

// recordedWithin is how much later than its verification an activation is
// recorded: a bundle is compiled in between. A key that ends meanwhile counts.
const recordedWithin = 2 * compileAtMost

func (p *prover) activation(a, before store.Activation) error {
	if a.Seq != before.Seq+1 {
		return fmt.Errorf("activation %d, which it follows, is gone", a.Seq-1)
	}
	place := signed.Place{Instance: p.instance, After: before.Seq, Base: before.Digest}
	switch a.Kind {
	case store.ActivationOfficers:
		return p.proposal(a, place)
	case store.ActivationRollback:
		return p.rollback(a, place)
	default:
		return p.delivery(a)
	}
}

// delivery is of a bundle that the product brought, while officers chose none.
func (p *prover) delivery(a store.Activation) error {
	switch {
	case !p.delivered[a.Digest]:
		return fmt.Errorf("this build does not know bundle %.12s as one of the product's. If it came with another version, policy.delivered in the instance's file vouches for it", a.Digest)
	case p.chosen:
		return fmt.Errorf("the product does not replace what officers chose")
	case p.inForce[a.Digest]:
		return fmt.Errorf("the product brings no bundle back that was in force before")
	}
	return nil
}

// proposal is of a bundle that two officers signed for this moment.
func (p *prover) proposal(a store.Activation, place signed.Place) error {
	asked, ok := p.evidence.Proposals[a.Proposal]
	if !ok {
		return fmt.Errorf("no proposal is kept that it came of")
	}
	if asked.About != a.Digest {
		return fmt.Errorf("proposal %.12s is of another bundle", asked.ID)
	}
	return p.twice(asked, signed.Propose, &place, a.At)
}

// twice says whether a proposal has two signatures of independent officers that
// counted at a time; at a place, if that is given.
func (p *prover) twice(asked store.Proposal, purpose signed.Purpose, place *signed.Place, at time.Time) error {
	i := slices.IndexFunc(asked.Signatures, func(s store.Signature) bool { return signed.Digest(s.Statement) == asked.ID })
	if i < 0 {
		return fmt.Errorf("proposal %.12s has no signature of its author", asked.ID)
	}
	first, here, err := p.signature(asked.Signatures[i], purpose, asked.About, "", at)
	if err == nil && place != nil && here != *place {
		err = fmt.Errorf("proposal %.12s was signed to follow activation %d, bundle %.12s", asked.ID, here.After, here.Base)
	}
	if err != nil {
		return err
	}
	missing := fmt.Errorf("proposal %.12s has one signature: nobody approved it", asked.ID)
	for _, s := range asked.Signatures {
		if s.Purpose != string(signed.Approve) {
			continue
		}
		second, there, err := p.signature(s, signed.Approve, asked.About, asked.ID, at)
		switch {
		case err != nil:
			missing = err
		case there != here:
			missing = fmt.Errorf("the signatures under proposal %.12s are for different moments", asked.ID)
		case first.Subject == second.Subject:
			missing = fmt.Errorf("both signatures under proposal %.12s are of %s", asked.ID, first.Subject)
		case first.Department == second.Department:
			missing = fmt.Errorf("%s and %s, who signed proposal %.12s, are both of %s", first.Subject, second.Subject, asked.ID, first.Department)
		default:
			return nil
		}
	}
	return missing
}

// rollback is of a bundle below the one before, by one officer.
func (p *prover) rollback(a store.Activation, place signed.Place) error {
	missing := fmt.Errorf("no officer signed this rollback")
	for _, s := range p.rollbacks[place] {
		if s.About != a.Digest {
			continue
		}
		k, _, err := p.signature(s, signed.Rollback, a.Digest, "", a.At)
		switch {
		case err != nil:
			missing = err
		case k.Subject != a.By:
			missing = fmt.Errorf("the rollback is signed by %s, not by %s", k.Subject, a.By)
		case !slices.Contains(p.pile.WayBack().Targets, a.Digest):
			return fmt.Errorf("one officer's signature does not bring back bundle %.12s: it was withdrawn, or nothing proves that it was ever lawfully in force", a.Digest)
		default:
			return nil
		}
	}
	return missing
}

// signature says whose a signature is and where it is for, if it counted at a
// time.
func (p *prover) signature(s store.Signature, purpose signed.Purpose, about, proposal string, at time.Time) (store.OfficerKey, signed.Place, error) {
	st, err := signed.Parse(s.Statement)
	if err != nil {
		return store.OfficerKey{}, signed.Place{}, fmt.Errorf("a signature is under no statement of an officer")
	}
	k, err := p.key(st.Key)
	if err != nil {
		return k, signed.Place{}, err
	}
	here, ok := st.Place(p.instance)
	fault := ""
	switch {
	case !ed25519.Verify(k.Public, []byte(s.Statement), s.Signature):
		fault = "does not fit its statement"
	case st.Purpose != purpose || st.About != about || st.Proposal != proposal:
		fault = "is for something else"
	case !ok:
		fault = "is for other instances"
	case st.Expires.Before(at.Add(-recordedWithin)):
		fault = "had expired"
	case s.At.Before(k.From):
		fault = "is older than the key's enrolment"
	case k.To.Before(at.Add(-recordedWithin)):
		fault = "is by a key that had expired"
	case k.RevokedAt != nil && !k.RevokedAt.After(at):
		fault = "is by a key that had been revoked"
	}
	if fault != "" {
		return k, here, fmt.Errorf("the signature of %s by key %.12s %s", k.Subject, k.ID, fault)
	}
	return k, here, nil
}

// key is a key that the operator vouches for, or that two officers with such
// keys enrolled.
func (p *prover) key(id string) (store.OfficerKey, error) {
	if k, ok := p.keys[id]; ok {
		return k.OfficerKey, k.err
	}
	k := &provenKey{OfficerKey: p.evidence.Keys[id], err: fmt.Errorf("key %.12s vouches for itself", id)} // while it is looked at
	p.keys[id] = k
	if declared, ok := p.officers[id]; ok {
		k.ID, k.Public, k.Subject, k.To, k.err = id, declared.Public, declared.Subject, declared.Until, nil
		if declared.Department != "" {
			k.Department = declared.Department
		}
		return k.OfficerKey, nil
	}
	k.err = p.enrolled(k)
	return k.OfficerKey, k.err
}

// enrolled verifies who let a key in, and takes from what they signed whose it
// is and how long it serves.
func (p *prover) enrolled(k *provenKey) error {
	asked, ok := p.evidence.Proposals[k.Proposal]
	if !ok || asked.Purpose != string(signed.Enroll) {
		return fmt.Errorf("key %.12s of %s is not of the operator (policy.officers in the instance's file), and no officers enrolled it", k.ID, k.Subject)
	}
	var said signed.Key
	if err := json.Unmarshal(asked.Content, &said); err != nil || said.Digest() != asked.About || signed.KeyID(said.Public) != k.ID || len(said.Public) != ed25519.PublicKeySize {
		return fmt.Errorf("key %.12s is not the one that proposal %.12s is about", k.ID, asked.ID)
	}
	k.Public, k.Subject, k.Department, k.To = said.Public, said.Subject, said.Department, said.Until
	if err := p.twice(asked, signed.Enroll, nil, k.From); err != nil {
		return fmt.Errorf("key %.12s of %s: %w", k.ID, k.Subject, err)
	}
	return nil
}

// Unproven is an activation that nothing proves, and why.
type Unproven struct {
	store.Activation
	Why string
}

// unproven lists what has no proof, the newest first.
func (p proofs) list(all []store.Activation) (out []Unproven) {
	for _, a := range slices.Backward(all) {
		if why := p.unproven[a.Seq]; why != "" {
			out = append(out, Unproven{a, why})
		}
	}
	return out
}

// proofless is the answer to whoever asks under a policy that nothing proves.
func proofless(seq int64, why string) error {
	return &crm.Error{
		Kind: crm.Unavailable, RetryAfter: compileAgainIn, Err: errors.New(why),
		Msg: fmt.Sprintf("nothing proves that officers put this instance's policy in force (activation %d): nothing is decided by it. Officers look at meridian policy history, and go back with meridian policy rollback", seq),
	}
}
