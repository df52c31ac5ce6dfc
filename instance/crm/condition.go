package crm

// Condition is a caller's filter: what they ask for, never what they may see.
// A nil Condition asks for everything.
type Condition interface{ condition() }

// And holds if all its conditions hold.
type And []Condition

// Or holds if one of its conditions holds.
type Or []Condition

// Not holds if its condition does not.
type Not struct{ Of Condition }

// Compare tests one field against a value: = != < <= > >= or contains
// (case-insensitive, strings only).
type Compare struct {
	Field string
	Op    string
	Value Value
}

// In tests membership.
type In struct {
	Field  string
	Values []Value
}

// IsNull tests for absence; a withheld value is absent.
type IsNull struct{ Field string }

func (And) condition()     {}
func (Or) condition()      {}
func (Not) condition()     {}
func (Compare) condition() {}
func (In) condition()      {}
func (IsNull) condition()  {}

// SortKey is one key of an order; ties are broken by id.
type SortKey struct {
	Field string
	Desc  bool
}
