package policy

import (
	"context"
	"fmt"

	"meridian/instance/crm"
)

// GroundFilter is what one ground alone opens to a subject, walls and withholds
// applied.
type GroundFilter struct {
	Ground, Text string
	Filter       Filter // reveals no group: it is for counting
}

// ByGround takes the filter of s, a and entity apart: what each ground opens.
// A record that several grounds open is in several filters.
func (e *Engine) ByGround(ctx context.Context, s crm.Subject, a crm.Action, entity string) (out []GroundFilter, err error) {
	defer func() {
		if p := recover(); p != nil { // a panic in OPA is no approval
			out, err = nil, e.failed(ctx, a, entity, fmt.Errorf("panic: %v", p))
		}
	}()
	q := e.asked(s, a, entity)
	var closes []expr
	for _, g := range e.grounds {
		var any []expr
		for _, fact := range q.facts(g) {
			cond, err := q.residual(ctx, g, g.says, fact, "")
			if err != nil {
				return nil, e.failed(ctx, a, entity, err)
			}
			any = append(any, q.over(g, fact, cond))
		}
		over := or(any...)
		if over == constant(false) {
			continue
		}
		if !g.opens {
			closes = append(closes, over)
			continue
		}
		out = append(out, GroundFilter{Ground: g.name, Text: g.text, Filter: Filter{digest: e.Digest(), stamp: s.Stamp, opens: over}})
	}
	closes = append(closes, q.anyhow()...)
	for i := range out {
		out[i].Filter.closes = or(closes...)
	}
	return out, nil
}
