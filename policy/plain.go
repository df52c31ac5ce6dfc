package policy

import (
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// speaker says what the compiler says in words for who writes rules. It knows
// the modules as they were written.
type speaker struct{ modules map[string]*ast.Module }

// sayings are what the compiler says, and what it means.
var sayings = []struct {
	says  *regexp.Regexp
	means string                                                       // with $1 for what was found, or
	tells func(s speaker, at *ast.Location, said, first string) string // what it needs to know more for
}{
	{says: regexp.MustCompile(`^undefined function (\S+)$`), tells: speaker.undefined},
	{says: regexp.MustCompile(`^var (\S+) is unsafe$`), tells: speaker.unsafe},
	{says: regexp.MustCompile(`^conflicting rules (\S+) found$`), tells: speaker.conflicting},
	{says: regexp.MustCompile(`^function (\S+) has arity`), tells: speaker.arity},
	{says: regexp.MustCompile(`(?s)^undefined ref: (\S+).*$`), means: "$1 is nothing here: is it misspelt, or is what stands before the dot given to a function that takes fewer arguments?"},
	{says: regexp.MustCompile(`^unused argument (\S+)\..*$`), means: "the argument $1 is not used: write _ for it, or is it misspelt below?"},
	{says: regexp.MustCompile(`^rule data\.meridian\.(\S+) is recursive: (.+)$`), means: "$1 is recursive, it asks itself and has no answer: $2"},
	{says: regexp.MustCompile(`^assigned var (\S+) unused$`), means: "$1 is set and not used: take it out, or is it misspelt below?"},
	{says: regexp.MustCompile(`^import (\S+) unused$`), means: "the import of $1 is not used: take it out"},
	{says: regexp.MustCompile(`^(?:arg|var) (\S+) (?:redeclared|(?:referenced|declared|assigned) above)$`), means: "$1 is the name of something else in this rule: give the new value another name"},
	{says: regexp.MustCompile(`^multiple default rules data\.meridian\.(\S+) found.*$`), means: "$1 has two defaults; a rule says yes or nothing and needs none"},
	{says: regexp.MustCompile(`(?s)^(\S+): (?:invalid argument|arity mismatch|too (?:many|few) arguments).*want: (\([^\n]*\)).*$`), means: "$1 is given something else than it takes, which is $2"},
	{says: regexp.MustCompile(`(?s)^match error.*left\s*:\s*(\S[^\n]*)\s*right\s*:\s*(\S[^\n]*).*$`), means: "the two sides are never equal: one is of type $1, the other $2. A text stands in quotes, a number does not"},
}

// problem is a compiler's error as "<file>:<line>: <what to do>".
func (s speaker) problem(err *ast.Error) string {
	text := err.Message
	if err.Details != nil {
		text += "\n" + strings.Join(err.Details.Lines(), "\n")
	}
	for _, x := range sayings {
		found := x.says.FindStringSubmatch(text)
		if found == nil {
			continue
		}
		if x.tells != nil {
			text = x.tells(s, err.Location, text, found[1])
		} else {
			text = x.says.ReplaceAllString(text, x.means)
		}
		break
	}
	return placed(err.Location, text)
}

// placed puts file and line before a message.
func placed(at *ast.Location, text string) string {
	text = made.ReplaceAllString(strings.Join(strings.Fields(text), " "), "_")
	if at == nil || at.File == "" {
		return text
	}
	return fmt.Sprintf("%s:%d: %s", at.File, at.Row, text)
}

// made are names of the compiler's own.
var made = regexp.MustCompile(`__local\d+__\d*`)

// imports are what test files speak of.
var imports = map[string]string{
	"rules": "import data.meridian.rules", "cases": "import data.meridian.rules_test as cases",
	"service": "import data.meridian.service", "limits": "import data.meridian.limits",
}

// undefined is about a function that is not there.
func (s speaker) undefined(at *ast.Location, _, name string) string {
	says := "undefined function " + name + ": "
	first, last := name, name
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		first, last = name[:i], name[i+1:]
	}
	switch {
	case strings.HasPrefix(name, "time."):
		return says + "rules have no clock; the time is the argument `now`"
	case slices.Contains([]string{"http", "net", "opa", "rand", "uuid"}, first):
		return says + "rules look at nothing but their arguments, so that the same question has the same answer"
	case imports[first] != "":
		return says + "at the head of the file there is no " + imports[first]
	case slices.ContainsFunc(ast.CapabilitiesForThisVersion().Builtins, func(b *ast.Builtin) bool { return b.Name == name }):
		return says + "rules may not call it; they compare, and use `in`, `not`, startswith and functions of their own"
	case first != name && len(s.rulesOf(first)) == 0:
		return says + "there is no package " + strings.TrimPrefix(first, "data.") + meant(strings.TrimPrefix(first, "data."), s.packages())
	case first != name:
		return says + "misspelt" + meant(last, maps.Keys(s.rulesOf(first)))
	}
	known := s.rulesOf(s.packageAt(at))
	for _, b := range ruleBuiltins {
		known[b.Name] = nil
	}
	return says + "misspelt, or not written yet" + meant(name, maps.Keys(known))
}

