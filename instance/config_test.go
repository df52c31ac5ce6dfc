package instance_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
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
database: {url_file: secrets/database.url, owner_url_file: secrets/owner.url}
bi: [{subject: rep.west@amer, role: analyst_a, password_file: secrets/analyst_a}]
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
	if c.Database.OwnerURLFile != filepath.Join(filepath.Dir(path), "secrets/owner.url") || c.BI[0].PasswordFile != filepath.Join(filepath.Dir(path), "secrets/analyst_a") {
		t.Errorf("owner_url_file = %s, password_file = %s: relative to the file", c.Database.OwnerURLFile, c.BI[0].PasswordFile)
	}
	if c.Identity.JWKSFile != "/keys/jwks.json" || c.Database.MaxConns != 16 {
		t.Errorf("jwks_file = %s, max_connections = %d", c.Identity.JWKSFile, c.Database.MaxConns)
	}
	if c.Audit.RetentionDays != 400 {
		t.Errorf("retention_days = %d", c.Audit.RetentionDays)
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
		"no secret":                {"{url_file: secrets/database.url, owner_url_file: secrets/owner.url}", "{}", "database.url_file"},
		"bi on one role":           {", owner_url_file: secrets/owner.url", "", "database.owner_url_file"},
		"bi role twice":            {"bi: [", "bi: [{subject: a@amer, role: analyst_a}, ", "declared twice"},
		"bi as nobody":             {"{subject: rep.west@amer, role: analyst_a,", "{role: analyst_a,", "as whom"},
		"unknown territory":        {"territories: [US-W]", "territories: [US-Q]", `no territory "US-Q"`},
		"unknown segment":          {"segments: [all]", "segments: [Crypto]", `no segment "Crypto"`},
		"undeclared department":    {"departments: [us-sales]}", "departments: [legal]}", `department "legal" is not declared`},
		"parent after child":       {"parent: sales", "parent: field", "not declared before it"},
		"relationship to nobody":   {"on: us-sales", "on: legal", "two declared departments"},
		"contract of others":       {"source: amer", "source: emea", "one end, and only one"},
		"contract without scope":   {`territories: ["001"], segments: [Financials],`, "", "nothing is in scope"},
		"contract without purpose": {"purpose: coverage, ", "", "for what purpose"},
		"decisions kept no time":   {"departments:", "audit: {retention_days: -1}\ndepartments:", "at least a day"},
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

func TestAuditKey(t *testing.T) {
	dir := t.TempDir()
	pemOf := func(key any) []byte {
		t.Helper()
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	_, good, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		says string
	}{
		"good":  {pemOf(good), ""},
		"text":  {[]byte("secret"), "is not PEM"},
		"torn":  {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), "audit key"},
		"ecdsa": {pemOf(other), "is not an Ed25519 key"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, c.text, 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := instance.Audit{KeyFile: path}.Key()
		switch {
		case c.says == "" && (err != nil || !key.Equal(good)):
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: error = %v, want one that says %q", name, err, c.says)
		}
	}
	if key, err := (instance.Audit{}).Key(); key != nil || err != nil {
		t.Errorf("without a file: %v, %v", key, err)
	}
	if _, err := (instance.Audit{KeyFile: filepath.Join(dir, "gone")}).Key(); err == nil {
		t.Error("a missing key is no error")
	}
}
