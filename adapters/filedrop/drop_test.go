package filedrop_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meridian/adapters/filedrop"
)

func TestConfigFaults(t *testing.T) {
	valid := `name: filedrop@test
service: http://127.0.0.1:7001
token_file: token
folder: drop
feeds:
  - {name: people, files: "people*.csv", mapping: people.yaml}
`
	for _, tt := range []struct{ name, old, new, want string }{
		{"unknown key", "folder: drop", "foldr: drop", "field foldr not found"},
		{"no name", "name: filedrop@test\n", "", "name: name this facade"},
		{"no service", "http://127.0.0.1:7001", "127.0.0.1:7001", "service: give the instance's address"},
		{"no token", "token_file: token\n", "", "token_file: name the file"},
		{"no folder", "folder: drop\n", "", "folder: name the drop folder"},
		{"poll", "folder: drop\n", "folder: drop\npoll: 1ms\n", "poll: look at most every 10ms"},
		{"batch", "folder: drop\n", "folder: drop\nbatch: 1000\n", "batch: give 1 to 900 records"},
		{"pattern", `"people*.csv"`, `"people[.csv"`, "feeds[0]: files:"},
		{"no mapping", ", mapping: people.yaml", "", "feeds[0]: give name, files and mapping"},
		{"no feeds", valid[strings.Index(valid, "feeds:"):], "feeds: []\n", "feeds: name at least one"},
		{"a feed twice", valid[strings.Index(valid, "feeds:"):], "feeds:\n  - &a {name: a, files: a, mapping: a}\n  - *a\n", "feeds[1]: a is named twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := strings.Replace(valid, tt.old, tt.new, 1)
			if content == valid {
				t.Fatal("the case changes nothing")
			}
			_, err := filedrop.ReadConfig(write(t, t.TempDir(), "filedrop.yaml", content))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "filedrop.yaml") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestConfigPathsAreRelativeToTheFile(t *testing.T) {
	c, folder := configure(t, "http://127.0.0.1:7001", people)
	dir := filepath.Dir(folder)
	if c.Folder != folder || c.TokenFile != filepath.Join(dir, "token") || c.Feeds[0].Mapping != filepath.Join(dir, "people.yaml") || c.Socket != "" {
		t.Errorf("paths %+v", c)
	}
}

func TestFoldersAreTheOwnersAlone(t *testing.T) {
	_, folder := open(t)
	for _, dir := range []string{"inbox", "work", "archive", "refused"} {
		info, err := os.Stat(filepath.Join(folder, dir))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", dir, info, err)
		}
	}
}

// What a crash can leave of a claim: each state must end as if
// nothing had happened. The instance is not there, so the file stays claimed.
func TestClaimsSurviveACrash(t *testing.T) {
	const claimed = "work/20261123T060000.000000Z-people.csv/"
	const content = "id,name\na,A\n"
	for _, tt := range []struct {
		name  string
		files []string
	}{
		{"before the file was moved", []string{claimed, "inbox/people.csv", "inbox/people.csv.sha256"}},
		{"before the marker was moved", []string{claimed + "people.csv", "inbox/people.csv.sha256"}},
		{"after both", []string{claimed + "people.csv", claimed + "people.csv.sha256"}},
		{"before it was archived", []string{claimed + "people.csv", claimed + "people.csv.sha256", claimed + "result.json"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			drop, folder := open(t)
			digest := write(t, t.TempDir(), "people.csv", content)
			mark(t, digest)
			marker, err := os.ReadFile(digest + ".sha256")
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range tt.files {
				switch {
				case strings.HasSuffix(f, "/"):
					if err := os.MkdirAll(filepath.Join(folder, f), 0o700); err != nil {
						t.Fatal(err)
					}
				case strings.HasSuffix(f, ".sha256"):
					write(t, folder, f, string(marker))
				default:
					write(t, folder, f, content)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // there is no instance to wait for
			_ = drop.Once(ctx)
			resume(t, drop, folder)
		})
	}
}

// resume expects one claimed file with its marker, which reads as it should.
func resume(t *testing.T, drop *filedrop.Drop, folder string) {
	t.Helper()
	o := 0
	for _, pattern := range []string{"inbox/people.csv", "work/*/people.csv"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if _, err := os.Stat(f + ".sha256"); err != nil {
				t.Errorf("%s has lost its marker", f)
			}
		}
		o += len(found)
	}
	empty, err := filepath.Glob(filepath.Join(folder, "work/*"))
	if err != nil {
		t.Fatal(err)
	}
	if inWork, _ := filepath.Glob(filepath.Join(folder, "work/*/people.csv")); o != 1 || len(empty) != len(inWork) {
		t.Errorf("%d files; %d folders in work for %d of them", o, len(empty), len(inWork))
	}
	if err := drop.Read(t.Context(), "people", nil, discard); err != nil {
		t.Errorf("the file cannot be read: %v", err)
	}
}

func TestFilesOfNoFeedAreLeftAlone(t *testing.T) {
	drop, folder := open(t)
	for _, name := range []string{"other.csv", "people.csv.part", ".people.csv", "people.csv.tmp"} {
		mark(t, write(t, folder, "inbox/"+name, "id,name\na,A\n"))
	}
	if err := drop.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if claimed, _ := filepath.Glob(filepath.Join(folder, "work/*")); len(claimed) > 0 {
		t.Errorf("claimed %q", claimed)
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	config, folder := configure(t, "http://127.0.0.1:1", strings.Replace(people, "row: {source_id: a, name: A}", "row: {source_id: a, name: B}", 1))
	drop, err := filedrop.New(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(config.TokenFile); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(folder, "inbox")); err != nil {
		t.Fatal(err)
	}
	problems, err := drop.Check(t.Context())
	if err != nil || len(problems) != 3 {
		t.Fatalf("problems %q, %v", problems, err)
	}
	for i, want := range []string{"inbox", "token", `people.yaml:18: examples[0]: name is "A"`} {
		if !strings.Contains(problems[i], want) {
			t.Errorf("problem %q does not name %q", problems[i], want)
		}
	}
}
