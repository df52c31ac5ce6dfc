package policy

import (
	"context"
	"time"

	"meridian/instance/crm"
)

// Facts are the facts recorded about one record, as known values. Those of
// other records are ignored.
type Facts struct {
	Agreements []crm.Agreement
	Grants     []Grant
}

// Grant is a colleague's judgement as policy sees it.
type Grant struct {
	crm.Grant
	Suspended bool // its giver lost access; it opens and closes nothing until reviewed
}

// Reason is one ground that applied, with the fact behind it.
type Reason struct{ Ground, Fact, Text string }

// Decision is the answer about one known record.
type Decision struct {
	Allowed            bool
	Opens, Closes      []Reason
	Revealed, Withheld []string // field groups; none is revealed unless Allowed
	Digest             string   // of the bundle that decided
}

// Explain decides about one known record, with reasons, by the same functions
// that filters are made of.
func (e *Engine) Explain(ctx context.Context, s crm.Subject, a crm.Action, entity string, g crm.Governed, id crm.RecordID, f Facts, now time.Time, groups []string) (Decision, error) {
	return Decision{}, nil
}

// Permit says whether s holds a service-level permission.
func (e *Engine) Permit(ctx context.Context, s crm.Subject, permission string) (bool, error) {
	return false, nil
}
