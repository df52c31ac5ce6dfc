package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// desk is where an officer sits: verbs against one instance of their own.
type desk struct {
	t    *testing.T
	data string
}

// verb runs a verb as a persona and answers what it printed, errors included.
func (d desk) verb(as string, want int, args ...string) string {
	d.t.Helper()
	var out bytes.Buffer
	if as != "" {
		args = append(args, "--as", as, "--data", d.data)
	}
	if code := run(d.t.Context(), args, &out, &out); code != want {
		d.t.Fatalf("meridian %v: exit code %d, want %d:\n%s", args, code, want, out.String())
	}
	return out.String()
}

func (d desk) says(text string, patterns ...string) {
	d.t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			d.t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

// change appends to a file of a draft.
func (d desk) change(dir, path, text string) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, path), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		d.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		d.t.Fatal(err)
	}
}

// TestOfficersStory: an officer drafts a change, hears what it lacks, proposes
// it, has it approved by a colleague of another department, activates it while
// everybody works, and takes it back.
func TestOfficersStory(t *testing.T) {
	const a, b, rep = "officer.a@amer", "officer.b@amer", "rep.west@amer"
	d := desk{t, serveOne(t)}
	d.verb(rep, 0, "record", "create", "account", "--territory", "US-CA", "--segment", "all", "source_id=P1", "name=Policy Inc.")
	seen := func() bool {
		t.Helper()
		return strings.Contains(d.verb(rep, 0, "record", "list", "account", "--filter", "source_id = 'P1'"), "Policy Inc.")
	}
	rules := filepath.Join(t.TempDir(), "rules")
	d.verb(a, 0, "policy", "new", rules)
	d.says(d.verb(a, exitUsage, "policy", "new", rules), "is there")
	d.verb(rep, exitDenied, "policy", "new", rules+"2")

	d.change(rules, "agreement.rego", "\n# An incident: customers called so are closed to everybody.\nwall(_, _, fact, now) if {\n    fact.effect == \"open\"\n\tfact.department == \"closed\"\n\tin_force(fact, now)\n}\n")
	d.says(d.verb(a, 1, "policy", "check", "--dir", rules, "--live"), "FAIL  format", "FAIL  coverage", `agreement.rego:\d+ wall holds in no test`, "pass  oracle")
	d.says(d.verb(a, exitUsage, "policy", "propose", rules, "--note", "too early"), "policy fmt", "holds in no test")
	d.change(rules, "rules_test.rego", "\ntest_closed_is_for_everybody if {\n\trules.wall(ask(rep, \"read\"), record, object.union(agreement, {\"department\": \"closed\"}), now)\n}\n")
	d.says(d.verb("", 0, "policy", "fmt", rules), "agreement.rego")
	d.says(d.verb(a, 0, "policy", "check", "--dir", rules, "--live"), "pass  coverage", "pass  oracle")
	d.says(d.verb(a, 0, "policy", "diff", rules), "2 rules differ", "changed agreement.rego wall", `\+ .*fact.department == "closed"`)

	id := regexp.MustCompile(`proposal ([0-9a-f]{64}) waits`).FindStringSubmatch(d.verb(a, 0, "policy", "propose", rules, "--note", "close at once"))[1]
	page := filepath.Join(t.TempDir(), "proposal.html")
	d.verb(b, 0, "policy", "proposals", id[:12], "--html", page)
	if text, err := os.ReadFile(page); err != nil {
		t.Error(err)
	} else {
		d.says(string(text), "close at once", "waits for a second officer", id, "✓ passed", "Nobody would see anything else, but the bundle itself")
	}
	d.says(d.verb(a, exitDenied, "policy", "activate", id), "one signature")
	d.says(d.verb(a, exitDenied, "policy", "approve", id[:12]), "of one key")
	d.says(d.verb(b, 0, "policy", "approve", id[:12]), "approved by officer.b@amer")
	d.says(d.verb(b, 0, "policy", "proposals"), "approved +close at once")

	var readers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				var out bytes.Buffer
				if code := run(t.Context(), []string{"record", "list", "account", "--as", rep, "--data", d.data}, &out, &out); code != 0 {
					t.Errorf("while the policy changed: exit code %d: %s", code, out.String())
					return
				}
			}
		})
	}
	d.says(d.verb(b, 0, "policy", "activate", id[:12], "--bake", "1s"), `amer +2 +[0-9a-f]{12} +baked 1s`)
	d.says(d.verb(a, exitConflict, "policy", "activate", id), "was activated")
	d.says(d.verb(a, 0, "policy", "rollback", "--reason", "trying it out"), "is in force again, activation 3")
	stop()
	readers.Wait()
	d.says(d.verb(a, 0, "policy", "history"), `in force +[0-9a-f]{12} +rollback`, `activate .* officer.b@amer +`+id[:12], "initial")
	d.says(d.verb(b, exitConflict, "policy", "activate", id), "was activated") // its signatures served once

	if !seen() {
		t.Error("the account is not seen after all was undone")
	}
	denied := regexp.MustCompile(`(?m)^([0-9a-f]{12})  account`).FindStringSubmatch(d.verb(a, 0, "policy", "deny", "--account", "source_id:P1", "--hours", "1", "--reason", "an incident"))[1]
	if seen() {
		t.Error("the account is seen although it is denied")
	}
	d.says(d.verb(a, exitUsage, "policy", "deny", "--account", "source_id:P1", "--hours", "25", "--reason", "too long"), "24 hours")
	d.verb(b, 0, "policy", "deny", "end", denied, "--reason", "solved")
	if !seen() {
		t.Error("the account is not seen although the denial was ended")
	}
}

// TestOfficersKeys: a second key is made here, let in by two, serves, and is
// over when it is revoked.
func TestOfficersKeys(t *testing.T) {
	const a, b = "officer.a@amer", "officer.b@amer"
	d := desk{t, serveOne(t)}
	key := filepath.Join(t.TempDir(), "second.pem")
	d.verb("", 0, "policy", "keys", "new", key)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: a private key is its owner's alone", info.Mode(), err)
	}
	d.verb("", 1, "policy", "keys", "new", key) // none is overwritten
	id := regexp.MustCompile(`proposal ([0-9a-f]{64}) waits`).FindStringSubmatch(
		d.verb(a, 0, "policy", "keys", "enroll", key+".pub", "--subject", a, "--department", "compliance"))[1]
	d.says(d.verb(b, exitUsage, "policy", "proposals", id, "--html", filepath.Join(t.TempDir(), "key.html")), "about a key")
	d.says(d.verb(a, exitDenied, "policy", "deny", "--territory", "US", "--reason", "x", "--key", key), "no key")
	d.verb(b, 0, "policy", "approve", id)
	d.says(d.verb(b, 0, "policy", "keys", "list"), "operator", "proposal "+id[:12])
	d.says(d.verb(a, 0, "policy", "deny", "--territory", "JP", "--hours", "0.5", "--reason", "x", "--key", key), "territory JP")
	public := regexp.MustCompile(`(?m)^([0-9a-f]{12}) .* proposal `).FindStringSubmatch(d.verb(b, 0, "policy", "keys", "list"))[1]
	d.verb(b, 0, "policy", "keys", "revoke", public, "--reason", "lost")
	d.says(d.verb(a, exitDenied, "policy", "deny", "--territory", "JP", "--reason", "x", "--key", key), "was revoked: lost")
}
