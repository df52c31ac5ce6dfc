// Package archtest keeps the arrows of ARCHITECTURE.md: who may import whom,
// which package alone may touch a vendor's library, how long a file may grow
// and that every package says what it is.
//
// It parses the sources in this process: go test tracks the files a test
// opens, so a broken tree is never served from the test cache.
package archtest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	root    = "../.."
	module  = "meridian/"
	maxFile = 600 // lines; a longer file has a second subject
)

// arrows says which of our packages a package may import; first match wins,
// and a folder that is not listed fails, so a new one has to find its place.
// A prefix covers everything below it, and a package may always import its
// own prefix.
var arrows = []struct{ pkg, may string }{
	{"instance/crm", ""},
	{"policy", "instance/crm"},
	{"instance/store", "instance/crm policy"},
	{"instance/access", "instance/crm policy instance/store"},
	{"instance/identity", "instance/crm"},
	{"instance/embedded", "instance/crm"},
	{"instance/feed", "instance/crm instance/store instance/access"},
	{"instance/exchange", "instance/crm instance/store instance/access instance/feed proto"},
	{"instance/load", "instance/crm instance/store instance/access proto"},
	{"instance/pluginhost", "instance/crm instance/access plugins proto/gen"},
	{"instance/api", "instance/crm instance/store instance/access policy proto"},
	{"instance/console", "instance/crm"},
	{"instance/archtest", ""},
	{"instance", "instance policy plugins proto/gen"},
	{"plugins", "instance/crm proto"},
	{"adapters", "instance/crm proto"},
	{"proto/gen", ""},
	{"proto/values", "instance/crm proto/gen"},
	{"cmd", "instance adapters policy proto"},
	{"bench", "instance adapters plugins policy proto/gen cmd"},
}

// vendors lists libraries that one folder alone may import, outside tests, so
// that replacing one touches one folder.
var vendors = []struct{ path, only string }{
	{"github.com/jackc/pgx/", "instance/store bench"},
	{"github.com/segmentio/kafka-go", "instance/exchange bench"},
	{"github.com/hashicorp/go-plugin", "plugins/wire"},
	{"github.com/open-policy-agent/opa", "policy"},
	{"github.com/twmb/franz-go", "instance/embedded"},
	{"github.com/fergusstrange/embedded-postgres", "instance/embedded"},
	{"github.com/pressly/goose/", "instance/store"},
	{"connectrpc.com/", "instance/api cmd adapters proto/gen bench"},
}

func TestArrows(t *testing.T) {
	eachFile(t, func(t *testing.T, path, pkg string, f *ast.File) {
		test := strings.HasSuffix(path, "_test.go")
		for _, spec := range f.Imports {
			imp := strings.Trim(spec.Path.Value, `"`)
			if to, ours := strings.CutPrefix(imp, module); ours && !test {
				if !allowed(pkg, to) {
					t.Errorf("%s: %s may not import %s", path, pkg, to)
				}
			}
			for _, v := range vendors {
				if strings.HasPrefix(imp, v.path) && !test && !within(pkg, v.only) {
					t.Errorf("%s: only %s may import %s", path, v.only, imp)
				}
			}
			if within(pkg, "instance/crm") && !test && strings.Contains(imp, ".") {
				t.Errorf("%s: the vocabulary imports the standard library only, not %s", path, imp)
			}
		}
	})
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	docs, packages := map[string]int{}, map[string]bool{}
	eachFile(t, func(_ *testing.T, path, pkg string, f *ast.File) {
		if strings.HasSuffix(path, "_test.go") || within(pkg, "proto/gen") {
			return
		}
		packages[pkg] = true
		if f.Doc != nil {
			docs[pkg]++
		}
	})
	for pkg := range packages {
		if docs[pkg] != 1 {
			t.Errorf("package %s has %d package comments, want one", pkg, docs[pkg])
		}
	}
}

func TestFilesStayShort(t *testing.T) {
	eachFile(t, func(t *testing.T, path, pkg string, _ *ast.File) {
		if within(pkg, "proto/gen") {
			return
		}
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), "\n"); n > maxFile {
			t.Errorf("%s has %d lines; split it by subject (at most %d)", path, n, maxFile)
		}
	})
}

func allowed(pkg, to string) bool {
	for _, a := range arrows {
		if within(pkg, a.pkg) {
			return within(to, a.pkg) || within(to, a.may)
		}
	}
	return false
}

// within reports whether pkg is one of the prefixes or below it.
func within(pkg, prefixes string) bool {
	for _, p := range strings.Fields(prefixes) {
		if pkg == p || strings.HasPrefix(pkg, p+"/") {
			return true
		}
	}
	return false
}

func eachFile(t *testing.T, check func(t *testing.T, path, pkg string, f *ast.File)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		n++
		check(t, path, filepath.ToSlash(rel), f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 20 {
		t.Fatalf("saw only %d files; is the root right?", n)
	}
}
