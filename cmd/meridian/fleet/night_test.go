package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"meridian/cmd/meridian/fleet/sample"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

func TestDropIsWholeAndMadeOnce(t *testing.T) {
	r := &run{folder: Folder(t.TempDir())}
	content := []byte("a\n1\n2\n")
	sum := sha256.Sum256(content)
	d := &delivery{node: &node{Instance: Instance{Name: "amer"}}, sha256: hex.EncodeToString(sum[:]), file: sample.File{Feed: "companies", Rows: 2, Content: content}}
	if err := r.drop(d); err != nil {
		t.Fatal(err)
	}
	inbox := filepath.Join(r.folder.drop("amer"), "inbox")
	for name, want := range map[string]string{
		"companies.csv":         "a\n1\n2\n",
		"companies.csv.control": "records=2\n",
		"companies.csv.sha256":  d.sha256 + "  companies.csv\n",
	} {
		if got, err := os.ReadFile(filepath.Join(inbox, name)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	// Dropping again while it waits leaves what lies there.
	before, err := os.Stat(filepath.Join(inbox, "companies.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.drop(d); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(filepath.Join(inbox, "companies.csv")); err != nil || !os.SameFile(before, after) {
		t.Errorf("the waiting file was replaced: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(r.folder.drop("amer"), ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRefusedTellsTheReason(t *testing.T) {
	r := &run{folder: Folder(t.TempDir()), began: time.Now().Add(-time.Minute)}
	d := &delivery{node: &node{Instance: Instance{Name: "amer"}}, file: sample.File{Feed: "companies"}}
	if err := r.refused(d); err != nil {
		t.Fatalf("nothing happened yet: %v", err)
	}
	dir := filepath.Join(r.folder.drop("amer"), "refused", "20260101T000000-companies.csv")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "reason.txt"), []byte("the checksum differs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.refused(d); err == nil {
		t.Error("a refused file is waited for")
	}
	d.load = &facadev1.Load{State: "complete"}
	if err := r.refused(d); err != nil {
		t.Errorf("it was loaded after all: %v", err)
	}
	d.load = &facadev1.Load{State: "halted", Error: "control count"}
	if err := r.refused(d); err == nil {
		t.Error("a halted load is waited for")
	}
}

func TestLeft(t *testing.T) {
	if got := left(100, 300, 10*time.Second); got != ", about 30s left" {
		t.Errorf("left = %q", got)
	}
	if got := left(0, 300, 10*time.Second); got != "" {
		t.Errorf("without a pace: %q", got)
	}
}

func TestLagging(t *testing.T) {
	out := func(sequence, pending int64) *exchangev1.GetStatusResponse {
		return &exchangev1.GetStatusResponse{Streams: []*exchangev1.StreamStatus{{Stream: "s", Direction: "out", Sequence: sequence, Pending: pending}}}
	}
	in := func(sequence int64) *exchangev1.GetStatusResponse {
		return &exchangev1.GetStatusResponse{Streams: []*exchangev1.StreamStatus{{Stream: "s", Direction: "in", Sequence: sequence}}}
	}
	for name, c := range map[string]struct {
		source, destination *exchangev1.GetStatusResponse
		rest                bool
	}{
		"all applied":     {out(5, 0), in(5), true},
		"nothing to do":   {&exchangev1.GetStatusResponse{}, &exchangev1.GetStatusResponse{}, true},
		"unread":          {&exchangev1.GetStatusResponse{RelayBacklog: 1}, in(5), false},
		"unsent":          {out(5, 2), in(3), false},
		"not applied":     {out(5, 0), in(4), false},
		"never heard of":  {out(1, 0), &exchangev1.GetStatusResponse{}, false},
		"nothing exposed": {out(0, 0), &exchangev1.GetStatusResponse{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := &node{Instance: Instance{Name: "a"}}, &node{Instance: Instance{Name: "b"}}
			if got := (rest{}).lagging(map[*node]*exchangev1.GetStatusResponse{a: c.source, b: c.destination}); (got == "") != c.rest {
				t.Errorf("lagging = %q, want rest = %v", got, c.rest)
			}
		})
	}
	t.Run("in use", func(t *testing.T) { // never both at rest, never all applied
		a, b := &node{Instance: Instance{Name: "a"}}, &node{Instance: Instance{Name: "b"}}
		rested := rest{}
		for i, c := range []struct {
			backlogA, stored, applied, backlogB int64
			lags                                bool
		}{{1, 5, 3, 0, true}, {0, 6, 4, 1, true}, {2, 8, 5, 1, true}, {2, 9, 6, 1, false}} {
			source, destination := out(c.stored, 1), in(c.applied)
			source.RelayBacklog, destination.RelayBacklog = c.backlogA, c.backlogB
			if got := rested.lagging(map[*node]*exchangev1.GetStatusResponse{a: source, b: destination}); (got != "") != c.lags {
				t.Errorf("look %d: lagging = %q, want lagging = %v", i, got, c.lags)
			}
		}
	})
}
