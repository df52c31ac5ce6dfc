package access

import (
	"slices"

	"meridian/instance/crm"
)

// given checks what a caller sets, field by field, and answers it in canonical
// form with the field groups it touches.
func given(def crm.Definition, fields map[string]crm.Value) (set map[string]crm.Value, touches []string, err error) {
	set = make(map[string]crm.Value, len(fields))
	for name := range fields {
		if _, ok := def.Field(name); !ok {
			return nil, nil, crm.FieldErrorf(name, "%s has no such field", def.Entity)
		}
	}
	for _, f := range def.Fields { // in the definition's order: the same fault is named every time
		v, ok := fields[f.Name]
		if !ok {
			continue
		}
		if set[f.Name], err = canonical(f, v); err != nil {
			return nil, nil, err
		}
		if !slices.Contains(touches, f.Group) {
			touches = append(touches, f.Group)
		}
	}
	return set, touches, nil
}

// canonical is a value as its field keeps it: of its type, one text per number.
func canonical(f crm.Field, v crm.Value) (crm.Value, error) {
	if v.IsNull() {
		if f.Required {
			return v, crm.FieldErrorf(f.Name, "is required")
		}
		return v, nil
	}
	switch {
	case v.Type() == f.Type:
	case f.Type == crm.TypeDecimal && v.Type() == crm.TypeInteger: // every whole number is a decimal
		v = crm.Decimal(v.Text())
	default:
		return v, crm.FieldErrorf(f.Name, "takes a %s, not a %s", f.Type, v.Type())
	}
	switch f.Type {
	case crm.TypeDecimal, crm.TypeDate, crm.TypeReference: // made from text that nobody may have checked
		parsed, err := crm.ParseValue(f.Type, v.Text())
		if err != nil {
			return v, crm.FieldErrorf(f.Name, "%s", err.Error())
		}
		v = parsed
	case crm.TypeString:
		if len(f.Enum) > 0 && !slices.Contains(f.Enum, v.Text()) {
			return v, crm.FieldErrorf(f.Name, "is one of %q", f.Enum)
		}
	}
	return v, nil
}

// complete checks a record as hooks left it: every value its field's, nothing
// required missing, nothing undefined there.
func complete(def crm.Definition, fields map[string]crm.Value) error {
	for _, f := range def.Fields {
		v, err := canonical(f, fields[f.Name])
		if err != nil {
			return err
		}
		if _, ok := fields[f.Name]; ok {
			fields[f.Name] = v
		}
	}
	for name := range fields {
		if _, ok := def.Field(name); !ok {
			return crm.FieldErrorf(name, "%s has no such field", def.Entity)
		}
	}
	return nil
}
