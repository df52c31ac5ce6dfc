package access

import (
	"context"
	"errors"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

const (
	// keeper is whom the decision log names when nobody decides but the rules.
	keeper crm.SubjectID = "meridian"

	keepEvery  = 250 * time.Millisecond // how late a share outlives its giver's access
	keepAtOnce = 1000                   // changes looked at together
	giverLost  = "the giver lost access to what was shared"
	giverBack  = "the giver has access to what was shared again"
)

// Keep keeps judgements within what their givers may judge, until ctx ends:
// whenever facts or records change or time passes a fact's end, the shares
// concerned are reviewed. Of all replicas one does it.
func (d *Door) Keep(ctx context.Context) error {
	return d.store.Lead(ctx, "grants", func(ctx context.Context) error {
		cursor := "" // "" begins with everything
		healthy := true
		for {
			began := time.Now()
			next, err := d.keepFrom(ctx, cursor)
			if err != nil && ctx.Err() == nil && healthy {
				d.log.WarnContext(ctx, "shares are not reviewed, retrying", "error", err)
			}
			healthy = err == nil
			cursor = next
			if !healthy || time.Since(began) > store.OutboxKept/2 { // changes may be gone before they are read
				cursor = ""
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(keepEvery):
			}
		}
	})
}

// keepFrom reviews the shares that changes behind cursor concern.
func (d *Door) keepFrom(ctx context.Context, cursor string) (next string, err error) {
	// Where no exchange runs nobody else tells that facts end by time.
	if err := d.store.EnqueueBoundaries(ctx); err != nil {
		return "", err
	}
	if cursor == "" {
		if next, err = d.store.Head(ctx); err != nil {
			return "", err
		}
		_, _, err = d.ReviewGrants(ctx, nil)
		return next, err
	}
	changes, next, err := d.store.Changes(ctx, cursor, keepAtOnce)
	if err != nil || len(changes) == 0 {
		return next, err
	}
	about := []crm.RecordID{}
	for _, c := range changes {
		if c.ID == "" { // may concern every record
			about = nil
			break
		}
		about = append(about, c.ID)
	}
	_, _, err = d.ReviewGrants(ctx, about)
	return next, err
}

// ReviewGrants suspends the shares whose giver could not give them now, and lets
// those hold again whose giver lost access and has it back: about the records
// named and what hangs on them, or about any if about is nil. It answers how
// many. A suspension may take sight from somebody who shared in turn; that is a
// change of facts, so the keeper comes back for it.
//
// A withhold stays: to suspend it would open what somebody wanted closed.
func (d *Door) ReviewGrants(ctx context.Context, about []crm.RecordID) (suspended, resumed int, err error) {
	byGiver := map[crm.SubjectID][]crm.Grant{}
	var givers []crm.SubjectID
	if about == nil {
		if givers, err = d.store.Givers(ctx); err != nil {
			return 0, 0, err
		}
	} else {
		slices.Sort(about)
		about = slices.Compact(about)
		shares, err := d.store.SharesAbout(ctx, about)
		if err != nil {
			return 0, 0, err
		}
		for _, g := range shares {
			if byGiver[g.By] == nil {
				givers = append(givers, g.By)
			}
			byGiver[g.By] = append(byGiver[g.By], g)
		}
	}
	for _, giver := range givers {
		shares := byGiver[giver]
		if about == nil {
			if shares, err = d.store.SharesBy(ctx, giver); err != nil {
				return suspended, 0, err
			}
		}
		n, err := d.reviewOf(ctx, giver, shares)
		if suspended += n; err != nil {
			return suspended, 0, err
		}
	}
	resumed, err = d.resumeLost(ctx, about)
	return suspended, resumed, err
}

// resumeLost lets suspended shares hold again, those that rest on each other at
// once.
func (d *Door) resumeLost(ctx context.Context, about []crm.RecordID) (resumed int, err error) {
	for range attempts {
		waiting, now, err := d.store.WaitingShares(ctx, about)
		if err != nil || len(waiting) == 0 {
			return 0, err
		}
		stamp, _, err := d.store.Stamp(ctx)
		if err != nil {
			return 0, err
		}
		engine, err := d.InForce(ctx)
		if err != nil {
			return 0, err
		}
		out, err := d.outlooker(engine, stamp).of(ctx, nil, waiting, now)
		if err == nil {
			resumed, err = d.carryOut(ctx, resume, out.resumed, func(ctx context.Context, tx *store.Tx) error {
				return asking{subject: crm.Subject{Stamp: stamp}}.unmoved(ctx, tx)
			})
		}
		if !errors.Is(err, errMoved) {
			return resumed, err
		}
	}
	return 0, nil // what moved is a change that the keeper comes back for
}

// reviewOf suspends those of one giver's shares that have lost their ground.
func (d *Door) reviewOf(ctx context.Context, giver crm.SubjectID, shares []crm.Grant) (suspended int, err error) {
	_, err = d.under(ctx, crm.Caller{Subject: giver}, func(ctx context.Context, a asking) (int64, error) {
		lost, err := d.groundless(ctx, a, shares)
		if err != nil {
			return 0, err
		}
		suspended, err = d.carryOut(ctx, suspend, lost, func(ctx context.Context, tx *store.Tx) error { return a.unmoved(ctx, tx) })
		return a.subject.Stamp, err
	})
	if crm.KindOf(err) != crm.Denied {
		return suspended, err
	}
	return d.carryOut(ctx, suspend, shares, func(context.Context, *store.Tx) error { // this instance does not know them any more
		_, known, err := d.store.Subject(ctx, giver)
		if err == nil && known {
			err = errMoved
		}
		return err
	})
}

// groundless are the shares that the asking giver could not give now: they may
// not share the record any more, or not all of its groups. What the giver sees
// only because somebody gave the share back does not count: two colleagues
// would hold each other up for ever.
func (d *Door) groundless(ctx context.Context, a asking, shares []crm.Grant) (lost []crm.Grant, err error) {
	byEntity := map[string][]crm.Grant{}
	for _, g := range shares {
		byEntity[g.Entity] = append(byEntity[g.Entity], g)
	}
	for entity, gs := range byEntity {
		def, err := d.definition(entity)
		if err != nil {
			return nil, err
		}
		for part := range slices.Chunk(gs, maxLimit) {
			more, err := d.groundlessOf(ctx, a, def, part)
			if err != nil {
				return nil, err
			}
			lost = append(lost, more...)
		}
	}
	return lost, nil
}

func (d *Door) groundlessOf(ctx context.Context, a asking, def crm.Definition, shares []crm.Grant) (lost []crm.Grant, err error) {
	f, err := a.filter(ctx, crm.ActionShare, def)
	if err != nil {
		return nil, err
	}
	ids := make([]crm.RecordID, len(shares))
	for i, g := range shares {
		ids[i] = g.Record
	}
	page, err := d.store.Get(ctx, store.Read{Entity: def.Entity, Filter: f, IDs: ids, Flips: a.flips})
	if err != nil {
		return nil, err
	}
	if page.Stamp != a.subject.Stamp {
		return nil, errMoved
	}
	seen := byID(page.Records)
	var kept []crm.Grant
	var accounts []crm.RecordID
	for _, g := range shares {
		rec, ok := seen[g.Record]
		if !ok || slices.ContainsFunc(g.Groups, func(group string) bool { return !rec.Shows(group) }) {
			lost = append(lost, g)
			continue
		}
		kept, accounts = append(kept, g), append(accounts, rec.Account)
	}
	circular, err := d.store.Regiven(ctx, kept, accounts, a.subject.Keys, a.flips)
	if err != nil {
		return nil, err
	}
	for _, g := range kept {
		if !circular[g.ID] {
			continue
		}
		stands, err := d.standsAlone(ctx, a, def, g, seen[g.Record])
		if err != nil {
			return nil, err
		}
		if !stands {
			lost = append(lost, g)
		}
	}
	return lost, nil
}

// standsAlone says whether the giver could give a share on what was there
// before it.
func (d *Door) standsAlone(ctx context.Context, a asking, def crm.Definition, g crm.Grant, rec crm.Record) (bool, error) {
	facts, err := d.store.FactsAbout(ctx, g.Record, rec.Account)
	if err != nil {
		return false, err
	}
	facts = a.flips.Of(facts)
	facts.Grants = slices.DeleteFunc(facts.Grants, func(o crm.Grant) bool { return o.Kind == crm.GrantShare && o.ID >= g.ID })
	_, now, err := d.store.Stamp(ctx)
	if err != nil {
		return false, err
	}
	whole, err := d.store.Load(ctx, def.Entity, []crm.RecordID{g.Record}) // rules may read what the giver may not
	if err != nil {
		return false, err
	}
	var answer policy.Decision
	answer, err = a.engine.Explain(ctx, a.subject, crm.ActionShare, whole[g.Record], facts, now, def.Groups())
	hidden := func(group string) bool { return !slices.Contains(answer.Revealed, group) }
	return answer.Allowed && !slices.ContainsFunc(g.Groups, hidden), err
}

// keeping is what the keeper does to shares.
type keeping struct {
	action, why string
	record      func(ctx context.Context, tx *store.Tx, id, under string) error
}

var (
	suspend = keeping{"grant.suspend", giverLost, func(ctx context.Context, tx *store.Tx, id, under string) error {
		_, err := tx.SuspendGrant(ctx, id, keeper, giverLost, under)
		return err
	}}
	resume = keeping{"grant.resume", giverBack, func(ctx context.Context, tx *store.Tx, id, _ string) error {
		_, err := tx.ResumeGrant(ctx, id, keeper, giverBack)
		return err
	}}
)

// carryOut records what the keeper does to shares and logs it in one transaction, if still
// holds.
func (d *Door) carryOut(ctx context.Context, v keeping, shares []crm.Grant, still func(context.Context, *store.Tx) error) (n int, err error) {
	if len(shares) == 0 {
		return 0, nil
	}
	digest, err := d.digest(ctx)
	if err != nil {
		return 0, err
	}
	err = d.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		n = 0
		if err := tx.AwaitStamp(ctx); err != nil {
			return err
		}
		if err := still(ctx, tx); err != nil {
			return err
		}
		if err := tx.Attribute(ctx, crm.Caller{Subject: keeper}); err != nil {
			return err
		}
		var made []store.Decision
		for _, g := range shares {
			err := v.record(ctx, tx, g.ID, digest)
			if kind := crm.KindOf(err); err != nil && (kind == crm.Conflict || kind == crm.NotFound) {
				continue // somebody was faster
			}
			if err != nil {
				return err
			}
			n++
			made = append(made, store.Decision{
				Subject: keeper, Action: v.action, Entity: g.Entity, Allowed: true,
				Records: []crm.RecordID{g.Record}, Facts: []string{g.ID}, Reasons: []string{v.why}, Bundle: digest,
			})
		}
		return tx.LogDecisions(ctx, made)
	})
	if errors.Is(err, errMoved) {
		return 0, err
	}
	return n, err
}

