package policy

import (
	"container/list"
	"slices"
	"strings"
	"sync"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
)

// peopleKept bounds the subjects whose filters are kept. One of two thousand
// territories holds some 40 kB.
const peopleKept = 1024

// question is what a filter answers about one subject.
type question struct {
	action         crm.Action
	entity, groups string
}

func questionOf(a crm.Action, entity string, groups []string) question {
	return question{a, entity, strings.Join(groups, "\x00")}
}

// person is a subject as it was loaded, with what was made of it.
type person struct {
	subject crm.Subject // a copy of our own
	term    func() *ast.Term
	mu      sync.Mutex
	filters map[question]Filter
}

func (p *person) filter(q question) (Filter, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.filters[q]
	return f, ok
}

func (p *person) keep(q question, f Filter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.filters[q] = f
}

// people keeps the subjects asked about last. A subject is found again only if
// all of it is as it was, so that two never share a filter because of how they
// were loaded. The stamp is no part of it: most changes of facts leave a
// subject as it was, and translating anew for each would starve everybody while
// many facts change.
type people struct {
	mu    sync.Mutex
	size  int
	order *list.List // of *person, the one asked about last in front
	byID  map[crm.SubjectID][]*list.Element
}

func newPeople(size int) *people {
	return &people{size: size, order: list.New(), byID: map[crm.SubjectID][]*list.Element{}}
}

// person finds s, or takes it in.
func (c *people) person(s crm.Subject) *person {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.byID[s.ID] {
		if p := e.Value.(*person); alike(p.subject, s) {
			c.order.MoveToFront(e)
			return p
		}
	}
	p := &person{subject: clone(s), filters: map[question]Filter{}}
	p.term = sync.OnceValue(func() *ast.Term { return subjectTerm(p.subject) })
	c.byID[s.ID] = append(c.byID[s.ID], c.order.PushFront(p))
	if c.order.Len() > c.size {
		oldest := c.order.Back()
		c.order.Remove(oldest)
		id := oldest.Value.(*person).subject.ID
		if c.byID[id] = slices.DeleteFunc(c.byID[id], func(e *list.Element) bool { return e == oldest }); len(c.byID[id]) == 0 {
			delete(c.byID, id)
		}
	}
	return p
}

// alike reports whether rules see two subjects alike.
func alike(a, b crm.Subject) bool {
	return a.ID == b.ID && a.Kind == b.Kind && a.Instance == b.Instance && a.Clearance == b.Clearance && a.AllSegments == b.AllSegments && a.Purpose == b.Purpose &&
		a.From.Equal(b.From) && a.To.Equal(b.To) &&
		slices.Equal(a.Roles, b.Roles) && slices.Equal(a.Territories, b.Territories) && slices.Equal(a.Segments, b.Segments) &&
		slices.Equal(a.Departments, b.Departments) && slices.Equal(a.Keys, b.Keys) && slices.Equal(a.Groups, b.Groups) &&
		slices.Equal(a.Jurisdictions, b.Jurisdictions) && slices.EqualFunc(a.Relationships, b.Relationships, sameRelationship) &&
		slices.EqualFunc(a.Areas, b.Areas, sameArea) && slices.EqualFunc(a.Denials, b.Denials, sameDenial)
}

func sameRelationship(a, b crm.Relationship) bool {
	return a.Department == b.Department && slices.Equal(a.Actions, b.Actions)
}

func sameArea(a, b crm.Area) bool {
	return a.ID == b.ID && a.Department == b.Department && a.Effect == b.Effect && a.AnyTerritory == b.AnyTerritory && a.AnySegment == b.AnySegment &&
		a.OnDepartment == b.OnDepartment && a.From.Equal(b.From) && a.To.Equal(b.To) && slices.Equal(a.Actions, b.Actions) && slices.Equal(a.Groups, b.Groups) &&
		slices.Equal(a.Territories, b.Territories) && slices.Equal(a.Segments, b.Segments)
}

func sameDenial(a, b crm.Denial) bool {
	return a.ID == b.ID && a.Account == b.Account && a.AnyPlace == b.AnyPlace && a.From.Equal(b.From) && a.To.Equal(b.To) && slices.Equal(a.Territories, b.Territories)
}

// clone is a copy that its giver cannot change.
func clone(s crm.Subject) crm.Subject {
	for _, l := range []*[]string{&s.Roles, &s.Territories, &s.Segments, &s.Departments, &s.Keys, &s.Groups, &s.Jurisdictions} {
		*l = slices.Clone(*l)
	}
	s.Relationships = slices.Clone(s.Relationships)
	for i := range s.Relationships {
		s.Relationships[i].Actions = slices.Clone(s.Relationships[i].Actions)
	}
	s.Areas = slices.Clone(s.Areas)
	for i := range s.Areas {
		a := &s.Areas[i]
		for _, l := range []*[]string{&a.Actions, &a.Groups, &a.Territories, &a.Segments} {
			*l = slices.Clone(*l)
		}
	}
	s.Denials = slices.Clone(s.Denials)
	for i := range s.Denials {
		s.Denials[i].Territories = slices.Clone(s.Denials[i].Territories)
	}
	return s
}
