package access

import (
	"context"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// Permissions of break-glass: to break it, and to look at who did.
const (
	breakGlass  = "breakglass"
	reviewGlass = "breakglass.review"
)

// readsListed bounds the reads that are told of one broken glass.
const readsListed = 100

// BreakRequest is a wish to read one record now.
type BreakRequest struct {
	Entity string
	Record string        // id, or "<key field>:<value>"
	For    time.Duration // 0: as long as policy lets it
	Reason string
	Ticket string
}

// Emergency is a broken glass; for who reviews it with what was read meanwhile.
type Emergency struct {
	store.Emergency
	Reads []store.Decision
}

// BreakGlass opens one record to the caller, to read, until its time is over.
// Policy is asked with the opening in place: what is still closed then, because
// a wall, a withhold or a denial is the stronger, is answered as what is not
// there, and the attempt undone (I4). That a hidden record exists is told by the
// answer, so both answers are in the decision log before they are given.
func (d *Door) BreakGlass(ctx context.Context, c crm.Caller, r BreakRequest) (Emergency, error) {
	def, err := d.definition(r.Entity)
	if err != nil {
		return Emergency{}, err
	}
	if err := d.Permit(ctx, c, breakGlass); err != nil {
		return Emergency{}, err
	}
	id, err := d.named(ctx, def, r.Record, d.store.FindByKey)
	if crm.KindOf(err) == crm.NotFound && err != nil {
		id, err = crm.NewRecordID(), nil // of nothing: it takes the statements of what is hidden
	}
	if err != nil {
		return Emergency{}, err
	}
	var opened store.Emergency
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		var err error
		opened, err = d.breakOpen(ctx, a, def, id, r)
		return a.subject.Stamp, err
	})
	if err != nil {
		if kind := crm.KindOf(err); kind == crm.NotFound || kind == crm.Denied {
			refusal := a.decision(breakGlass, def.Entity)
			refusal.Allowed, refusal.Refused = false, []crm.RecordID{id}
			if logErr := d.store.LogDecisions(ctx, []store.Decision{refusal}); logErr != nil {
				return Emergency{}, logErr
			}
		}
		return Emergency{}, err
	}
	d.broken.Add(1)
	d.log.WarnContext(ctx, "somebody broke the glass to read a record; an officer has to review it",
		"subject", c.Subject, "fact", opened.ID, "execution", c.Execution, "until", opened.To)
	return Emergency{Emergency: opened}, nil
}

// breakOpen records the opening and undoes it if it opens nothing.
func (d *Door) breakOpen(ctx context.Context, a asking, def crm.Definition, id crm.RecordID, r BreakRequest) (opened store.Emergency, err error) {
	if may, err := a.engine.Permit(ctx, a.subject, breakGlass); err != nil {
		return opened, err
	} else if !may { // not any more
		return opened, lacks(breakGlass)
	}
	longest, err := a.engine.LongestEmergency(ctx)
	if err != nil {
		return opened, err
	}
	opening := policy.Opening{Lasts: r.For, Reason: strings.TrimSpace(r.Reason)}
	switch {
	case r.For < 0:
		return opened, crm.FieldErrorf("for", "say for how long, as 30m")
	case r.For == 0:
		opening.Lasts = longest
	}
	if err := a.engine.MayBreak(ctx, a.subject, opening); err != nil { // as far as it needs no transaction
		return opened, err
	}
	before, err := (&plan{Door: d, asking: a, def: def}).reach(ctx, def, crm.ActionRead, []crm.RecordID{id})
	if err != nil {
		return opened, err
	}
	f, err := a.filter(ctx, crm.ActionRead, def)
	if err != nil {
		return opened, err
	}
	err = d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (made store.Decision, err error) {
		opened = store.Emergency{Ticket: strings.TrimSpace(r.Ticket), Execution: a.caller.Execution}
		opened.Entity, opened.Record, opened.By, opened.Reason = def.Entity, id, a.subject.ID, opening.Reason
		if opened, opening.Open, opening.Day, err = tx.BreakGlass(ctx, opened, opening.Lasts, a.subject.Stamp); err != nil {
			return made, err
		}
		if err := a.engine.MayBreak(ctx, a.subject, opening); err != nil {
			return made, err
		}
		page, err := tx.Get(ctx, store.Read{Entity: def.Entity, Filter: f, IDs: []crm.RecordID{id}})
		if err != nil {
			return made, err
		}
		after, ok := byID(page.Records)[id]
		if !ok {
			return made, absent()
		}
		if seen, ok := before[id]; ok && slices.Equal(seen.Withheld, after.Withheld) && slices.Equal(seen.Masked, after.Masked) {
			return made, crm.Errorf(crm.Conflict, "you can read all of this record that there is to read; no glass needs to be broken")
		}
		return store.Decision{Action: breakGlass, Entity: def.Entity, Records: []crm.RecordID{id}, Facts: []string{opened.ID}}, nil
	})
	return opened, err
}

// GlassBroken counts how often somebody broke the glass since this instance
// started.
func (d *Door) GlassBroken() int64 { return d.broken.Load() }

