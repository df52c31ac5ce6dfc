package access

import (
	"context"
	"errors"
	"maps"
	"slices"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// errDry undoes a dry run.
var errDry = errors.New("dry run")

// Upsert inserts or updates by the entity's key, for loads. It answers no
// values: who loads need not read.
func (d *Door) Upsert(ctx context.Context, c crm.Caller, r UpsertRequest) ([]UpsertOutcome, error) {
	def, err := d.definition(r.Entity)
	if err != nil {
		return nil, err
	}
	if def.Key == "" {
		return nil, crm.FieldErrorf("entity", "%s has no key to find records by; create and update them by id", def.Entity)
	}
	if err := bounded(len(r.Rows)); err != nil {
		return nil, err
	}
	var outcomes []UpsertOutcome
	var u *upsert
	a, err := d.insisting(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		u = &upsert{plan: plan{Door: d, writing: writing{verb: "upsert"}, asking: a, def: def}, request: r}
		if err := u.prepare(ctx); err != nil {
			return 0, err
		}
		u.runHooks(ctx)
		if err := u.takeTurn(ctx); err != nil {
			return 0, err
		}
		err := u.commit(ctx)
		outcomes = u.outcomes
		return a.subject.Stamp, err
	})
	if err == nil && !r.DryRun && d.shade.on() {
		d.shade.wrote(a, def, u.decisions()...)
	}
	return outcomes, err
}

// upsert is the attempt to do an UpsertRequest under one access stamp.
type upsert struct {
	plan
	request  UpsertRequest
	outcomes []UpsertOutcome
	entries  []entry // one per row of the request
	early    bool    // the rows were read before it was their turn
}

// entry is where a row of the request went. Rows with the same key go into one
// write, the later over the earlier, each with its own outcome.
type entry struct {
	row   *row // nil if the entry was refused before it found one
	first bool // of its key
	adds  bool // a later one that says something new
	err   error
}

