package access

import (
	"context"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// Sizes of a page and of a batch.
const (
	defaultLimit = 50
	maxLimit     = 1000
)

// List answers a page of the records the caller may read, and the cursor of
// the next.
func (d *Door) List(ctx context.Context, c crm.Caller, r ListRequest) ([]crm.Record, string, error) {
	def, read, err := d.asked(r.Entity, r.Filter, r.Limit)
	if err != nil {
		return nil, "", err
	}
	if read.Sort, err = crm.ParseSort(def, r.Sort); err != nil {
		return nil, "", err
	}
	read.Cursor, read.IDs = r.Cursor, r.IDs
	return d.page(ctx, c, "list", def, read)
}

// Search answers a page of the records that have what the query looks for in
// the groups the caller may read, best match first.
func (d *Door) Search(ctx context.Context, c crm.Caller, r SearchRequest) ([]crm.Record, string, error) {
	def, read, err := d.asked(r.Entity, r.Filter, r.Limit)
	if err != nil {
		return nil, "", err
	}
	search, err := crm.ParseSearch(r.Query)
	if err != nil {
		return nil, "", err
	}
	read.Search, read.Cursor = &search, r.Cursor
	return d.page(ctx, c, "search", def, read)
}

// asked is what a caller asks to read of an entity, before policy has a say.
func (d *Door) asked(entity, filter string, limit int) (crm.Definition, store.Read, error) {
	def, err := d.definition(entity)
	if err != nil {
		return def, store.Read{}, err
	}
	where, err := crm.ParseCondition(def, filter)
	if err != nil {
		return def, store.Read{}, err
	}
	switch {
	case limit < 0:
		return def, store.Read{}, crm.FieldErrorf("limit", "a page has at least one record")
	case limit == 0:
		limit = defaultLimit
	}
	return def, store.Read{Entity: def.Entity, Where: where, Limit: min(limit, maxLimit)}, nil
}

// page reads a page under the caller's filter and logs what it showed.
func (d *Door) page(ctx context.Context, c crm.Caller, action string, def crm.Definition, read store.Read) ([]crm.Record, string, error) {
	page, decision, err := d.decided(ctx, c, action, def, read)
	if err != nil {
		return nil, "", err
	}
	return page.Records, page.Next, d.journal.add(ctx, decision)
}

// decided is page with the decision for the caller to log.
func (d *Door) decided(ctx context.Context, c crm.Caller, action string, def crm.Definition, read store.Read) (page store.Page, decision store.Decision, err error) {
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		if read.Filter, err = a.filter(ctx, crm.ActionRead, def); err != nil {
			return 0, err
		}
		page, err = d.store.List(ctx, read)
		return page.Stamp, err
	})
	if err != nil {
		return store.Page{}, decision, err
	}
	decision = a.decision(action, def.Entity)
	decision.Records, decision.Versions = pointers(page.Records)
	d.shade.see(a, action, def, read, answered{ids: decision.Records})
	return page, decision, nil
}

// Count counts what List would answer in all pages.
func (d *Door) Count(ctx context.Context, c crm.Caller, entity, filter string) (int64, error) {
	def, err := d.definition(entity)
	if err != nil {
		return 0, err
	}
	where, err := crm.ParseCondition(def, filter)
	if err != nil {
		return 0, err
	}
	read := store.Read{Entity: def.Entity, Where: where}
	var n int64
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (stamp int64, err error) {
		if read.Filter, err = a.filter(ctx, crm.ActionRead, def); err != nil {
			return 0, err
		}
		n, stamp, err = d.store.Count(ctx, read)
		return stamp, err
	})
	if err != nil {
		return 0, err
	}
	d.shade.see(a, "count", def, read, answered{})
	decision := a.decision("count", def.Entity)
	decision.Found = &n
	return n, d.journal.add(ctx, decision)
}

