package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meridian/instance/crm"
)

func TestEndpoint(t *testing.T) {
	data := t.TempDir()
	if _, err := Endpoint(data, "amer"); crm.KindOf(err) != crm.Unavailable || !strings.Contains(err.Error(), "meridian up") {
		t.Errorf("without a fleet: %v, want a word on how to start one", err)
	}
	if err := writeJSON(filepath.Join(data, mark), endpoints{map[string]string{"amer": "http://127.0.0.1:7001"}}); err != nil {
		t.Fatal(err)
	}
	if at, err := Endpoint(data, "amer"); err != nil || at != "http://127.0.0.1:7001" {
		t.Errorf("amer at %q, %v", at, err)
	}
	if _, err := Endpoint(data, "mars"); crm.KindOf(err) != crm.NotFound {
		t.Errorf("mars: %v, want not found", err)
	}
}

func TestFreshEmptiesOnlyAFleetsFolder(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		emptied bool
	}{"a fleet's": {mark, true}, "somebody's": {"thesis.doc", false}} {
		t.Run(name, func(t *testing.T) {
			d, release, err := openFolder(filepath.Join(t.TempDir(), "data"))
			if err != nil {
				t.Fatal(err)
			}
			defer release() //nolint:errcheck // the test is over
			if err := os.WriteFile(d.file(c.file), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			err = d.empty()
			_, statErr := os.Stat(d.file(c.file))
			if emptied := os.IsNotExist(statErr); emptied != c.emptied || (err == nil) != c.emptied {
				t.Errorf("emptied = %v, error = %v", emptied, err)
			}
		})
	}
}

func TestStartingOverThatWasKilledIsGoneOnWith(t *testing.T) {
	d := Folder(t.TempDir())
	for _, name := range []string{emptying, "progress.json"} { // the mark is gone already
		if err := os.WriteFile(d.file(name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !d.halfEmpty() {
		t.Fatal("a half-emptied folder is taken for a whole one")
	}
	if err := d.empty(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(string(d)); err != nil || len(left) != 0 || d.halfEmpty() {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestPasswordIsMadeOnceAndPrivate(t *testing.T) {
	d := Folder(t.TempDir())
	if err := os.Mkdir(d.file("amer"), 0o700); err != nil {
		t.Fatal(err)
	}
	first, err := d.password("amer", "database")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.password("amer", "database"); err != nil || again != first || len(first) < 20 {
		t.Errorf("password %d characters, again the same: %v, %v", len(first), again == first, err)
	}
	info, err := os.Stat(d.secret("amer", "database.password"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestSplitSubject(t *testing.T) {
	if short, at, err := SplitSubject("rep.west@amer"); err != nil || short != "rep.west" || at != "amer" {
		t.Errorf("%q %q %v", short, at, err)
	}
	for _, s := range []crm.SubjectID{"rep.west", "@amer", "rep.west@", "a@b@c", ""} {
		if _, _, err := SplitSubject(s); crm.KindOf(err) != crm.Invalid {
			t.Errorf("%q: %v, want invalid", s, err)
		}
	}
}
