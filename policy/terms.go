package policy

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
)

// subjectValues is the subject as rules see it, by the names they use. The
// reserved id of an absent territory, segment or department is no membership,
// whatever the facts say.
func subjectValues(s crm.Subject) map[string]any {
	return map[string]any{
		"id": string(s.ID), "kind": string(s.Kind), "instance": s.Instance, "roles": s.Roles, "clearance": s.Clearance,
		"territories": assigned(s.Territories), "segments": assigned(s.Segments), "all_segments": s.AllSegments,
		"departments": assigned(s.Departments), "relationships": s.Relationships, "keys": s.Keys, "groups": s.Groups,
		"jurisdictions": s.Jurisdictions, "purpose": s.Purpose,
	}
}

func subjectTerm(s crm.Subject) *ast.Term { return objectTerm(subjectValues(s)) }

// objectTerm is an object of values by name.
func objectTerm(values map[string]any) *ast.Term {
	kvs := make([][2]*ast.Term, 0, len(values))
	for name, v := range values {
		kvs = append(kvs, [2]*ast.Term{ast.StringTerm(name), term(v)})
	}
	return ast.ObjectTerm(kvs...)
}

// term is one value of a subject or of an area.
func term(v any) *ast.Term {
	switch v := v.(type) {
	case string:
		return ast.StringTerm(v)
	case bool:
		return ast.BooleanTerm(v)
	case int:
		return number(v)
	case []string:
		return texts(v)
	case time.Time:
		return instant(v)
	case []crm.Relationship:
		relationships := make([]*ast.Term, 0, len(v))
		for _, r := range v {
			if r.Department != crm.Unassigned {
				relationships = append(relationships, object("department", ast.StringTerm(r.Department), "actions", texts(r.Actions)))
			}
		}
		return ast.ArrayTerm(relationships...)
	}
	panic(fmt.Sprintf("rules see no %T", v))
}

func assigned(ids []string) []string {
	if !slices.Contains(ids, crm.Unassigned) {
		return ids
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == crm.Unassigned })
}

func texts(ss []string) *ast.Term {
	terms := make([]*ast.Term, len(ss))
	for i, s := range ss {
		terms[i] = ast.StringTerm(s)
	}
	return ast.ArrayTerm(terms...)
}

// number is n as rules see it. ast.IntNumberTerm gives out one shared term, and
// partial evaluation writes into the terms of its input: two callers would race.
func number(n int) *ast.Term { return ast.NewTerm(ast.Number(strconv.Itoa(n))) }

// object makes an object of names and terms in turn.
func object(pairs ...any) *ast.Term {
	kvs := make([][2]*ast.Term, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		kvs = append(kvs, [2]*ast.Term{ast.StringTerm(pairs[i].(string)), pairs[i+1].(*ast.Term)})
	}
	return ast.ObjectTerm(kvs...)
}

// fact is one fact about a known record, as rules see it.
type fact struct {
	id    string
	row   *ast.Term // of a table; nil for none
	known known     // that came with the subject
}

// about selects the facts about one record, as factTables correlates them.
func (f Facts) about(rec crm.Record) map[*facts][]fact {
	out := map[*facts][]fact{}
	for _, a := range f.Agreements {
		if a.Account == rec.Account && a.Account != crm.NoAccount { // those about areas come with the subject
			t := factTables["agreement"]
			out[t] = append(out[t], fact{id: a.ID, row: object(
				"account", ast.StringTerm(string(a.Account)),
				"department", ast.StringTerm(a.Department),
				"effect", ast.StringTerm(string(a.Effect)),
				"actions", texts(a.Actions),
				"groups", texts(a.Groups),
				"valid_from", instant(a.From),
				"valid_to", instant(a.To),
			)})
		}
	}
	for _, g := range f.Grants {
		if g.Record == rec.ID || rec.Entity != "account" && g.Record == rec.Account {
			t := factTables["grant"]
			out[t] = append(out[t], fact{id: g.ID, row: object(
				"record", ast.StringTerm(string(g.Record)),
				"kind", ast.StringTerm(string(g.Kind)),
				"key", ast.StringTerm(g.Key),
				"groups", texts(g.Groups),
				"valid_from", instant(g.From),
				"valid_to", instant(g.To),
				"suspended", ast.BooleanTerm(g.Suspended),
			)})
		}
	}
	return out
}

