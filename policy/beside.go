package policy

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// besides are the packages that say what is not about one record.
var besides = []string{"data.meridian.service", limitsPackage}

// Alike reports whether two bundles surely permit and limit alike, whoever asks
// for what: the same text says it, and looks at nothing else.
func Alike(a, b *Bundle) bool {
	said, closed := a.beside()
	other, otherClosed := b.beside()
	return closed && otherClosed && maps.Equal(said, other)
}

// beside is the text of permissions and limits by path, and whether it refers to
// nothing beyond.
func (b *Bundle) beside() (said map[string]string, closed bool) {
	said, closed = map[string]string{}, true
	for path, m := range b.rules() {
		if !slices.Contains(besides, m.Package.Path.String()) {
			continue
		}
		said[path] = b.modules[path]
		ast.WalkRefs(m, func(r ast.Ref) bool {
			if r.HasPrefix(ast.DefaultRootRef) && !r.Equal(m.Package.Path) && !slices.ContainsFunc(besides, func(p string) bool { return r.HasPrefix(ast.MustParseRef(p)) }) {
				closed = false
			}
			return false
		})
	}
	return said, closed
}

// Reworded are the rules that differ from one bundle to another, as "path:
// rule", tests aside. What a rule is called in another package counts too.
func Reworded(from, to *Bundle) (out []string) {
	for _, c := range Changes(from, to) {
		if !isTest(c.Path) && c.Rule != "" {
			out = append(out, c.Path+": "+c.Rule)
		}
	}
	old, now := from.rules(), to.rules()
	for _, path := range slices.Sorted(maps.Keys(now)) {
		if was, ok := old[path]; ok && !slices.EqualFunc(was.Imports, now[path].Imports, (*ast.Import).Equal) || ok && !was.Package.Equal(now[path].Package) {
			out = append(out, path+": imports")
		}
	}
	return out
}
