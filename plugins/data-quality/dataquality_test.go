package dataquality_test

import (
	"encoding/csv"
	"os"
	"slices"
	"testing"

	"meridian/instance/crm"
	"meridian/plugins"
	dataquality "meridian/plugins/data-quality"
	"meridian/plugins/plugintest"
)

func TestMain(m *testing.M) { plugintest.Main(m, dataquality.New) }

func TestConformance(t *testing.T) {
	people := []map[string]crm.Value{
		{"email": crm.String(" Jo.Doe@EXAMPLE.com "), "phone": crm.String("+49 (0) 89 1234567"), "mobile": crm.String("0171 1234567"), "country": crm.String("Germany"), "name": crm.String("Jo")},
		{"email": crm.String("jo@"), "phone": crm.String("call me")},
		{"email": crm.String("  "), "phone": crm.String("")},
		{"email": crm.Integer(7)},
		{},
	}
	plugintest.Run(t, plugintest.Samples{
		"account": append(companies(t, "testdata/companies.csv"),
			map[string]crm.Value{"country": crm.String("Atlantis"), "state": crm.String("?"), "website": crm.String("not a website")},
			map[string]crm.Value{"country": crm.String("Germany"), "phone": crm.String("089 1234567"), "email": crm.String("Info@Example.DE")},
			map[string]crm.Value{"country": crm.String("usa"), "state": crm.String("new york"), "phone": crm.String("(212) 555-0123 x9")},
		),
		"contact": people, "lead": people,
	}, plugintest.InProcess(dataquality.New), plugintest.Process())
}

// companies reads a file of companies. The one in testdata has rows of the
// shipped file that between them have every country, every US state and every
// form of website in it.
func companies(t *testing.T, path string) []map[string]crm.Value {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]crm.Value
	for _, row := range rows[1:] {
		fields := map[string]crm.Value{}
		for i, name := range rows[0] {
			if row[i] != "" {
				fields[name] = crm.String(row[i])
			}
		}
		out = append(out, fields)
	}
	return out
}

func TestEveryCompanyPassesUnchanged(t *testing.T) {
	rows := companies(t, "../../deploy/examples/data/companies.csv")
	if len(rows) != 4427 {
		t.Fatalf("the shipped file has %d companies", len(rows))
	}
	for _, fields := range rows {
		set, findings := pass(t, "account", crm.OpCreate, fields, nil)
		if len(set) > 0 || len(findings) > 0 {
			t.Errorf("%s: set %v, findings %v", fields["source_id"].Text(), set, findings)
		}
	}
}

