// Package territoryassignment is the common plugin for the slot "assignment":
// it places a customer in territory and segment by country, state and the
// three segment fields, and names the jurisdiction that protects it.
//
// Whether a person's pin holds the placement is the host's rule, not its own.
package territoryassignment

import (
	"context"

	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/plugins"
)

// Name of the plugin.
const Name = "territory-assignment"

// New makes the plugin. It places every entity that has its own governance and
// an address; an engagement has neither sector nor address of its own and
// stands where its account does.
func New() plugins.Plugin {
	m := plugins.Manifest{
		Name:        Name,
		Version:     "1.0.0",
		Description: "Places accounts and leads in territory and segment by address and sector.",
		Slots:       []string{plugins.SlotAssignment},
	}
	steps := map[string]plugins.Func{}
	for _, entity := range []string{"account", "lead"} {
		m.Hooks = append(m.Hooks, plugins.Hook{
			Step:       "assign-" + entity,
			Entity:     entity,
			Operations: []crm.Op{crm.OpCreate, crm.OpUpdate},
			Stage:      plugins.Transform,
			Reads:      []string{"country", "state", "sector", "industry_group", "industry"},
			Governs:    []string{"territory", "segment", "jurisdiction"},
			After:      []string{"data-quality/normalise-" + entity}, // place by the code, not by the spelling
		})
		steps["assign-"+entity] = assign
	}
	return plugins.New(m, steps)
}

func assign(_ context.Context, r plugins.Record, _ crm.Op) plugins.Opinion {
	return plugins.Opinion{Verdict: plugins.Allow, Govern: map[string]string{
		"territory":    trees.TerritoryOf(r.Text("country"), r.Text("state")),
		"segment":      trees.SegmentOf(r.Text("sector"), r.Text("industry_group"), r.Text("industry")),
		"jurisdiction": jurisdiction(r.Text("country")),
	}}
}

// jurisdiction is the country whose law protects the record.
func jurisdiction(country string) string {
	if code, ok := trees.CountryCode(country); ok {
		return code
	}
	return crm.Unassigned
}
