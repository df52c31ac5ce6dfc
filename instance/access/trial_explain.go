package access

import (
	"context"
	"slices"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// telling is a record that the decision at is treats differently, and the
// check that says so.
type telling struct {
	is    int
	about ReplayedRecord
	check
}

// explained is what an explanation depends on.
type explained struct {
	action  crm.Action
	entity  string
	id      crm.RecordID
	version int64
	span    span
}

// explain adds differing records to their decisions, with the reasons and field
// groups that are one bundle's alone. One that both bundles decide alike about
// for the same reasons has none.
func (t *trial) explain(ctx context.Context, def crm.Definition, differing []telling, out []retrial) error {
	for part := range slices.Chunk(differing, rowsAtOnce) {
		rows := make([]store.PastRow, len(part))
		for i, d := range part {
			rows[i] = d.row
		}
		images, err := t.d.store.PastImages(ctx, def.Entity, rows)
		if err != nil {
			return err
		}
		if err := t.reasons(ctx, def, part, images); err != nil {
			return err
		}
		for _, d := range part {
			o := &out[d.is]
			o.verdict, o.why, o.differing = differs, "", append(o.differing, d.about)
		}
	}
	return nil
}

// reasons fills in the reasons, of each record once for all the decisions under
// which it was the same.
func (t *trial) reasons(ctx context.Context, def crm.Definition, part []telling, images []*crm.Version) error {
	if t.explained == nil {
		t.explained = map[explained]*ReplayedRecord{}
	}
	keys := make([]explained, len(part))
	var asked []store.About
	var first []int
	pending := map[explained]bool{}
	for i, d := range part {
		if images[i] == nil {
			continue
		}
		p, err := t.pair(ctx, d.action, def)
		if err != nil {
			return err
		}
		key := explained{d.action, def.Entity, d.row.ID, images[i].Version, p.span(d.row.At)}
		if keys[i] = key; t.explained[key] == nil && !pending[key] {
			pending[key] = true
			asked, first = append(asked, store.About{ID: d.row.ID, Account: images[i].Account, At: d.row.At}), append(first, i)
		}
	}
	facts, err := t.d.store.FactsAboutMany(ctx, asked)
	if err != nil {
		return err
	}
	for n, i := range first {
		q := question{subject: t.subject, action: part[i].action, def: def, rec: images[i].Record, facts: facts[n], now: part[i].row.At}
		if t.explained[keys[i]], err = t.apart(ctx, q); err != nil {
			return err
		}
		if err := t.beat(); err != nil {
			return err
		}
	}
	for i := range part {
		if images[i] == nil {
			continue
		}
		r, why := &part[i].about, t.explained[keys[i]]
		r.Version, r.Opens, r.Closes, r.Opened, r.Closed = why.Version, why.Opens, why.Closes, why.Opened, why.Closed
		if r.Was && r.Is && r.Hides == nil {
			r.Shows, r.Masks, r.Hides = why.Shows, why.Masks, why.Hides
		}
	}
	return nil
}

// apart says which reasons and groups are the one bundle's alone.
func (t *trial) apart(ctx context.Context, q question) (*ReplayedRecord, error) {
	q.engine = t.before
	was, err := q.decide(ctx)
	if err != nil {
		return nil, err
	}
	q.engine = t.after
	is, err := q.decide(ctx)
	if err != nil { // a candidate that cannot decide opens nothing
		is = policy.Decision{}
	}
	return &ReplayedRecord{
		Version: q.rec.Version, Opens: apart(is.Opens, was.Opens), Opened: apart(was.Opens, is.Opens), Closes: apart(is.Closes, was.Closes), Closed: apart(was.Closes, is.Closes),
		Shows: missing(is.Revealed, was.Revealed), Masks: missing(is.Masked, was.Masked), Hides: missing(is.Withheld, was.Withheld),
	}, context.Cause(ctx)
}

// apart are the reasons among rs that are not among others.
func apart(rs, others []policy.Reason) []Reason {
	var out []Reason
	for _, r := range rs {
		if !slices.ContainsFunc(others, func(o policy.Reason) bool { return o.Ground == r.Ground && o.Fact == r.Fact }) {
			out = append(out, Reason(r))
		}
	}
	return out
}

// missing are the names that others lack.
func missing(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(others, n) })
}
