package policy

import (
	"slices"
	"strings"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
)

// wordsAtMost bounds the words that are tried.
const wordsAtMost = 40

// StandIn is a subject that nobody is.
type StandIn struct {
	Name    crm.SubjectID
	Subject crm.Subject
}

// StandIns are those for whom a change of policy is looked at beside who is
// there: the personas of both bundles, and for every word of the rules that
// change somebody who has it as name, role and department, and a person and a
// service who have them all. They have no other assignments, and no fact of
// today is about them: what a change opens to a role that nobody has yet, or to
// people who are shut out for an hour, it opens to them. Words that were not
// tried one by one because there are too many come back as untried.
func StandIns(from, to *Bundle) (all []StandIn, untried []string) {
	add := func(name string, s crm.Subject) {
		if s.Kind == crm.KindInstance && s.To.IsZero() {
			s.To = crm.Forever
		}
		all = append(all, StandIn{crm.SubjectID(name), s})
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
	having := func(kind crm.SubjectKind, name string, words ...string) crm.Subject {
		s := crm.Subject{ID: crm.SubjectID(name), Kind: kind, Instance: "here", Roles: words, Departments: words, Clearance: 9, Keys: []string{"s:" + name}}
		for _, w := range words {
			s.Keys = append(s.Keys, "d:"+w)
		}
		return s
	}
	if len(words) > 0 {
		add("word:all of them", having(crm.KindPerson, "all words", words...))
		add("word:all of them, a service", having(crm.KindService, "all words", words...))
	}
	if len(words) > wordsAtMost {
		words, untried = words[:wordsAtMost], words[wordsAtMost:]
	}
	for _, w := range words {
		add("word:"+w, having(crm.KindPerson, w, w))
	}
	return all, untried
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
