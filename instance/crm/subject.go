package crm

import "time"

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
	From          time.Time      `json:"-"`     // an instance's contract: in force from here
	To            time.Time      `json:"-"`     // until here; never, if it is zero
	Areas         []Area         `json:"areas"` // agreements about more than one account that name its departments
	Denials       []Denial       `json:"-"`     // what is closed to the subject for the moment, under whatever bundle
	Stamp         int64          `json:"-"`     // access stamp the subject was loaded under
	Bundle        string         `json:"-"`     // digest of the bundle in force under that stamp
	Activation    int64          `json:"-"`     // that put it in force; 0 if none did
}

// Area is an agreement about all records of an area, as policy reads it: its
// subtrees are expanded to every id below. Its dates may lie ahead or be over.
type Area struct {
	ID                    string
	Department            string // whom it names, one of the subject's
	Effect                Effect
	Actions, Groups       []string
	AnyTerritory          bool // holds in every territory; Territories is empty
	AnySegment            bool
	Territories, Segments []string
	OnDepartment          string // records of this department only; "" for any
	From, To              time.Time
}

// Denial closes what it names to the subject until it ends: all of what is set
// must fit. It is an emergency measure of one officer, and no bundle can open
// what it closes.
type Denial struct {
	ID          string
	Account     RecordID // "" for any
	AnyPlace    bool     // Territories is empty
	Territories []string // with everything below
	From, To    time.Time
}
