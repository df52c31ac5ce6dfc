package access

import (
	"context"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// Import lets in what another instance sent under contract. Rows fail
// independently; commit runs in the same transaction with an error (or nil) per
// row, so that a cursor moves, and a poison row is parked, with the rows. An
// error of commit undoes all.
//
// An instance speaks for its own records only, and a contract brings only the
// groups it names. What ends a stay is let in even when the contract is over.
func (d *Door) Import(ctx context.Context, contract crm.Contract, rows []ImportRow, commit func(ctx context.Context, tx *store.Tx, errs []error) error) ([]error, error) {
	def, err := d.definition(contract.Entity)
	if err != nil {
		return nil, err
	}
	ids := make([]crm.RecordID, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	digest, err := d.digest(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	err = d.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		inForce, known, err := tx.Contract(ctx, contract.ID)
		if err != nil {
			return err
		}
		here, err := tx.Load(ctx, def.Entity, ids)
		if err != nil {
			return err
		}
		arrival := &arrival{instance: d.instance, claimed: contract, contract: inForce, inForce: known, def: def, here: here}
		errs = make([]error, len(rows))
		var writes []store.ImportWrite
		var at []int
		for i, r := range rows {
			w, err := arrival.admit(r)
			if err != nil {
				errs[i] = err
				continue
			}
			writes, at = append(writes, w), append(at, i)
		}
		if len(writes) > 0 {
			outcome, err := tx.Import(ctx, writes)
			if err != nil {
				return err
			}
			for n, i := range at {
				errs[i] = outcome[n]
			}
		}
		if err := tx.LogDecisions(ctx, arrival.decisions(rows, errs, digest)); err != nil {
			return err
		}
		if commit == nil {
			return nil
		}
		return commit(ctx, tx, errs)
	})
	return errs, err
}

// arrival judges what comes in under one contract.
type arrival struct {
	instance string
	claimed  crm.Contract // what the stream says it is under
	contract crm.Contract // the same as this instance signed it
	inForce  bool
	def      crm.Definition
	here     map[crm.RecordID]crm.Record // what is held under the ids already
}

// admit is a row as the store takes it, or why it may not come in.
func (a *arrival) admit(r ImportRow) (store.ImportWrite, error) {
	w := store.ImportWrite{
		Op: r.Op, Entity: a.def.Entity, ID: r.ID, Version: r.Version, Contract: a.claimed.ID,
		Epoch: r.Epoch, Exposure: r.Exposure, Governed: r.Governed, Exec: r.Exec,
	}
	if here, ok := a.here[r.ID]; ok && here.Home != a.claimed.Source {
		return w, crm.Errorf(crm.Denied, "the record's home is %s; %s does not speak for it", here.Home, a.claimed.Source)
	}
	if (r.Entity != "" && r.Entity != a.def.Entity) || (r.Contract != "" && r.Contract != a.claimed.ID) {
		return w, crm.Errorf(crm.Denied, "the row is not of contract %s", a.claimed.ID)
	}
	switch r.Op {
	case crm.OpDelete, crm.OpRetract, crm.OpErase:
		w.Governed.Home = a.claimed.Source
		return w, nil
	case crm.OpUpsert, crm.OpSnapshot:
	default:
		return w, crm.FieldErrorf("op", "%q does not come in", r.Op)
	}
	c := a.contract
	switch {
	case !a.inForce || c.Entity != a.def.Entity || c.Source != a.claimed.Source || c.Destination != a.instance:
		return w, crm.Errorf(crm.Denied, "no contract %s with %s about %s is in force here", a.claimed.ID, a.claimed.Source, a.def.Entity)
	case r.Governed.Home != c.Source:
		return w, crm.Errorf(crm.Denied, "the row says its home is %s; %s speaks for its own records only", r.Governed.Home, c.Source)
	}
	w.Governed.Withheld = nil
	for _, g := range a.def.Groups() {
		if !slices.Contains(c.Groups, g) || slices.Contains(r.Governed.Withheld, g) {
			w.Governed.Withheld = append(w.Governed.Withheld, g)
		}
	}
	w.Governed.Department = crm.Unassigned
	if c.Arrives.Department != "" {
		w.Governed.Department = c.Arrives.Department
	}
	w.Governed.Sensitivity = max(r.Governed.Sensitivity, c.Arrives.Sensitivity)
	w.Governed.Pinned = false
	w.Fields = make(map[string]crm.Value, len(r.Fields))
	for name, v := range r.Fields {
		f, ok := a.def.Field(name)
		if !ok {
			continue // its group is unknown here: revealed to nobody, so not kept
		}
		if slices.Contains(w.Governed.Withheld, f.Group) {
			err := crm.Errorf(crm.Denied, "group %s is not to come under contract %s", f.Group, c.ID)
			err.Field = name
			return w, err
		}
		f.Required, f.Enum = false, nil // the home's rules held when it was written
		var err error
		if w.Fields[name], err = canonical(f, v); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (a *arrival) decisions(rows []ImportRow, errs []error, digest string) []store.Decision {
	done := store.Decision{
		Subject: crm.SubjectID("contract:" + a.claimed.ID), Action: "import", Entity: a.def.Entity, Allowed: true, Bundle: digest,
	}
	refused := done
	refused.Allowed = false
	for i, r := range rows {
		if done.Execution == "" {
			done.Execution, refused.Execution = r.Exec, r.Exec
		}
		if errs[i] == nil {
			done.Records, done.Versions = append(done.Records, r.ID), append(done.Versions, r.Version)
			continue
		}
		refused.Refused = append(refused.Refused, r.ID)
		if kind := string(crm.KindOf(errs[i])); !slices.Contains(refused.Reasons, kind) {
			refused.Reasons = append(refused.Reasons, kind)
		}
	}
	var out []store.Decision
	if len(done.Records) > 0 {
		out = append(out, done)
	}
	if len(refused.Refused) > 0 {
		out = append(out, refused)
	}
	return out
}

// Project says of each id, in order, what contract lets its destination hold
// of the record now, read in the caller's transaction. A record that is gone,
// or whose home is elsewhere, is out of scope; so is everything when the
// contract is not in force. The egress ledger is its decision log.
func (d *Door) Project(ctx context.Context, tx *store.Tx, contract crm.Contract, ids []crm.RecordID) ([]Projection, error) {
	def, err := d.definition(contract.Entity)
	if err != nil {
		return nil, err
	}
	out := make([]Projection, len(ids))
	for i, id := range ids {
		out[i].ID = id
	}
	var stale int64
	for range attempts {
		receiver, inForce, err := d.receivers.load(contract.ID, stale, func() (crm.Subject, bool, error) { return tx.Receiver(ctx, contract.ID) })
		if err != nil {
			return nil, err
		}
		engine, err := d.engines.decides(ctx, receiver.Activation, receiver.Bundle)
		if err != nil {
			if stamp, _, stampErr := tx.Stamp(ctx); stampErr != nil || stamp == receiver.Stamp {
				return nil, err
			}
			stale = receiver.Stamp // something else is in force by now
			continue
		}
		for i := range out {
			out[i].Bundle = engine.Digest()
		}
		if !inForce {
			return out, nil
		}
		f, err := engine.Filter(ctx, receiver, crm.ActionPublish, def.Entity, def.Groups())
		if err != nil {
			return nil, err
		}
		page, err := tx.Get(ctx, store.Read{Entity: def.Entity, Filter: f, IDs: ids})
		if err != nil {
			return nil, err
		}
		if page.Stamp != receiver.Stamp {
			stale = receiver.Stamp
			continue
		}
		found := byID(page.Records)
		for i, id := range ids {
			rec, ok := found[id]
			if out[i].InScope = ok && rec.Home == d.instance; out[i].InScope {
				out[i].Record = rec
			}
		}
		return out, nil
	}
	return nil, &crm.Error{Kind: crm.Unavailable, Msg: "access facts are changing too fast to project records; try again", RetryAfter: time.Second}
}
