package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFolderOfItsOwnFiles: a bundle is what lies in its folder. A link and a
// pipe are refused by name, and folders in it are read.
func TestFolderOfItsOwnFiles(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "root:x:0:0")
	for name, c := range map[string]struct {
		make func(path string) error
		says string
	}{
		"x.rego":     {func(path string) error { return os.Symlink(secret, path) }, "x.rego: is a link"},
		"f.rego":     {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "f.rego: is a pipe"},
		"more":       {func(path string) error { return os.Symlink(filepath.Dir(secret), path) }, "more: is a link"},
		"sub/x.rego": {func(path string) error { return os.Symlink(secret, path) }, "sub/x.rego: is a link"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a.rego"), "package meridian.rules\n")
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := c.make(path); err != nil {
			t.Fatal(err)
		}
		if files, err := readFiles(dir); err == nil || !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%s is read as %v, %v", name, files, err)
		}
	}
}

// TestFolderInFolder: rules in a folder of the folder are rules of the bundle,
// and the folder itself may be reached by a link.
func TestFolderInFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rules")
	if err := os.MkdirAll(filepath.Join(dir, "europe"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a.rego"), "a")
	write(t, filepath.Join(dir, "europe", "b.rego"), "b")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	files, err := readFiles(link)
	if err != nil || len(files) != 2 || files["europe/b.rego"] != "b" {
		t.Errorf("%v, %v", files, err)
	}
}

// TestDiscardWritesThroughNoLink: what an editor put in a file's place is taken
// away before the file is written again.
func TestDiscardWritesThroughNoLink(t *testing.T) {
	secret, dir := filepath.Join(t.TempDir(), "secret"), t.TempDir()
	write(t, secret, "untouched")
	if err := os.Symlink(secret, filepath.Join(dir, "a.rego")); err != nil {
		t.Fatal(err)
	}
	if err := restore(dir, map[string]string{"a.rego": "as it was"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{secret: "untouched", filepath.Join(dir, "a.rego"): "as it was"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", path, got, err)
		}
	}
}
