package access

import (
	"context"

	"meridian/instance/crm"
)

// ListAgreements lists agreements in force or to come; with all, also those
// ended or expired.
func (d *Door) ListAgreements(ctx context.Context, c crm.Caller, all bool) ([]crm.Agreement, error) {
	return nil, unbuilt
}

// CreateAgreement records an agreement. Its account is an id, or
// "source_id:AAPL" by the key of the account entity.
func (d *Door) CreateAgreement(ctx context.Context, c crm.Caller, a crm.Agreement) (crm.Agreement, error) {
	return crm.Agreement{}, unbuilt
}

// EndAgreement ends an agreement now. What it said until now stays recorded.
func (d *Door) EndAgreement(ctx context.Context, c crm.Caller, id, reason string) (crm.Agreement, error) {
	return crm.Agreement{}, unbuilt
}

// Judge records the caller's judgement about a record they can read.
func (d *Door) Judge(ctx context.Context, c crm.Caller, g crm.Grant) (crm.Grant, error) {
	return crm.Grant{}, unbuilt
}

// ListGrants lists the judgements in force about a record the caller can read.
func (d *Door) ListGrants(ctx context.Context, c crm.Caller, entity string, record crm.RecordID) ([]crm.Grant, error) {
	return nil, unbuilt
}

// EndGrant ends a judgement now: its giver's own, or anybody's for who may
// write facts.
func (d *Door) EndGrant(ctx context.Context, c crm.Caller, id, reason string) (crm.Grant, error) {
	return crm.Grant{}, unbuilt
}
