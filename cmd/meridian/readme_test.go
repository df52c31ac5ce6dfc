package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tellReadme runs the README's five minutes, and what it shows officers, to the
// letter.
func tellReadme(t *testing.T, f *running) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands strings.Builder
	blocks := strings.Split(string(text), "```sh\n")[1:]
	for _, rest := range blocks {
		block, _, _ := strings.Cut(rest, "```")
		commands.WriteString(block)
	}
	if len(blocks) != 2 {
		t.Fatalf("the README has %d sh blocks, want two", len(blocks))
	}
	dir := t.TempDir()
	if err := os.Symlink(f.bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("bash", "-e", "-c", commands.String()+"\nkill %1\n")
	c.Dir = dir
	c.Env = append(os.Environ(), "MERIDIAN_DATA="+f.data)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("the README's commands: %v\n%s", err, out)
	}
	for _, want := range []string{"172\n0\n", "README-1", "US-CA", "territory", "tests pass", "nothing changes for anybody", "contract:amer-emea-account", "in force"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the README's commands do not print %q:\n%s", want, out)
		}
	}
}
