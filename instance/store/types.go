package store

import (
	"time"

	"meridian/instance/crm"
	"meridian/policy"
)

// Read asks for records of one entity. Filter is what policy allows; its zero
// value shows nothing. Where is what the caller wants.
type Read struct {
	Entity string
	Filter policy.Filter
	Where  crm.Condition
	Search *crm.Search // if not nil, only what it finds; List orders by rank then, not by Sort
	Sort   []crm.SortKey
	Limit  int
	Cursor string
	IDs    []crm.RecordID // if not nil, only these
	Flips  *policy.Flips  // of a Get: judgements supposed the other way round
}

// Page is one page of records, with the access stamp and the database's time
// that were in force when it was read (same batch, after the rows).
type Page struct {
	Records []crm.Record
	Next    string // cursor of the next page, "" on the last
	Stamp   int64
	Now     time.Time
}

// Write is one row of a write batch, decided and prepared by access.
type Write struct {
	Op       crm.Op // create, update or delete
	ID       crm.RecordID
	Base     int64                // version the change is based on; 0 for create
	Set      map[string]crm.Value // create: all fields; update: changed fields, null clears
	Governed crm.Governed         // create: all but Created, Updated; update: the full post-image
	Pre      policy.Filter        // update, delete: the row must pass it as it was
	Post     policy.Filter        // create, update: the row must pass it as it became
	Touches  []string             // field groups Set writes; each must be revealed by Pre on the pre-image
	Steps    []crm.Step           // which plugin build did what
}

// WriteBatch is written in one transaction. Rows fail independently (each in
// its own savepoint) unless Atomic.
type WriteBatch struct {
	Entity string
	Rows   []Write
	Actor  crm.SubjectID
	Exec   string // execution ID
	Atomic bool
}

// Written is the outcome of one row: the stored record, unmasked, or the error.
type Written struct {
	Record crm.Record
	Err    error // *crm.Error: stale, conflict, not_found (Pre), denied (Post)
}
