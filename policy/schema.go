package policy

import (
	"slices"
)

// kind is the type of a column, as far as rules may compare it.
type kind string

const (
	kindText kind = "text"
	kindInt  kind = "bigint"
	kindBool kind = "boolean"
	kindUUID kind = "uuid"
	kindTime kind = "timestamptz"
)

// column is one column that rules may read. Columns are NOT NULL unless they
// say so: `null < 5` holds in Rego and not in SQL.
type column struct {
	name     string // SQL name, without alias
	kind     kind
	array    bool
	nullable bool
}

// row is what a rule may know of a record or a fact: its columns by the name
// that Rego uses.
type row map[string]column

func columns(cs ...column) row {
	r := row{}
	for _, c := range cs {
		r[c.name] = c
	}
	return r
}

// recordRow is every record's governance: the columns all entity tables share.
var recordRow = columns(
	column{name: "id", kind: kindUUID},
	column{name: "home", kind: kindText},
	column{name: "territory", kind: kindText},
	column{name: "segment", kind: kindText},
	column{name: "department", kind: kindText},
	column{name: "owner", kind: kindText},
	column{name: "account", kind: kindUUID},
	column{name: "sensitivity", kind: kindInt},
	column{name: "jurisdiction", kind: kindText},
	column{name: "pinned", kind: kindBool},
	column{name: "withheld", kind: kindText, array: true},
	column{name: "created", kind: kindTime},
	column{name: "updated", kind: kindTime},
)

// facts is a table of facts about records.
type facts struct {
	from string                       // table and alias
	on   func(entity string) []string // how a fact names the record; any of them
	row  row
}

// factTables are the facts a ground may look at, by the name it declares.
var factTables = map[string]*facts{
	"agreement": {
		from: "fact.agreement f",
		on:   func(string) []string { return []string{"f.account = r.account"} },
		row: columns(
			column{name: "account", kind: kindUUID},
			column{name: "department", kind: kindText},
			column{name: "effect", kind: kindText},
			column{name: "actions", kind: kindText, array: true},
			column{name: "groups", kind: kindText, array: true},
			column{name: "valid_from", kind: kindTime},
			column{name: "valid_to", kind: kindTime},
		),
	},
	"grant": {
		from: `fact."grant" f`,
		on: func(entity string) []string {
			if entity == "account" { // an account is its own account
				return []string{"f.record = r.id"}
			}
			return []string{"f.record = r.id", "f.record = r.account"}
		},
		row: columns(
			column{name: "record", kind: kindUUID},
			column{name: "kind", kind: kindText},
			column{name: "key", kind: kindText},
			column{name: "groups", kind: kindText, array: true},
			column{name: "valid_from", kind: kindTime},
			column{name: "valid_to", kind: kindTime},
			column{name: "suspended", kind: kindBool},
		),
	},
}

// areaFact is the kind of fact that is known when a filter is made: agreements
// about an area, which come with the subject.
const areaFact = "area"

func factNames() []string {
	names := []string{areaFact}
	for n := range factTables {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// timeLayout is how rules see an instant: fixed width and UTC, so that text
// order is time order, at the database's resolution.
const timeLayout = "2006-01-02T15:04:05.000000Z"
