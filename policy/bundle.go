package policy

import (
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
)

//go:embed bundle/*.rego bundle/*.json
var embedded embed.FS

// Bundle is an immutable set of files, named by its digest: Rego modules, and
// the personas of personas.json. Modules whose path ends in _test.rego are its
// tests: they travel with it and decide nothing.
type Bundle struct {
	modules  map[string]string
	parsed   map[string]*ast.Module
	personas []Persona
	digest   string
}

// Embedded is the bundle shipped with this build.
func Embedded() *Bundle {
	modules := map[string]string{}
	files, err := fs.Glob(embedded, "bundle/*")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, f := range files {
		text, err := embedded.ReadFile(f)
		if err != nil {
			panic(err) // the files are part of the build
		}
		modules[strings.TrimPrefix(f, "bundle/")] = string(text)
	}
	b, err := NewBundle(modules)
	if err != nil {
		panic(err) // so are their contents, and tests parse them
	}
	return b
}

// Sizes of a bundle. People write it and read it.
const (
	maxFiles = 200
	maxBytes = 1 << 20
)

// NewBundle makes a bundle of files by path. What does not parse is an Invalid
// error with file and line as its field; Problems has all of them.
func NewBundle(files map[string]string) (*Bundle, error) {
	b := &Bundle{modules: maps.Clone(files), parsed: map[string]*ast.Module{}}
	size := 0
	var faults []error
	for _, path := range slices.Sorted(maps.Keys(files)) {
		text := files[path]
		if size += len(path) + len(text); size > maxBytes || len(files) > maxFiles {
			return nil, crm.FieldErrorf(path, "a bundle has at most %d files and %d bytes; data belongs into facts (meridian fact, meridian agreement)", maxFiles, maxBytes)
		}
		if err := b.parse(path, text); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return nil, unfit(faults)
	}
	b.digest = DigestOf(files)
	return b, nil
}

// DigestOf names a set of files, whether they make a bundle or not: the
// SHA-256 of paths and texts, in hex.
func DigestOf(files map[string]string) string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		for _, s := range []string{path, files[path]} { // lengths first: no two sets of files share a digest
			_ = binary.Write(h, binary.BigEndian, int64(len(s))) // a hash never fails
			h.Write([]byte(s))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (b *Bundle) parse(path, text string) (err error) {
	if err := unread(path, text); err != nil {
		return err
	}
	if path == personasFile {
		b.personas, err = parsePersonas(text)
		return err
	}
	if b.parsed[path], err = ast.ParseModuleWithOpts(path, text, ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities(path)}); err != nil {
		return unparsed(path, text, err)
	}
	if m := b.parsed[path]; m.Package.Path.HasPrefix(ast.MustParseRef(decisionPackage)) {
		return atLine(path, m.Package.Location.Row, "the package meridian.decision is made of the grounds, for tests; give this one another name")
	}
	return nil
}

var goodPath = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\.[a-z]+$`)

// Digest is the SHA-256 of the files, in hex.
func (b *Bundle) Digest() string { return b.digest }

// Modules are the files by path.
func (b *Bundle) Modules() map[string]string { return maps.Clone(b.modules) }

func isTest(path string) bool { return strings.HasSuffix(path, "_test.rego") }

// rules are copies of the modules that decide; compiling changes them.
func (b *Bundle) rules() map[string]*ast.Module {
	out := map[string]*ast.Module{}
	for path, m := range b.parsed {
		if !isTest(path) {
			out[path] = m.Copy()
		}
	}
	return out
}

// ruleBuiltins is all that rules may call: comparisons and pure functions of
// values. There is no clock, no network, no randomness, nothing that reads a row
// by a computed name, and nothing that makes large values of small ones: time is
// bounded, memory would not be.
var ruleBuiltins = []*ast.Builtin{
	ast.Equality, ast.Assign, ast.Equal, ast.NotEqual, ast.LessThan, ast.LessThanEq, ast.GreaterThan, ast.GreaterThanEq,
	ast.Member, ast.MemberWithKey, ast.StartsWith, ast.EndsWith, ast.Contains, ast.Count, ast.Lower, ast.Upper,
	ast.Split, ast.And, ast.Or, ast.Minus, ast.Union, ast.Intersection, ast.Plus, ast.Max, ast.Min,
}

// notInTests are the functions that tests may not use: those that look outside,
// and those that double a value at every step.
var notInTests = []string{
	"http.send", "opa.runtime", "net.lookup_ip_addr", "trace", "print",
	"concat", "sprintf", "array.concat", "array.flatten", "replace", "strings.replace_n", "strings.render_template", "numbers.range", "numbers.range_step", "json.patch",
}

// capabilities are what the module at path may use. Tests build fixtures and
// may use every deterministic function that makes nothing large of something
// small.
func capabilities(path string) *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{}
	c.FutureKeywords = slices.DeleteFunc(c.FutureKeywords, func(k string) bool { return k == "and" || k == "or" })
	if !isTest(path) {
		c.Builtins = ruleBuiltins
		return c
	}
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.Contains(notInTests, b.Name)
	})
	return c
}
