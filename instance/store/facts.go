package store

import (
	"context"

	"meridian/instance/crm"
	"meridian/instance/crm/trees"
)

// Facts is what an instance's configuration says about its world. Reconcile
// makes the database say the same.
type Facts struct {
	Territories   []trees.Node
	Segments      []trees.Node
	Departments   []Department
	Subjects      []SubjectFact
	Relationships []RelationshipFact
	Contracts     []crm.Contract
}

// Department is one node of the department tree.
type Department struct{ ID, Parent, Name string }

// SubjectFact is a subject with what it is assigned to: roots of territory and
// segment subtrees, and departments.
type SubjectFact struct {
	ID          crm.SubjectID
	Kind        crm.SubjectKind
	Roles       []string
	Clearance   int
	Territories []string
	Segments    []string
	Departments []string
}

// RelationshipFact lets the members of Department do Actions on the records of
// department On.
type RelationshipFact struct {
	Department string
	On         string
	Actions    []string
}

// Reconcile makes the declared facts the facts in force. It is idempotent:
// what is unchanged is not touched, what is gone is ended, nothing is erased.
func (s *Store) Reconcile(ctx context.Context, f Facts) error { return nil }

// EnqueueBoundaries puts a boundary into the outbox for every fact that began
// or ended by time alone since the last call. One replica at a time calls it.
func (s *Store) EnqueueBoundaries(ctx context.Context) error { return nil }

// Contracts lists the contracts in force or to come.
func (s *Store) Contracts(ctx context.Context) ([]crm.Contract, error) { return nil, nil }
