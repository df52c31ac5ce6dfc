package access

import (
	"context"
	"fmt"
	"slices"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// creations drafts new records.
func (p *plan) creations(ctx context.Context, news []NewRow) error {
	accounts, err := p.accountsOf(ctx, news)
	if err != nil {
		return err
	}
	for _, n := range news {
		r := &row{draft: Draft{Entity: p.def.Entity, Op: crm.OpCreate, ID: crm.NewRecordID()}}
		p.rows = append(p.rows, r)
		if r.draft.Fields, r.touches, r.err = given(p.def, n.Fields); r.err != nil {
			continue
		}
		r.touches = nil // a new record hides nothing from who creates it
		for name := range r.draft.Fields {
			r.draft.Changed = append(r.draft.Changed, name)
		}
		slices.Sort(r.draft.Changed)
		if r.err = requires(p.def, n.Fields); r.err != nil {
			continue
		}
		r.draft.Governed, r.err = p.governanceOf(ctx, r.draft, n, accounts)
	}
	return p.checkReferences(ctx)
}

// requires refuses a new record without a value that no hook is to supply:
// the caller hears of it before any plugin runs.
func requires(def crm.Definition, fields map[string]crm.Value) error {
	for _, f := range def.Fields {
		if f.Required && fields[f.Name].IsNull() {
			return crm.FieldErrorf(f.Name, "is required")
		}
	}
	return nil
}

// governanceOf is where a new record stands before hooks place it. What a
// person names themselves is pinned.
func (p *plan) governanceOf(ctx context.Context, draft Draft, n NewRow, accounts map[crm.RecordID]crm.Record) (crm.Governed, error) {
	g := crm.Governed{
		Home: p.instance, Territory: crm.Unassigned, Segment: crm.Unassigned, Department: crm.Unassigned,
		Owner: crm.Unassigned, Jurisdiction: crm.Unassigned, Account: crm.NoAccount, Sensitivity: n.Sensitivity,
	}
	if n.Sensitivity < 0 || n.Sensitivity > 9 {
		return g, crm.FieldErrorf("sensitivity", "is 0 (open) to 9 (secret)")
	}
	s := p.asking.subject
	if s.Kind == crm.KindPerson {
		g.Owner = string(s.ID)
	}
	if n.Department != "" {
		if s.Kind == crm.KindPerson && !slices.Contains(s.Departments, n.Department) {
			err := crm.Errorf(crm.Denied, "you are not of the department %s; leave it out or name one of yours", n.Department)
			err.Field = "department"
			return g, err
		}
		g.Department = n.Department
	}
	if p.def.Entity == accountEntity {
		g.Account = draft.ID
	}
	if v := draft.Fields[accountField]; !v.IsNull() {
		g.Account = crm.RecordID(v.Text())
		if a, ok := accounts[g.Account]; ok {
			g.Territory, g.Segment, g.Jurisdiction = a.Territory, a.Segment, a.Jurisdiction
			g.Sensitivity = max(g.Sensitivity, a.Sensitivity)
		}
	}
	return p.pin(ctx, g, n.Territory, n.Segment)
}

// An account's children name it in the field accountField.
const (
	accountEntity = "account"
	accountField  = "account_id"
)

// pin places a record where a person says.
func (p *plan) pin(ctx context.Context, g crm.Governed, territory, segment string) (crm.Governed, error) {
	if territory == "" && segment == "" {
		return g, nil
	}
	if p.def.Governed == crm.GovernedFromAccount {
		return g, crm.FieldErrorf("territory", "%s lies where its account lies; move the account", article(p.def))
	}
	knownTerritory, knownSegment, err := p.store.Placed(ctx, territory, segment)
	switch {
	case err != nil:
		return g, err
	case territory != "" && !knownTerritory:
		return g, crm.FieldErrorf("territory", "there is no territory %q", territory)
	case segment != "" && !knownSegment:
		return g, crm.FieldErrorf("segment", "there is no segment %q", segment)
	}
	if territory != "" {
		g.Territory = territory
		g.Jurisdiction = country(territory)
	}
	if segment != "" {
		g.Segment = segment
	}
	g.Pinned = true
	return g, nil
}

func article(def crm.Definition) string {
	if slices.Contains([]byte("aeiou"), def.Entity[0]) {
		return "an " + def.Entity
	}
	return "a " + def.Entity
}

// changes drafts updates.
func (p *plan) changes(ctx context.Context, rows []UpdateRow) error {
	ids := make([]crm.RecordID, len(rows))
	for i, u := range rows {
		ids[i] = u.ID
	}
	before, err := p.preimages(ctx, crm.ActionUpdate, ids)
	if err != nil {
		return err
	}
	for _, u := range rows {
		r := &row{base: u.Version, draft: Draft{Entity: p.def.Entity, Op: crm.OpUpdate, ID: u.ID}}
		p.rows = append(p.rows, r)
		if r.err = before.authorise(r, p.instance); r.err != nil {
			continue
		}
		var set map[string]crm.Value
		if set, r.touches, r.err = given(p.def, u.Fields); r.err != nil {
			continue
		}
		if r.err = before.overwrites(r, p.def, set); r.err != nil {
			continue
		}
		p.change(ctx, r, before.raw[u.ID], set, u)
	}
	return p.checkReferences(ctx)
}

// change applies an update to the record as it is stored.
func (p *plan) change(ctx context.Context, r *row, stored crm.Record, set map[string]crm.Value, u UpdateRow) {
	d := &r.draft
	d.Before, d.Governed = stored.Fields, stored.Governed
	r.before, r.version = stored.Governed, stored.Version
	d.Fields = make(map[string]crm.Value, len(stored.Fields))
	for name, v := range stored.Fields {
		d.Fields[name] = v
	}
	for name, v := range set {
		d.Fields[name] = v
		if !v.Equal(stored.Fields[name]) {
			d.Changed = append(d.Changed, name)
		}
	}
	slices.Sort(d.Changed)
	if v := d.Fields[accountField]; !v.IsNull() && p.def.Entity != accountEntity {
		d.Governed.Account = crm.RecordID(v.Text())
	}
	if u.Unpin {
		if u.Territory != "" || u.Segment != "" {
			r.err = crm.FieldErrorf("unpin", "either place the record or give the placing back, not both")
			return
		}
		d.Reassign, d.Governed.Pinned = d.Governed.Pinned, false
	}
	d.Governed, r.err = p.pin(ctx, d.Governed, u.Territory, u.Segment)
}

// deletions drafts deletes.
func (p *plan) deletions(ctx context.Context, rows []DeleteRow) error {
	ids := make([]crm.RecordID, len(rows))
	for i, x := range rows {
		ids[i] = x.ID
	}
	before, err := p.preimages(ctx, crm.ActionDelete, ids)
	if err != nil {
		return err
	}
	for _, x := range rows {
		r := &row{base: x.Version, draft: Draft{Entity: p.def.Entity, Op: crm.OpDelete, ID: x.ID}}
		p.rows = append(p.rows, r)
		if r.err = before.authorise(r, p.instance); r.err == nil {
			stored := before.raw[x.ID]
			r.draft.Before, r.draft.Governed, r.version = stored.Fields, stored.Governed, stored.Version
		}
	}
	return nil
}

// preimages are records as they are before a write: as the caller may read
// them, as the caller may do the action to them, and as they are.
type preimages struct {
	action    crm.Action
	seen, may map[crm.RecordID]crm.Record
	raw       map[crm.RecordID]crm.Record
}

// preimages runs the same statements whatever is hidden and whatever absent.
func (p *plan) preimages(ctx context.Context, action crm.Action, ids []crm.RecordID) (pre preimages, err error) {
	pre.action = action
	if pre.seen, err = p.reach(ctx, p.def, crm.ActionRead, ids); err != nil {
		return pre, err
	}
	if pre.may, err = p.reach(ctx, p.def, action, ids); err != nil {
		return pre, err
	}
	pre.raw, err = p.store.Load(ctx, p.def.Entity, ids)
	return pre, err
}

// reach is those of ids on which the caller may do an action.
func (p *plan) reach(ctx context.Context, def crm.Definition, action crm.Action, ids []crm.RecordID) (map[crm.RecordID]crm.Record, error) {
	f, err := p.asking.filter(ctx, action, def)
	if err != nil {
		return nil, err
	}
	page, err := p.store.Get(ctx, store.Read{Entity: def.Entity, Filter: f, IDs: ids})
	if err != nil {
		return nil, err
	}
	return byID(page.Records), nil
}

// authorise says whether the caller may begin to write the row. That a record
// is hidden comes before everything else.
func (pre preimages) authorise(r *row, instance string) error {
	seen, ok := pre.seen[r.draft.ID]
	raw, stored := pre.raw[r.draft.ID]
	if !ok || !stored {
		return absent()
	}
	r.seen = seen
	if seen.Home != instance {
		return crm.NotHomeError(seen.Home)
	}
	if _, ok := pre.may[r.draft.ID]; !ok {
		return crm.Errorf(crm.Denied, "you may read this record but not %s it", pre.action)
	}
	switch {
	case r.base == 0:
		return crm.Errorf(crm.PreconditionRequired, "say which version you are changing; the record is at version %d", seen.Version)
	case r.base != raw.Version: // read last: a change that was just made by another is no change of ours
		return crm.Errorf(crm.Stale, "the record is at version %d, the change is based on %d; read it again", raw.Version, r.base)
	}
	return nil
}

// overwrites refuses to set a field that is hidden from the caller, or shown
// masked: nobody overwrites what they cannot see.
func (pre preimages) overwrites(r *row, def crm.Definition, set map[string]crm.Value) error {
	may := pre.may[r.draft.ID]
	hidden := slices.Concat(r.seen.Withheld, r.seen.Masked, may.Withheld, may.Masked)
	for _, f := range def.Fields {
		if _, ok := set[f.Name]; ok && slices.Contains(hidden, f.Group) {
			err := crm.Errorf(crm.Denied, "the fields of group %s are withheld from you on this record; leave them out", f.Group)
			err.Field = f.Name
			return err
		}
	}
	return nil
}

// accountsOf are the accounts that new rows name, as far as the caller may
// know of them.
func (p *plan) accountsOf(ctx context.Context, news []NewRow) (map[crm.RecordID]crm.Record, error) {
	f, ok := p.def.Field(accountField)
	if !ok || f.Reference != accountEntity {
		return nil, nil
	}
	var ids []crm.RecordID
	for _, n := range news {
		if id, err := crm.ParseRecordID(n.Fields[accountField].Text()); err == nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return p.known(ctx, accountEntity, ids)
}

// checkReferences refuses rows that newly refer to a record the caller may not
// know of, in the words for one that does not exist.
func (p *plan) checkReferences(ctx context.Context) error {
	for _, f := range p.def.Fields {
		if f.Type != crm.TypeReference {
			continue
		}
		var ids []crm.RecordID
		for _, r := range p.rows {
			if id := r.refersTo(f.Name); id != "" && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		known, err := p.known(ctx, f.Reference, ids)
		if err != nil {
			return err
		}
		for _, r := range p.rows {
			if id := r.refersTo(f.Name); id != "" {
				if _, ok := known[id]; !ok {
					r.err = crm.FieldErrorf(f.Name, "there is no such %s", f.Reference)
				}
			}
		}
	}
	return nil
}

// refersTo is the record a well row begins to refer to in a field.
func (r *row) refersTo(field string) crm.RecordID {
	v := r.draft.Fields[field]
	if r.err != nil || v.IsNull() || v.Equal(r.draft.Before[field]) {
		return ""
	}
	return crm.RecordID(v.Text())
}

// known is those of ids the caller may refer to: who may read them, and a
// loader, who reads nothing, those it may write.
func (p *plan) known(ctx context.Context, entity string, ids []crm.RecordID) (map[crm.RecordID]crm.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	def, ok := p.store.Definition(entity)
	if !ok {
		return nil, fmt.Errorf("reference to %s: no such entity", entity)
	}
	known := map[crm.RecordID]crm.Record{}
	actions := []crm.Action{crm.ActionRead}
	if p.asking.subject.Kind == crm.KindService {
		actions = append(actions, crm.ActionUpdate)
	}
	for _, action := range actions {
		reached, err := p.reach(ctx, def, action, ids)
		if err != nil {
			return nil, err
		}
		for id, rec := range reached {
			known[id] = rec
		}
	}
	return known, nil
}
