package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"meridian/instance/crm"
	"meridian/proto/values"
)

// object is a JSON object as it was sent. encoding/json alone would forgive
// too much for a write: keys in another case, keys twice, text after the end,
// broken UTF-8.
type object struct {
	keys   []string
	values map[string]json.RawMessage
}

// parseObject reads raw as one object; where names it in errors.
func parseObject(raw []byte, where string) (object, error) {
	o := object{values: map[string]json.RawMessage{}}
	if !utf8.Valid(raw) {
		return o, crm.Errorf(crm.Invalid, "%s is not valid UTF-8", where)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	open, err := dec.Token()
	if err != nil || open != json.Delim('{') {
		return o, notJSON(where, err)
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return o, notJSON(where, err)
		}
		key, ok := t.(string)
		if !ok {
			return o, notJSON(where, nil)
		}
		if _, twice := o.values[key]; twice {
			return o, crm.FieldErrorf(clip(key), "%s has the key twice", where)
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return o, notJSON(where, err)
		}
		o.keys, o.values[key] = append(o.keys, key), v
	}
	if _, err := dec.Token(); err != nil {
		return o, notJSON(where, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return o, crm.Errorf(crm.Invalid, "%s has text after its end", where)
	}
	return o, nil
}

func notJSON(where string, cause error) error {
	var at *json.SyntaxError
	if errors.As(cause, &at) {
		return crm.Errorf(crm.Invalid, "%s is not valid JSON at byte %d", where, at.Offset)
	}
	return crm.Errorf(crm.Invalid, "%s must be a JSON object", where)
}

// only refuses keys that are not known: a misspelt key is an error, not
// nothing.
func (o object) only(where string, known ...string) error {
	for _, k := range o.keys {
		if !slices.Contains(known, k) {
			return crm.FieldErrorf(clip(k), "%s knows no such key; it knows %s", where, strings.Join(known, ", "))
		}
	}
	return nil
}

// read decodes the value of a key, if it is there, into v.
func (o object) read(key string, v any) error {
	raw, ok := o.values[key]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil || bytes.Equal(raw, []byte("null")) {
		return crm.FieldErrorf(key, "the value is not of the right type")
	}
	return nil
}

// clip bounds what an error repeats of the input.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// parseFields reads {"name": value, ...} by the entity's schema.
func parseFields(d crm.Definition, raw json.RawMessage) (map[string]crm.Value, error) {
	o, err := parseObject(raw, "fields")
	if err != nil {
		return nil, err
	}
	out := make(map[string]crm.Value, len(o.keys))
	for _, name := range o.keys {
		f, ok := d.Field(name)
		if !ok {
			return nil, crm.FieldErrorf(clip(name), "%s has no such field; GET /openapi.json lists them", d.Entity)
		}
		v, err := parseJSON(f.Type, o.values[name])
		if err != nil {
			return nil, crm.FieldErrorf(name, "%w", err)
		}
		out[name] = v
	}
	return out, nil
}

// parseJSON reads one value of type t. Numbers are read as they are written,
// never through a float.
func parseJSON(t crm.Type, raw json.RawMessage) (crm.Value, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return crm.Value{}, crm.Errorf(crm.Invalid, "not valid JSON")
	}
	switch v := v.(type) {
	case nil:
		return crm.Value{}, nil
	case bool:
		if t == crm.TypeBoolean {
			return crm.Boolean(v), nil
		}
	case json.Number:
		switch t {
		case crm.TypeInteger:
			return crm.ParseValue(t, v.String())
		case crm.TypeDecimal:
			plain, err := plainDecimal(v.String())
			if err != nil {
				return crm.Value{}, err
			}
			return crm.ParseValue(t, plain)
		}
	case string:
		switch t {
		case crm.TypeString, crm.TypeDecimal, crm.TypeTimestamp, crm.TypeDate, crm.TypeReference:
			if t == crm.TypeString {
				return values.Text(v)
			}
			return crm.ParseValue(t, v)
		}
	case []any:
		if t != crm.TypeList {
			break
		}
		list := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return crm.Value{}, crm.Errorf(crm.Invalid, "send a list of strings")
			}
			list[i] = s
		}
		return values.List(list)
	}
	return crm.Value{}, crm.Errorf(crm.Invalid, "send %s", wanted[t])
}

// wanted says how each type is written in JSON.
var wanted = map[crm.Type]string{
	crm.TypeString:    "a string",
	crm.TypeInteger:   "a whole number",
	crm.TypeDecimal:   `a decimal as a string such as "1234.50", or a number`,
	crm.TypeBoolean:   "true or false",
	crm.TypeTimestamp: `a string such as "2026-11-23T06:00:00Z"`,
	crm.TypeDate:      `a string such as "2026-11-23"`,
	crm.TypeReference: "the id of a record as a string",
	crm.TypeList:      "a list of strings",
}

// plainDecimal writes a JSON number without exponent, digit by digit. Beyond
// 38 digits there is no decimal to keep it.
func plainDecimal(s string) (string, error) {
	mantissa, exp, ok := strings.Cut(strings.ToLower(s), "e")
	if !ok {
		return s, nil
	}
	shift, err := strconv.Atoi(exp)
	if err != nil || shift > 38 || shift < -38 {
		return "", crm.Errorf(crm.Invalid, "the number has too large an exponent; write it out")
	}
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	for ; shift > 0; shift-- {
		if frac == "" {
			frac = "0"
		}
		whole, frac = whole+frac[:1], frac[1:]
	}
	for ; shift < 0; shift++ {
		if whole == "" {
			whole = "0"
		}
		whole, frac = whole[:len(whole)-1], whole[len(whole)-1:]+frac
	}
	if whole == "" {
		whole = "0"
	}
	if frac == "" {
		return sign + whole, nil
	}
	return sign + whole + "." + frac, nil
}
