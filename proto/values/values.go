// Package values puts field values on the wire and takes them off it: the one
// translation between crm.Value and meridian.record.v1.Value for everybody who
// speaks the protocol.
//
// What comes in is parsed like any other input and never trusted; an unknown
// kind of value is an error, so that a newer peer's value is refused rather
// than dropped. Errors never quote a value.
package values

import (
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// ToProto is a value as it travels; null is a Value without a kind.
func ToProto(v crm.Value) *recordv1.Value {
	switch v.Type() {
	case crm.TypeString:
		return &recordv1.Value{Kind: &recordv1.Value_String_{String_: v.Text()}}
	case crm.TypeInteger:
		return &recordv1.Value{Kind: &recordv1.Value_Integer{Integer: v.Int()}}
	case crm.TypeDecimal:
		return &recordv1.Value{Kind: &recordv1.Value_Decimal{Decimal: v.Text()}}
	case crm.TypeBoolean:
		return &recordv1.Value{Kind: &recordv1.Value_Boolean{Boolean: v.Bool()}}
	case crm.TypeTimestamp:
		return &recordv1.Value{Kind: &recordv1.Value_Timestamp{Timestamp: timestamppb.New(v.Time())}}
	case crm.TypeDate:
		return &recordv1.Value{Kind: &recordv1.Value_Date{Date: v.Text()}}
	case crm.TypeReference:
		return &recordv1.Value{Kind: &recordv1.Value_Reference{Reference: v.Text()}}
	case crm.TypeList:
		return &recordv1.Value{Kind: &recordv1.Value_List{List: &recordv1.StringList{Values: v.List()}}}
	}
	return &recordv1.Value{}
}

// FromProto reads a value that travelled. Text forms are parsed, so that what
// comes in is canonical.
func FromProto(v *recordv1.Value) (crm.Value, error) {
	switch k := v.GetKind().(type) {
	case nil:
		return crm.Value{}, nil
	case *recordv1.Value_String_:
		return Text(k.String_)
	case *recordv1.Value_Integer:
		return crm.Integer(k.Integer), nil
	case *recordv1.Value_Decimal:
		return crm.ParseValue(crm.TypeDecimal, k.Decimal)
	case *recordv1.Value_Boolean:
		return crm.Boolean(k.Boolean), nil
	case *recordv1.Value_Timestamp:
		if err := k.Timestamp.CheckValid(); err != nil {
			return crm.Value{}, crm.Errorf(crm.Invalid, "the timestamp is out of range: %w", err)
		}
		return crm.Timestamp(k.Timestamp.AsTime()), nil
	case *recordv1.Value_Date:
		return crm.ParseValue(crm.TypeDate, k.Date)
	case *recordv1.Value_Reference:
		return crm.ParseValue(crm.TypeReference, k.Reference)
	case *recordv1.Value_List:
		return List(k.List.GetValues())
	}
	return crm.Value{}, crm.Errorf(crm.Invalid, "the value is of a kind that this build does not know")
}

// Fields reads the fields of a record that travelled; the error names the
// field.
func Fields(in map[string]*recordv1.Value) (map[string]crm.Value, error) {
	out := make(map[string]crm.Value, len(in))
	for name, v := range in {
		value, err := FromProto(v)
		if err != nil {
			return nil, crm.FieldErrorf(name, "%w", err)
		}
		out[name] = value
	}
	return out, nil
}

// Text is a string value. A NUL is refused here, where the field can be named:
// PostgreSQL takes none in text.
func Text(s string) (crm.Value, error) {
	if strings.ContainsRune(s, 0) {
		return crm.Value{}, crm.Errorf(crm.Invalid, "text may not contain a NUL character")
	}
	return crm.String(s), nil
}

// List is a list value, its strings checked as Text checks one.
func List(ss []string) (crm.Value, error) {
	for _, s := range ss {
		if _, err := Text(s); err != nil {
			return crm.Value{}, err
		}
	}
	return crm.List(ss...), nil
}
