package access

import (
	"context"
	"errors"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// Create creates records at home. Rows fail independently unless atomic; a row
// that failed carries its error.
func (d *Door) Create(ctx context.Context, c crm.Caller, r CreateRequest) ([]Result, error) {
	w := writing{op: crm.OpCreate, verb: "create", entity: r.Entity, atomic: r.Atomic, key: r.IdempotencyKey, request: r, size: len(r.Rows)}
	return d.write(ctx, c, w, func(ctx context.Context, p *plan) error { return p.creations(ctx, r.Rows) })
}

// Update changes the named fields of records, each at the version it is based
// on.
func (d *Door) Update(ctx context.Context, c crm.Caller, r UpdateRequest) ([]Result, error) {
	w := writing{op: crm.OpUpdate, verb: "update", entity: r.Entity, atomic: r.Atomic, key: r.IdempotencyKey, request: r, size: len(r.Rows)}
	return d.write(ctx, c, w, func(ctx context.Context, p *plan) error { return p.changes(ctx, r.Rows) })
}

// Delete deletes records; a deleted row answers with its last record.
func (d *Door) Delete(ctx context.Context, c crm.Caller, r DeleteRequest) ([]Result, error) {
	w := writing{op: crm.OpDelete, verb: "delete", entity: r.Entity, atomic: r.Atomic, key: r.IdempotencyKey, request: r, size: len(r.Rows)}
	return d.write(ctx, c, w, func(ctx context.Context, p *plan) error { return p.deletions(ctx, r.Rows) })
}

// writing is a write request, whatever it writes.
type writing struct {
	op      crm.Op
	verb    string // what the decision log calls it
	entity  string
	atomic  bool
	key     string // idempotency key
	request any    // what the key stands for
	size    int
}

// row is one row of a write on its way through the door. A row with an error
// goes no further.
type row struct {
	draft   Draft
	base    int64        // version the caller bases the change on
	before  crm.Governed // update: as stored
	touches []string     // field groups the caller writes
	seen    crm.Record   // update, delete: as the caller saw it before
	version int64        // as stored, once it is
	stored  bool         // the write changed something
	taken   bool         // upsert: somebody else's record has the key
	err     error
}

// plan is the attempt to do a writing under one access stamp.
type plan struct {
	*Door
	writing
	asking asking
	def    crm.Definition
	rows   []*row
}

// maxKey bounds an idempotency key.
const maxKey = 255

// write is the path of every write but loads: authorise the pre-image and
// validate (prepare), run the hooks with no transaction open, then one
// transaction that authorises the post-image and holds rows, history, outbox,
// decision and idempotent answer.
func (d *Door) write(ctx context.Context, c crm.Caller, w writing, prepare func(context.Context, *plan) error) ([]Result, error) {
	def, err := d.definition(w.entity)
	if err != nil {
		return nil, err
	}
	if err := bounded(w.size); err != nil {
		return nil, err
	}
	if len(w.key) > maxKey {
		return nil, crm.FieldErrorf("idempotency_key", "has at most %d bytes; a UUID does", maxKey)
	}
	prior, err := d.prior(ctx, c, w)
	if err != nil {
		return nil, err
	}
	if prior != nil {
		return d.results(ctx, c, w, prior)
	}
	var p *plan
	a, err := d.insisting(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		p = &plan{Door: d, writing: w, asking: a, def: def}
		if err := prepare(ctx, p); err != nil {
			return 0, err
		}
		p.runHooks(ctx)
		return a.subject.Stamp, p.commit(ctx)
	})
	if errors.Is(err, errAnswered) { // by a twin of this request, just now
		if prior, err = d.prior(ctx, c, w); err != nil {
			return nil, err
		}
		return d.results(ctx, c, w, prior)
	}
	if err != nil {
		return nil, err
	}
	if d.shade.on() {
		d.shade.wrote(a, def, p.decisions()...)
	}
	return d.results(ctx, c, w, p.outcomes())
}

