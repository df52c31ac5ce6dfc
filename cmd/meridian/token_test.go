package main

import (
	"bytes"
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
