package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// rehearse makes the filters of a cast of subjects, so that a bundle whose rules
// do not translate is refused before it decides anything. Rules are free to
// name roles and entities; every word of the bundle is tried as one. What a
// rehearsal does not come across is an error when its filter is made: denied.
func (e *Engine) rehearse(ctx context.Context) (problems []string) {
	endless := false // what takes too long once takes as long for everybody: the first one ends the rehearsal
	try := func(s crm.Subject, a crm.Action, entity string) {
		if endless {
			return
		}
		_, err := e.filter(ctx, s, a, entity, []string{"core", "commercial"})
		if endless = errors.Is(err, context.DeadlineExceeded); endless {
			long := fmt.Errorf("the rules take longer than %s to become a filter; look for functions with several alternatives "+
				"that call one another, and use `in` with a list instead", evaluateAtMost)
			if at, ok := errors.AsType[*groundError](err); ok {
				long = &groundError{at.ground, long}
			}
			err = long
		}
		if err == nil {
			return
		}
		says := err.Error()
		if fault, ok := errors.AsType[*topdown.Error](err); ok && fault.Code == topdown.ConflictErr {
			says = speaker{e.bundle.parsed}.said(err, fault.Location)
		}
		if line, ok := errors.AsType[*lineError](err); ok { // which needs no ground
			says = line.Error()
		}
		if !slices.Contains(problems, says) {
			problems = append(problems, says)
		}
	}
	words := e.words()
	everybody := cast(words)
	entities := []string{"account"}
	if len(e.reads) > 0 { // not every entity has every field
		entities = slices.Sorted(maps.Keys(e.fields))
	}
	for _, entity := range entities {
		for i, s := range everybody {
			for _, a := range actions {
				if i == 0 || slices.Contains([]crm.Action{crm.ActionRead, crm.ActionUpdate, crm.ActionPublish}, a) {
					try(s, a, entity)
				}
			}
		}
	}
	for _, word := range words { // as the only role, and as an entity
		try(cast([]string{word})[0], crm.ActionRead, entities[0])
		if _, known := e.fields[word]; known || len(e.reads) == 0 {
			try(everybody[0], crm.ActionRead, word)
		}
	}
	return problems
}

var actions = []crm.Action{
	crm.ActionRead, crm.ActionCreate, crm.ActionUpdate, crm.ActionDelete, crm.ActionShare, crm.ActionWithhold, crm.ActionPublish,
}

// words are the texts that the bundle's rules speak of. Among them are the
// roles, and the entities that a rule treats apart.
func (e *Engine) words() []string {
	var words []string
	for _, m := range e.bundle.rules() {
		ast.WalkTerms(m, func(t *ast.Term) bool {
			if s, ok := t.Value.(ast.String); ok && !slices.Contains(words, string(s)) {
				words = append(words, string(s))
			}
			return false
		})
	}
	slices.Sort(words)
	return words
}

// cast is who a bundle is rehearsed with: somebody who has everything, somebody
// who has every role and no assignment, somebody who has nothing, a service,
// and other instances with a narrow and a wide contract.
func cast(words []string) []crm.Subject {
	full := crm.Subject{
		ID: "rehearsal@here", Kind: crm.KindPerson, Instance: "here", Roles: words, Clearance: 9,
		Territories: []string{"001", "US"}, Segments: []string{"all", "Financials"}, AllSegments: true,
		Departments: []string{"sales", "there/sales"}, Keys: []string{"s:rehearsal@here", "d:sales"},
		Relationships: []crm.Relationship{{Department: "legal", Actions: words}, {Department: "tax", Actions: words}},
		Groups:        []string{"core"}, Jurisdictions: []string{"US"}, Purpose: "rehearsal",
		Areas: []crm.Area{
			{ID: "open", Department: "sales", Effect: crm.EffectOpen, Groups: []string{"core"}, Territories: []string{"001", "US"}, Segments: []string{"all"}, OnDepartment: "legal", To: crm.Forever},
			{ID: "wall", Department: "there/sales", Effect: crm.EffectWall, Actions: words, AnyTerritory: true, AnySegment: true, To: crm.Forever},
		},
	}
	bare := crm.Subject{ID: "bare@here", Kind: crm.KindPerson, Instance: "here"}
	unplaced, service, narrow, wide := bare, full, full, full
	unplaced.Roles = words
	service.Kind = crm.KindService
	narrow.Kind, narrow.Roles, narrow.AllSegments, narrow.To = crm.KindInstance, nil, false, crm.Forever
	wide.Kind, wide.Jurisdictions, wide.Groups, wide.To = crm.KindInstance, []string{"*"}, nil, crm.Forever
	return []crm.Subject{full, bare, unplaced, service, narrow, wide}
}
