package sample

import (
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// given are the columns of the file of real companies.
var given = []string{
	"source_id", "name", "sector", "industry_group", "industry", "country", "state", "city", "postal_code", "website", "size_band", "isin",
}

var companyColumns = append(slices.Clone(given), "annual_revenue", "email", "phone", "tax_id", "sample")

// company is a real company with its row as given.
type company struct {
	id, name, country, sector, size string
	row                             []string
}

func readCompanies(r io.Reader) ([]company, error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read the companies: %w", err)
	}
	if len(rows) == 0 || !slices.Equal(rows[0], given) {
		return nil, fmt.Errorf("the file of companies must have the columns %s", strings.Join(given, ","))
	}
	at := func(column string) int { return slices.Index(given, column) }
	var all []company
	for _, row := range rows[1:] {
		all = append(all, company{
			id: row[at("source_id")], name: row[at("name")], country: row[at("country")],
			sector: row[at("sector")], size: row[at("size_band")], row: row,
		})
	}
	return all, nil
}

func companyRow(c company, r *rand.Rand) [][]string {
	return [][]string{append(slices.Clone(c.row), revenue(c.size, r), email("office", c, r), phone(c.country, r),
		fmt.Sprintf("%s-SAMPLE-%09d", c.country, r.IntN(1e9)), "true")}
}

// revenue is a plausible year's revenue in US dollars for a size band.
func revenue(size string, r *rand.Rand) string {
	low, high := 300e6, 6e9
	switch size {
	case "Mega Cap":
		low, high = 40e9, 400e9
	case "Large Cap":
		low, high = 4e9, 60e9
	}
	return fmt.Sprintf("%.2f", low+r.Float64()*r.Float64()*(high-low))
}

// email is an address of a reserved domain that names whose it would be.
func email(local string, c company, r *rand.Rand) string {
	domain := []string{"com", "net", "org"}[r.IntN(3)]
	return fmt.Sprintf("%s.%s@example.%s", slug(local), slug(c.id), domain)
}

// slug keeps what an e-mail address may hold everywhere.
func slug(s string) string {
	var b strings.Builder
	for _, x := range strings.ToLower(s) {
		switch {
		case x >= 'a' && x <= 'z', x >= '0' && x <= '9':
			b.WriteRune(x)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-")
}

// fictional are the ranges that numbering authorities keep for film and print;
// # is any digit.
var fictional = map[string][]string{
	"US": {"+121255501##", "+131255501##", "+141555501##", "+171355501##"},
	"CA": {"+141655501##", "+160455501##"},
	"GB": {"+442079460###", "+441614960###", "+441314960###"},
	"AU": {"+6125550####", "+6137010####"},
	"FR": {"+3319900####", "+3326191####"},
	"DE": {"+493023125###", "+498999998###"},
}

// phone is a number that nobody has.
func phone(country string, r *rand.Rand) string {
	if ranges, ok := fictional[country]; ok {
		var b strings.Builder
		for _, x := range ranges[r.IntN(len(ranges))] {
			if x == '#' {
				x = rune('0' + r.IntN(10))
			}
			b.WriteRune(x)
		}
		return b.String()
	}
	n := phonenumbers.GetExampleNumber(country)
	if n == nil {
		return ""
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}
