package access

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

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
			made, err = a.edit(ctx, tx, edits, reason)
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

// edit makes edits, unless they give the officer more than they had. What nobody
// may say about themself nobody brings about either, by moving what they belong
// to: limits are asked about both alike.
func (a asking) edit(ctx context.Context, tx *store.Tx, edits []store.Edit, reason string) ([]store.Fact, error) {
	moments, err := a.moments(ctx, tx, edits)
	if err != nil {
		return nil, err
	}
	was := make([]crm.Subject, len(moments))
	for i, at := range moments {
		if was[i], _, err = tx.SubjectAt(ctx, a.subject.ID, at); err != nil {
			return nil, err
		}
	}
	made, err := tx.Edit(ctx, edits, a.subject.ID, reason)
	if err != nil {
		return nil, err
	}
	for i, at := range moments {
		is, _, err := tx.SubjectAt(ctx, a.subject.ID, at)
		if err != nil {
			return nil, err
		}
		if at == nil { // the edits may have waited for those of others
			if err := a.still(ctx, is, factWrite); err != nil {
				return nil, err
			}
		}
		if !widened(was[i], is) {
			continue
		}
		if err := a.engine.MayEdit(ctx, a.subject, "subject", a.subject.ID); err != nil {
			if e, ok := errors.AsType[*crm.Error](err); ok {
				e.Msg, e.Field = "these changes give more access to you, too: "+e.Msg, "edits"
			}
			return nil, err
		}
	}
	return made, nil
}

// still refuses what the subject, as it is now, may not do any more.
func (a asking) still(ctx context.Context, is crm.Subject, permission string) error {
	if is.Bundle != a.subject.Bundle {
		return errMoved
	}
	ok, err := a.engine.Permit(ctx, is, permission)
	if err == nil && !ok {
		err = lacks(permission)
	}
	return err
}

// moments are now and every time to come at which the officer may be more than
// before: an edit opens what is there when it holds, and somebody else may have
// dated that.
func (a asking) moments(ctx context.Context, tx *store.Tx, edits []store.Edit) ([]*policy.Moment, error) {
	times, err := tx.Boundaries(ctx, a.subject.ID)
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		times = append(times, e.From, e.To)
	}
	slices.SortFunc(times, time.Time.Compare)
	now := time.Now()
	out := []*policy.Moment{nil}
	for _, at := range slices.CompactFunc(times, time.Time.Equal) {
		if at.After(now) && at.Before(crm.Forever) {
			out = append(out, &policy.Moment{Valid: at, Recorded: at})
		}
	}
	return out, nil
}

// widened says that a subject is something that it was not, or is no longer
// under something that closes.
func widened(was, is crm.Subject) bool {
	more := func(was, is []string) bool { return len(missing(is, was)) > 0 }
	acts := func(s crm.Subject) (out []string) {
		for _, r := range s.Relationships {
			for _, action := range r.Actions {
				out = append(out, r.Department+" "+action)
			}
		}
		return out
	}
	if is.Clearance > was.Clearance || is.AllSegments && !was.AllSegments || more(was.Roles, is.Roles) || more(was.Keys, is.Keys) ||
		more(was.Territories, is.Territories) || more(was.Segments, is.Segments) || more(acts(was), acts(is)) {
		return true
	}
	before, after := areasOf(was), areasOf(is)
	for id, b := range after {
		if a := before[id]; b.Effect == crm.EffectOpen && (a.ID == "" || more(a.Territories, b.Territories) || more(a.Segments, b.Segments)) {
			return true
		}
	}
	for id, a := range before {
		if b := after[id]; a.Effect != crm.EffectOpen && (b.ID == "" || more(b.Territories, a.Territories) || more(b.Segments, a.Segments)) {
			return true
		}
	}
	return slices.ContainsFunc(was.Denials, func(a crm.Denial) bool {
		return !slices.ContainsFunc(is.Denials, func(b crm.Denial) bool { return a.ID == b.ID && !more(b.Territories, a.Territories) })
	})
}

func areasOf(s crm.Subject) map[string]crm.Area {
	out := make(map[string]crm.Area, len(s.Areas))
	for _, a := range s.Areas {
		out[a.ID] = a
	}
	return out
}

// edited points to the facts that edits are about.
func edited(edits []store.Edit) []string {
	out := make([]string, len(edits))
	for i, e := range edits {
		out[i] = e.Do + " " + e.What()
	}
	return out
}
