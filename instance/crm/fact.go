package crm

import "time"

// Effect of an agreement: it opens a record to a department or walls it off.
type Effect string

// Effects of an agreement.
const (
	EffectOpen Effect = "open"
	EffectWall Effect = "wall"
)

// Forever is the end of a fact without an end.
var Forever = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// Agreement opens or walls off an account, or all records of an area, for a
// department from From until To (half-open, database time). It names an account
// or an area, never both: an area is a territory, a segment, a department whose
// records they are, or several of these, which must then all match.
type Agreement struct {
	ID           string
	Account      RecordID // "": about an area
	Territory    string   // root of a subtree; "" for any
	Segment      string   // root of a subtree; "" for any
	OnDepartment string   // whose records; "" for any
	Department   string   // "dach-sales", or "emea/dach-sales" for another instance's
	Effect       Effect
	Actions      []string // what it opens; read and publish if empty. A wall closes all
	Groups       []string // groups it reveals; core if empty
	From, To     time.Time
	Document     string // where the paper lies
	Reason       string
	By           SubjectID
	Ended        bool
}

// OfArea says that the agreement is about an area, not about one account.
func (a Agreement) OfArea() bool { return a.Territory != "" || a.Segment != "" || a.OnDepartment != "" }

// Validate reports the first rule the agreement breaks.
func (a Agreement) Validate() error {
	switch {
	case !a.OfArea() && (a.Account == "" || a.Account == NoAccount):
		return FieldErrorf("account", "name the account the agreement is about, or an area: a territory, a segment, the department whose records they are")
	case a.OfArea() && a.Account != "":
		return FieldErrorf("account", "an agreement is about one account or about an area; leave one of them out")
	case a.Territory == Unassigned || a.Segment == Unassigned || a.OnDepartment == Unassigned:
		return FieldErrorf("territory", "%s is no place; agree on a territory, a segment or a department that is there", Unassigned)
	case a.Department == "" || a.Department == Unassigned:
		return FieldErrorf("department", "name the department, as dach-sales or emea/dach-sales")
	case a.Effect != EffectOpen && a.Effect != EffectWall:
		return FieldErrorf("effect", "say open or wall")
	case !a.From.Before(a.To):
		return FieldErrorf("to", "the agreement ends before it begins; give a later end")
	}
	return nil
}

// GrantKind is the direction of an employee's judgement.
type GrantKind string

// Kinds of grant.
const (
	GrantShare    GrantKind = "share"
	GrantWithhold GrantKind = "withhold"
	// GrantEmergency is no judgement about others: its giver broke the glass to
	// read the record themselves.
	GrantEmergency GrantKind = "emergency"
)

// Grant is one employee's judgement about one record: share it with, or
// withhold it from, a colleague or a department.
type Grant struct {
	ID       string
	Entity   string
	Record   RecordID
	Kind     GrantKind
	Key      string   // "s:<subject>" or "d:<department>"
	Groups   []string // groups a share reveals; core if empty
	Reason   string
	From, To time.Time
	By       SubjectID
	Ended    bool

	Suspended  bool      // its giver lost access; it opens nothing until it is reviewed
	ReviewedBy SubjectID // the officer who reinstated it and answers for it since
	Review     string    // why it was suspended, or reinstated
}

// Validate reports the first rule the grant breaks.
func (g Grant) Validate() error {
	switch {
	case g.Record == "":
		return FieldErrorf("record", "name the record")
	case g.Kind != GrantShare && g.Kind != GrantWithhold:
		return FieldErrorf("kind", "say share or withhold")
	case len(g.Key) < 3 || (g.Key[:2] != "s:" && g.Key[:2] != "d:"):
		return FieldErrorf("with", "name a subject (s:rep.east@amer) or a department (d:legal)")
	case g.Reason == "":
		return FieldErrorf("reason", "say why; the reason is kept with the judgement")
	case !g.From.Before(g.To):
		return FieldErrorf("to", "the judgement ends before it begins; give a later end")
	}
	return nil
}

// Contract lets one instance subscribe to one entity of another. Default is
// nothing: what no contract covers never leaves.
type Contract struct {
	ID                  string
	Source, Destination string
	Entity              string
	Territories         []string // subtree roots in scope; with Segments, both must match
	Segments            []string //
	Departments         []string // "emea/dach-sales": accounts opened to these by agreement are in scope
	Groups              []string // field groups that may leave
	Jurisdictions       []string // whose data may leave; "*" for all
	Purpose, LegalBasis string
	From, To            time.Time
	Arrives             Arrival
}

// Arrival says how a record stands in the destination.
type Arrival struct {
	Department  string // local department it belongs to, Unassigned if empty
	Sensitivity int    // floor
}
