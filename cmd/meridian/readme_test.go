package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tellReadme runs the README's five minutes to the letter.
func tellReadme(t *testing.T, f *running) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```sh\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the README has no sh block")
	}
	dir := t.TempDir()
	if err := os.Symlink(f.bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("bash", "-e", "-c", block+"\nkill %1\n")
	c.Dir = dir
	c.Env = append(os.Environ(), "MERIDIAN_DATA="+f.data)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("the README's commands: %v\n%s", err, out)
	}
	for _, want := range []string{"172\n0\n", "README-1", "US-CA", "territory"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the README's commands do not print %q:\n%s", want, out)
		}
	}
}
