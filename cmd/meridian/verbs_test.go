package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"meridian/cmd/meridian/fleet"
	"meridian/instance"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/identity"
)

func TestMain(m *testing.M) { embeddedtest.Main(m) }

// TestVerbs runs testdata/verbs: each verb against one real instance on real
// PostgreSQL, in this process. The fleet's stories (testdata/stories) do the
// same with every part around it.
func TestVerbs(t *testing.T) {
	nobodyAnswers(t)
	data := serveOne(t)
	meridian := func(ts *testscript.TestScript, args []string) (code int) {
		if !slices.Contains(args, "--help") {
			args = append(args, "--data", data)
		}
		return run(t.Context(), args, ts.Stdout(), ts.Stderr())
	}
	t.Run("watch", func(t *testing.T) { watchOne(t, data) })
	testscript.Run(t, testscript.Params{
		Dir: "testdata/verbs",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"meridian": func(ts *testscript.TestScript, neg bool, args []string) {
				if code := meridian(ts, args); (code != 0) != neg {
					ts.Fatalf("meridian %v: exit code %d", args, code)
				}
			},
			"named": named,
			// glass sets GLASS to the id of the glass that was broken last.
			"glass": func(ts *testscript.TestScript, _ bool, _ []string) {
				var out bytes.Buffer
				var list struct{ Emergencies []struct{ ID string } }
				code := run(t.Context(), []string{"breakglass", "list", "--json", "--as", "officer.a@amer", "--data", data}, &out, ts.Stderr())
				if err := json.Unmarshal(out.Bytes(), &list); code != 0 || err != nil || len(list.Emergencies) == 0 {
					ts.Fatalf("exit code %d, %v: %s", code, err, out.String())
				}
				ts.Setenv("GLASS", list.Emergencies[0].ID)
			},
			// exits CODE meridian ARGS... expects one exit code.
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				var want int
				if err := json.Unmarshal([]byte(args[0]), &want); err != nil || neg || args[1] != "meridian" {
					ts.Fatalf("usage: exits CODE meridian ARGS...")
				}
				if code := meridian(ts, args[2:]); code != want {
					ts.Fatalf("meridian %v: exit code %d, want %d", args[2:], code, want)
				}
			},
		},
	})
}

// nobodyAnswers makes questions go to nobody, also where a terminal runs the
// tests.
func nobodyAnswers(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = null
	t.Cleanup(func() { os.Stdin = before; null.Close() })
}

// watchOne watches until one change, which it makes once the watch is set.
func watchOne(t *testing.T, data string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	said, say := io.Pipe()
	var stdout bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"watch", "account", "--count", "1", "--as", "rep.west@amer", "--data", data}, &stdout, say)
		_ = say.Close() // of a pipe: never fails
	}()
	lines := bufio.NewScanner(said)
	if !lines.Scan() || lines.Text() != "watching; Ctrl-C stops" {
		t.Fatalf("the watch says %q", lines.Text())
	}
	code := run(ctx, []string{
		"record", "create", "account", "--as", "rep.west@amer", "--data", data, "--territory", "US-CA", "--segment", "all", "source_id=W1", "name=Watched\x1b[31m",
	}, io.Discard, io.Discard)
	if code != exitOK {
		t.Fatalf("create ended with %d", code)
	}
	if code := <-ended; code != exitOK {
		t.Errorf("watch ended with %d", code)
	}
	if got := stdout.String(); !regexp.MustCompile(`^\d\d:\d\d:\d\d  upsert  [0-9a-f-]{36}  v1  Watched \[31m\n$`).MatchString(got) {
		t.Errorf("watch shows %q", got)
	}
}

// serveOne serves an instance without plugins and peers, and answers a data
// folder that holds its address and the issuer's keys.
func serveOne(t *testing.T) (data string) {
	t.Helper()
	data = t.TempDir()
	if _, err := identity.NewIssuer(fleet.KeysIn(data)); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	write(t, filepath.Join(data, "fleet.json"), `{"instances":{"amer":"http://`+address+`"}}`)
	url := embeddedtest.Database(t)
	write(t, filepath.Join(data, "database.url"), embeddedtest.App(url))
	write(t, filepath.Join(data, "database.owner.url"), url)
	embeddedtest.Reader(t, url, "analyst_one")
	config := filepath.Join(data, "amer.yaml")
	write(t, config, `
instance: amer
listen: `+address+`
database: {url_file: database.url, owner_url_file: database.owner.url, max_connections: 8}
identity: {jwks_file: keys/jwks.json}
bi: [{subject: rep.west@amer, role: analyst_one}]
departments: [{id: sales, name: Sales}, {id: legal, name: Legal}, {id: compliance, name: Compliance}, {id: risk, name: Risk}]
policy: {officers: [{subject: officer.a@amer, key_file: officers/officer.a.pem.pub}, {subject: officer.b@amer, key_file: officers/officer.b.pem.pub}]}
subjects:
  - {id: rep.west@amer, roles: [rep], clearance: 9, territories: [US-W], segments: [all], departments: [sales]}
  - {id: rep.east@amer, roles: [rep], clearance: 9, territories: [US-NE], segments: [all], departments: [sales]}
  - {id: manager.east@amer, roles: [manager], clearance: 9, territories: [US-NE], segments: [all], departments: [sales]}
  - {id: officer.a@amer, roles: [officer], departments: [compliance]}
  - {id: officer.b@amer, roles: [officer], departments: [risk]}
  - {id: ops@amer, roles: [ops]}
  - {id: loader@amer, kind: service, roles: [loader], clearance: 9, territories: ["001"], segments: [all]}
`)
	for _, short := range []string{"officer.a", "officer.b"} {
		file := fleet.OfficerKey(data, short)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := fleet.NewKeyPair(file); err != nil {
			t.Fatal(err)
		}
	}
	c, err := instance.LoadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	i, err := instance.Open(ctx, c, "v0.0.0-test", slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		i.Close()
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		resp, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return data
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", err)
		}
	}
}

// freeAddress is a port that nobody listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
