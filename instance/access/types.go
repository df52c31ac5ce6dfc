package access

import (
	"context"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// Hooks is what the door asks of the plugin host: run the plan for a batch of
// drafts, outside any transaction. It edits drafts in place and sets Err on
// those it refuses; an error of a needed plugin is unavailable, never silence.
type Hooks interface {
	Run(ctx context.Context, execution string, drafts []*Draft)
}

// Draft is a write before it is stored.
type Draft struct {
	Entity   string
	Op       crm.Op
	ID       crm.RecordID
	Before   map[string]crm.Value // all fields as stored, nil on create
	Fields   map[string]crm.Value // all fields as they would be stored; hooks may set
	Changed  []string             // names of fields that differ from Before; create: all given
	Governed crm.Governed         // as it would be stored; only the slot "assignment" may change it
	Reassign bool                 // a person took the pin off: place the record anew, whatever changed
	Steps    []crm.Step           // filled by the host
	Err      error                // *crm.Error; set by the host to refuse
}

// Result is one row of an answer: a record as the caller may see it, or an
// error.
type Result struct {
	Record crm.Record
	Err    error
}

// ListRequest asks for a page.
type ListRequest struct {
	Entity string
	Filter string // filter language, "" for all
	Sort   string // "-annual_revenue,name"
	Limit  int    // 50 if zero, clamped to 1000
	Cursor string
	IDs    []crm.RecordID // if not nil, only these
}

// SearchRequest looks for words.
type SearchRequest struct {
	Entity string
	Query  string // words, the last one may be a beginning; "a phrase", -without
	Filter string
	Limit  int // 50 if zero, clamped to 1000
	Cursor string
}

// AggregateRequest works numbers out of records.
type AggregateRequest struct {
	Entity   string
	By       []string // "country", "created:month"
	Measures []string // "count", "sum(annual_revenue)"
	Filter   string
	Order    string // "-sum(annual_revenue)"
	Limit    int    // 100 groups if zero, clamped to 1000
}

// ExportRequest asks for all records that a filter selects.
type ExportRequest struct {
	Entity string
	Filter string
	Cursor string // where an export that broke off goes on
}

// CreateRequest creates records.
type CreateRequest struct {
	Entity         string
	Rows           []NewRow
	Atomic         bool
	IdempotencyKey string
}

// NewRow is one record to create. Territory and Segment, if given, pin the
// placement.
type NewRow struct {
	Fields                         map[string]crm.Value
	Territory, Segment, Department string
	Sensitivity                    int
}

// UpdateRequest changes records.
type UpdateRequest struct {
	Entity         string
	Rows           []UpdateRow
	Atomic         bool
	IdempotencyKey string
}

// UpdateRow changes the named fields of one record at a version; null clears.
type UpdateRow struct {
	ID                 crm.RecordID
	Version            int64
	Fields             map[string]crm.Value
	Territory, Segment string // pin, "" leaves
	Unpin              bool
}

// DeleteRequest deletes records.
type DeleteRequest struct {
	Entity         string
	Rows           []DeleteRow
	Atomic         bool
	IdempotencyKey string
}

// DeleteRow names a record at a version.
type DeleteRow struct {
	ID      crm.RecordID
	Version int64
}

// UpsertRequest inserts or updates by the entity's key, as loads do. Commit
// runs in the same transaction as the rows with their outcomes, so that a
// load's position is kept with its rows.
//
// Turn, if set, waits until the request before this one is committed, and says
// whether there was anything to wait for. It is called between the hooks and
// the transaction: what takes time is done meanwhile, and what the request
// before it may have changed is looked at again.
type UpsertRequest struct {
	Entity string
	Rows   []UpsertRow
	DryRun bool
	Turn   func(ctx context.Context) (waited bool, err error)
	Commit func(ctx context.Context, tx *store.Tx, outcomes []UpsertOutcome) error
}

// UpsertRow is one row; References name records by the key of their entity.
type UpsertRow struct {
	Fields     map[string]crm.Value
	References map[string]string
}

// UpsertOutcome says what became of a row.
type UpsertOutcome struct {
	ID        crm.RecordID
	Inserted  bool
	Updated   bool
	Unchanged bool
	Err       error // *crm.Error
}

// ImportRow is a foreign record as another instance let it leave, or the end
// of its stay.
type ImportRow struct {
	Op       crm.Op // upsert, snapshot, delete or retract
	Entity   string
	ID       crm.RecordID
	Version  int64
	Contract string
	Epoch    int64 // origin epoch
	Exposure int64 // orders rows of one record under one contract, with Epoch
	Governed crm.Governed
	Fields   map[string]crm.Value
	Exec     string
}

// Projection is what a contract lets a destination hold of one record now.
type Projection struct {
	ID      crm.RecordID
	InScope bool
	Record  crm.Record // masked for the destination; zero if out of scope
	Bundle  string     // digest of the bundle that decided
}

// Explanation says why a subject may or may not do an action on a record.
type Explanation struct {
	Allowed       bool
	Action        crm.Action
	Subject       crm.SubjectID
	Opens, Closes []Reason
	Steps         []Reason // if not allowed: what would lawfully change that
	Bundle        string

	Revealed, Masked, Withheld []string // each field group is in one of them
}

// Reason is one ground that applied, with the fact behind it.
type Reason struct{ Ground, Fact, Text string }
