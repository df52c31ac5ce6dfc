package embedded_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meridian/instance/embedded"
)

// The fetched server works like the installed one. It needs the network and
// 100 MB, so it runs only when asked for: EMBEDDED_TEST_FETCH=1.
func TestFetchedBinariesRun(t *testing.T) {
	if os.Getenv("EMBEDDED_TEST_FETCH") == "" {
		t.Skip("set EMBEDDED_TEST_FETCH=1 to fetch PostgreSQL")
	}
	dir := openDir(t)
	bin, err := embedded.FetchBinaries(filepath.Join(dir, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := embedded.FetchBinaries(filepath.Join(dir, "postgres")); err != nil || again != bin {
		t.Fatalf("fetched again: %s, %v", again, err)
	}
	t.Setenv("PATH", bin)
	p := start(t, filepath.Join(dir, "cluster"))
	ensure(t, p, "amer")
	if got := queryText(t, p.URL("amer", "amer", "secret"), "select version()"); !strings.Contains(got, "PostgreSQL 17") {
		t.Errorf("version = %s, want the fetched 17", got)
	}
}
