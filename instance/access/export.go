package access

import (
	"context"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// Export hands over all records that the caller may read and the filter
// selects, in the order of their ids, a batch at a time with the cursor of the
// next. Every batch is decided anew, under the facts and the bundle of its
// moment, and its decision is in the log before its records leave: what is
// revoked while an export runs is in no batch that begins afterwards, and what
// left is known whatever happens to this process.
func (d *Door) Export(ctx context.Context, c crm.Caller, r ExportRequest, send func(records []crm.Record, next string) error) error {
	def, read, err := d.asked(r.Entity, r.Filter, maxLimit)
	if err != nil {
		return err
	}
	for read.Cursor = r.Cursor; ; {
		page, decision, err := d.decided(ctx, c, "export", def, read)
		if err != nil {
			return err
		}
		if err := d.store.LogDecisions(ctx, []store.Decision{decision}); err != nil {
			return err
		}
		if err := send(page.Records, page.Next); err != nil {
			return err
		}
		if read.Cursor = page.Next; read.Cursor == "" {
			return nil
		}
	}
}