// SuspendedGrants lists the judgements that wait for review, for who may write
// facts.
func (d *Door) SuspendedGrants(ctx context.Context, c crm.Caller) ([]crm.Grant, error) {
	a, err := d.permit(ctx, c, "agreement.write")
	if err != nil {
		return nil, err
	}
	gs, err := d.store.SuspendedGrants(ctx)
	if err != nil {
		return nil, err
	}
	decision := a.decision("grant.read", "")
	for _, g := range gs {
		decision.Records, decision.Facts = append(decision.Records, g.Record), append(decision.Facts, g.ID)
	}
	return gs, d.journal.add(ctx, decision)
}

// ReinstateGrant lets a suspended judgement hold again. Who may write facts
// decides it, and answers for it from then on.
func (d *Door) ReinstateGrant(ctx context.Context, c crm.Caller, id, reason string) (crm.Grant, error) {
	var back crm.Grant
	err := d.permitted(ctx, c, "agreement.write", func(ctx context.Context, a asking) error {
		if _, err := crm.ParseRecordID(id); err != nil {
			return absent()
		}
		if reason == "" {
			return crm.FieldErrorf("reason", "say why; you answer for the judgement from now on")
		}
		return d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (_ store.Decision, err error) {
			back, err = tx.ReinstateGrant(ctx, id, c.Subject, reason)
			if crm.KindOf(err) == crm.NotFound && err != nil {
				err = absent()
			}
			return store.Decision{Action: "grant.reinstate", Entity: back.Entity, Records: []crm.RecordID{back.Record}, Facts: []string{id}}, err
		})
	})
	return back, err
}
