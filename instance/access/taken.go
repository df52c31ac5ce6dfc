package access

import (
	"context"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// inForce is a bundle that decides, since an activation.
type inForce struct {
	seq    int64
	digest string
	engine *policy.Engine
}

// looked is what was proven when evidence was looked at last.
type looked struct {
	proofs
	at time.Time
}

// ofOffice are the permissions of officers about policy, and of whoever looks
// whether the instance is well.
var ofOffice = []string{"policy.read", "policy.propose", "policy.approve", "policy.activate", auditRead, "instance.read"}

// decides is the engine of what is in force, an activation of a bundle, which
// must be proven: see trust.prove. It is looked at once in this process, and
// then nothing is asked.
func (e *engines) decides(ctx context.Context, seq int64, digest string) (*policy.Engine, error) {
	if last := e.taken.Load(); last != nil && last.seq == seq && last.digest == digest {
		return last.engine, nil
	}
	if digest != "" {
		why, err := e.why(ctx, seq, digest)
		if err != nil {
			return nil, err
		}
		if why != "" {
			return nil, proofless(seq, why)
		}
	}
	engine, err := e.of(ctx, digest)
	if err != nil {
		return nil, &crm.Error{Kind: crm.Unavailable, Msg: "the policy in force cannot be loaded; its operator is told", RetryAfter: compileAgainIn, Err: err}
	}
	e.taken.Store(&inForce{seq, digest, engine})
	e.unproven.Store(0)
	return engine, nil
}

// why says why an activation has no proof; "" if it has.
func (e *engines) why(ctx context.Context, seq int64, digest string) (string, error) {
	known := func() (string, bool) {
		l := e.proofs.Load()
		if l == nil || l.digests[seq] != digest || l.unproven[seq] != "" && time.Since(l.at) > compileAgainIn {
			return "", false
		}
		return l.unproven[seq], true
	}
	if why, ok := known(); ok {
		return why, nil
	}
	select {
	case e.proving <- struct{}{}:
		defer func() { <-e.proving }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if why, ok := known(); ok { // somebody looked meanwhile
		return why, nil
	}
	evidence, err := e.store.Evidence(ctx)
	if err != nil {
		return "", err
	}
	l := &looked{e.trust.prove(evidence), time.Now()}
	if _, ok := l.digests[seq]; ok && l.digests[seq] != digest { // as others saw it, it never was
		l.unproven[seq], l.digests[seq] = "its line was changed", digest
	} else if !ok {
		l.unproven[seq], l.digests[seq] = "there is no such activation", digest
	}
	e.proofs.Store(l)
	why := l.unproven[seq]
	if why != "" && e.unproven.Swap(seq) != seq {
		e.log.ErrorContext(ctx, "nothing proves that officers put a policy in force: nothing is decided by it", "activation", seq, "bundle", digest, "because", why)
	}
	return why, nil
}

// presides is the engine that says who is an officer: the one in force, or, if
// that decides nothing, the last that was proven and can be loaded.
func (e *engines) presides(ctx context.Context, seq int64, digest string) (*policy.Engine, error) {
	engine, err := e.decides(ctx, seq, digest)
	if crm.KindOf(err) != crm.Unavailable || ctx.Err() != nil {
		return engine, err
	}
	l := e.proofs.Load()
	if l == nil {
		return nil, err
	}
	tried := map[string]bool{digest: l.unproven[seq] == ""}
	for _, seq := range slices.Backward(l.order) {
		digest := l.digests[seq]
		if l.unproven[seq] != "" || tried[digest] {
			continue
		}
		if tried[digest] = true; len(tried) > maxEngines {
			break
		}
		if engine, err := e.of(ctx, digest); err == nil {
			return engine, nil
		}
	}
	if e.first == nil {
		return nil, err
	}
	return e.first, nil // as the product came
}

// evidence is of a store, or of a transaction with what it adds.
type evidence interface {
	Evidence(ctx context.Context) (store.Evidence, error)
}

// proven looks at all evidence anew.
func (d *Door) proven(ctx context.Context, from evidence) (proofs, store.Evidence, error) {
	e, err := from.Evidence(ctx)
	return d.engines.trust.prove(e), e, err
}

// holds refuses an activation that would decide nothing because it proves
// nothing: its transaction is undone.
func (d *Door) holds(ctx context.Context, tx *store.Tx, a store.Activation) error {
	p, _, err := d.proven(ctx, tx)
	if err == nil && p.unproven[a.Seq] != "" {
		err = crm.Errorf(crm.Denied, "it would not hold: %s", p.unproven[a.Seq])
	}
	return err
}

// comparedWith is the engine that a proposal is compared with, and the digest of
// what it follows: the bundle in force is both, unless it decides nothing.
func (d *Door) comparedWith(ctx context.Context) (*policy.Engine, string, error) {
	active, err := d.store.Active(ctx)
	if err != nil {
		return nil, "", err
	}
	engine, err := d.engines.presides(ctx, active.Seq, active.Digest)
	if err == nil && active.Digest == "" {
		active.Digest = engine.Digest()
	}
	return engine, active.Digest, err
}

// Unproven lists the activations that nothing proves, looked at anew. In force
// says whether the first of them is what decides nothing now.
func (d *Door) Unproven(ctx context.Context) (list []Unproven, inForce bool, err error) {
	p, e, err := d.proven(ctx, d.store)
	if err != nil || len(p.order) == 0 {
		return nil, false, err
	}
	return p.list(e.Activations), p.unproven[p.order[len(p.order)-1]] != "", nil
}

// PolicyUnproven is the activation that nobody is answered under because
// nothing proves it; 0 if there is none.
func (d *Door) PolicyUnproven() int64 { return d.engines.unproven.Load() }
