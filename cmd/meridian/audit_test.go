package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestAuditVerify shows an officer that the log is whole, then changes a
// decision in the database and shows that verify names it.
func TestAuditVerify(t *testing.T) {
	t.Parallel()
	data := serveOne(t)
	var stdout, stderr bytes.Buffer
	meridian := func(want int, args ...string) string {
		t.Helper()
		stdout.Reset()
		stderr.Reset()
		if code := run(t.Context(), append(args, "--as", "officer.a@amer", "--data", data), &stdout, &stderr); code != want {
			t.Fatalf("meridian %v: exit code %d, want %d: %s%s", args, code, want, stdout.String(), stderr.String())
		}
		return stdout.String()
	}
	meridian(exitOK, "audit", "tail")
	whole := regexp.MustCompile(`(?m)^whole: [1-9]\d* decisions in [1-9]\d* batches under [1-9]\d* roots$`)
	// Sealing waits for older transactions, those of tests beside this one too.
	said := meridian(exitOK, "audit", "verify")
	for deadline := time.Now().Add(patience); !whole.MatchString(said) && time.Now().Before(deadline); {
		said = meridian(exitOK, "audit", "verify")
	}
	if !whole.MatchString(said) {
		t.Errorf("verify says %q", said)
	}
	head := regexp.MustCompile(`(?m)^head, to be noted elsewhere: (\S+)`).FindStringSubmatch(said)
	if head == nil {
		t.Fatalf("verify names no head: %q", said)
	}
	meridian(exitOK, "audit", "verify", "--anchor", head[1])

	url, err := os.ReadFile(filepath.Join(data, "database.owner.url"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), string(url))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }() // of a test
	if _, err := conn.Exec(t.Context(), `set meridian.retention = 'on'; update meridian.decision_log set subject = 'nobody@amer' where id = 1`); err != nil {
		t.Fatal(err)
	}
	if said := meridian(exitFailed, "audit", "verify"); !regexp.MustCompile(`^broken: changed: decision 1 is not the one that was sealed\n  root      1\n  batch     1\n  decision  1\n  writer    \S`).MatchString(said) {
		t.Errorf("verify says %q", said)
	}
	if said := meridian(exitFailed, "audit", "verify", "--json"); !regexp.MustCompile(`"kind": "changed"`).MatchString(said) {
		t.Errorf("verify --json says %q", said)
	}
}
