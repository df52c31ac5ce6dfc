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
func Alike(a, b *Bundle) bool { return sameText(a, b, true) }

// SameAccess reports whether two bundles surely open and close the same records
// to everybody: the same text says it, and looks at nothing else.
func SameAccess(a, b *Bundle) bool { return sameText(a, b, false) }

func sameText(a, b *Bundle, beside bool) bool {
	said, closed := a.said(beside)
	other, otherClosed := b.said(beside)
	return closed && otherClosed && maps.Equal(said, other)
}

// said is the text of permissions and limits by path, or that of all other
// rules, and whether it refers to nothing beyond.
func (b *Bundle) said(beside bool) (said map[string]string, closed bool) {
	isBeside := func(r ast.Ref) bool {
		return slices.ContainsFunc(besides, func(p string) bool { return r.HasPrefix(ast.MustParseRef(p)) })
	}
	said, closed = map[string]string{}, true
	for path, m := range b.rules() {
		if isBeside(m.Package.Path) != beside {
			continue
		}
		said[path] = b.modules[path]
		ast.WalkRefs(m, func(r ast.Ref) bool {
			if r.HasPrefix(ast.DefaultRootRef) && !r.Equal(m.Package.Path) && isBeside(r) != beside {
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
