package filedrop_test

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"meridian/adapters"
	"meridian/adapters/adaptertest"
	"meridian/adapters/filedrop"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

const people = `mapping: people
version: 1
owner: test@example
expires: 2099-12-31
entity: account
source:
  format: csv
  charset: utf-8
  delimiter: ","
  columns: [id, name]
  control: {checksum: required}
keep:
  - {column: name, not_in: [filtered]}
fields:
  - {to: source_id, from: id, required: true}
  - {to: name, from: name}
examples:
  - {in: {id: a, name: A}, row: {source_id: a, name: A}}
`

// write writes a file below dir and gives its path.
func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mark writes the checksum marker of a file.
func mark(t testing.TB, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	write(t, filepath.Dir(path), filepath.Base(path)+".sha256", hex.EncodeToString(sum[:])+"  "+filepath.Base(path)+"\n")
}

// configure writes the configuration of a drop with one feed, people.
func configure(t testing.TB, service, mapping string) (config filedrop.Config, folder string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "people.yaml", mapping)
	write(t, dir, "token", "secret-token\n")
	path := write(t, dir, "filedrop.yaml", fmt.Sprintf(`name: filedrop@test
service: %s
token_file: token
folder: drop
poll: 10ms
batch: 100
feeds:
  - {name: people, files: "people*.csv", mapping: people.yaml}
`, service))
	config, err := filedrop.ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	return config, filepath.Join(dir, "drop")
}

func open(t testing.TB) (*filedrop.Drop, string) {
	t.Helper()
	config, folder := configure(t, "http://127.0.0.1:1", people)
	drop, err := filedrop.New(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return drop, folder
}

func setup() adaptertest.Setup {
	return adaptertest.Setup{
		Open: func(t testing.TB, records iter.Seq2[string, string]) (adapters.Facade, string) {
			drop, folder := open(t)
			path := filepath.Join(folder, "inbox", "people.csv")
			file, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			w := csv.NewWriter(file)
			err = w.Write([]string{"id", "name"})
			for id, name := range records {
				if err == nil {
					err = w.Write([]string{id, name})
				}
			}
			if w.Flush(); err != nil || w.Error() != nil {
				t.Fatal(err, w.Error())
			}
			mark(t, path)
			return drop, "people"
		},
		Text: func(t testing.TB, content []byte) (adapters.Facade, string) {
			drop, folder := open(t)
			mark(t, write(t, folder, "inbox/people.csv", string(content)))
			return drop, "people"
		},
	}
}

func TestConformance(t *testing.T) {
	adaptertest.Run(t, setup())
}

// The same facade, seen through its socket, keeps the same contract.
func TestConformanceServed(t *testing.T) {
	local := setup()
	served := func(t testing.TB, f adapters.Facade) adapters.Facade {
		socket := filepath.Join(t.TempDir(), "s")
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- adapters.Serve(ctx, adapters.Observed(f, slog.New(slog.DiscardHandler)), socket) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		far := adapters.Dial(socket)
		for deadline := time.Now().Add(5 * time.Second); ; {
			if _, err := far.Spec(t.Context()); err == nil {
				return far
			}
			if time.Now().After(deadline) {
				t.Fatal("the facade is not served")
			}
			time.Sleep(time.Millisecond) // polls a condition with a deadline
		}
	}
	adaptertest.Run(t, adaptertest.Setup{
		Open: func(t testing.TB, records iter.Seq2[string, string]) (adapters.Facade, string) {
			f, stream := local.Open(t, records)
			return served(t, f), stream
		},
		Text: func(t testing.TB, content []byte) (adapters.Facade, string) {
			f, stream := local.Text(t, content)
			return served(t, f), stream
		},
	})
}

func discard(*facadev1.ReadResponse) error { return nil }
