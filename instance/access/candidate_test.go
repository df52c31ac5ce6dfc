package access_test

import (
	"context"
	"strings"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// TestBundlesByTheBeginningOfTheirDigest: a comparison takes a kept bundle by 8
// characters, refuses fewer, and names the candidates of a beginning of two.
func TestBundlesByTheBeginningOfTheirDigest(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	b := closedToReps(t)
	twins := []string{strings.Repeat("e", 64), strings.Repeat("e", 63) + "f"}
	err := o.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for _, digest := range twins {
			if err := tx.AddBundle(ctx, store.Bundle{Digest: digest, Files: b.Modules()}); err != nil {
				return err
			}
		}
		return tx.AddBundle(ctx, store.Bundle{Digest: b.Digest(), Files: b.Modules()})
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(digest, from string) (access.ImpactSummary, error) {
		return o.door.Impact(t.Context(), o.called("a"), access.ImpactRequest{Candidate: access.Candidate{Digest: digest}, From: from, Subjects: []crm.SubjectID{"rep.west@amer"}},
			func(access.ImpactStep) error { return nil })
	}
	sum, err := ask(b.Digest()[:8], b.Digest()[:12])
	if err != nil || sum.After != b.Digest() || sum.Before != b.Digest() {
		t.Errorf("%+v, %v", sum, err)
	}
	_, err = ask(b.Digest()[:7], "")
	wantKind(t, err, crm.Invalid, "bundle")
	_, err = ask("0123456789", "")
	wantKind(t, err, crm.NotFound, "")
	_, err = ask(strings.Repeat("e", 8), "")
	wantKind(t, err, crm.Invalid, "bundle")
	for _, digest := range twins {
		if err == nil || !strings.Contains(err.Error(), digest) {
			t.Errorf("%s is not named: %v", digest, err)
		}
	}
}