// pass runs a record through both steps of an entity.
func pass(t *testing.T, entity string, op crm.Op, fields map[string]crm.Value, changed []string) (map[string]crm.Value, []plugins.Finding) {
	t.Helper()
	p := dataquality.New()
	b := plugins.Batch{Entity: entity, Op: op, Stage: plugins.Transform, Steps: []string{"normalise-" + entity}, Records: []plugins.Record{{Fields: fields, Changed: changed}}}
	out, err := p.Invoke(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	set := out[0].Verdicts[0].Set
	for f, v := range set {
		b.Records[0].Fields[f] = v
	}
	b.Stage, b.Steps = plugins.Validate, []string{"check-" + entity}
	if out, err = p.Invoke(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return set, out[0].Verdicts[0].Findings
}

func TestFields(t *testing.T) {
	const refused = "\x00"
	for _, c := range []struct{ field, country, in, want string }{
		{"email", "", " Jo.Doe@EXAMPLE.com ", "Jo.Doe@example.com"},
		{"email", "", "jo+tag@sub.example.co.uk", "jo+tag@sub.example.co.uk"},
		{"email", "", "JÜRGEN@Müller.example", "JÜRGEN@müller.example"},
		{"email", "", "   ", ""},
		{"email", "", "broken", refused},
		{"email", "", "@example.com", refused},
		{"email", "", "jo@", refused},
		{"email", "", "jo@localhost", refused},
		{"email", "", "jo@@example.com", refused},
		{"email", "", "jo@exa mple.com", refused},
		{"email", "", "jo@-example.com", refused},
		{"email", "", "jo@example..com", refused},
		{"email", "", ".jo@example.com", refused},
		{"email", "", "Jo <jo@example.com>", refused},
		{"email", "", "jo@10.0.0.1", refused},

		{"phone", "DE", "089 1234567", "+49891234567"},
		{"phone", "Germany", "089/123 45-67", "+49891234567"},
		{"phone", "US", "(415) 555-0123", "+14155550123"},
		{"phone", "US", "(415) 555-0123 x9", "+14155550123 ext. 9"},
		{"phone", "US", "+44 20 7946 0958", "+442079460958"},
		{"phone", "", "+49 (0) 89 1234567", "+49891234567"},
		{"phone", "", "089  1234567", "089 1234567"},    // no country: kept
		{"phone", "US", "555-0123", "555-0123"},         // no area code: kept
		{"phone", "FR", "123456789012", "123456789012"}, // not of that plan: kept
		{"phone", "US", "call me", refused},
		{"phone", "US", "12", refused},
		{"phone", "US", "1234567890123456", refused},
		{"phone", "", "+999 1234567", refused},
		{"phone", "", "+", refused},

		{"country", "", "de", "DE"},
		{"country", "", "Germany", "DE"},
		{"country", "", "United  States", "US"},
		{"country", "", "DEU", "DE"},
		{"country", "", "Atlantis", refused},

		{"state", "US", "california", "CA"},
		{"state", "USA", " ny ", "NY"},
		{"state", "US", "PR", "PR"},
		{"state", "US", "Nowhere", "Nowhere"},
		{"state", "CA", "Ontario", "Ontario"},
		{"state", "", "California", "California"},

		{"website", "", "http://www.Example.com/A?b=c#d", "http://www.Example.com/A?b=c#d"},
		{"website", "", "HTTPS://example.com", "HTTPS://example.com"},
		{"website", "", "http://www.aircraft_co.avic.com", "http://www.aircraft_co.avic.com"},
		{"website", "", "example.com", "example.com"},
		{"website", "", "example.com:8080/path", "example.com:8080/path"},
		{"website", "", "http://192.0.2.1/", "http://192.0.2.1/"},
		{"website", "", "https://bücher.example", "https://bücher.example"},
		{"website", "", "not a website", refused},
		{"website", "", "example", refused},
		{"website", "", "http://", refused},
		{"website", "", "ftp://example.com", refused},
		{"website", "", "javascript:alert(1)", refused},
		{"website", "", "mailto:jo@example.com", refused},
		{"website", "", "https://bank.example@evil.example", refused},
	} {
		fields := map[string]crm.Value{c.field: crm.String(c.in)}
		if c.country != "" {
			fields["country"] = crm.String(c.country)
		}
		_, findings := pass(t, "account", crm.OpCreate, fields, nil)
		switch {
		case c.want == refused:
			if len(findings) != 1 || findings[0].Field != c.field {
				t.Errorf("%s %q: findings %v, want one about %s", c.field, c.in, findings, c.field)
			}
		case len(findings) > 0:
			t.Errorf("%s %q (%s): refused: %v", c.field, c.in, c.country, findings)
		case fields[c.field].Text() != c.want:
			t.Errorf("%s %q (%s) became %q, want %q", c.field, c.in, c.country, fields[c.field].Text(), c.want)
		}
	}
}

func TestEveryFaultIsNamedAtOnce(t *testing.T) {
	_, findings := pass(t, "account", crm.OpCreate, map[string]crm.Value{
		"country": crm.String("Atlantis"), "email": crm.String("broken"), "phone": crm.String("none"), "website": crm.String("no site"),
	}, nil)
	var got []string
	for _, f := range findings {
		got = append(got, f.Field)
	}
	if want := []string{"country", "email", "phone", "website"}; !slices.Equal(got, want) {
		t.Errorf("findings about %v, want %v", got, want)
	}
}

// A record loaded before the plugin was there may hold an old flaw; who
// corrects its phone must not be sent away for its e-mail.
func TestUpdateJudgesOnlyWhatItChanges(t *testing.T) {
	stored := func() map[string]crm.Value {
		return map[string]crm.Value{"email": crm.String("Broken"), "country": crm.String("US"), "state": crm.String("texas"), "phone": crm.String("(415) 555-0123")}
	}
	set, findings := pass(t, "account", crm.OpUpdate, stored(), []string{"phone"})
	if len(findings) > 0 || len(set) != 1 || set["phone"].Text() != "+14155550123" {
		t.Errorf("phone changed: set %v, findings %v", set, findings)
	}
	set, findings = pass(t, "account", crm.OpUpdate, stored(), []string{"country"})
	if len(findings) > 0 || len(set) != 1 || set["state"].Text() != "TX" {
		t.Errorf("country changed: set %v, findings %v", set, findings)
	}
	if _, findings = pass(t, "account", crm.OpUpdate, stored(), []string{"email"}); len(findings) != 1 {
		t.Errorf("e-mail changed: findings %v", findings)
	}
}

func FuzzNormaliseTwiceIsOnce(f *testing.F) {
	for _, s := range []string{"(415) 555-0123 x9", "a@B.c", " http://x.y ", "+49 (0) 89 1", "usa", "1 ext 2 ext 3"} {
		f.Add(s, "US")
	}
	f.Fuzz(func(t *testing.T, s, country string) {
		for _, field := range []string{"email", "phone", "state", "website", "country"} {
			fields := map[string]crm.Value{"country": crm.String(country), field: crm.String(s)}
			_, findings := pass(t, "account", crm.OpCreate, fields, nil)
			set, again := pass(t, "account", crm.OpCreate, fields, nil)
			if len(set) > 0 || len(findings) != len(again) {
				t.Errorf("%s %q in %q: second pass set %v, findings %v then %v", field, s, country, set, findings, again)
			}
		}
	})
}
