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

// Visible is the set of records that the caller may read and filter selects,
// with the access stamp it holds under. Watchers start from it.
func (d *Door) Visible(ctx context.Context, c crm.Caller, entity, filter string) (map[crm.RecordID]struct{}, int64, error) {
	return nil, 0, unbuilt
}

// Among answers those of ids that the caller may read and filter selects, as
// the caller may see them. Watchers re-check a batch of changes with it.
func (d *Door) Among(ctx context.Context, c crm.Caller, entity, filter string, ids []crm.RecordID) (map[crm.RecordID]crm.Record, int64, error) {
	return nil, 0, unbuilt
}

// History lists the versions of one record, newest first, from before version
// before (0: from the newest).
func (d *Door) History(ctx context.Context, c crm.Caller, entity string, id crm.RecordID, limit int, before int64) ([]crm.Version, error) {
	return nil, unbuilt
}