// runHooks runs the plugins on the rows that are still well, and checks what
// they made of them.
func (p *plan) runHooks(ctx context.Context) {
	var rows []*row
	var drafts []*Draft
	governed := map[*row]crm.Governed{}
	for _, r := range p.rows {
		if r.err == nil {
			rows, drafts = append(rows, r), append(drafts, &r.draft)
			governed[r] = r.draft.Governed
		}
	}
	if len(drafts) > 0 && p.hooks != nil {
		p.hooks.Run(ctx, p.asking.caller.Execution, drafts)
	}
	for _, r := range rows {
		if r.err = r.draft.Err; r.err != nil || r.draft.Op == crm.OpDelete {
			continue
		}
		r.draft.Governed = placed(p.def, governed[r], r.draft.Governed)
		r.err = complete(p.def, r.draft.Fields)
	}
}

// placed is the governance that hooks may leave: they say where a record lies
// and under whose law, never whose it is or that its home is elsewhere.
func placed(def crm.Definition, before, after crm.Governed) crm.Governed {
	if def.Governed == crm.GovernedFromAccount {
		return before // its account decides
	}
	g := before
	g.Territory, g.Segment = after.Territory, after.Segment
	g.Jurisdiction, g.Department, g.Sensitivity = after.Jurisdiction, after.Department, after.Sensitivity
	if g.Jurisdiction == crm.Unassigned {
		g.Jurisdiction = country(g.Territory)
	}
	return g
}

// country is the country a territory lies in: "US" of "US-CA". Regions lie in
// none.
func country(territory string) string {
	if len(territory) >= 2 && (len(territory) == 2 || territory[2] == '-') && alpha(territory[0]) && alpha(territory[1]) {
		return territory[:2]
	}
	return crm.Unassigned
}

func alpha(b byte) bool { return b >= 'A' && b <= 'Z' }

// commit writes the plan in one transaction.
func (p *plan) commit(ctx context.Context) error {
	return p.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		hash := ""
		if p.key != "" && !p.passing() {
			hash = p.hash()
			_, found, err := tx.Idempotent(ctx, p.asking.caller.Subject, p.key, hash)
			if err != nil {
				return err
			}
			if found {
				return errAnswered
			}
		}
		if err := p.writeRows(ctx, tx); err != nil {
			return err
		}
		if err := p.asking.unmoved(ctx, tx); err != nil {
			return err
		}
		if err := tx.LogDecisions(ctx, p.decisions()); err != nil || hash == "" {
			return err
		}
		answer, err := encodeOutcomes(p.outcomes())
		if err != nil {
			return err
		}
		return tx.SaveIdempotent(ctx, p.asking.caller.Subject, p.key, hash, answer)
	})
}

