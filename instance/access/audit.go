package access

import (
	"context"
	"fmt"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// auditRead is the permission to see who looked at what.
const auditRead = "audit.read"

// sealEvery is how long a decision waits at most for its seal, and the least
// time between two roots of a busy instance.
const sealEvery = 5 * time.Second

// Seal binds decisions into the chain of the decision log until ctx ends. One
// replica does it at a time; requests never wait for it.
func (d *Door) Seal(ctx context.Context) error {
	return d.store.Lead(ctx, "audit", func(ctx context.Context) error {
		tick := time.NewTicker(sealEvery)
		defer tick.Stop()
		for {
			if err := d.sealAll(ctx); err != nil && ctx.Err() == nil {
				d.log.ErrorContext(ctx, "decisions wait to be sealed", "error", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func (d *Door) sealAll(ctx context.Context) error {
	for {
		sealed, err := d.store.SealDecisions(ctx)
		if err != nil || sealed == 0 {
			return err
		}
	}
}

// Retain removes decisions that were sealed longer than kept ago.
func (d *Door) Retain(ctx context.Context, kept time.Duration) error {
	total := int64(0)
	for {
		emptied, err := d.store.RemoveDecisions(ctx, kept)
		if total += emptied; err == nil && emptied > 0 {
			continue
		}
		if total > 0 {
			d.log.InfoContext(ctx, "old decisions removed", "roots", total)
		}
		return err
	}
}

// Verified is what VerifyDecisions found.
type Verified struct {
	store.Audit
	Unproven []Unproven // policies that came into force without proof, the newest first
	Stopped  bool       // the first of them is in force: nobody is answered
}

// VerifyDecisions seals what waits and verifies the whole decision log, and who
// signed for the policies that it names; see store.VerifyDecisions and
// trust.prove for what they find.
func (d *Door) VerifyDecisions(ctx context.Context, c crm.Caller, anchor string) (found Verified, err error) {
	a, err := d.permit(ctx, c, auditRead)
	if err != nil {
		return found, err
	}
	if err := d.journal.flush(ctx); err != nil {
		return found, err
	}
	if err := d.sealAll(ctx); err != nil {
		return found, err
	}
	if found.Audit, err = d.store.VerifyDecisions(ctx, anchor); err != nil {
		return found, err
	}
	if found.Unproven, found.Stopped, err = d.Unproven(ctx); err != nil {
		return found, err
	}
	decision := a.decision("audit.verify", "")
	if found.Break != nil {
		decision.Reasons = []string{found.Break.Kind}
		d.log.ErrorContext(ctx, "the decision log does not fit its chain", "kind", found.Break.Kind, "root", found.Break.Root,
			"batch", found.Break.Batch, "decision", found.Break.Decision)
	}
	for _, u := range found.Unproven {
		decision.Reasons = append(decision.Reasons, fmt.Sprintf("activation %d has no proof", u.Seq))
	}
	return found, d.journal.add(ctx, decision)
}

// Decisions lists who looked at what. It is a decision like any other, and in
// the next answer.
func (d *Door) Decisions(ctx context.Context, c crm.Caller, q store.DecisionQuery) ([]store.Decision, error) {
	a, err := d.permit(ctx, c, auditRead)
	if err != nil {
		return nil, err
	}
	if err := d.journal.flush(ctx); err != nil {
		return nil, err
	}
	ds, err := d.store.FindDecisions(ctx, q)
	if err != nil {
		return nil, err
	}
	return ds, d.journal.add(ctx, a.decision("audit.list", ""))
}
