package access

import (
	"context"
	"strings"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// Permissions of those who keep facts.
const (
	factRead  = "fact.read"
	factWrite = "fact.write"
)

// maxEdits bounds a batch of edits.
const maxEdits = 1000

// ListFacts lists the facts of a kind as of a moment, now if at is nil.
func (d *Door) ListFacts(ctx context.Context, c crm.Caller, kind string, at *policy.Moment) ([]store.Fact, error) {
	a, err := d.permit(ctx, c, factRead)
	if err != nil {
		return nil, err
	}
	list, err := d.store.Facts(ctx, kind, at)
	if err != nil {
		return nil, err
	}
	decision := a.decision(factRead, "")
	decision.Reasons = []string{kind}
	return list, d.journal.add(ctx, decision)
}

// FactHistory is everything that was ever recorded of one fact.
func (d *Door) FactHistory(ctx context.Context, c crm.Caller, kind, id string) ([]store.Fact, error) {
	a, err := d.permit(ctx, c, factRead)
	if err != nil {
		return nil, err
	}
	list, err := d.store.FactHistory(ctx, kind, id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, crm.FieldErrorf("id", "nothing was ever recorded of %s %q", kind, id)
	}
	decision := a.decision(factRead, "")
	decision.Facts = []string{kind + " " + id}
	return list, d.journal.add(ctx, decision)
}

// EditFacts records what an officer says about people, trees and departments:
// all of it or nothing.
func (d *Door) EditFacts(ctx context.Context, c crm.Caller, edits []store.Edit, reason string) ([]store.Fact, error) {
	var made []store.Fact
	err := d.permitted(ctx, c, factWrite, func(ctx context.Context, a asking) error {
		if err := mayEdit(ctx, a, edits, reason); err != nil {
			return err
		}
		return d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (_ store.Decision, err error) {
			made, err = tx.Edit(ctx, edits, c.Subject, reason)
			return store.Decision{Action: "fact.edit", Facts: edited(edits)}, err
		})
	})
	return made, err
}

// mayEdit refuses edits that say no reason, or that the limits in policy refuse.
func mayEdit(ctx context.Context, a asking, edits []store.Edit, reason string) error {
	switch {
	case strings.TrimSpace(reason) == "":
		return crm.FieldErrorf("reason", "say why; the reason is kept with the facts")
	case len(edits) > maxEdits:
		return crm.FieldErrorf("edits", "these are %d changes; make at most %d at once", len(edits), maxEdits)
	}
	for i, e := range edits {
		about := e.Subject
		if e.Kind == "subject" {
			about = crm.SubjectID(e.ID)
		}
		if err := a.engine.MayEdit(ctx, a.subject, e.Kind, about); err != nil {
			return store.InEdit(edits, i, err)
		}
	}
	return nil
}

// edited points to the facts that edits are about.
func edited(edits []store.Edit) []string {
	out := make([]string, len(edits))
	for i, e := range edits {
		out[i] = e.Do + " " + e.What()
	}
	return out
}
