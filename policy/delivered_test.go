package policy_test

import (
	"slices"
	"testing"

	"meridian/policy"
)

// TestDelivered: every bundle that was shipped is known to the builds after it,
// or they would not believe databases that it is in force in.
func TestDelivered(t *testing.T) {
	t.Parallel()
	all := policy.Delivered()
	if len(all) == 0 || all[len(all)-1] != policy.Embedded().Digest() {
		t.Errorf("the shipped bundle changed: add its digest as the last line of policy/delivered.txt:\n%s", policy.Embedded().Digest())
	}
	for i, digest := range all {
		if slices.Contains(all[:i], digest) {
			t.Errorf("%s is there twice", digest)
		}
	}
}
