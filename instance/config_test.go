package instance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"meridian/instance"
	"meridian/instance/crm"
)

const whole = `
instance: amer
listen: 127.0.0.1:7001
database: {url_file: secrets/database.url}
identity: {jwks_file: /keys/jwks.json}
plugins: {dir: bin, use: [{name: data-quality}]}
departments: [{id: sales, name: Sales}, {id: us-sales, parent: sales, name: US sales}]
subjects:
  - {id: rep.west@amer, roles: [rep], clearance: 3, territories: [US-W], segments: [all], departments: [us-sales]}
relationships: [{department: us-sales, on: us-sales, actions: [read]}]
contracts:
  - {id: a, source: amer, destination: finserv, entity: account, territories: ["001"], segments: [Financials],
     groups: [core], jurisdictions: ["*"], purpose: coverage, legal_basis: legitimate interest, from: 2026-01-01}
`

func TestLoadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "amer.yaml")
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := instance.LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(filepath.Dir(path), "secrets/database.url"); c.Database.URLFile != want {
		t.Errorf("url_file = %s, want %s: relative to the file", c.Database.URLFile, want)
	}
	if c.Identity.JWKSFile != "/keys/jwks.json" || c.Database.MaxConns != 16 {
		t.Errorf("jwks_file = %s, max_connections = %d", c.Identity.JWKSFile, c.Database.MaxConns)
	}
	f := c.Facts()
	if got := f.Subjects[0]; got.Kind != crm.KindPerson || got.ID != "rep.west@amer" || got.Territories[0] != "US-W" {
		t.Errorf("subject = %+v", got)
	}
	k := f.Contracts[0]
	if !k.From.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) || !k.To.Equal(crm.Forever) {
		t.Errorf("contract holds from %s to %s, want an open end", k.From, k.To)
	}
	if len(f.Territories) == 0 || len(f.Segments) == 0 {
		t.Error("the trees are missing")
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, says string }{
		"unknown field":            {"listen:", "liste:", "field liste not found"},
		"bad name":                 {"instance: amer", "instance: AMER!", "is not a name"},
		"no port":                  {"127.0.0.1:7001", "127.0.0.1", "is not host:port"},
		"no secret":                {"{url_file: secrets/database.url}", "{}", "database.url_file"},
		"unknown territory":        {"territories: [US-W]", "territories: [US-Q]", `no territory "US-Q"`},
		"unknown segment":          {"segments: [all]", "segments: [Crypto]", `no segment "Crypto"`},
		"undeclared department":    {"departments: [us-sales]}", "departments: [legal]}", `department "legal" is not declared`},
		"parent after child":       {"parent: sales", "parent: field", "not declared before it"},
		"relationship to nobody":   {"on: us-sales", "on: legal", "two declared departments"},
		"contract of others":       {"source: amer", "source: emea", "one end, and only one"},
		"contract without scope":   {`territories: ["001"], segments: [Financials],`, "", "nothing is in scope"},
		"contract without purpose": {"purpose: coverage, ", "", "for what purpose"},
		"contract that never was":  {"from: 2026-01-01", "from: 2026-01-01, to: 2025-01-01", "ends before it begins"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(whole, c.old) {
				t.Fatalf("%q is not in the sample", c.old)
			}
			_, err := instance.ParseConfig([]byte(strings.Replace(whole, c.old, c.new, 1)))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
		})
	}
}
