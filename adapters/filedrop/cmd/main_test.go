package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meridian/adapters"
)

// config writes a configuration over the shipped mapping of companies.
func config(t *testing.T, more string) string {
	t.Helper()
	dir := t.TempDir()
	mapping, err := filepath.Abs("../../../deploy/examples/mappings/companies-emea.yaml")
	if err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf("name: filedrop@emea\nservice: http://127.0.0.1:1\ntoken_file: token\nfolder: drop\npoll: 10ms\n%sfeeds:\n  - {name: companies, files: \"*.csv\", mapping: %s}\n", more, mapping)
	for name, content := range map[string]string{"token": "t", "filedrop.yaml": content} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "filedrop.yaml")
}

func TestCheck(t *testing.T) {
	path := config(t, "")
	var out, logs bytes.Buffer
	if err := run(t.Context(), []string{"--config", path, "--check"}, &out, &logs); err != nil || out.String() != "ok\n" {
		t.Errorf("out %q, error %v", out.String(), err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(path), "token")); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := run(t.Context(), []string{"--config", path, "--check"}, &out, &logs); err == nil || !strings.Contains(out.String(), "token") {
		t.Errorf("without a token: out %q, error %v", out.String(), err)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{}, {"--config"}, {"--config", "x.yaml"}, {"--nonesuch"}, {"--config", config(t, ""), "more"}} {
		if err := run(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

// Without an instance the facade still watches, shows itself, and ends when
// it is told to.
func TestServesAndEnds(t *testing.T) {
	path := config(t, "socket: s\n")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var logs bytes.Buffer
	go func() { done <- run(ctx, []string{"--config", path}, &bytes.Buffer{}, &logs) }()
	f := adapters.Dial(filepath.Join(filepath.Dir(path), "s"))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		spec, err := f.Spec(t.Context())
		if err == nil {
			if spec.GetName() != "filedrop@emea" || spec.GetOwner() != "integration@emea.example" {
				t.Errorf("spec %v", spec)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	if !strings.Contains(logs.String(), `"msg":"stopped at a batch boundary"`) {
		t.Errorf("log %s", logs.String())
	}
}
