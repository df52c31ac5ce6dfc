package access

import (
	"context"

	"meridian/instance/crm"
)

// Create creates records at home. Rows fail independently unless atomic; a row
// that failed carries its error.
func (d *Door) Create(ctx context.Context, c crm.Caller, r CreateRequest) ([]Result, error) {
	return nil, unbuilt
}

// Update changes the named fields of records, each at the version it is based
// on.
func (d *Door) Update(ctx context.Context, c crm.Caller, r UpdateRequest) ([]Result, error) {
	return nil, unbuilt
}

// Delete deletes records; a deleted row answers with its last record.
func (d *Door) Delete(ctx context.Context, c crm.Caller, r DeleteRequest) ([]Result, error) {
	return nil, unbuilt
}

// Upsert inserts or updates by the entity's key, for loads. It answers no
// values: who loads need not read.
func (d *Door) Upsert(ctx context.Context, c crm.Caller, r UpsertRequest) ([]UpsertOutcome, error) {
	return nil, unbuilt
}
