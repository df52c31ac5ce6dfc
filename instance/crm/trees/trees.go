// Package trees holds the reference trees that every instance shares:
// territories (M49 world, regions, countries, US census regions and states)
// and segments (sector, industry group, industry).
//
// They are data shipped with the product, so that an instance, a plugin and a
// facade place a customer in the same node. Reorganisations and own subtrees
// live in an instance's facts; this package must not know of them.
package trees

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"strings"
	"sync"

	"meridian/instance/crm"
)

// World is the root of the territory tree, AllSegments of the segment tree.
const (
	World       = "001"
	AllSegments = "all"
)

// Node is one node of a tree.
type Node struct{ ID, Parent, Name, Level string }

var (
	//go:embed countries.csv
	countriesCSV string
	//go:embed us-states.csv
	statesCSV string
	//go:embed segments.csv
	segmentsCSV string
)

type index struct {
	territories, segments []Node
	country               map[string]string // upper-case name, alpha-2 or alpha-3 -> alpha-2
	state                 map[string]string // upper-case name or code -> USPS code
	territory, segment    map[string]bool   // by id
}

// censusRegions maps the file's names to territory ids.
var censusRegions = map[string]string{"West": "US-W", "Northeast": "US-NE", "Midwest": "US-MW", "South": "US-S"}

// everyday names that the ISO list spells differently
var countryAliases = map[string]string{
	"UK": "GB", "GREAT BRITAIN": "GB", "UNITED KINGDOM": "GB", "ENGLAND": "GB", "USA": "US", "U.S.": "US", "U.S.A.": "US",
	"UNITED STATES": "US", "UNITED STATES OF AMERICA": "US", "AMERICA": "US", "SOUTH KOREA": "KR", "KOREA": "KR", "NORTH KOREA": "KP",
	"RUSSIA": "RU", "TAIWAN": "TW", "VIETNAM": "VN", "CZECH REPUBLIC": "CZ", "CZECHIA": "CZ", "IRAN": "IR", "SYRIA": "SY", "LAOS": "LA",
	"HONG KONG": "HK", "MACAU": "MO", "MACAO": "MO", "BOLIVIA": "BO", "VENEZUELA": "VE", "TANZANIA": "TZ", "MOLDOVA": "MD", "TURKEY": "TR",
	"TÜRKIYE": "TR", "IVORY COAST": "CI", "THE NETHERLANDS": "NL", "NETHERLANDS": "NL", "HOLLAND": "NL", "DEUTSCHLAND": "DE", "SCHWEIZ": "CH",
	"ÖSTERREICH": "AT", "UAE": "AE", "UNITED ARAB EMIRATES": "AE", "BRUNEI": "BN", "CAPE VERDE": "CV", "SWAZILAND": "SZ", "MACEDONIA": "MK",
}

var load = sync.OnceValue(func() *index {
	x := &index{country: map[string]string{}, state: map[string]string{}, territory: map[string]bool{}, segment: map[string]bool{}}
	territory := func(id, parent, name, level string) {
		if !x.territory[id] {
			x.territory[id] = true
			x.territories = append(x.territories, Node{id, parent, name, level})
		}
	}
	territory(World, "", "World", "world")
	for _, r := range table(countriesCSV) {
		parent := World
		if r["m49_region"] != "" {
			region := m49(r["m49_region"])
			territory(region, World, r["region"], "region")
			parent = region
			if r["m49_subregion"] != "" {
				parent = m49(r["m49_subregion"])
				territory(parent, region, r["subregion"], "subregion")
			}
		}
		territory(r["alpha2"], parent, r["name"], "country")
		for _, name := range []string{r["alpha2"], r["alpha3"], r["name"]} {
			x.country[strings.ToUpper(name)] = r["alpha2"]
		}
	}
	for name, code := range countryAliases {
		x.country[name] = code
	}
	for name, id := range censusRegions {
		territory(id, "US", "United States, "+name, "census region")
	}
	for _, r := range table(statesCSV) {
		territory("US-"+r["code"], censusRegions[r["census_region"]], r["name"], "state")
		x.state[strings.ToUpper(r["code"])] = r["code"]
		x.state[strings.ToUpper(r["name"])] = r["code"]
	}
	x.segments = append(x.segments, Node{AllSegments, "", "All segments", "all"})
	for _, r := range table(segmentsCSV) {
		id, parent, name, level := r["sector"], AllSegments, r["sector"], "sector"
		if g := r["industry_group"]; g != "" {
			id, parent, name, level = id+"/"+g, id, g, "industry group"
			if i := r["industry"]; i != "" {
				id, parent, name, level = id+"/"+i, id, i, "industry"
			}
		}
		x.segment[id] = true
		x.segments = append(x.segments, Node{id, parent, name, level})
	}
	return x
})

func m49(s string) string { return fmt.Sprintf("%03s", s) }

// table parses an embedded file; it is data of the build, so a fault panics.
func table(s string) []map[string]string {
	rows, err := csv.NewReader(strings.NewReader(s)).ReadAll()
	if err != nil {
		panic(err)
	}
	var out []map[string]string
	for _, row := range rows[1:] {
		m := make(map[string]string, len(row))
		for i, h := range rows[0] {
			m[h] = row[i]
		}
		out = append(out, m)
	}
	return out
}

// Territories lists the territory tree, parents before children.
func Territories() []Node { return load().territories }

// Segments lists the segment tree, parents before children. The id of a node
// is its path: "Financials/Banks/Banks".
func Segments() []Node { return load().segments }

// CountryCode is the alpha-2 code of a country given by code or name.
func CountryCode(s string) (string, bool) {
	c, ok := load().country[strings.ToUpper(strings.Join(strings.Fields(s), " "))]
	return c, ok
}

// StateCode is the USPS code of a US state given by code or name.
func StateCode(s string) (string, bool) {
	c, ok := load().state[strings.ToUpper(strings.Join(strings.Fields(s), " "))]
	return c, ok
}

// TerritoryOf places an address: an unknown or missing state falls to the
// country, an unknown country to the reserved unassigned id.
func TerritoryOf(country, state string) string {
	c, ok := CountryCode(country)
	if !ok {
		return crm.Unassigned
	}
	if c == "US" {
		if s, ok := StateCode(state); ok {
			return "US-" + s
		}
	}
	return c
}

// SegmentOf places a customer: a missing or unknown level falls to the one
// above, an unknown sector to the reserved unassigned id.
func SegmentOf(sector, group, industry string) string {
	x := load()
	best := crm.Unassigned
	for _, id := range []string{sector, sector + "/" + group, sector + "/" + group + "/" + industry} {
		if !x.segment[id] {
			break
		}
		best = id
	}
	return best
}
