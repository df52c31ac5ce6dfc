package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// balance and loadStatus are what LoadService tells; 64-bit numbers are text
// in protobuf's JSON.
type balance map[string]string

func (b balance) n(name string) int {
	n, _ := strconv.Atoi(b[name])
	return n
}

type loadStatus struct {
	ID, Feed, File, State string
	Balance               balance
}

func (f *running) loads(t *testing.T, at string) []loadStatus {
	t.Helper()
	var out struct{ Loads []loadStatus }
	f.rpc(t, "ops@"+at, "facade.v1.LoadService/ListLoads", map[string]any{}, &out)
	return out.Loads
}

// load is the newest load of a file.
func (f *running) load(t *testing.T, at, file string) loadStatus {
	t.Helper()
	for _, l := range f.loads(t, at) {
		if l.File == file {
			return l
		}
	}
	return loadStatus{}
}

// inbox is where the sender of a feed's files puts them.
func (f *running) inbox(at string) string { return filepath.Join(f.data, at, "drop", "inbox") }

// put writes a file and then its markers, as a sender does.
func (f *running) put(t *testing.T, at, file, text, control, sum string) {
	t.Helper()
	path := filepath.Join(f.inbox(at), file)
	write := func(path, text string) {
		if err := os.WriteFile(path+".part", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".part", path); err != nil {
			t.Fatal(err)
		}
	}
	if sum == "" {
		digest := sha256.Sum256([]byte(text))
		sum = hex.EncodeToString(digest[:])
	}
	write(path, text)
	if control != "" {
		write(path+".control", control+"\n")
	}
	write(path+".sha256", sum+"  "+file+"\n")
}

// drop puts a file that must be refused and returns the reason.
func (f *running) drop(t *testing.T, at, name, text, control, sum string) (reason string) {
	t.Helper()
	file := "companies-" + name + ".csv"
	f.put(t, at, file, text, control, sum)
	eventually(t, file+" is refused", func() error {
		found, err := filepath.Glob(filepath.Join(f.data, at, "drop", "refused", "*-"+file, "reason.txt"))
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("found %v", found)
		}
		text, err := os.ReadFile(found[0])
		reason = string(text)
		return err
	})
	return reason
}

// deliver puts a file of n new American companies.
func (f *running) deliver(t *testing.T, at, file string, n int) {
	t.Helper()
	var b strings.Builder
	b.WriteString("source_id,name,sector,industry_group,industry,country,state,city,postal_code,website,size_band,isin\n")
	sectors := []string{"Energy", "Utilities", "Materials", "Real Estate", "Financials", "Industrials", "Health Care", "Information Technology", "Consumer Staples", "Communication Services"}
	for i := range n {
		fmt.Fprintf(&b, "NIGHT-%06d,Night Company %d,%s,,,US,CA,Fresno,93650,,Small Cap,\n", i, i, sectors[i%len(sectors)])
	}
	f.put(t, at, file, b.String(), fmt.Sprintf("records=%d", n), "")
}

// tellScripts runs the stories of testdata/stories: a persona's day on the
// command line, readable by the persona.
func tellScripts(t *testing.T, f *running) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/stories",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MERIDIAN_DATA", f.data)
			env.Setenv("PATH", f.bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
	})
}
