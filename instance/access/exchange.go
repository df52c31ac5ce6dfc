package access

import (
	"context"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// Import lets in what another instance sent under contract. Rows fail
// independently; commit runs in the same transaction with an error (or nil) per
// row, so that a cursor moves, and a poison row is parked, with the rows. An
// error of commit undoes all.
func (d *Door) Import(ctx context.Context, contract crm.Contract, rows []ImportRow, commit func(ctx context.Context, tx *store.Tx, errs []error) error) ([]error, error) {
	return nil, unbuilt
}

// Project says of each id, in order, what contract lets its destination hold
// of the record now, read in the caller's transaction. A record that is gone,
// or whose home is elsewhere, is out of scope.
func (d *Door) Project(ctx context.Context, tx *store.Tx, contract crm.Contract, ids []crm.RecordID) ([]Projection, error) {
	return nil, unbuilt
}
