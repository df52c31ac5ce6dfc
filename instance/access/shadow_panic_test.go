package access

import (
	"context"
	"testing"

	"meridian/instance/crm"
	"meridian/policy"
)

// TestShadowThatTakesTooLong: what could not be compared in time was not
// compared.
func TestShadowThatTakesTooLong(t *testing.T) {
	d := New(Config{})
	of := shaded{"rep@amer", "count", "account"}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.compare(ctx, &running{}, glimpse{shaded: of})
	if got := d.shade.found[of]; got == nil || got.Dropped != 1 || got.Reads != 0 || got.Failed != 0 {
		t.Errorf("%+v", got)
	}
}

// TestShadowThatPanics: a shadow that breaks within a comparison breaks nothing
// else, and the request is counted as one it had no answer to.
func TestShadowThatPanics(t *testing.T) {
	d := New(Config{})
	of := shaded{"rep@amer", "get", "account"}
	g := glimpse{shaded: of, asking: asking{subject: crm.Subject{ID: of.subject}}, def: crm.Definition{Entity: of.entity}}
	d.compare(t.Context(), &running{engine: &policy.Engine{}}, g) // an engine that nobody compiled
	if got := d.shade.found[of]; got == nil || got.Failed != 1 || got.Reads != 1 {
		t.Errorf("%+v", got)
	}
}
