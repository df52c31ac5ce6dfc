package access

import (
	"context"
	"slices"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// plus adds one comparison to the sum of its path.
func plus(all *store.ShadowDifference, one store.ShadowDifference) {
	all.Reads, all.Differed, all.Failed = all.Reads+one.Reads, all.Differed+one.Differed, all.Failed+one.Failed
	all.Gained, all.Lost, all.Groups = all.Gained+one.Gained, all.Lost+one.Lost, all.Groups+one.Groups
	all.Refused, all.Open, all.Dropped = all.Refused+one.Refused, all.Open+one.Open, all.Dropped+one.Dropped
	for g, n := range one.Grounds {
		all.Grounds[g] += n
	}
	for _, id := range one.Sample {
		if len(all.Sample) < maxProblems && !slices.Contains(all.Sample, id) {
			all.Sample = append(all.Sample, id)
		}
	}
}

// differs compares one request with what the shadow would answer: reads again
// under both bundles, writes by what they left behind.
func (d *Door) differs(ctx context.Context, shadow *policy.Engine, g glimpse, sum *store.ShadowDifference) error {
	if g.told.writes != nil {
		return d.differsWriting(ctx, shadow, g, sum)
	}
	other, err := shadow.Filter(ctx, g.asking.subject, crm.ActionRead, g.def.Entity, g.def.Groups())
	if err != nil || other.Same(g.read.Filter) {
		return err
	}
	switch g.action {
	case "get":
		_, err = d.differsOn(ctx, g, other, g.read.IDs, sum)
	case "history":
		err = d.differsInHistory(ctx, g, other, sum)
	case "count", "watch", "aggregate":
		err = d.differsInAll(ctx, g, other, sum)
	default:
		err = d.differsOnPage(ctx, g, other, sum)
	}
	if e := crm.KindOf(err); err != nil && e == crm.Denied { // it asks about a field that is shown nowhere then
		*sum = store.ShadowDifference{Reads: 1, Differed: 1, Refused: 1, Lost: int64(len(g.told.ids)), Grounds: sum.Grounds}
		return nil
	}
	if err != nil || len(sum.Sample) == 0 {
		return err
	}
	return d.groundsOf(ctx, shadow, g, sum)
}

// differsOn compares what both bundles say of some records, of all if ids is
// nil, as the read asks about them, and reports whether they differ.
func (d *Door) differsOn(ctx context.Context, g glimpse, other policy.Filter, ids []crm.RecordID, sum *store.ShadowDifference) (bool, error) {
	read := g.read
	read.IDs = ids
	n, sample, err := d.store.DiffRead(ctx, read, other)
	if err != nil {
		return false, err
	}
	sum.Gained, sum.Lost, sum.Groups = n.Gained, n.Lost, n.Changed
	sum.Sample = slices.Concat(sample.Gained, sample.Lost, sample.Changed)
	if n != (store.Shift{}) {
		sum.Differed = 1
	}
	return sum.Differed > 0, nil
}

// differsOnPage compares the records that one of the two answers: pages end
// elsewhere, records do not.
func (d *Door) differsOnPage(ctx context.Context, g glimpse, other policy.Filter, sum *store.ShadowDifference) error {
	read := g.read
	read.Filter = other
	page, err := d.store.List(ctx, read)
	if err != nil {
		return err
	}
	ids, _ := pointers(page.Records)
	ids = append(ids, g.told.ids...)
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) == 0 {
		return nil
	}
	_, err = d.differsOn(ctx, g, other, ids, sum)
	return err
}

// differsInAll compares an answer about all records: the records underneath
// are counted, and the answer differs if its numbers do.
func (d *Door) differsInAll(ctx context.Context, g glimpse, other policy.Filter, sum *store.ShadowDifference) error {
	underneath, err := d.differsOn(ctx, g, other, nil, sum)
	if err != nil || !underneath {
		return err
	}
	sum.Differed = 0
	switch {
	case g.action == "count" && sum.Gained != sum.Lost, g.action == "watch" && sum.Gained+sum.Lost > 0:
		sum.Differed = 1
	case g.action == "aggregate":
		read := g.read
		was, wasMore, _, err := d.store.Aggregate(ctx, read, *g.told.aggregation)
		if err != nil {
			return err
		}
		read.Filter = other
		is, isMore, _, err := d.store.Aggregate(ctx, read, *g.told.aggregation)
		if err != nil {
			return err
		}
		if wasMore != isMore || !slices.EqualFunc(was, is, sameTally) {
			sum.Differed = 1
		}
	}
	return nil
}

