package load

import (
	"fmt"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// value reads a value off the wire. Text forms are parsed, never trusted.
func value(m *recordv1.Value) (crm.Value, error) {
	switch k := m.GetKind().(type) {
	case nil:
		return crm.Value{}, nil
	case *recordv1.Value_String_:
		return crm.String(k.String_), nil
	case *recordv1.Value_Integer:
		return crm.Integer(k.Integer), nil
	case *recordv1.Value_Decimal:
		return crm.ParseValue(crm.TypeDecimal, k.Decimal)
	case *recordv1.Value_Boolean:
		return crm.Boolean(k.Boolean), nil
	case *recordv1.Value_Timestamp:
		if err := k.Timestamp.CheckValid(); err != nil {
			return crm.Value{}, fmt.Errorf("the time is out of range")
		}
		return crm.Timestamp(k.Timestamp.AsTime()), nil
	case *recordv1.Value_Date:
		return crm.ParseValue(crm.TypeDate, k.Date)
	case *recordv1.Value_Reference:
		return crm.ParseValue(crm.TypeReference, k.Reference)
	case *recordv1.Value_List:
		return crm.List(k.List.GetValues()...), nil
	}
	return crm.Value{}, fmt.Errorf("the value is of a kind this instance does not know")
}
