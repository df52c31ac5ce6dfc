package trees_test

import (
	"testing"

	"meridian/instance/crm"
	"meridian/instance/crm/trees"
)

func TestTerritoryOf(t *testing.T) {
	for _, c := range []struct{ country, state, want string }{
		{"US", "CA", "US-CA"}, {"US", "california", "US-CA"}, {"United States", "New  York", "US-NY"},
		{"US", "", "US"}, {"US", "PR", "US"}, {"CA", "ON", "CA"}, {"de", "", "DE"}, {"DEU", "", "DE"},
		{"Atlantis", "CA", crm.Unassigned}, {"", "", crm.Unassigned},
	} {
		if got := trees.TerritoryOf(c.country, c.state); got != c.want {
			t.Errorf("TerritoryOf(%q, %q) = %q, want %q", c.country, c.state, got, c.want)
		}
	}
}

func TestSegmentOf(t *testing.T) {
	for _, c := range []struct{ sector, group, industry, want string }{
		{"Financials", "Banks", "Banks", "Financials/Banks/Banks"}, {"Financials", "Banks", "Teapots", "Financials/Banks"},
		{"Financials", "", "Banks", "Financials"}, {"Financials", "Teapots", "Banks", "Financials"},
		{"", "Banks", "Banks", crm.Unassigned}, {"Teapots", "", "", crm.Unassigned},
	} {
		if got := trees.SegmentOf(c.sector, c.group, c.industry); got != c.want {
			t.Errorf("SegmentOf(%q, %q, %q) = %q, want %q", c.sector, c.group, c.industry, got, c.want)
		}
	}
}

// Every node but a root hangs below one listed before it, so seeding in order
// never meets an unknown parent.
func TestTreesAreConnected(t *testing.T) {
	for name, nodes := range map[string][]trees.Node{"territory": trees.Territories(), "segment": trees.Segments()} {
		seen := map[string]bool{"": true}
		for _, n := range nodes {
			if !seen[n.Parent] || seen[n.ID] {
				t.Errorf("%s %q: parent %q unknown or id repeated", name, n.ID, n.Parent)
			}
			seen[n.ID] = true
		}
	}
}
