package crm

// SubjectID names who asks: "rep.west@amer", "loader@amer".
type SubjectID string

// SubjectKind is what a subject is.
type SubjectKind string

// Kinds of subject.
const (
	KindPerson   SubjectKind = "person"
	KindService  SubjectKind = "service"
	KindInstance SubjectKind = "instance" // the destination of an exchange contract
)

// Action is what a subject wants to do with records. Policy reads it.
type Action string

// Actions on records.
const (
	ActionRead     Action = "read"
	ActionCreate   Action = "create"
	ActionUpdate   Action = "update"
	ActionDelete   Action = "delete"
	ActionShare    Action = "share"    // judge: open a record to a colleague
	ActionWithhold Action = "withhold" // judge: close a record to a colleague
	ActionPublish  Action = "publish"  // disclose to another instance
)

// Caller is the authenticated identity behind a call. It carries identity
// only; rights come from the instance's facts.
type Caller struct {
	Subject   SubjectID
	Execution string // W3C trace id of the call
}

// Relationship lets a department do some actions on another's records.
type Relationship struct {
	Department string   `json:"department"` // whose records
	Actions    []string `json:"actions"`
}

// Subject is who asks as policy sees it, loaded from facts under one access
// stamp. Territories and segments are expanded to every id below the assigned
// ones, so that a filter is a plain membership test.
type Subject struct {
	ID            SubjectID      `json:"id"`
	Kind          SubjectKind    `json:"kind"`
	Instance      string         `json:"instance"`
	Roles         []string       `json:"roles"`
	Clearance     int            `json:"clearance"`
	Territories   []string       `json:"territories"`
	Segments      []string       `json:"segments"`
	AllSegments   bool           `json:"all_segments"` // assigned to the whole segment tree
	Departments   []string       `json:"departments"`
	Relationships []Relationship `json:"relationships"`
	Keys          []string       `json:"keys"`          // "s:<subject>", "d:<department>": what agreements and grants name
	Groups        []string       `json:"groups"`        // an instance's contract: groups it may hold
	Jurisdictions []string       `json:"jurisdictions"` // an instance's contract: jurisdictions it may hold; "*" for all
	Purpose       string         `json:"purpose"`
	Stamp         int64          `json:"-"` // access stamp the subject was loaded under
}
