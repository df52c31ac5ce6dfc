package crm

import (
	"regexp"
	"slices"
)

// Field is one field of an entity.
type Field struct {
	Name           string   // bare (common), "<plugin>__f" (plugin), "x__f" (instance-own)
	Label          string   // for people
	Type           Type     //
	Required       bool     // may not be null on create, may not be cleared
	Unique         bool     // no two live records of this home share a value
	Indexed        bool     // has an index for filters and sorts
	Enum           []string // allowed values of a string field, if any
	Reference      string   // target entity of a reference field
	Group          string   // field group; revealed or hidden together
	Classification string   // for people and reports: public, internal, personal, ...
	Mask           Mask     // what is left of it where its group is masked
}

// Mask is what is left of a field where policy shows its group in masked form.
type Mask string

// The kinds of mask. Hide is the default: nothing is left.
const (
	MaskHide     Mask = ""
	MaskLastFour Mask = "last_four" // of a string: dots and its last four characters, dots alone if it has fewer than eight
	MaskYear     Mask = "year"      // of a date or timestamp: the first of January of its year
	MaskBand     Mask = "band"      // of a number: the power of ten at or below it, with its sign; 0 for 0
)

// Governance says where an entity's records take their governance from.
type Governance string

// Governed values of a definition.
const (
	GovernedOwn         Governance = "own"          // its own columns decide (account, engagement)
	GovernedFromAccount Governance = "from account" // copied from the account in its transaction
	GovernedCatalogue   Governance = "catalogue"    // reference data of the instance (product)
)

// Definition is an entity's effective schema: common, plugin and instance-own
// layers merged.
type Definition struct {
	Entity   string // singular snake_case, also the table's name
	Label    string
	Plural   string
	Governed Governance
	Key      string // the unique field upserts find a record by, "" if none
	Fields   []Field
}

// Field finds a field by name.
func (d Definition) Field(name string) (Field, bool) {
	for _, f := range d.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// Groups are the field groups of the entity, "core" first, then by name.
func (d Definition) Groups() []string {
	var gs []string
	for _, f := range d.Fields {
		if !slices.Contains(gs, f.Group) {
			gs = append(gs, f.Group)
		}
	}
	slices.SortFunc(gs, func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == "core" || (b != "core" && a < b):
			return -1
		}
		return 1
	})
	return gs
}

// Governance columns: every record has them, every entity's table repeats
// them, none may be the name of a field.
var governanceColumns = []string{
	"id", "home", "territory", "segment", "department", "owner", "account", "sensitivity",
	"jurisdiction", "version", "created", "updated", "withheld", "pinned",
}

// masks are the types that each mask is for.
var masks = map[Mask][]Type{
	MaskLastFour: {TypeString},
	MaskYear:     {TypeDate, TypeTimestamp},
	MaskBand:     {TypeInteger, TypeDecimal},
}

var fieldName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,58}$`)

// Validate reports the first rule the definition breaks.
func (d Definition) Validate() error {
	if !fieldName.MatchString(d.Entity) {
		return Errorf(Invalid, "entity %q: a name is lower case letters, digits and _, and starts with a letter", d.Entity)
	}
	seen := map[string]bool{}
	for _, f := range d.Fields {
		switch {
		case !fieldName.MatchString(f.Name):
			return FieldErrorf(f.Name, "entity %s: a field name is lower case letters, digits and _, and starts with a letter", d.Entity)
		case slices.Contains(governanceColumns, f.Name):
			return FieldErrorf(f.Name, "entity %s: the name is a governance column; choose another", d.Entity)
		case seen[f.Name]:
			return FieldErrorf(f.Name, "entity %s defines the field twice", d.Entity)
		case f.Group == "" || !fieldName.MatchString(f.Group):
			return FieldErrorf(f.Name, "entity %s: name a field group; a field without one is revealed to nobody", d.Entity)
		case f.Type == TypeReference && f.Reference == "":
			return FieldErrorf(f.Name, "entity %s: a reference names its target entity", d.Entity)
		case len(f.Enum) > 0 && f.Type != TypeString:
			return FieldErrorf(f.Name, "entity %s: only strings have an enum", d.Entity)
		case !slices.Contains([]Type{TypeString, TypeInteger, TypeDecimal, TypeBoolean, TypeTimestamp, TypeDate, TypeReference, TypeList}, f.Type):
			return FieldErrorf(f.Name, "entity %s: unknown type %q", d.Entity, f.Type)
		case !slices.Contains(masks[f.Mask], f.Type) && f.Mask != MaskHide:
			return FieldErrorf(f.Name, "entity %s: a %s has no mask %q; last_four is for strings, year for dates and timestamps, band for numbers", d.Entity, f.Type, f.Mask)
		}
		seen[f.Name] = true
	}
	if d.Key != "" {
		if k, ok := d.Field(d.Key); !ok || !k.Unique || k.Type != TypeString {
			return FieldErrorf(d.Key, "entity %s: the key must be a unique string field", d.Entity)
		}
	}
	switch d.Governed {
	case GovernedOwn, GovernedFromAccount, GovernedCatalogue:
	default:
		return Errorf(Invalid, "entity %s: governed must be own, from account or catalogue", d.Entity)
	}
	return nil
}
