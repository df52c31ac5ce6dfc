package policy

import (
	"slices"
	"strings"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
)

// rolesAtMost bounds the words that are tried as roles.
const rolesAtMost = 40

// StandIns are subjects that nobody is, for whom a change of policy is looked
// at too: the personas of both bundles, and for every word of the rules that
// change somebody who has it as their only role. They have no assignments but
// what a persona names, and no fact of today opens or closes anything to them
// by name: what a change opens to a role that nobody has yet, or to people who
// are shut out for an hour, it opens to them. Words that were not tried because
// there are too many come back as untried.
func StandIns(from, to *Bundle) (subjects []crm.Subject, untried []string) {
	add := func(id string, s crm.Subject) {
		s.ID = crm.SubjectID(id)
		if s.Kind == crm.KindInstance && s.To.IsZero() {
			s.To = crm.Forever
		}
		if !slices.ContainsFunc(subjects, func(o crm.Subject) bool { return alike(o, s) }) {
			subjects = append(subjects, s)
		}
	}
	for _, p := range to.personas {
		add("persona:"+p.Name, p.Subject)
	}
	for _, p := range from.personas {
		if !slices.ContainsFunc(to.personas, func(o Persona) bool { return o.Name == p.Name }) {
			add("persona:"+p.Name, p.Subject)
		}
	}
	words := changedWords(from, to)
	if len(words) > rolesAtMost {
		words, untried = words[:rolesAtMost], words[rolesAtMost:]
	}
	for _, w := range words {
		add("role:"+w, crm.Subject{Kind: crm.KindPerson, Instance: "here", Roles: []string{w}, Clearance: 9})
	}
	return subjects, untried
}

// changedWords are the texts in rules that differ, those first that the bundle
// before does not speak of at all. What grounds are called and mean is no word
// of a rule.
func changedWords(from, to *Bundle) []string {
	var words []string
	known := map[string]bool{}
	collect := func(b *Bundle, visit func(path, rule, word string)) {
		for path, m := range b.rules() {
			for _, r := range m.Rules {
				ast.WalkTerms(r, func(t *ast.Term) bool {
					if s, ok := t.Value.(ast.String); ok {
						visit(path, r.Head.Ref().String(), string(s))
					}
					return false
				})
			}
		}
	}
	collect(from, func(_, _, word string) { known[word] = true })
	differs := map[[2]string]bool{}
	for _, c := range Changes(from, to) {
		differs[[2]string{c.Path, c.Rule}] = c.Rule != "grounds"
	}
	collect(to, func(path, rule, word string) {
		if differs[[2]string{path, rule}] && !slices.Contains(words, word) {
			words = append(words, word)
		}
	})
	slices.SortFunc(words, func(a, b string) int {
		if known[a] != known[b] {
			if known[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return words
}