// reviews says whether the caller may look at everybody's broken glass.
func (d *Door) reviews(ctx context.Context, c crm.Caller) (a asking, may bool, err error) {
	a, err = d.under(ctx, c, func(ctx context.Context, a asking) (stamp int64, err error) {
		if may, err = a.engine.Permit(ctx, a.subject, reviewGlass); err != nil {
			return 0, err
		}
		stamp, _, err = d.store.Stamp(ctx)
		return stamp, err
	})
	return a, may, err
}

// Emergencies lists broken glass: everybody's with what was read under it for
// reviewers, and the caller's own for others.
func (d *Door) Emergencies(ctx context.Context, c crm.Caller, q store.EmergencyQuery) ([]Emergency, error) {
	a, may, err := d.reviews(ctx, c)
	if err != nil {
		return nil, err
	}
	if !may {
		if q.Subject != "" && q.Subject != c.Subject {
			return nil, lacks(reviewGlass)
		}
		q.Subject = c.Subject
	}
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	q.Limit = min(q.Limit, maxLimit)
	found, err := d.store.Emergencies(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := d.journal.flush(ctx); err != nil { // reads may wait to be logged
		return nil, err
	}
	out := make([]Emergency, len(found))
	decision := a.decision("breakglass.list", "")
	for i, e := range found {
		out[i].Emergency = e
		decision.Facts = append(decision.Facts, e.ID)
		if !may {
			continue
		}
		if out[i].Reads, err = d.store.EmergencyReads(ctx, e, readsListed); err != nil {
			return nil, err
		}
	}
	return out, d.journal.add(ctx, decision)
}

// EndEmergency closes before its time what the caller opened, or what anybody
// did for who reviews. Any other is absent.
func (d *Door) EndEmergency(ctx context.Context, c crm.Caller, id, reason string) (Emergency, error) {
	if strings.TrimSpace(reason) == "" {
		return Emergency{}, crm.FieldErrorf("reason", "say why it ends before its time")
	}
	_, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		e, err := d.emergency(ctx, a, id)
		if err != nil {
			return 0, err
		}
		return a.subject.Stamp, d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (store.Decision, error) {
			_, err := tx.EndGrant(ctx, id, c.Subject, strings.TrimSpace(reason))
			return store.Decision{Action: "breakglass.end", Entity: e.Entity, Records: []crm.RecordID{e.Record}, Facts: []string{id}}, err
		})
	})
	if err != nil {
		return Emergency{}, err
	}
	ended, err := d.store.Emergency(ctx, id)
	return Emergency{Emergency: ended}, err
}

// emergency is a broken glass of the caller's, or any for who reviews.
func (d *Door) emergency(ctx context.Context, a asking, id string) (store.Emergency, error) {
	if _, err := crm.ParseRecordID(id); err != nil {
		return store.Emergency{}, absent()
	}
	may, err := a.engine.Permit(ctx, a.subject, reviewGlass)
	if err != nil {
		return store.Emergency{}, err
	}
	e, err := d.store.Emergency(ctx, id)
	if err != nil && crm.KindOf(err) != crm.NotFound {
		return e, err
	}
	if err != nil || !may && e.By != a.caller.Subject {
		return store.Emergency{}, absent()
	}
	return e, nil
}

// Verdicts on a broken glass.
var verdicts = []string{"justified", "unjustified"}

// ReviewEmergency says, once, whether a broken glass was justified: after it
// ended, so that all that was read is known, and by somebody else.
func (d *Door) ReviewEmergency(ctx context.Context, c crm.Caller, id, verdict, reason string) (Emergency, error) {
	reason = strings.TrimSpace(reason)
	err := d.permitted(ctx, c, reviewGlass, func(ctx context.Context, a asking) error {
		e, err := d.emergency(ctx, a, id)
		switch {
		case err != nil:
			return err
		case e.By == c.Subject:
			return crm.Errorf(crm.Denied, "nobody reviews what they opened themselves; ask another officer")
		case !slices.Contains(verdicts, verdict):
			return crm.FieldErrorf("verdict", "say %s", strings.Join(verdicts, " or "))
		case reason == "":
			return crm.FieldErrorf("reason", "say why; it is kept with the review")
		case e.Open():
			return crm.Errorf(crm.Conflict, "it still opens the record; end it first, or wait until %s", e.To.Format(time.RFC3339))
		}
		return d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (store.Decision, error) {
			err := tx.ReviewEmergency(ctx, id, verdict, reason, c)
			return store.Decision{Action: reviewGlass, Entity: e.Entity, Records: []crm.RecordID{e.Record}, Facts: []string{id}}, err
		})
	})
	if err != nil {
		return Emergency{}, err
	}
	if verdict == "unjustified" {
		d.log.WarnContext(ctx, "an officer objects to a broken glass", "fact", id, "by", c.Subject, "execution", c.Execution)
	}
	reviewed, err := d.store.Emergency(ctx, id)
	return Emergency{Emergency: reviewed}, err
}
