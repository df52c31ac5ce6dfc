package store

import (
	"meridian/instance/crm"
)

// ImportWrite is a foreign record as its home let it leave under one contract,
// or the end of its stay.
type ImportWrite struct {
	Op       crm.Op // upsert or snapshot: hold it; delete, retract or erase: it goes
	Entity   string
	ID       crm.RecordID
	Version  int64
	Contract string
	Epoch    int64 // of the origin; with Exposure it orders what came under one contract
	Exposure int64
	Governed crm.Governed         // Withheld: the groups that did not come
	Fields   map[string]crm.Value // of the groups that came; what is missing is null
	Exec     string
}
