package fleet

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"meridian/instance"
)

const demo = "../../../deploy/examples/demo.yaml"

// Every instance of the demonstration fleet gets a configuration that an
// instance accepts after a round trip through its file.
func TestDemoFleetConfiguresItsInstances(t *testing.T) {
	f, err := ReadFile(demo)
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string]instance.Config{}
	for _, i := range f.Instances {
		text, err := yaml.Marshal(f.config(i, "127.0.0.1:7001", []string{"127.0.0.1:9092"}, Folder("/data"), "/bin"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := instance.ParseConfig(text)
		if err != nil {
			t.Fatalf("%s: %v", i.Name, err)
		}
		configs[i.Name] = c
	}
	subject := func(at, id string) instance.Subject {
		t.Helper()
		n := slices.IndexFunc(configs[at].Subjects, func(s instance.Subject) bool { return string(s.ID) == id })
		if n < 0 {
			t.Fatalf("%s is not a subject of %s", id, at)
		}
		return configs[at].Subjects[n]
	}
	for _, want := range []struct {
		at, id, role string
		territories  []string
		segments     []string
	}{
		{"amer", "rep.west@amer", "rep", []string{"US-W"}, []string{"all"}},
		{"amer", "rep.east@amer", "rep", []string{"US-NE", "US-S"}, []string{"all"}},
		{"amer", "manager.us@amer", "manager", []string{"US"}, []string{"all"}},
		{"emea", "rep.dach@emea", "rep", []string{"DE", "AT", "CH"}, []string{"all"}},
		{"emea", "rep.uk@emea", "rep", []string{"GB"}, []string{"all"}},
		{"apac", "rep.japan@apac", "rep", []string{"JP"}, []string{"all"}},
		{"finserv", "banker@finserv", "reader", []string{"001"}, []string{"Financials"}},
		{"finserv", "officer.b@finserv", "officer", nil, nil},
		{"apac", "loader@apac", "loader", nil, nil},
	} {
		got := subject(want.at, want.id)
		if !slices.Equal(got.Roles, []string{want.role}) || !slices.Equal(got.Territories, want.territories) || !slices.Equal(got.Segments, want.segments) {
			t.Errorf("%s is %v in %v, %v", want.id, got.Roles, got.Territories, got.Segments)
		}
	}
	// Both ends of a contract hold the same text.
	if got := len(configs["finserv"].Contracts); got != 3 {
		t.Errorf("finserv has %d contracts, want 3", got)
	}
	for _, k := range configs["finserv"].Contracts {
		if !slices.Equal(k.Groups, []string{"core"}) || !slices.Equal(k.Segments, []string{"Financials"}) {
			t.Errorf("%s lets %v of %v leave", k.ID, k.Groups, k.Segments)
		}
		if !slices.ContainsFunc(configs[k.Source].Contracts, func(o instance.Contract) bool { return o.ID == k.ID && o.Entity == k.Entity }) {
			t.Errorf("%s is not known at its source %s", k.ID, k.Source)
		}
	}
}

// The agreement is about American customers that the contract with finserv
// does not cover.
func TestDemoAgreementNamesAmericanNonFinancialCompanies(t *testing.T) {
	f, err := ReadFile(demo)
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(f.path(f.Sample.Companies))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() // read only
	rows, err := csv.NewReader(in).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	a := f.Agreements[0]
	if len(a.Accounts) != 3 || a.Department != "emea/dach-sales" || a.At != "amer" {
		t.Fatalf("agreement = %+v", a)
	}
	for _, key := range a.Accounts {
		n := slices.IndexFunc(rows, func(r []string) bool { return r[column("source_id")] == key })
		if n < 0 {
			t.Errorf("there is no company %s", key)
			continue
		}
		if r := rows[n]; r[column("country")] != "US" || r[column("sector")] == "Financials" {
			t.Errorf("%s is in %s, %s", key, r[column("country")], r[column("sector")])
		}
	}
}

func TestFleetFileRefuses(t *testing.T) {
	text, err := os.ReadFile(demo)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, says string }{
		"unknown field":       {"title: The Americas", "titel: The Americas", "field titel not found"},
		"instance twice":      {"name: apac", "name: emea", "emea is named twice"},
		"unknown feed":        {"name: contacts, mapping: mappings/contacts-amer.yaml", "name: invoices, mapping: x.yaml", `no sample data for a feed "invoices"`},
		"contract to nowhere": {"destination: finserv", "destination: mars", `to "mars"`},
		"endless agreement":   {"days: 365", "days: 0", "how many days"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(string(text), c.old) {
				t.Fatalf("%q is not in the demonstration fleet", c.old)
			}
			path := filepath.Join(t.TempDir(), "fleet.yaml")
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
		})
	}
}
