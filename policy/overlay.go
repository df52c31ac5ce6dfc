package policy

import (
	"slices"
	"time"

	"meridian/instance/crm"
)

// denialGround is the reason that an explanation gives for a denial.
const denialGround = "denial"

// anyhow are the conditions that close a row whatever the rules say: denials,
// and what lies beyond a contract.
func (q *asked) anyhow() []expr {
	return append(denied(q.who.Denials, q.pool), beyond(q.who, q.pool)...)
}

// anyhowReasons say the same of a known record.
func anyhowReasons(s crm.Subject, rec crm.Record, now time.Time) []Reason {
	return append(deniedReasons(s.Denials, rec, now), beyondReasons(s, rec, now)...)
}

// denied are the conditions under which emergency denials close a row. They
// are no rules: whatever a bundle says, it cannot open what an officer has
// closed for the moment, and it needs no change to be closed. Each ends by the
// time of the statement.
func denied(denials []crm.Denial, p *pool) (closes []expr) {
	for _, d := range denials {
		terms := []expr{
			test{p.add(d.From, string(kindTime)), " <= ", clock{}},
			test{clock{}, " < ", p.add(d.To, string(kindTime))},
		}
		if d.Account != "" {
			terms = append(terms, test{"r.account = ", p.add(string(d.Account), string(kindUUID))})
		}
		if !d.AnyPlace {
			terms = append(terms, test{"r.territory = any(", p.add(d.Territories, "text[]"), ")"})
		}
		closes = append(closes, and(terms...))
	}
	return closes
}

// deniedReasons are the denials that close a known record.
func deniedReasons(denials []crm.Denial, rec crm.Record, now time.Time) (reasons []Reason) {
	for _, d := range denials {
		if !now.Before(d.From) && now.Before(d.To) && (d.Account == "" || d.Account == rec.Account) &&
			(d.AnyPlace || slices.Contains(d.Territories, rec.Territory)) {
			reasons = append(reasons, Reason{Ground: denialGround, Fact: d.ID, Text: "an officer has closed it for the moment"})
		}
	}
	return reasons
}