// Get answers each id in order: the record, or not_found.
func (d *Door) Get(ctx context.Context, c crm.Caller, entity string, ids []crm.RecordID) ([]Result, error) {
	def, err := d.definition(entity)
	if err != nil {
		return nil, err
	}
	if err := bounded(len(ids)); err != nil {
		return nil, err
	}
	read := store.Read{Entity: def.Entity, IDs: ids}
	var page store.Page
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (_ int64, err error) {
		if read.Filter, err = a.filter(ctx, crm.ActionRead, def); err != nil {
			return 0, err
		}
		page, err = d.store.Get(ctx, read)
		return page.Stamp, err
	})
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(ids))
	found := byID(page.Records)
	decision := a.decision("get", def.Entity)
	decision.Records, decision.Versions = pointers(page.Records)
	d.shade.see(a, "get", def, read, answered{ids: decision.Records})
	for i, id := range ids {
		rec, ok := found[id]
		if !ok {
			results[i].Err = absent()
			decision.Refused = append(decision.Refused, id)
			continue
		}
		results[i].Record = rec
	}
	decision.Allowed = len(decision.Refused) == 0
	return results, d.journal.add(ctx, decision)
}

// Visible lists the ids of the records that the caller may read and filter
// selects, with the access stamp they hold under. Watchers start from it.
func (d *Door) Visible(ctx context.Context, c crm.Caller, entity, filter string) ([]crm.RecordID, int64, error) {
	def, err := d.definition(entity)
	if err != nil {
		return nil, 0, err
	}
	where, err := crm.ParseCondition(def, filter)
	if err != nil {
		return nil, 0, err
	}
	read := store.Read{Entity: def.Entity, Where: where}
	var ids []crm.RecordID
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (stamp int64, err error) {
		if read.Filter, err = a.filter(ctx, crm.ActionRead, def); err != nil {
			return 0, err
		}
		ids, stamp, err = d.store.VisibleIDs(ctx, read)
		return stamp, err
	})
	if err != nil {
		return nil, 0, err
	}
	d.shade.see(a, "watch", def, read, answered{})
	// Ids without values: the watcher's reads log what it is shown.
	n := int64(len(ids))
	decision := a.decision("watch", def.Entity)
	decision.Found = &n
	return ids, a.subject.Stamp, d.journal.add(ctx, decision)
}

// History lists the versions of one record, newest first, from before version
// before (0: from the newest). It is readable while the record itself, or its
// last version before it was deleted, is.
func (d *Door) History(ctx context.Context, c crm.Caller, entity string, id crm.RecordID, limit int, before int64) ([]crm.Version, error) {
	def, err := d.definition(entity)
	if err != nil {
		return nil, err
	}
	switch {
	case limit < 0 || before < 0:
		return nil, crm.FieldErrorf("limit", "limit and version are not negative")
	case limit == 0:
		limit = defaultLimit
	}
	read := store.Read{Entity: def.Entity, IDs: []crm.RecordID{id}}
	var versions []crm.Version
	hidden := false
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (stamp int64, err error) {
		if read.Filter, err = a.filter(ctx, crm.ActionRead, def); err != nil {
			return 0, err
		}
		versions, stamp, err = d.store.History(ctx, read, min(limit, maxLimit), before)
		hidden = len(versions) == 0
		if hidden && before > 0 && err == nil { // or there are none before that version
			newest, stamp, err := d.store.History(ctx, read, 1, 0)
			hidden = len(newest) == 0
			return stamp, err
		}
		return stamp, err
	})
	if err != nil {
		return nil, err
	}
	d.shade.see(a, "history", def, read, answered{limit: min(limit, maxLimit), before: before})
	decision := a.decision("history", def.Entity)
	if hidden {
		decision.Allowed, decision.Refused = false, []crm.RecordID{id}
		if err := d.journal.add(ctx, decision); err != nil {
			return nil, err
		}
		return nil, absent()
	}
	for _, v := range versions {
		decision.Records, decision.Versions = append(decision.Records, v.ID), append(decision.Versions, v.Version)
	}
	return versions, d.journal.add(ctx, decision)
}

// bounded refuses a batch that is empty of sense or too large to be one.
func bounded(n int) error {
	if n > maxLimit {
		return crm.Errorf(crm.Invalid, "a batch has at most %d records; split this one of %d", maxLimit, n)
	}
	return nil
}

func byID(records []crm.Record) map[crm.RecordID]crm.Record {
	m := make(map[crm.RecordID]crm.Record, len(records))
	for _, r := range records {
		m[r.ID] = r
	}
	return m
}

// pointers are ids and versions of records, for the decision log.
func pointers(records []crm.Record) (ids []crm.RecordID, versions []int64) {
	for _, r := range records {
		ids, versions = append(ids, r.ID), append(versions, r.Version)
	}
	return ids, versions
}
