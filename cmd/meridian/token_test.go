package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"meridian/cmd/meridian/fleet"
	"meridian/instance/identity"
)

func TestTokenIsForItsInstanceOnly(t *testing.T) {
	data := t.TempDir()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"token", "--as", "rep.west@amer", "--data", data}, &out, &errs); code == exitOK || !strings.Contains(errs.String(), "meridian up") {
		t.Fatalf("without keys: code %d, %q; want a word on how to get them", code, errs.String())
	}
	if _, err := identity.NewIssuer(fleet.KeysIn(data)); err != nil {
		t.Fatal(err)
	}
	errs.Reset()
	if code := run(t.Context(), []string{"token", "--as", "rep.west@amer", "--data", data}, &out, &errs); code != exitOK {
		t.Fatalf("code %d: %s", code, errs.String())
	}
	for audience, good := range map[string]bool{"amer": true, "emea": false} {
		v, err := identity.NewVerifier(filepath.Join(fleet.KeysIn(data), identity.JWKSFile), audience)
		if err != nil {
			t.Fatal(err)
		}
		subject, err := v.Verify(strings.TrimSpace(out.String()))
		if (err == nil) != good || (good && subject != "rep.west@amer") {
			t.Errorf("at %s: %q, %v", audience, subject, err)
		}
	}
}

// Whoever names the data folder once in the environment names it for every verb.
func TestTokenFindsTheFolderInTheEnvironment(t *testing.T) {
	data := t.TempDir()
	if _, err := identity.NewIssuer(fleet.KeysIn(data)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MERIDIAN_DATA", data)
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"token", "--as", "rep.west@amer"}, &out, &errs); code != exitOK || out.Len() == 0 {
		t.Errorf("code %d: %s", code, errs.String())
	}
}

func TestVersionForPeopleAndPrograms(t *testing.T) {
	var people, programs, errs bytes.Buffer
	if code := run(t.Context(), []string{"version"}, &people, &errs); code != exitOK {
		t.Fatalf("code %d: %s", code, errs.String())
	}
	if code := run(t.Context(), []string{"version", "--json"}, &programs, &errs); code != exitOK {
		t.Fatalf("code %d: %s", code, errs.String())
	}
	var v struct{ Version, Go string }
	if err := json.Unmarshal(programs.Bytes(), &v); err != nil || v.Version == "" || !strings.Contains(people.String(), v.Version) || !strings.Contains(people.String(), v.Go) {
		t.Errorf("people read %q, programs %q (%v)", people.String(), programs.String(), err)
	}
}