// writeRows stores the rows that are well and keeps what became of each.
func (p *plan) writeRows(ctx context.Context, tx *store.Tx) error {
	batch := store.WriteBatch{Entity: p.def.Entity, Actor: p.asking.caller.Subject, Exec: p.asking.caller.Execution, Atomic: p.atomic}
	var rows []*row
	for i, r := range p.rows {
		if r.err != nil && p.atomic {
			p.abandon(i)
			return nil
		}
		if r.err != nil {
			continue
		}
		w, changes, err := p.toWrite(ctx, r)
		if err != nil {
			return err
		}
		if changes {
			rows, batch.Rows = append(rows, r), append(batch.Rows, w)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	written, err := tx.Write(ctx, batch)
	if err != nil {
		return err
	}
	for i, r := range rows {
		r.version, r.err = written[i].Record.Version, written[i].Err
		r.stored = r.err == nil
		if r.draft.Op == crm.OpCreate && r.err != nil {
			if r.err, err = p.refusedCreation(ctx, tx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// refusedCreation is the answer about a record that was not created. The
// database looks at unique keys before policy does; so that a taken key is no
// news to who could not have created the record with a free one, policy is
// asked again.
func (p *plan) refusedCreation(ctx context.Context, tx *store.Tx, r *row) (refusal, err error) {
	switch crm.KindOf(r.err) {
	case crm.Denied:
		return misplaced(), nil
	case crm.Conflict:
	default:
		return r.err, nil
	}
	_, now, err := tx.Stamp(ctx)
	if err != nil {
		return nil, err
	}
	facts, err := tx.FactsAbout(ctx, r.draft.ID, r.draft.Governed.Account)
	if err != nil {
		return nil, err
	}
	post := crm.Record{Entity: p.def.Entity, ID: r.draft.ID, Governed: r.draft.Governed, Fields: r.draft.Fields}
	allowed, err := p.asking.engine.Allows(ctx, p.asking.subject, crm.ActionCreate, post, facts, now)
	if err != nil {
		return nil, err
	}
	if !allowed {
		return misplaced(), nil
	}
	return r.err, nil
}

func misplaced() error {
	return crm.Errorf(crm.Denied, "you may not create a record that is placed there; choose a territory, segment and department of yours")
}

// abandon fails the well rows of an atomic batch that row i has spoilt.
func (p *plan) abandon(i int) {
	for _, r := range p.rows {
		if r.err == nil {
			r.err = crm.Errorf(crm.Conflict, "not written: row %d of the atomic batch failed", i+1)
		}
	}
}

// toWrite is a row as the store takes it, and whether it changes anything.
func (p *plan) toWrite(ctx context.Context, r *row) (w store.Write, changes bool, err error) {
	d := &r.draft
	w = store.Write{Op: d.Op, ID: d.ID, Base: r.base, Governed: d.Governed, Touches: r.touches, Steps: d.Steps}
	switch d.Op {
	case crm.OpCreate:
		w.Set = map[string]crm.Value{}
		for name, v := range d.Fields {
			if !v.IsNull() {
				w.Set[name] = v
			}
		}
		w.Post, err = p.asking.filter(ctx, crm.ActionCreate, p.def)
		return w, true, err
	case crm.OpDelete:
		w.Pre, err = p.asking.filter(ctx, crm.ActionDelete, p.def)
		return w, true, err
	}
	w.Set = difference(p.def, d.Before, d.Fields)
	if w.Pre, err = p.asking.filter(ctx, crm.ActionUpdate, p.def); err != nil {
		return w, false, err
	}
	w.Post = w.Pre
	moved := placement(r.before) != placement(d.Governed)
	if moved { // nobody moves a record to where they could not have created it
		w.Post, err = p.asking.filter(ctx, crm.ActionCreate, p.def)
	}
	return w, len(w.Set) > 0 || moved || r.before.Pinned != d.Governed.Pinned, err
}

// place is what grounds read of a record's governance.
type place struct {
	home, territory, segment, department, jurisdiction string
	account                                            crm.RecordID
	sensitivity                                        int
}

func placement(g crm.Governed) place {
	return place{g.Home, g.Territory, g.Segment, g.Department, g.Jurisdiction, g.Account, g.Sensitivity}
}

// difference is what a write sets: the fields that differ, null where cleared.
func difference(def crm.Definition, before, after map[string]crm.Value) map[string]crm.Value {
	set := map[string]crm.Value{}
	for _, f := range def.Fields {
		if !before[f.Name].Equal(after[f.Name]) {
			set[f.Name] = after[f.Name]
		}
	}
	return set
}

// decisions are the lines of the log about a plan: one about the rows that
// were written, one about those that were not.
func (p *plan) decisions() []store.Decision {
	done := p.asking.decision(p.verb, p.def.Entity)
	refused := done
	refused.Allowed = false
	seen := map[string]bool{}
	for _, r := range p.rows {
		if r.err == nil {
			done.Records, done.Versions = append(done.Records, r.draft.ID), append(done.Versions, r.version)
			continue
		}
		if r.draft.ID != "" && r.draft.Op != crm.OpCreate {
			refused.Refused = append(refused.Refused, r.draft.ID)
		}
		if kind := string(crm.KindOf(r.err)); !seen[kind] {
			seen[kind] = true
			refused.Reasons = append(refused.Reasons, kind)
		}
	}
	var out []store.Decision
	if len(done.Records) > 0 {
		out = append(out, done)
	}
	if len(refused.Reasons) > 0 {
		out = append(out, refused)
	}
	return out
}
