package api

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/access"
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
	case *recordv1.Value_String_:
		return textValue(crm.TypeString, k.String_)
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
		return listValue(k.List.GetValues())
	}
	return crm.Value{}, nil
}

// textValue parses text of a type. A NUL is refused here, where the field can
// be named: PostgreSQL takes none in text.
func textValue(t crm.Type, s string) (crm.Value, error) {
	if strings.ContainsRune(s, 0) {
		return crm.Value{}, crm.Errorf(crm.Invalid, "text may not contain a NUL character")
	}
	return crm.ParseValue(t, s)
}

func listValue(ss []string) (crm.Value, error) {
	for _, s := range ss {
		if _, err := textValue(crm.TypeString, s); err != nil {
			return crm.Value{}, err
		}
	}
	return crm.List(ss...), nil
}

// fieldsFromProto reads the fields of a write; the error names the field.
func fieldsFromProto(in map[string]*recordv1.Value) (map[string]crm.Value, error) {
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

func protoRecord(r crm.Record) *recordv1.Record {
	fields := make(map[string]*recordv1.Value, len(r.Fields))
	for name, v := range r.Fields {
		fields[name] = ToProto(v)
	}
	return &recordv1.Record{
		Entity: r.Entity, Id: string(r.ID), Version: r.Version, Fields: fields, Withheld: r.Withheld,
		Governance: &recordv1.Governance{
			Home: r.Home, Territory: r.Territory, Segment: r.Segment, Department: r.Department, Owner: r.Owner,
			Account: string(r.Account), Sensitivity: int32(r.Sensitivity), Jurisdiction: r.Jurisdiction, Pinned: r.Pinned,
			Created: protoTime(r.Created), Updated: protoTime(r.Updated),
		},
	}
}

// protoTime leaves a zero time absent.
func protoTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// timeOf reads an optional time.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func protoSteps(steps []crm.Step) []*recordv1.Step {
	out := make([]*recordv1.Step, len(steps))
	for i, s := range steps {
		out[i] = &recordv1.Step{Step: s.Step, Plugin: s.Plugin, Version: s.Version, Digest: s.Digest, Verdict: s.Verdict, Set: s.Set}
	}
	return out
}

func protoVersion(v crm.Version) *recordv1.PastVersion {
	return &recordv1.PastVersion{
		Record: protoRecord(v.Record), Op: string(v.Op), At: protoTime(v.At), Actor: v.Actor,
		ExecutionId: v.Execution, Steps: protoSteps(v.Steps),
	}
}

// row is the outcome of one row of a batch that got as far as the door.
type row = access.Result