// areaValues are the agreements about areas that came with the subject. The
// reserved id of an absent territory, segment or department is no area.
func areaValues(s crm.Subject) []known {
	out := make([]known, 0, len(s.Areas))
	for _, a := range s.Areas {
		if a.OnDepartment == crm.Unassigned || a.Department == crm.Unassigned {
			continue
		}
		out = append(out, known{a.ID, map[string]any{
			"department": a.Department, "effect": string(a.Effect), "actions": a.Actions, "groups": a.Groups,
			"any_territory": a.AnyTerritory, "any_segment": a.AnySegment, "territories": assigned(a.Territories),
			"segments": assigned(a.Segments), "on_department": a.OnDepartment, "valid_from": a.From, "valid_to": a.To,
		}})
	}
	return out
}

// recordTerm is a record as rules see it: its governance, and those of its
// fields that rules read, null without a value.
func (e *Engine) recordTerm(rec crm.Record) (*ast.Term, error) {
	var fields [][2]*ast.Term
	for name := range e.reads {
		c, ok := e.fields[rec.Entity][name]
		if !ok {
			continue // a rule asks for the entity first
		}
		v := rec.Fields[name]
		if v.Type() == crm.TypeDecimal && !exact(v.Text()) {
			return nil, crm.FieldErrorf(name, "the decimal has more than %d digits; rules cannot compare it exactly", maxDigits)
		}
		if !v.IsNull() && (fieldKinds[v.Type()] != c.kind || (v.Type() == crm.TypeList) != c.array) {
			return nil, crm.Errorf(crm.Internal, "field %s is not of its type", name)
		}
		fields = append(fields, [2]*ast.Term{ast.StringTerm(name), valueTerm(v)})
	}
	g := rec.Governed
	return object(
		"id", ast.StringTerm(string(rec.ID)),
		"home", ast.StringTerm(g.Home),
		"territory", ast.StringTerm(g.Territory),
		"segment", ast.StringTerm(g.Segment),
		"department", ast.StringTerm(g.Department),
		"owner", ast.StringTerm(g.Owner),
		"account", ast.StringTerm(string(g.Account)),
		"sensitivity", number(g.Sensitivity),
		"jurisdiction", ast.StringTerm(g.Jurisdiction),
		"pinned", ast.BooleanTerm(g.Pinned),
		"withheld", texts(g.Withheld),
		"created", instant(g.Created),
		"updated", instant(g.Updated),
		"fields", ast.ObjectTerm(fields...),
	), nil
}

// valueTerm is a field's value as rules see it.
func valueTerm(v crm.Value) *ast.Term {
	switch v.Type() {
	case "":
		return ast.NullTerm()
	case crm.TypeInteger, crm.TypeDecimal:
		return ast.NewTerm(ast.Number(v.Text()))
	case crm.TypeBoolean:
		return ast.BooleanTerm(v.Bool())
	case crm.TypeTimestamp:
		return instant(v.Time())
	case crm.TypeList:
		return texts(v.List())
	}
	return ast.StringTerm(v.Text())
}

// instant is a time as rules see it. What lies after year 9999 is the
// database's infinity, which sorts after every year as text too.
func instant(t time.Time) *ast.Term {
	t = t.UTC().Truncate(time.Microsecond)
	switch {
	case t.Year() > 9999:
		return ast.StringTerm("infinity")
	case t.Year() < 0:
		return ast.StringTerm("-infinity")
	}
	return ast.StringTerm(t.Format(timeLayout))
}
