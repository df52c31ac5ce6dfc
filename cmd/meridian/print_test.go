package main

import (
	"strings"
	"testing"

	"meridian/instance/crm"
)

// TestTextsOfOthersForgeNoLine: what a plugin or another instance says in an error
// cannot pass for a line of ours, nor reach the terminal as a command.
func TestTextsOfOthersForgeNoLine(t *testing.T) {
	text, _ := explainError(&crm.Error{Kind: crm.Invalid, Msg: "refused\n  execution: 0", Reasons: []string{"no\nactivated by a second officer", "\x1b[2J\u202edone"}})
	want := "refused\n      execution: 0\n  because: no\n    activated by a second officer\n  because:  [2J done"
	if text != want {
		t.Errorf("%q, want %q", text, want)
	}
	var out strings.Builder
	table := table{headings: []string{"WHY"}}
	table.add("one\ntwo\u2028three\x1b[31m")
	table.print(&out, "")
	if got := out.String(); got != "WHY\none two three [31m\n" {
		t.Errorf("%q", got)
	}
}
