package access

import (
	"context"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

const (
	usualForecast = 90 // days
	farForecast   = 1000
	maxTurns      = 500 // moments at which something begins or ends, in one answer
)

// Turn is a moment at which something begins or ends by time alone, and what
// that changes: for whoever sees the records of today with the rules of today.
type Turn struct {
	At      time.Time
	Events  []store.Expiry
	Impacts []PersonaImpact
}

// Forecast says what begins and ends within some days, and whose sight that
// changes.
func (d *Door) Forecast(ctx context.Context, c crm.Caller, days int) ([]Turn, time.Time, error) {
	if days == 0 {
		days = usualForecast
	}
	if days < 1 || days > farForecast {
		return nil, time.Time{}, crm.FieldErrorf("days", "look 1 to %d days ahead", farForecast)
	}
	var turns []Turn
	var until time.Time
	err := d.permitted(ctx, c, factRead, func(ctx context.Context, a asking) error {
		_, now, err := d.store.Stamp(ctx)
		if err != nil {
			return err
		}
		until = now.AddDate(0, 0, days)
		events, err := d.store.Expiries(ctx, now, until)
		if err != nil {
			return err
		}
		turns = nil
		for _, e := range events {
			if n := len(turns); n == 0 || !turns[n-1].At.Equal(e.At) {
				if n == maxTurns {
					return crm.FieldErrorf("days", "more than %d moments lie within %d days; look less far ahead", maxTurns, days)
				}
				turns = append(turns, Turn{At: e.At})
			}
			last := &turns[len(turns)-1]
			last.Events = append(last.Events, e)
		}
		sizes := map[string]int64{}
		for i := range turns {
			x := &change{d: d, engine: a.engine, stamp: a.subject.Stamp, sizes: sizes}
			if turns[i].Impacts, err = x.turn(ctx, turns[i]); err != nil {
				return err
			}
		}
		return d.store.LogDecisions(ctx, []store.Decision{a.decision("fact.forecast", "")})
	})
	return turns, until, err
}

// turn compares the last moment before a turn with its first, for whom it may
// concern.
func (x *change) turn(ctx context.Context, t Turn) (out []PersonaImpact, err error) {
	// What is believed now, for a time to come: every row that is believed now
	// was recorded before the turn, and none of its successors.
	before := t.At.Add(-time.Microsecond)
	x.before, x.after = &policy.Moment{Valid: before, Recorded: t.At}, &policy.Moment{Valid: t.At, Recorded: t.At}
	was, err := x.d.everybody(ctx, x.before)
	if err != nil {
		return nil, err
	}
	is, err := x.d.everybody(ctx, x.after)
	if err != nil {
		return nil, err
	}
	for _, s := range sorted(append(was, is...)) {
		if !named(s, t.Events) {
			continue
		}
		if s.before, s.was, err = s.load(ctx, x.d.store, x.before); err != nil {
			return nil, err
		}
		if s.after, s.is, err = s.load(ctx, x.d.store, x.after); err != nil {
			return nil, err
		}
		if !concerned(s, t.Events) {
			continue
		}
		p, err := x.impact(ctx, s)
		if err != nil {
			return nil, err
		}
		if p != nil {
			out = append(out, *p)
		}
	}
	return out, nil
}

// named says that events may concern somebody, before anything is known of
// them: events of departments may concern anybody.
func named(s standing, events []store.Expiry) bool {
	return slices.ContainsFunc(events, func(e store.Expiry) bool {
		return e.Concerns == "" || e.Concerns == string(s.id) || e.Concerns == "s:"+string(s.id) || strings.HasPrefix(e.Concerns, "d:") || s.contract != nil
	})
}

// concerned says that events concern somebody, by what they are on either side.
func concerned(s standing, events []store.Expiry) bool {
	return slices.ContainsFunc(events, func(e store.Expiry) bool {
		return e.Concerns == "" || e.Concerns == string(s.id) || e.Concerns == "s:"+string(s.id) ||
			slices.Contains(s.before.Keys, e.Concerns) || slices.Contains(s.after.Keys, e.Concerns)
	})
}
