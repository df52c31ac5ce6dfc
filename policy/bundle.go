package policy

import (
	"context"
	"embed"
)

//go:embed bundle/*.rego
var embedded embed.FS

// Bundle is an immutable set of Rego modules, named by its digest.
type Bundle struct {
	modules map[string]string
	digest  string
}

// Embedded is the bundle shipped with this build.
func Embedded() *Bundle { return nil }

// NewBundle makes a bundle of modules by path.
func NewBundle(modules map[string]string) (*Bundle, error) { return nil, nil }

// Digest is the SHA-256 of the modules.
func (b *Bundle) Digest() string { return b.digest }

// Modules are the sources by path.
func (b *Bundle) Modules() map[string]string { return b.modules }

// TestResult is the outcome of one Rego test.
type TestResult struct {
	Name    string
	Passed  bool
	Message string
}

// Test runs the bundle's Rego tests.
func Test(ctx context.Context, b *Bundle) ([]TestResult, error) { return nil, nil }

// Check lists what keeps a bundle from being activated; empty when nothing does.
func Check(ctx context.Context, b *Bundle) []string { return nil }
