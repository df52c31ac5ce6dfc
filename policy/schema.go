package policy

import (
	"slices"

	"meridian/instance/crm"
)

// kind is the type of a column, as far as rules may compare it.
type kind string

const (
	kindText kind = "text"
	kindInt  kind = "bigint"
	kindBool kind = "boolean"
	kindUUID kind = "uuid"
	kindTime kind = "timestamptz"
	kindDate kind = "date"    // bound as text
	kindReal kind = "numeric" // bound as text
)

// cast is the cast of a bound value of the kind.
func (k kind) cast() string {
	if k == kindDate || k == kindReal {
		return "text::" + string(k)
	}
	return string(k)
}

// listCast is the cast of a bound list of values of the kind.
func (k kind) listCast() string {
	if k == kindDate || k == kindReal {
		return "text[]::" + string(k) + "[]"
	}
	return string(k) + "[]"
}

// column is one column that rules may read. An empty nullable column is null to
// Rego, which sorts it before every value; SQL is made to do the same.
type column struct {
	name     string // as rules call it
	sql      string // without alias
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
		c.sql = c.name
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

// fieldKinds are the columns that fields of each type have.
var fieldKinds = map[crm.Type]kind{
	crm.TypeString: kindText, crm.TypeInteger: kindInt, crm.TypeDecimal: kindReal, crm.TypeBoolean: kindBool,
	crm.TypeTimestamp: kindTime, crm.TypeDate: kindDate, crm.TypeReference: kindUUID, crm.TypeList: kindText,
}

// fieldRow are the fields of an entity: columns of its table, any of which may
// be null.
func fieldRow(d crm.Definition) row {
	r := row{}
	for _, f := range d.Fields {
		r[f.Name] = column{name: f.Name, sql: `"` + f.Name + `"`, kind: fieldKinds[f.Type], array: f.Type == crm.TypeList, nullable: true}
	}
	return r
}

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
