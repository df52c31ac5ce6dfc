package schema_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
	"meridian/instance/store/schema"
)

func TestCommonEntities(t *testing.T) {
	byName := map[string]crm.Definition{}
	var names []string
	for _, d := range schema.Common() {
		byName[d.Entity] = d
		names = append(names, d.Entity)
	}
	if diff := cmp.Diff([]string{"account", "activity", "case", "contact", "engagement", "lead", "opportunity", "product"}, names); diff != "" {
		t.Fatal(diff)
	}
	for _, d := range byName {
		if d.Key != "source_id" {
			t.Errorf("%s: loads find records by source_id, the key is %q", d.Entity, d.Key)
		}
		if f, ok := d.Field("sample"); !ok || f.Type != crm.TypeBoolean || f.Group != "core" {
			t.Errorf("%s: no core field marks sample values", d.Entity)
		}
		for _, f := range d.Fields {
			if _, ok := byName[f.Reference]; f.Type == crm.TypeReference && !ok {
				t.Errorf("%s.%s refers to %q, which is not an entity", d.Entity, f.Name, f.Reference)
			}
			if f.Classification == "personal" && f.Group != "personal" {
				t.Errorf("%s.%s is personal but in group %s", d.Entity, f.Name, f.Group)
			}
			if f.Label == "" || f.Classification == "" {
				t.Errorf("%s.%s has no label or no classification", d.Entity, f.Name)
			}
		}
		if f, ok := d.Field("account_id"); d.Governed == crm.GovernedFromAccount && (!ok || f.Reference != "account") {
			t.Errorf("%s is governed from account but names none", d.Entity)
		}
	}
	groups := map[string]string{}
	for _, f := range byName["account"].Fields {
		groups[f.Group] += f.Name + " "
	}
	want := map[string]string{
		"core":       "source_id name sector industry_group industry country state city postal_code website size_band isin sample ",
		"commercial": "annual_revenue ",
		"personal":   "email phone tax_id ",
	}
	if diff := cmp.Diff(want, groups); diff != "" {
		t.Error("fields of account by group:", diff)
	}
}

func TestParseFindsMisspeltKeys(t *testing.T) {
	for body, says := range map[string]string{
		"entity: x\ngovernd: own\n":                                                   "governd",
		"entity: x\ngoverned: own\nfields:\n  - {name: a, typ: string}\n":             "typ",
		"entity: x\ngoverned: own\nfields:\n  - {name: a, type: string}\n":            "field group",
		"entity: x\ngoverned: own\nkey: k\nfields: []\n":                              "unique string",
		"entity: x\ngoverned: own\nfields:\n  - {name: id, type: string, group: g}\n": "governance column",
	} {
		_, err := schema.Parse([]byte(body))
		if e, ok := errors.AsType[*crm.Error](err); !ok || e.Kind != crm.Invalid || !strings.Contains(e.Msg, says) {
			t.Errorf("%q: got %v, want an invalid error with %q", body, err, says)
		}
	}
}
