package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Tests speak of grounds one by one. A promise is about all of them, those of
// tomorrow included: so tests are given package meridian.decision, made of the
// grounds that the bundle declares. Like rules it knows nothing of contracts.
const (
	decisionPackage = "data.meridian.decision"
	decisionFile    = "(made) decision.rego"
)

// decisionModule is what all grounds together decide about a known record and
// known facts, {"agreement": [...], "grant": [...], "area": [...]}.
func (b *Bundle) decisionModule() *ast.Module {
	var text strings.Builder
	text.WriteString("package meridian.decision\n")
	add := func(head string, g groundLines, conditions ...string) {
		fmt.Fprintf(&text, "\n%s if {\n", head)
		if g.fact != "" {
			fmt.Fprintf(&text, "\tsome fact in facts[%q]\n", g.fact)
		}
		fmt.Fprintf(&text, "\t%s\n}\n", strings.Join(conditions, "\n\t"))
	}
	call := func(g groundLines, of, more string) string {
		fact := ""
		if g.fact != "" {
			fact = "fact, "
		}
		return "data.meridian.rules." + g.name + of + "(ask, record, " + fact + "now" + more + ")"
	}
	// What no ground decides is decided all the same: it is false.
	text.WriteString("\nopened(_, _, _, _) if false\n\nclosed(_, _, _, _) if false\n\nshown(_, _, _, _, _) if false\n")
	text.WriteString("\nallowed(ask, record, facts, now) if {\n\topened(ask, record, facts, now)\n\tnot closed(ask, record, facts, now)\n}\n")
	known := (speaker{b.parsed}).rulesOf("data.meridian.rules")
	for _, g := range b.groundLines() {
		switch {
		case len(known[g.name]) == 0: // the gate says so
		case !g.opens:
			add("closed(ask, record, facts, now)", g, call(g, "", ""))
		default:
			add("opened(ask, record, facts, now)", g, call(g, "", ""))
			if len(known[g.name+"_reveals"]) > 0 {
				add("shown(ask, record, facts, now, group)", g, "allowed(ask, record, facts, now)", "not group in record.withheld",
					call(g, "", ""), call(g, "_reveals", ", group"))
			}
		}
	}
	m, err := ast.ParseModuleWithOpts(decisionFile, text.String(), ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil { // a ground whose name is no name; the gate says so
		m = ast.MustParseModuleWithOpts("package meridian.decision", ast.ParserOptions{RegoVersion: ast.RegoV1})
	}
	return m
}

// groundLines is a line among the grounds as it stands in the file.
type groundLines struct {
	name, fact string
	opens      bool
}

func (b *Bundle) groundLines() (out []groundLines) {
	text := func(o ast.Object, key string) string {
		if v := o.Get(ast.StringTerm(key)); v != nil {
			if s, ok := v.Value.(ast.String); ok {
				return string(s)
			}
		}
		return ""
	}
	for _, r := range (speaker{b.parsed}).rulesOf("data.meridian.rules")["grounds"] {
		if r.Head.Value == nil {
			continue
		}
		grounds, ok := r.Head.Value.Value.(ast.Object)
		if !ok {
			continue
		}
		grounds.Foreach(func(k, v *ast.Term) {
			name, isText := k.Value.(ast.String)
			attributes, isObject := v.Value.(ast.Object)
			if isText && isObject {
				out = append(out, groundLines{string(name), text(attributes, "fact"), text(attributes, "effect") == "opens"})
			}
		})
	}
	slices.SortFunc(out, func(a, b groundLines) int { return strings.Compare(a.name, b.name) })
	return out
}
