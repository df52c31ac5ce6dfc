package access

import (
	"context"

	"meridian/instance/crm"
)

// defaultGroups is how many groups an aggregation answers if nobody says.
const defaultGroups = 100

// Aggregate works numbers out of the records the caller may read, as they may
// read them: a withheld value counts as absent, a masked one as its mask. It
// also says whether there are more groups than the limit.
func (d *Door) Aggregate(ctx context.Context, c crm.Caller, r AggregateRequest) (aggregation crm.Aggregation, tallies []crm.Tally, more bool, err error) {
	if r.Limit == 0 {
		r.Limit = defaultGroups
	}
	def, read, err := d.asked(r.Entity, r.Filter, r.Limit)
	if err != nil {
		return aggregation, nil, false, err
	}
	if aggregation, err = crm.ParseAggregation(def, r.By, r.Measures, r.Order); err != nil {
		return aggregation, nil, false, err
	}
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (stamp int64, err error) {
		if read.Filter, err = a.filter(ctx, crm.ActionRead, def); err != nil {
			return 0, err
		}
		tallies, more, stamp, err = d.store.Aggregate(ctx, read, aggregation)
		return stamp, err
	})
	if err != nil {
		return aggregation, nil, false, err
	}
	d.shade.see(a, "aggregate", def, read, answered{aggregation: &aggregation})
	decision := a.decision("aggregate", def.Entity)
	n := int64(len(tallies))
	decision.Found = &n
	return aggregation, tallies, more, d.journal.add(ctx, decision)
}
