package access

import (
	"context"

	"meridian/instance/crm"
)

// List answers a page of the records the caller may read, and the cursor of
// the next.
func (d *Door) List(ctx context.Context, c crm.Caller, r ListRequest) ([]crm.Record, string, error) {
	return nil, "", unbuilt
}

// Count counts what List would answer in all pages.
func (d *Door) Count(ctx context.Context, c crm.Caller, entity, filter string) (int64, error) {
	return 0, unbuilt
}

// Get answers each id in order: the record, or not_found.
func (d *Door) Get(ctx context.Context, c crm.Caller, entity string, ids []crm.RecordID) ([]Result, error) {
	return nil, unbuilt
}

// Visible lists the ids of the records that the caller may read and filter
// selects, with the access stamp they hold under. Watchers start from it.
func (d *Door) Visible(ctx context.Context, c crm.Caller, entity, filter string) ([]crm.RecordID, int64, error) {
	return nil, 0, unbuilt
}

// History lists the versions of one record, newest first, from before version
// before (0: from the newest).
func (d *Door) History(ctx context.Context, c crm.Caller, entity string, id crm.RecordID, limit int, before int64) ([]crm.Version, error) {
	return nil, unbuilt
}
