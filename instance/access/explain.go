package access

import (
	"context"

	"meridian/instance/crm"
)

// Explain says why subject (the caller if empty) may or may not do action
// (read if empty) on a record. Only who may explain anybody may ask about
// another subject or about a record they cannot read.
func (d *Door) Explain(ctx context.Context, c crm.Caller, entity string, id crm.RecordID, action crm.Action, subject crm.SubjectID) (Explanation, error) {
	return Explanation{}, unbuilt
}

// Eval is the SQL that a subject's action on an entity compiles to, with its
// bound values as text and the bundle's digest.
func (d *Door) Eval(ctx context.Context, c crm.Caller, subject crm.SubjectID, action crm.Action, entity string) (sql string, args []string, digest string, err error) {
	return "", nil, "", unbuilt
}
