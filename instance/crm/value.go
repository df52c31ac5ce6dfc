package crm

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Type is the type of a field.
type Type string

// The field types. A list holds strings.
const (
	TypeString    Type = "string"
	TypeInteger   Type = "integer" // 64 bit
	TypeDecimal   Type = "decimal" // exact, travels as text
	TypeBoolean   Type = "boolean"
	TypeTimestamp Type = "timestamp" // UTC, microseconds
	TypeDate      Type = "date"      // yyyy-mm-dd
	TypeReference Type = "reference" // id of a record
	TypeList      Type = "list"      // of strings
)

// Value is one field's value. The zero Value is null. Values are immutable
// and compare by Equal; decimals and dates are canonical text, so money and
// large integers survive every hop.
type Value struct {
	typ  Type
	text string // string, decimal, date, reference
	num  int64  // integer; boolean as 0 or 1
	at   time.Time
	list []string
}

// String is a string value.
func String(s string) Value { return Value{typ: TypeString, text: s} }

// Integer is a 64-bit integer value.
func Integer(n int64) Value { return Value{typ: TypeInteger, num: n} }

// Decimal is a decimal value; s is trusted to be canonical. Text from outside
// goes through ParseValue.
func Decimal(s string) Value { return Value{typ: TypeDecimal, text: s} }

// Timestamp is a point in time, in UTC to the microsecond.
func Timestamp(t time.Time) Value {
	return Value{typ: TypeTimestamp, at: t.UTC().Truncate(time.Microsecond)}
}

// Date is a day; s is trusted to be yyyy-mm-dd. Text from outside goes through
// ParseValue.
func Date(s string) Value { return Value{typ: TypeDate, text: s} }

// Reference is the id of another record.
func Reference(id RecordID) Value { return Value{typ: TypeReference, text: string(id)} }

// List is a list of strings.
func List(s ...string) Value { return Value{typ: TypeList, list: append([]string{}, s...)} }

// Boolean is a boolean value.
func Boolean(b bool) Value {
	v := Value{typ: TypeBoolean}
	if b {
		v.num = 1
	}
	return v
}

// Type is the type of the value, "" for null.
func (v Value) Type() Type { return v.typ }

// IsNull reports whether there is no value.
func (v Value) IsNull() bool { return v.typ == "" }

// Int is the number of an integer.
func (v Value) Int() int64 { return v.num }

// Bool is the truth of a boolean.
func (v Value) Bool() bool { return v.num == 1 }

// Time is the point in time of a timestamp.
func (v Value) Time() time.Time { return v.at }

// List is a copy of a list's strings.
func (v Value) List() []string { return append([]string(nil), v.list...) }

// Text is the value as text in its canonical form; "" for null and lists.
func (v Value) Text() string {
	switch v.typ {
	case TypeInteger:
		return strconv.FormatInt(v.num, 10)
	case TypeBoolean:
		return strconv.FormatBool(v.num == 1)
	case TypeTimestamp:
		return v.at.Format(time.RFC3339Nano)
	}
	return v.text
}

// Equal reports whether both values have the same type and content.
func (v Value) Equal(w Value) bool {
	if v.typ != w.typ || v.text != w.text || v.num != w.num || !v.at.Equal(w.at) || len(v.list) != len(w.list) {
		return false
	}
	for i := range v.list {
		if v.list[i] != w.list[i] {
			return false
		}
	}
	return true
}

// MarshalJSON gives integers as JSON numbers and decimals as strings.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.typ {
	case "":
		return []byte("null"), nil
	case TypeInteger, TypeBoolean:
		return []byte(v.Text()), nil
	case TypeList:
		return json.Marshal(v.list)
	}
	return json.Marshal(v.Text())
}

// ParseValue reads text from outside as a value of type t. The error names
// what was expected; the caller adds the field.
func ParseValue(t Type, s string) (Value, error) {
	switch t {
	case TypeString:
		return String(s), nil
	case TypeInteger:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Value{}, fmt.Errorf("%q is not a whole number of at most 64 bits", s)
		}
		return Integer(n), nil
	case TypeDecimal:
		d, ok := canonicalDecimal(s)
		if !ok {
			return Value{}, fmt.Errorf("%q is not a decimal such as 1234.50", s)
		}
		return Decimal(d), nil
	case TypeBoolean:
		switch s {
		case "true":
			return Boolean(true), nil
		case "false":
			return Boolean(false), nil
		}
		return Value{}, fmt.Errorf("%q is not true or false", s)
	case TypeTimestamp:
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return Value{}, fmt.Errorf("%q is not a time such as 2026-11-23T06:00:00Z", s)
		}
		return Timestamp(at), nil
	case TypeDate:
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			return Value{}, fmt.Errorf("%q is not a date such as 2026-11-23", s)
		}
		return Date(d.Format(time.DateOnly)), nil
	case TypeReference:
		id, err := ParseRecordID(s)
		if err != nil {
			return Value{}, err
		}
		return Reference(id), nil
	}
	return Value{}, fmt.Errorf("no text form for type %q", t)
}

// canonicalDecimal checks a decimal of at most 38 digits without exponent and
// strips a plus sign, leading zeros, trailing zeros of the fraction and "-0".
func canonicalDecimal(s string) (string, bool) {
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	whole, frac, dot := s, "", false
	for i := 0; i < len(s); i++ {
		if s[i] == '.' && !dot {
			whole, frac, dot = s[:i], s[i+1:], true
		} else if s[i] < '0' || s[i] > '9' {
			return "", false
		}
	}
	if whole == "" || (dot && frac == "") || len(whole)+len(frac) > 38 {
		return "", false
	}
	for len(whole) > 1 && whole[0] == '0' {
		whole = whole[1:]
	}
	for frac != "" && frac[len(frac)-1] == '0' {
		frac = frac[:len(frac)-1]
	}
	out := whole
	if frac != "" {
		out += "." + frac
	}
	if neg && out != "0" {
		out = "-" + out
	}
	return out, true
}
