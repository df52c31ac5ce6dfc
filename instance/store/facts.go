package store

import (
	"slices"
	"strings"

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

// Validate reports the first rule the facts break: a name used twice, a node
// without its parent, a subject assigned to what is not there.
func (f Facts) Validate() error {
	territories, err := nodeIDs("territory", f.Territories)
	if err != nil {
		return err
	}
	segments, err := nodeIDs("segment", f.Segments)
	if err != nil {
		return err
	}
	var nodes []trees.Node
	for _, d := range f.Departments {
		if strings.Contains(d.ID, "/") {
			return crm.Errorf(crm.Invalid, "department %q: a name with / is another instance's department", d.ID)
		}
		nodes = append(nodes, trees.Node{ID: d.ID, Parent: d.Parent, Name: d.Name})
	}
	departments, err := nodeIDs("department", nodes)
	if err != nil {
		return err
	}
	if err := validateSubjects(f.Subjects, territories, segments, departments); err != nil {
		return err
	}
	type pair struct{ department, on string }
	related := map[pair]bool{}
	for _, r := range f.Relationships {
		if err := known("relationship", "department", departments, r.Department, r.On); err != nil {
			return err
		}
		if related[pair{r.Department, r.On}] {
			return crm.Errorf(crm.Invalid, "the relationship of %s on %s is declared twice; join the actions", r.Department, r.On)
		}
		related[pair{r.Department, r.On}] = true
	}
	contracts := map[string]bool{}
	for _, c := range f.Contracts {
		if err := known("contract "+c.ID, "territory", territories, c.Territories...); err != nil {
			return err
		}
		if err := known("contract "+c.ID, "segment", segments, c.Segments...); err != nil {
			return err
		}
		switch {
		case c.ID == "" || contracts[c.ID]:
			return crm.Errorf(crm.Invalid, "contract %q: give each contract an id of its own", c.ID)
		case c.Source == "" || c.Destination == "" || c.Source == c.Destination:
			return crm.Errorf(crm.Invalid, "contract %s: name two instances, a source and a destination", c.ID)
		case c.Entity == "":
			return crm.Errorf(crm.Invalid, "contract %s: name the entity", c.ID)
		case !c.To.IsZero() && !c.From.Before(c.To):
			return crm.Errorf(crm.Invalid, "contract %s: it ends before it begins", c.ID)
		}
		contracts[c.ID] = true
	}
	return nil
}

// nodeIDs are the ids of a tree. Each has one parent that is there, and no
// walk upwards comes back to where it began.
func nodeIDs(tree string, nodes []trees.Node) (map[string]bool, error) {
	parent, ids := map[string]string{}, map[string]bool{}
	for _, n := range nodes {
		switch {
		case n.ID == "" || n.ID == crm.Unassigned:
			return nil, crm.Errorf(crm.Invalid, "%s %q: the id is reserved; choose another", tree, n.ID)
		case ids[n.ID]:
			return nil, crm.Errorf(crm.Invalid, "%s %s is declared twice", tree, n.ID)
		}
		parent[n.ID], ids[n.ID] = n.Parent, true
	}
	for _, n := range nodes {
		steps := 0
		for at := n.ID; at != ""; at = parent[at] {
			if !ids[at] {
				return nil, crm.Errorf(crm.Invalid, "%s %s: its ancestor %q is not declared", tree, n.ID, at)
			}
			if steps++; steps > len(nodes) {
				return nil, crm.Errorf(crm.Invalid, "%s %s is its own ancestor", tree, n.ID)
			}
		}
	}
	return ids, nil
}

func validateSubjects(subjects []SubjectFact, territories, segments, departments map[string]bool) error {
	seen := map[crm.SubjectID]bool{}
	for _, s := range subjects {
		switch {
		case s.ID == "" || seen[s.ID]:
			return crm.Errorf(crm.Invalid, "subject %q: give each subject an id of its own", s.ID)
		case s.Kind != crm.KindPerson && s.Kind != crm.KindService:
			return crm.Errorf(crm.Invalid, "subject %s: its kind is person or service", s.ID)
		case s.Clearance < 0 || s.Clearance > 9:
			return crm.Errorf(crm.Invalid, "subject %s: its clearance is 0 to 9", s.ID)
		}
		seen[s.ID] = true
		who := "subject " + string(s.ID)
		for _, err := range []error{
			known(who, "territory", territories, s.Territories...),
			known(who, "segment", segments, s.Segments...),
			known(who, "department", departments, s.Departments...),
		} {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// known reports the first of ids that the tree does not have.
func known(who, tree string, declared map[string]bool, ids ...string) error {
	i := slices.IndexFunc(ids, func(id string) bool { return !declared[id] })
	if i < 0 {
		return nil
	}
	return crm.Errorf(crm.Invalid, "%s: there is no %s %q", who, tree, ids[i])
}
