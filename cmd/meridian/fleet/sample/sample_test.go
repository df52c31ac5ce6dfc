package sample_test

import (
	"bytes"
	"encoding/csv"
	"os"
	"slices"
	"strings"
	"testing"

	"meridian/cmd/meridian/fleet/sample"
)

func companies(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../../../../deploy/examples/data/companies.csv")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// some of the companies are enough where each is treated alike.
func some(t *testing.T) []byte {
	t.Helper()
	return bytes.Join(bytes.SplitAfter(companies(t), []byte("\n"))[:400], nil)
}

func generate(t *testing.T, seed uint64, text []byte) map[string]sample.File {
	t.Helper()
	files, err := sample.Generate(seed, bytes.NewReader(text), sample.Feeds())
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]sample.File{}
	for _, f := range files {
		m[f.Feed] = f
	}
	return m
}

func rows(t *testing.T, f sample.File) []map[string]string {
	t.Helper()
	all, err := csv.NewReader(bytes.NewReader(f.Content)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(all)-1 != f.Rows {
		t.Errorf("%s says it has %d rows and has %d", f.Feed, f.Rows, len(all)-1)
	}
	var ms []map[string]string
	for _, row := range all[1:] {
		m := map[string]string{}
		for i, h := range all[0] {
			m[h] = row[i]
		}
		ms = append(ms, m)
	}
	return ms
}

func TestCompaniesKeepWhatIsReal(t *testing.T) {
	text := companies(t)
	real, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got := rows(t, generate(t, 1, text)["companies"])
	if len(got) != 4427 {
		t.Fatalf("%d companies, want 4427", len(got))
	}
	for i, row := range real[1:] {
		for c, column := range real[0] {
			if got[i][column] != row[c] {
				t.Fatalf("%s: %s = %q, want %q", row[0], column, got[i][column], row[c])
			}
		}
	}
}

func TestNothingInventedIsSomebodys(t *testing.T) {
	for feed, f := range generate(t, 1, some(t)) {
		keys := map[string]bool{}
		for _, row := range rows(t, f) {
			if row["sample"] != "true" {
				t.Fatalf("%s %s is not marked as a sample", feed, row["source_id"])
			}
			if keys[row["source_id"]] {
				t.Fatalf("%s %s appears twice", feed, row["source_id"])
			}
			keys[row["source_id"]] = true
			if email, ok := row["email"]; ok {
				_, domain, _ := strings.Cut(email, "@")
				if !slices.Contains([]string{"example.com", "example.net", "example.org"}, domain) {
					t.Fatalf("%s %s: %q is not of a reserved domain", feed, row["source_id"], email)
				}
			}
			if phone := row["phone"]; phone != "" && row["country"] == "US" && !strings.Contains(phone, "55501") {
				t.Fatalf("%s %s: %q is not of a range for fiction", feed, row["source_id"], phone)
			}
		}
	}
}

func TestSameSeedSameBytes(t *testing.T) {
	text := some(t)
	one, again, other := generate(t, 1, text), generate(t, 1, text), generate(t, 2, text)
	for _, feed := range sample.Feeds() {
		if !bytes.Equal(one[feed].Content, again[feed].Content) {
			t.Errorf("%s differs from run to run", feed)
		}
		if bytes.Equal(one[feed].Content, other[feed].Content) {
			t.Errorf("%s does not depend on the seed", feed)
		}
	}
}

func TestACompanyMoreLeavesTheOthersAsTheyWere(t *testing.T) {
	text := some(t)
	lines := bytes.SplitAfter(text, []byte("\n"))
	fewer := bytes.Join(append(slices.Clone(lines[:1]), lines[2:]...), nil)
	whole, part := rows(t, generate(t, 1, text)["companies"]), rows(t, generate(t, 1, fewer)["companies"])
	if whole[1]["email"] != part[0]["email"] || whole[1]["annual_revenue"] != part[0]["annual_revenue"] {
		t.Errorf("%v became %v", whole[1], part[0])
	}
}

func TestRefusesAnotherFile(t *testing.T) {
	_, err := sample.Generate(1, strings.NewReader("a,b\n1,2\n"), sample.Feeds())
	if err == nil || !strings.Contains(err.Error(), "must have the columns source_id") {
		t.Errorf("error = %v, want one that names the columns", err)
	}
}
