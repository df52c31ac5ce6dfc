package territoryassignment_test

import (
	"maps"
	"testing"

	"meridian/instance/crm"
	"meridian/plugins"
	"meridian/plugins/plugintest"
	territoryassignment "meridian/plugins/territory-assignment"
)

func TestMain(m *testing.M) { plugintest.Main(m, territoryassignment.New) }

func account(country, state, sector, group, industry string) map[string]crm.Value {
	out := map[string]crm.Value{"name": crm.String("Acme")}
	for f, s := range map[string]string{"country": country, "state": state, "sector": sector, "industry_group": group, "industry": industry} {
		if s != "" {
			out[f] = crm.String(s)
		}
	}
	return out
}

func TestConformance(t *testing.T) {
	samples := []map[string]crm.Value{
		account("US", "CA", "Financials", "Banks", "Banks"),
		account("Germany", "", "Energy", "", ""),
		account("Atlantis", "?", "Teapots", "", ""),
		account("", "", "", "", ""),
		{"country": crm.Integer(7)},
	}
	plugintest.Run(t, plugintest.Samples{"account": samples, "lead": samples}, plugintest.InProcess(territoryassignment.New), plugintest.Process())
}

func TestPlacement(t *testing.T) {
	for _, c := range []struct {
		fields                           map[string]crm.Value
		territory, segment, jurisdiction string
	}{
		{account("US", "CA", "Financials", "Banks", "Banks"), "US-CA", "Financials/Banks/Banks", "US"},
		{account("US", "Nowhere", "Financials", "Teapots", ""), "US", "Financials", "US"},
		{account("US", "", "Energy", "", ""), "US", "Energy", "US"},
		{account("CA", "CA", "", "", ""), "CA", crm.Unassigned, "CA"},
		{account("Germany", "", "Teapots", "", ""), "DE", crm.Unassigned, "DE"},
		{account("Atlantis", "CA", "Energy", "", ""), crm.Unassigned, "Energy", crm.Unassigned},
		{account("", "", "", "", ""), crm.Unassigned, crm.Unassigned, crm.Unassigned},
	} {
		out, err := territoryassignment.New().Invoke(t.Context(), plugins.Batch{
			Entity: "account", Op: crm.OpUpdate, Stage: plugins.Transform, Steps: []string{"assign-account"},
			Records: []plugins.Record{{Fields: c.fields}},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"territory": c.territory, "segment": c.segment, "jurisdiction": c.jurisdiction}
		if got := out[0].Verdicts[0].Govern; !maps.Equal(got, want) {
			t.Errorf("%v: placed %v, want %v", c.fields, got, want)
		}
	}
}
