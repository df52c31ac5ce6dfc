package values_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/values"
)

func TestEveryTypeSurvivesTheWire(t *testing.T) {
	for _, v := range []crm.Value{
		{}, crm.String(""), crm.String("Bücher 書 \u2028"), crm.Integer(math.MaxInt64), crm.Integer(math.MinInt64),
		crm.Decimal("-12345678901234567890.0123456789"), crm.Boolean(true), crm.Boolean(false), crm.Date("2026-02-28"),
		crm.Timestamp(time.Date(2026, 11, 23, 6, 0, 0, 123456000, time.UTC)), crm.Reference(crm.NewRecordID()), crm.List(), crm.List("a", ""),
	} {
		raw, err := proto.Marshal(values.ToProto(v))
		if err != nil {
			t.Fatal(err)
		}
		var m recordv1.Value
		if err := proto.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		if got, err := values.FromProto(&m); err != nil || !got.Equal(v) {
			t.Errorf("%q (%s) came back as %q (%s), %v", v.Text(), v.Type(), got.Text(), got.Type(), err)
		}
	}
}

func TestWhatComesInIsParsed(t *testing.T) {
	for name, m := range map[string]*recordv1.Value{
		"a decimal that is none":   {Kind: &recordv1.Value_Decimal{Decimal: "1e9"}},
		"a date that is none":      {Kind: &recordv1.Value_Date{Date: "2026-02-30"}},
		"a reference that is none": {Kind: &recordv1.Value_Reference{Reference: "7"}},
		"a NUL in text":            {Kind: &recordv1.Value_String_{String_: "a\x00b"}},
		"a NUL in a list":          {Kind: &recordv1.Value_List{List: &recordv1.StringList{Values: []string{"a", "\x00"}}}},
		"a timestamp out of range": {Kind: &recordv1.Value_Timestamp{Timestamp: &timestamppb.Timestamp{Seconds: math.MaxInt64}}},
	} {
		if v, err := values.FromProto(m); err == nil {
			t.Errorf("%s is taken as %q", name, v.Text())
		}
	}
	_, err := values.Fields(map[string]*recordv1.Value{"since": {Kind: &recordv1.Value_Date{Date: "never"}}})
	if e := crm.Public(err); err == nil || e.Field != "since" || !strings.Contains(e.Msg, "date") {
		t.Errorf("the error is %v; it must name the field and the remedy", err)
	}
}
