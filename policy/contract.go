package policy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"meridian/instance/crm"
)

// contractGround is the reason that an explanation gives where a contract ends
// what rules would let leave.
const contractGround = "contract"

// A contract is signed by both instances, and what it does not name never
// leaves (I16): rules may let less through, never more. So its dates, its
// jurisdictions and its groups are no rules.

// beyond are the conditions under which a row lies beyond the contract of
// another instance; there are none for people and services.
func beyond(s crm.Subject, p *pool) (closes []expr) {
	if s.Kind != crm.KindInstance {
		return nil
	}
	closes = append(closes, not(and(
		test{p.add(s.From, string(kindTime)), " <= ", clock{}},
		test{clock{}, " < ", p.add(s.To, string(kindTime))},
	)))
	switch {
	case slices.Contains(s.Jurisdictions, "*"):
	case len(s.Jurisdictions) == 0:
		closes = append(closes, constant(true))
	default: // of the same form as a rule about it, so that both are one condition
		closes = append(closes, not(test{"r.jurisdiction", among{p.add(s.Jurisdictions, kindText.listCast())}}))
	}
	return closes
}

// beyondReasons say why a known record lies beyond the contract.
func beyondReasons(s crm.Subject, rec crm.Record, now time.Time) (reasons []Reason) {
	if s.Kind != crm.KindInstance {
		return nil
	}
	if now.Before(s.From) || !now.Before(s.To) {
		reasons = append(reasons, Reason{Ground: contractGround, Text: "the contract is not in force"})
	}
	if !slices.Contains(s.Jurisdictions, "*") && !slices.Contains(s.Jurisdictions, rec.Jurisdiction) {
		reasons = append(reasons, Reason{Ground: contractGround, Text: "the contract does not grant data of the record's jurisdiction"})
	}
	return reasons
}

// grants reports whether a field group may be shown at all: to another instance
// only what its contract grants, to people and services whatever rules show.
func (q *asked) grants(group string) bool {
	return q.who.Kind != crm.KindInstance || slices.Contains(q.who.Groups, group)
}

// notGranted is the reason that a group which rules show does not leave.
func notGranted(group string) Reason {
	return Reason{Ground: contractGround, Text: fmt.Sprintf("the contract does not grant the group %s", group)}
}

// Exceeds lists the field groups that the rules would show to another instance
// on some record and its contract does not grant. They do not leave, but a rule
// that shows them is hardly meant so.
func (e *Engine) Exceeds(ctx context.Context, s crm.Subject, entity string, groups []string) (more []string, err error) {
	q := e.asked(s, crm.ActionPublish, entity)
	if s.Kind != crm.KindInstance {
		return nil, nil
	}
	q.who.Groups = groups
	f, err := q.bounded(ctx, groups)
	if err != nil {
		return nil, e.failed(ctx, crm.ActionPublish, entity, err)
	}
	for _, g := range groups {
		if !slices.Contains(s.Groups, g) && f.where() != constant(false) && f.reveals[g] != constant(false) {
			more = append(more, g)
		}
	}
	return more, nil
}