// unsafe is about a word that stands for nothing.
func (s speaker) unsafe(at *ast.Location, _, name string) string {
	says := name + " is not defined here"
	if lower := strings.ToLower(name); lower != name && slices.Contains([]string{"true", "false", "null"}, lower) {
		return says + "; did you mean " + lower + "?"
	}
	known := s.rulesOf(s.packageAt(at))
	if m := s.moduleAt(at); m != nil {
		var around *ast.Rule
		for _, r := range m.Rules {
			if r.Loc().Row <= at.Row {
				around = r
			}
		}
		if around != nil {
			for _, a := range around.Head.Args {
				known[a.String()] = nil
			}
		}
		for _, i := range m.Imports {
			known[string(i.Name())] = nil
		}
	}
	delete(known, "_")
	switch near := near(name, maps.Keys(known)); {
	case near != "":
		return says + "; did you mean " + near + "?"
	case imports[name] != "":
		return says + "; at the head of the file there is no " + imports[name]
	}
	return fmt.Sprintf("%s: is it misspelt, or a text? A text is written %q", says, name)
}

// conflicting is about one name for two things.
func (s speaker) conflicting(at *ast.Location, said, path string) string {
	rules := s.rulesOf(path[:strings.LastIndexByte(path, '.')])[path[strings.LastIndexByte(path, '.')+1:]]
	for _, r := range rules {
		if at != nil && (r.Loc().File != at.File || r.Loc().Row != at.Row) {
			return fmt.Sprintf("%s has another form at %s:%d, %s: give this one another name, or the same arguments", r.Head.Name, r.Loc().File, r.Loc().Row, heading(r))
		}
	}
	return said
}

// arity is about a function that is called with too much or too little.
func (s speaker) arity(_ *ast.Location, said, path string) string {
	i := strings.LastIndexByte(path, '.')
	rules := s.rulesOf(path[:max(i, 0)])[path[i+1:]]
	_, got, _ := strings.Cut(said, ", got ")
	if len(rules) == 0 {
		return said
	}
	return fmt.Sprintf("%s is written %s, and here it gets %s", path[i+1:], heading(rules[0]), got)
}

// heading is a rule's name with its arguments.
func heading(r *ast.Rule) string {
	if len(r.Head.Args) == 0 {
		return string(r.Head.Name)
	}
	args := make([]string, len(r.Head.Args))
	for i, a := range r.Head.Args {
		if args[i] = a.String(); a.IsGround() || strings.HasPrefix(args[i], "$") || strings.HasPrefix(args[i], "_") {
			args[i] = "_"
		}
	}
	return string(r.Head.Name) + "(" + strings.Join(args, ", ") + ")"
}

// rulesOf are the rules of a package, by name.
func (s speaker) rulesOf(pkg string) map[string][]*ast.Rule {
	out := map[string][]*ast.Rule{}
	for _, path := range slices.Sorted(maps.Keys(s.modules)) {
		m := s.modules[path]
		if m.Package.Path.String() != pkg {
			continue
		}
		for _, r := range m.Rules {
			out[string(r.Head.Name)] = append(out[string(r.Head.Name)], r)
		}
	}
	return out
}

func (s speaker) packages() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, m := range s.modules {
			if !yield(strings.TrimPrefix(m.Package.Path.String(), "data.")) {
				return
			}
		}
	}
}

func (s speaker) moduleAt(at *ast.Location) *ast.Module {
	if at == nil {
		return nil
	}
	return s.modules[at.File]
}

func (s speaker) packageAt(at *ast.Location) string {
	if m := s.moduleAt(at); m != nil {
		return m.Package.Path.String()
	}
	return ""
}

// asWritten is a compiled rule as its file has it.
func (s speaker) asWritten(r *ast.Rule) *ast.Rule {
	if m := s.moduleAt(r.Loc()); m != nil {
		for _, w := range m.Rules {
			if place(w.Loc()) == place(r.Loc()) {
				return w
			}
		}
	}
	return r
}
