package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Change is what differs in one rule, or in a file that holds none.
type Change struct {
	Path, Rule string // Rule is "" for a file as a whole
	Kind       string // added, removed or changed
	Old, New   string // the rule's text in its one form, comments aside
}

// Changes are the rules that differ from one bundle to another, by what they
// say: how a file is set, and where a rule stands in it, is no change.
func Changes(from, to *Bundle) (out []Change) {
	paths := slices.Sorted(maps.Keys(from.modules))
	for path := range to.modules {
		if _, ok := from.modules[path]; !ok {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		if !strings.HasSuffix(path, ".rego") {
			out = append(out, changed(path, "", from.modules[path], to.modules[path])...)
			continue
		}
		old, now := texted(from.parsed[path]), texted(to.parsed[path])
		names := slices.Sorted(maps.Keys(old))
		for name := range now {
			if _, ok := old[name]; !ok {
				names = append(names, name)
			}
		}
		for _, name := range names {
			out = append(out, changed(path, name, old[name], now[name])...)
		}
	}
	return out
}

func changed(path, rule, old, now string) []Change {
	c := Change{path, rule, "changed", old, now}
	switch {
	case old == now:
		return nil
	case old == "":
		c.Kind = "added"
	case now == "":
		c.Kind = "removed"
	}
	return []Change{c}
}

// texted are a module's rules by name, with all that are of one name together.
func texted(m *ast.Module) map[string]string {
	out := map[string]string{}
	if m == nil {
		return out
	}
	for _, r := range m.Rules {
		out[r.Head.Ref().String()] += string(r.Loc().Text) + "\n"
	}
	return out
}
