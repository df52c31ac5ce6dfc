package policy

import (
	"reflect"
	"testing"
	"time"

	"meridian/instance/crm"
)

// Whatever a subject consists of tells it apart, but for the state of the
// database it was read under.
func TestSubjectsAreTheSameInAllTheirParts(t *testing.T) {
	made := func() crm.Subject {
		return crm.Subject{
			Roles: []string{"rep"}, Territories: []string{"US"}, Segments: []string{"all"}, Departments: []string{"sales"}, Keys: []string{"k"},
			Groups: []string{"core"}, Jurisdictions: []string{"US"}, Relationships: []crm.Relationship{{Department: "legal", Actions: []string{"read"}}},
			Areas:   []crm.Area{{ID: "a", Actions: []string{"read"}, Groups: []string{"core"}, Territories: []string{"US"}, Segments: []string{"all"}}},
			Denials: []crm.Denial{{ID: "d", Territories: []string{"US"}}},
		}
	}
	whole := made()
	if !alike(whole, clone(whole)) {
		t.Fatal("a copy is another subject")
	}
	tried := 0
	eachPart(reflect.TypeFor[crm.Subject](), nil, func(path []int, name string) {
		if name == "Stamp" || name == "Bundle" || name == "Activation" { // no rule sees them
			return
		}
		tried++
		other := clone(whole)
		alter(t, part(reflect.ValueOf(&other).Elem(), path))
		if alike(whole, other) {
			t.Errorf("another %s, the same subject", name)
		}
		if !alike(whole, made()) {
			t.Errorf("a copy's %s is not its own", name)
		}
	})
	if tried < 25 {
		t.Errorf("only %d parts tried", tried)
	}
}

// eachPart visits the fields of a struct, and of the structs in its lists.
func eachPart(of reflect.Type, at []int, visit func(path []int, name string)) {
	for i := range of.NumField() {
		f := of.Field(i)
		path := append(append([]int{}, at...), i)
		visit(path, f.Name)
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			eachPart(f.Type.Elem(), path, visit)
		}
	}
}

func part(v reflect.Value, path []int) reflect.Value {
	for i, n := range path {
		if v = v.Field(n); i+1 < len(path) {
			v = v.Index(0)
		}
	}
	return v
}

func alter(t *testing.T, v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
		return
	case []string:
		v.Index(0).SetString("another") // in place: a copy has to be deep
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	default:
		t.Fatalf("no way to alter a %s", v.Type())
	}
}
