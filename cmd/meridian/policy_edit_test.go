package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/policy"
)

// TestEditAsks: whoever saved what is not in order edits again, keeps it, or
// discards all of it, and then the folder is what it was.
func TestEditAsks(t *testing.T) {
	const spoils = `echo 'territory(_, record, _) if record.homme == "x"' >> "$1"; echo 'package meridian.rules' > "$(dirname "$1")/more.rego"`
	for name, c := range map[string]struct {
		answers, editor string
		says            []string
		fails, kept     bool
	}{
		"discard":                    {answers: "what?\nd\n", editor: spoils, says: []string{`"homme" is not known; did you mean home?`, "is as it was"}},
		"keep":                       {answers: "k\n", editor: spoils, says: []string{"is kept as it is"}, fails: true, kept: true},
		"no answer keeps":            {answers: "", editor: spoils, says: []string{"[d]iscard"}, fails: true, kept: true},
		"edit again and again":       {answers: "e\nedit\ndiscard\n", editor: spoils, says: []string{"is as it was"}},
		"edit again till it is well": {answers: "e\n", editor: `if grep -q "^x$" "$1"; then sed -i '/^x$/d' "$1"; else echo x >> "$1"; fi`, says: []string{"is not a rule", "nothing was changed"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "rules")
			for path, text := range policy.Embedded().Modules() {
				if err := writeFile(filepath.Join(dir, path), text); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(filepath.Join(dir, "territory.rego"), 0o640); err != nil {
				t.Fatal(err)
			}
			script := filepath.Join(t.TempDir(), "editor")
			write(t, script, "#!/bin/sh\n"+c.editor+"\n")
			if err := os.Chmod(script, 0o700); err != nil {
				t.Fatal(err)
			}
			before := everything(t, dir)
			var out bytes.Buffer
			p := policyEditCmd{Dir: dir, File: []string{"territory.rego"}, Editor: script}
			err := p.edit(t.Context(), output{&out, &out}, bufio.NewReader(strings.NewReader(c.answers)))
			if (err != nil) != c.fails {
				t.Errorf("%v", err)
			}
			for _, s := range c.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("it does not say %q:\n%s", s, out.String())
				}
			}
			if diff := cmp.Diff(before, everything(t, dir)); (diff != "") != c.kept {
				t.Errorf("the folder is changed: %s", diff)
			}
		})
	}
}

// everything is all there is in a folder: names, modes and contents.
func everything(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()+" "+info.Mode().String()] = string(text)
	}
	return out
}

// TestEditIsInterrupted: Ctrl-C at the question keeps the files.
func TestEditIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.rego"), "package meridian.rules\n")
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	silent, _ := io.Pipe()
	var out bytes.Buffer
	err := policyEditCmd{Dir: dir, Editor: "true"}.edit(ctx, output{&out, &out}, bufio.NewReader(silent))
	if !errors.Is(err, errNotInOrder) || !strings.Contains(out.String(), "is kept as it is") {
		t.Errorf("%v: %s", err, out.String())
	}
}
