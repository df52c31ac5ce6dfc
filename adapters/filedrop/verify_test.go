package filedrop_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"meridian/adapters/filedrop"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

// dropped gives a drop with one file and its marker, under a changed mapping.
func dropped(t *testing.T, content string, change ...string) (*filedrop.Drop, string) {
	t.Helper()
	config, folder := configure(t, "http://127.0.0.1:1", strings.NewReplacer(change...).Replace(people))
	drop, err := filedrop.New(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	mark(t, write(t, folder, "inbox/people.csv", content))
	return drop, folder
}

// A trailer counts the records; a file that has lost it was cut off.
func TestTrailer(t *testing.T) {
	trailer := []string{"{checksum: required}", "{checksum: required, trailer: {marker: END, count: 2}}"}
	for _, tt := range []struct{ name, content, want string }{
		{"missing", "id,name\na,A\nb,B\n", "the trailer is missing; the file may be truncated"},
		{"wrong count", "id,name\na,A\nb,B\nEND,3\n", "the trailer counts 3 records, the file has 2"},
		{"no count", "id,name\na,A\nEND,many\n", "line 3: the trailer does not count the records"},
		{"no column for it", "id,name\na,A\nEND\n", "line 3: the trailer has no column 2"},
		{"not the last", "id,name\nEND,1\na,A\n", "line 2: records follow the trailer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			drop, folder := dropped(t, tt.content, trailer...)
			if err := drop.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			found, err := filepath.Glob(filepath.Join(folder, "refused/*/reason.txt"))
			if err != nil || len(found) != 1 {
				t.Fatalf("refused %q, %v", found, err)
			}
			if reason, err := os.ReadFile(found[0]); err != nil || !strings.Contains(string(reason), tt.want) {
				t.Errorf("reason %q, %v; want %q", reason, err, tt.want)
			}
		})
	}
	drop, _ := dropped(t, "id,name\na,A\nb,B\nEND,2\n", trailer...)
	if got := readAll(t, drop); !slices.Equal(got, []string{"row 1", "row 2", "position 2"}) {
		t.Errorf("read %q; the trailer is no record", got)
	}
}

// Where the mapping says so, damage costs the record and not the file; a quote
// that is left open still costs the file, for nobody can tell what follows.
func TestDamageMayCostTheRecordAlone(t *testing.T) {
	reject := []string{"  control:", "  damaged: reject\n  control:"}
	drop, _ := dropped(t, "id,name\na,A\nb,M\xfcller\nc,C,3\nd,5\" pipe\ne,E\n", reject...)
	want := []string{"row 1", "reject 2 charset \"b,M\\xfcller\\n\"", "reject 3 columns \"c,C,3\\n\"", "reject 4 quote \"d,5\\\" pipe\\n\"", "row 5", "position 5"}
	if got := readAll(t, drop); !slices.Equal(got, want) {
		t.Errorf("read %q\nwant %q", got, want)
	}
	drop, folder := dropped(t, "id,name\na,A\nb,\"B\n", reject...)
	if err := drop.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(folder, "refused/*/people.csv")); len(found) != 1 {
		t.Error("the file was not refused")
	}
}

func readAll(t *testing.T, drop *filedrop.Drop) (items []string) {
	t.Helper()
	err := drop.Read(t.Context(), "people", nil, func(item *facadev1.ReadResponse) error {
		switch it := item.GetItem().(type) {
		case *facadev1.ReadResponse_Row:
			items = append(items, fmt.Sprintf("row %d", it.Row.GetNumber()))
		case *facadev1.ReadResponse_Reject:
			items = append(items, fmt.Sprintf("reject %d %s %q", it.Reject.GetNumber(), it.Reject.GetCode(), it.Reject.GetOriginal()))
		case *facadev1.ReadResponse_Position:
			items = append(items, fmt.Sprintf("position %d", it.Position.GetRecord()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return items
}