func sameTally(a, b crm.Tally) bool {
	return slices.EqualFunc(a.Keys, b.Keys, crm.Value.Equal) && slices.EqualFunc(a.Values, b.Values, crm.Value.Equal)
}

// differsInHistory compares the versions of one record.
func (d *Door) differsInHistory(ctx context.Context, g glimpse, other policy.Filter, sum *store.ShadowDifference) error {
	was, _, err := d.store.History(ctx, g.read, g.told.limit, g.told.before)
	if err != nil {
		return err
	}
	read := g.read
	read.Filter = other
	is, _, err := d.store.History(ctx, read, g.told.limit, g.told.before)
	switch {
	case err != nil:
		return err
	case len(was) == 0 && len(is) > 0:
		sum.Gained = 1
	case len(was) > 0 && len(is) == 0:
		sum.Lost = 1
	case !slices.EqualFunc(was, is, func(a, b crm.Version) bool {
		return a.Version == b.Version && slices.Equal(a.Withheld, b.Withheld) && slices.Equal(a.Masked, b.Masked)
	}):
		sum.Groups = 1
	default:
		return nil
	}
	sum.Differed, sum.Sample = 1, slices.Clone(g.read.IDs)
	return nil
}

// trial is the request's subject now, under the bundle that decided and under
// the shadow.
func (d *Door) trial(ctx context.Context, shadow *policy.Engine, g glimpse) (*trial, error) {
	_, now, err := d.store.Stamp(ctx)
	return &trial{d: d, subject: g.asking.subject, before: g.engine, after: shadow, since: now, until: now}, err
}

// differsWriting decides a write again: by what is stored of it, with the facts
// of now.
func (d *Door) differsWriting(ctx context.Context, shadow *policy.Engine, g glimpse, sum *store.ShadowDifference) error {
	t, err := d.trial(ctx, shadow, g)
	if err != nil {
		return err
	}
	writes := slices.Clone(g.told.writes)
	for i := range writes {
		writes[i].At = t.since
	}
	again, err := t.judge(ctx, g.def, writes)
	if err != nil {
		return err
	}
	for _, o := range again {
		if o.verdict == open {
			sum.Open = 1
		}
		for _, r := range o.differing {
			switch sum.Differed = 1; {
			case r.Is && !r.Was:
				sum.Gained++
			case r.Was && !r.Is:
				sum.Lost++
			default:
				sum.Groups++
			}
			sum.Sample = append(sum.Sample, r.ID)
			because(sum, r)
		}
	}
	return nil
}

// groundsOf says by which grounds the records of the sample differ.
func (d *Door) groundsOf(ctx context.Context, shadow *policy.Engine, g glimpse, sum *store.ShadowDifference) error {
	t, err := d.trial(ctx, shadow, g)
	if err != nil {
		return err
	}
	var differing []telling
	for _, id := range sum.Sample[:min(len(sum.Sample), maxProblems)] {
		differing = append(differing, telling{0, ReplayedRecord{ID: id, Action: crm.ActionRead}, check{crm.ActionRead, store.PastRow{ID: id, At: t.since, Buried: true}}})
	}
	out := make([]retrial, 1)
	if err := t.explain(ctx, g.def, differing, out); err != nil {
		return err
	}
	for _, r := range out[0].differing {
		because(sum, r)
	}
	return nil
}

// because counts a record by the grounds that are one bundle's alone.
func because(sum *store.ShadowDifference, r ReplayedRecord) {
	for _, part := range []struct {
		reasons []Reason
		change  string
	}{{r.Opens, store.GroundOpens}, {r.Closes, store.GroundCloses}, {r.Opened, store.GroundOpensNoMore}, {r.Closed, store.GroundClosesNoMore}} {
		seen := map[string]bool{}
		for _, reason := range part.reasons {
			if !seen[reason.Ground] { // however many of its facts apply
				seen[reason.Ground] = true
				sum.Grounds[store.ShadowGround{Ground: reason.Ground, Change: part.change}]++
			}
		}
	}
}