// prepare finds what is stored under the rows' keys and drafts the writes.
func (u *upsert) prepare(ctx context.Context) error {
	sets, err := u.resolve(ctx)
	if err != nil {
		return err
	}
	var keys []string
	for _, set := range sets {
		if k := set[u.def.Key].Text(); k != "" {
			keys = append(keys, k)
		}
	}
	found, err := u.store.FindByKey(ctx, u.def.Entity, keys)
	if err != nil {
		return err
	}
	ids := make([]crm.RecordID, 0, len(found))
	for _, id := range found {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	before := preimages{action: crm.ActionUpdate}
	if before.may, err = u.reach(ctx, u.def, crm.ActionUpdate, ids); err != nil {
		return err
	}
	if before.raw, err = u.store.Load(ctx, u.def.Entity, ids); err != nil {
		return err
	}
	news := make([]NewRow, len(sets))
	for i, set := range sets {
		news[i].Fields = set
	}
	accounts, err := u.accountsOf(ctx, news)
	if err != nil {
		return err
	}
	rows := map[string]*row{}
	for i, set := range sets {
		e := &u.entries[i]
		if e.err != nil {
			continue
		}
		k := set[u.def.Key].Text()
		if e.row = rows[k]; e.row != nil {
			e.adds = e.row.overlay(set)
			continue
		}
		e.first = true
		e.row = u.draft(ctx, found[k], before, set, accounts)
		rows[k], u.rows = e.row, append(u.rows, e.row)
	}
	return u.checkReferences(ctx)
}

// resolve checks the values of each row and turns references by key into
// references by id.
func (u *upsert) resolve(ctx context.Context) ([]map[string]crm.Value, error) {
	u.entries = make([]entry, len(u.request.Rows))
	sets := make([]map[string]crm.Value, len(u.request.Rows))
	keys := map[string][]string{} // by reference field
	for i, r := range u.request.Rows {
		sets[i], _, u.entries[i].err = given(u.def, r.Fields)
		if u.entries[i].err == nil && sets[i][u.def.Key].Text() == "" {
			u.entries[i].err = crm.FieldErrorf(u.def.Key, "is required; it says which %s the row is about", u.def.Entity)
		}
		for field, key := range r.References {
			keys[field] = append(keys[field], key)
		}
	}
	for field, keys := range keys {
		f, ok := u.def.Field(field)
		if !ok || f.Type != crm.TypeReference {
			return nil, crm.FieldErrorf(field, "%s has no such reference", u.def.Entity)
		}
		ids, err := u.referable(ctx, f.Reference, keys)
		if err != nil {
			return nil, err
		}
		for i, r := range u.request.Rows {
			key, refers := r.References[field]
			if !refers || u.entries[i].err != nil {
				continue
			}
			if id, ok := ids[key]; ok {
				sets[i][field] = crm.Reference(id)
			} else {
				u.entries[i].err = crm.FieldErrorf(field, "there is no such %s", f.Reference)
			}
		}
	}
	return sets, nil
}

// referable are the ids of keys, of those records that the caller may refer to.
// A hidden one is missing here as an absent one is: its row is refused in the
// same words, before anything else is said about it, and after the same
// statements (I4).
func (u *upsert) referable(ctx context.Context, entity string, keys []string) (map[string]crm.RecordID, error) {
	ids, err := u.store.FindByKey(ctx, entity, keys)
	if err != nil {
		return nil, err
	}
	asked := slices.Sorted(maps.Values(ids))
	if len(asked) == 0 {
		asked = []crm.RecordID{crm.NewRecordID()}
	}
	known, err := u.known(ctx, entity, asked)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(ids, func(_ string, id crm.RecordID) bool {
		_, ok := known[id]
		return !ok
	})
	return ids, nil
}

// draft is the write for the first row of a key: an update of what is stored
// under it, or a new record.
func (u *upsert) draft(ctx context.Context, id crm.RecordID, before preimages, set map[string]crm.Value, accounts map[crm.RecordID]crm.Record) *row {
	r := &row{draft: Draft{Entity: u.def.Entity, Op: crm.OpUpdate, ID: id}}
	_, r.taken = before.raw[id]
	if _, ok := before.may[id]; ok && r.taken {
		stored := before.raw[id]
		r.taken, r.base = false, stored.Version
		r.touches = groupsOf(u.def, set)
		if r.err = before.overwrites(r, u.def, set); r.err == nil {
			u.change(ctx, r, stored, set, UpdateRow{})
		}
		return r
	}
	// If the key is taken by a record the caller may not change, they create
	// like anybody who does not know of it, and hear what those hear.
	r.draft.Op, r.draft.ID, r.draft.Fields = crm.OpCreate, crm.NewRecordID(), map[string]crm.Value{}
	r.overlay(set)
	if r.err = requires(u.def, set); r.err == nil {
		r.draft.Governed, r.err = u.governanceOf(ctx, r.draft, NewRow{}, accounts)
	}
	return r
}

func groupsOf(def crm.Definition, set map[string]crm.Value) (groups []string) {
	for _, f := range def.Fields {
		if _, ok := set[f.Name]; ok && !slices.Contains(groups, f.Group) {
			groups = append(groups, f.Group)
		}
	}
	return groups
}

// overlay sets fields over a draft and says whether that changed it.
func (r *row) overlay(set map[string]crm.Value) bool {
	changed := false
	for name, v := range set {
		if v.Equal(r.draft.Fields[name]) {
			continue
		}
		changed = true
		if r.draft.Fields != nil {
			r.draft.Fields[name] = v
		}
		if !slices.Contains(r.draft.Changed, name) {
			r.draft.Changed = append(r.draft.Changed, name)
		}
	}
	slices.Sort(r.draft.Changed)
	return changed
}

// takeTurn waits for the request before this one. A row that was refused
// because it refers to a record may refer to one that came with that request.
func (u *upsert) takeTurn(ctx context.Context) (err error) {
	if u.request.Turn == nil {
		return nil
	}
	if u.early, err = u.request.Turn(ctx); err != nil || !u.early {
		return err
	}
	for i, e := range u.entries {
		if refused := e.err != nil || e.row.err != nil; refused && len(u.request.Rows[i].References) > 0 {
			return errMoved
		}
	}
	return nil
}

// overtaken looks again at rows that seemed to change nothing: if the request
// before this one changed their record, what they say is news after all. The
// other rows find out when they are written.
func (u *upsert) overtaken(ctx context.Context, tx *store.Tx) error {
	if !u.early {
		return nil
	}
	seen := map[crm.RecordID]int64{}
	for _, r := range u.rows {
		if r.err == nil && r.draft.Op == crm.OpUpdate && len(r.draft.Changed) == 0 {
			seen[r.draft.ID] = r.base
		}
	}
	now, err := tx.Versions(ctx, u.def.Entity, slices.Collect(maps.Keys(seen)))
	if err == nil && !maps.Equal(now, seen) {
		err = errMoved
	}
	return err
}

// runHooks leaves out what changes nothing: a file that is loaded again costs
// a comparison.
func (u *upsert) runHooks(ctx context.Context) {
	all := u.rows
	u.rows = slices.DeleteFunc(slices.Clone(all), func(r *row) bool {
		return r.draft.Op == crm.OpUpdate && len(r.draft.Changed) == 0
	})
	u.plan.runHooks(ctx)
	u.rows = all
}

// commit writes rows, decisions and what the request wants kept with them in
// one transaction. A dry run writes all the same, to hear of every conflict,
// and takes it back; only what the request keeps is kept.
func (u *upsert) commit(ctx context.Context) error {
	err := u.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := u.overtaken(ctx, tx); err != nil {
			return err
		}
		if err := u.writeRows(ctx, tx); err != nil {
			return err
		}
		if u.raced() {
			return errMoved
		}
		if err := u.asking.unmoved(ctx, tx); err != nil {
			return err
		}
		u.conclude()
		if u.request.DryRun {
			return errDry
		}
		if err := tx.LogDecisions(ctx, u.decisions()); err != nil {
			return err
		}
		return u.keep(ctx, tx)
	})
	if errors.Is(err, errDry) {
		return u.store.Tx(ctx, u.keep)
	}
	return err
}

func (u *upsert) keep(ctx context.Context, tx *store.Tx) error {
	if u.request.Commit == nil {
		return nil
	}
	return u.request.Commit(ctx, tx, u.outcomes)
}

// raced says whether somebody wrote one of the rows between our reading and
// writing it. A load is not to be told to read again: it is done again.
func (u *upsert) raced() bool {
	return slices.ContainsFunc(u.rows, func(r *row) bool {
		e, ok := errors.AsType[*crm.Error](r.err)
		taken := r.draft.Op == crm.OpCreate && !r.taken && e != nil && e.Kind == crm.Conflict && e.Field == u.def.Key
		return ok && (e.Kind == crm.Stale || taken)
	})
}

// conclude says what became of each row of the request.
func (u *upsert) conclude() {
	u.outcomes = make([]UpsertOutcome, len(u.entries))
	for i, e := range u.entries {
		o := &u.outcomes[i]
		switch {
		case e.err != nil:
			o.Err = e.err
		case e.row.err != nil:
			o.Err = e.row.err
		default:
			o.ID = e.row.draft.ID
			o.Inserted = e.first && e.row.draft.Op == crm.OpCreate
			o.Updated = !o.Inserted && (e.first && e.row.stored || e.adds)
			o.Unchanged = !o.Inserted && !o.Updated
		}
	}
}
