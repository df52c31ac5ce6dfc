package policy_test

import (
	"context"
	"testing"

	"meridian/instance/crm"
)

// Facts change without changing who a subject is: their filters are not made
// anew, and carry the stamp they are asked under.
func TestAnotherStampCostsNothing(t *testing.T) {
	e := embedded(t)
	if _, err := e.Filter(t.Context(), rep, crm.ActionRead, "contact", groupNames); err != nil {
		t.Fatal(err)
	}
	off, cancel := context.WithCancel(t.Context())
	cancel() // from here on nothing can be translated
	later := rep
	later.Stamp++
	f, err := e.Filter(off, later, crm.ActionRead, "contact", groupNames)
	if err != nil || f.Stamp() != later.Stamp {
		t.Errorf("stamp %d, want %d: %v", f.Stamp(), later.Stamp, err)
	}
	later.Clearance++
	if _, err := e.Filter(off, later, crm.ActionRead, "contact", groupNames); err == nil {
		t.Error("another subject was given the filter")
	}
}
