package policy

import (
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
)

//go:embed bundle/*.rego
var embedded embed.FS

// Bundle is an immutable set of Rego modules, named by its digest. Modules
// whose path ends in _test.rego are its tests: they travel with it and decide
// nothing.
type Bundle struct {
	modules map[string]string
	parsed  map[string]*ast.Module
	digest  string
}

// Embedded is the bundle shipped with this build.
func Embedded() *Bundle {
	modules := map[string]string{}
	files, err := fs.Glob(embedded, "bundle/*.rego")
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

// NewBundle makes a bundle of modules by path. A module that does not parse is
// an Invalid error with the path as its field.
func NewBundle(modules map[string]string) (*Bundle, error) {
	b := &Bundle{modules: maps.Clone(modules), parsed: map[string]*ast.Module{}}
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		text := modules[path]
		m, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities(path)})
		if err != nil {
			return nil, crm.FieldErrorf(path, "the module does not parse: %v", err)
		}
		b.parsed[path] = m
		for _, s := range []string{path, text} { // lengths first: no two sets of modules share a digest
			_ = binary.Write(h, binary.BigEndian, int64(len(s))) // a hash never fails
			h.Write([]byte(s))
		}
	}
	b.digest = hex.EncodeToString(h.Sum(nil))
	return b, nil
}

// Digest is the SHA-256 of the modules, in hex.
func (b *Bundle) Digest() string { return b.digest }

// Modules are the sources by path.
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
// values. There is no clock, no network, no randomness, and nothing that reads
// a row by a computed name.
var ruleBuiltins = []*ast.Builtin{
	ast.Equality, ast.Assign, ast.Equal, ast.NotEqual, ast.LessThan, ast.LessThanEq, ast.GreaterThan, ast.GreaterThanEq,
	ast.Member, ast.MemberWithKey, ast.StartsWith, ast.EndsWith, ast.Contains, ast.Count, ast.Concat, ast.Lower, ast.Upper,
	ast.Split, ast.ArrayConcat, ast.And, ast.Or, ast.Minus, ast.Union, ast.Intersection, ast.Plus, ast.Max, ast.Min,
}

// capabilities are what the module at path may use. Tests build fixtures and
// may use every deterministic function.
func capabilities(path string) *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{}
	c.FutureKeywords = slices.DeleteFunc(c.FutureKeywords, func(k string) bool { return k == "and" || k == "or" })
	if !isTest(path) {
		c.Builtins = ruleBuiltins
		return c
	}
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.Contains([]string{"http.send", "opa.runtime", "net.lookup_ip_addr", "trace", "print"}, b.Name)
	})
	return c
}
