package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
)

// everything has a field of each type.
var everything = crm.Definition{Entity: "thing", Governed: crm.GovernedOwn, Fields: []crm.Field{
	{Name: "text", Type: crm.TypeString, Group: "core"}, {Name: "whole", Type: crm.TypeInteger, Group: "core"},
	{Name: "money", Type: crm.TypeDecimal, Group: "core"}, {Name: "flag", Type: crm.TypeBoolean, Group: "core"},
	{Name: "at", Type: crm.TypeTimestamp, Group: "core"}, {Name: "day", Type: crm.TypeDate, Group: "core"},
	{Name: "other", Type: crm.TypeReference, Reference: "thing", Group: "core"}, {Name: "tags", Type: crm.TypeList, Group: "core"},
}}

func TestFieldsByType(t *testing.T) {
	const id = "0192f3c0-5b1e-7c3a-9c1d-0123456789ab"
	for _, c := range []struct{ field, sent, want string }{
		{"text", `"Ünïcode \"quoted\""`, `"Ünïcode \"quoted\""`},
		{"text", `""`, `""`},
		{"whole", `9223372036854775807`, `9223372036854775807`},
		{"whole", `-1`, `-1`},
		{"money", `"1234567890123456789012345678.50"`, `"1234567890123456789012345678.5"`},
		{"money", `12345678901234567890.12`, `"12345678901234567890.12"`},
		{"money", `0.1`, `"0.1"`},
		{"money", `1.5e3`, `"1500"`},
		{"money", `-25E-3`, `"-0.025"`},
		{"money", `1e+2`, `"100"`},
		{"flag", `true`, `true`},
		{"at", `"2026-11-23T06:00:00+01:00"`, `"2026-11-23T05:00:00Z"`},
		{"day", `"2026-11-23"`, `"2026-11-23"`},
		{"other", `"` + strings.ToUpper(id) + `"`, `"` + id + `"`},
		{"tags", `["a","b"]`, `["a","b"]`},
		{"tags", `[]`, `[]`},
		{"text", `null`, `null`},
		{"whole", `null`, `null`},
	} {
		got, err := parseFields(everything, json.RawMessage(`{"`+c.field+`":`+c.sent+`}`))
		if err != nil {
			t.Errorf("%s %s: %v", c.field, c.sent, err)
			continue
		}
		out, err := json.Marshal(got[c.field])
		if err != nil || string(out) != c.want {
			t.Errorf("%s %s: came back as %s, want %s (%v)", c.field, c.sent, out, c.want, err)
		}
	}
}

func TestFieldsRefused(t *testing.T) {
	for _, c := range []struct{ field, sent string }{
		{"text", `1`}, {"text", `true`}, {"text", `["a"]`}, {"text", `{}`}, {"text", `"a\u0000b"`},
		{"whole", `"1"`}, {"whole", `1.0`}, {"whole", `1e3`}, {"whole", `9223372036854775808`}, {"whole", `true`},
		{"money", `"1,000"`}, {"money", `"1e3"`}, {"money", `1e400`}, {"money", `1e39`}, {"money", `"NaN"`}, {"money", `""`}, {"money", `true`},
		{"flag", `"true"`}, {"flag", `1`},
		{"at", `"2026-11-23"`}, {"at", `1700000000`}, {"day", `"23.11.2026"`}, {"day", `"2026-02-30"`},
		{"other", `"AAPL"`}, {"other", `1`}, {"tags", `"a"`}, {"tags", `[1]`}, {"tags", `["a\u0000"]`},
		{"Text", `"case matters"`}, {"nonsense", `1`},
	} {
		_, err := parseFields(everything, json.RawMessage(`{"`+c.field+`":`+c.sent+`}`))
		if e := crm.Public(err); err == nil || e.Kind != crm.Invalid || e.Field != c.field {
			t.Errorf("%s %s: %#v must be invalid and name the field", c.field, c.sent, e)
		}
	}
}

func TestObjectsAreStrict(t *testing.T) {
	for name, c := range map[string]struct{ body, field string }{
		"twice":           {`{"fields":{},"fields":{}}`, "fields"},
		"after the end":   {`{"fields":{}} {}`, ""},
		"half":            {`{"fields":{`, ""},
		"a list":          {`[]`, ""},
		"nothing":         {``, ""},
		"null":            {`null`, ""},
		"broken UTF-8":    {"{\"fields\":{\"text\":\"\xff\"}}", ""},
		"a comment":       {`{/* */}`, ""},
		"an unknown key":  {`{"fields":{},"colour":1}`, "colour"},
		"the wrong case":  {`{"Fields":{}}`, "Fields"},
		"a number as key": {`{1:2}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseObject([]byte(c.body), "the body")
			if err == nil {
				err = o.only("the body", "fields")
			}
			if e := crm.Public(err); err == nil || e.Kind != crm.Invalid || e.Field != c.field {
				t.Errorf("%#v", e)
			}
		})
	}
}

// FuzzBody holds the decoder to: no panic, errors are invalid and short, and
// what is accepted comes back as it was understood.
func FuzzBody(f *testing.F) {
	for _, s := range []string{
		`{"fields":{"text":"a","whole":1,"money":"1.50","flag":true,"at":"2026-11-23T06:00:00Z","day":"2026-11-23","tags":["x"]}}`,
		`{"fields":{"money":1e38}}`, `{"fields":{"money":-0.0e-5}}`, `{"fields":{"text":null}}`, `{"fields":{"text":"\ud800"}}`, `{"fields":`, `{"a":1,"a":2}`, "\xff",
		`{"fields":{"money":1e999999999}}`, strings.Repeat("[", 10000),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := parseObject(body, "the body")
		if err == nil {
			err = o.only("the body", "fields")
		}
		var fields map[string]crm.Value
		if err == nil {
			fields, err = parseFields(everything, o.values["fields"])
		}
		if err != nil {
			if e := crm.Public(err); e.Kind != crm.Invalid || len(e.Msg) > 400+len(body) || !utf8.ValidString(e.Field) || len(e.Field) > 80 {
				t.Fatalf("%#v", e)
			}
			return
		}
		out, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseFields(everything, out)
		if err != nil {
			t.Fatalf("%s was accepted, but not %s: %v", body, out, err)
		}
		if diff := cmp.Diff(fields, again, cmp.Comparer(crm.Value.Equal)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestRoutes(t *testing.T) {
	for path, want := range map[string]string{
		"account":               "/api/v1/{entity}",
		"account:count":         "/api/v1/{entity}:count",
		"account:watch":         "/api/v1/{entity}:watch",
		"account%3Acount":       "/api/v1/{entity}:count",
		"account/x":             "/api/v1/{entity}/{id}",
		"account/a%2Fb":         "/api/v1/{entity}/{id}",
		"account/x/history":     "/api/v1/{entity}/{id}/history",
		"account/x/explain":     "/api/v1/{entity}/{id}/explain",
		"":                      "",
		"account/":              "",
		"account/x/":            "",
		"account/x/secrets":     "",
		"account/x/history/y":   "",
		"account:drop":          "",
		"account:count/x":       "",
		"account:":              "",
		"account:count:count":   "",
		"account/x/history/":    "",
		"account//history":      "",
		"account/x/history%zz/": "",
	} {
		rt, ok := parseRoute(restPrefix + path)
		if ok != (want != "") || (ok && rt.pattern() != want) {
			t.Errorf("%s: %v %s, want %q", path, ok, rt.pattern(), want)
		}
	}
}

func TestIfMatch(t *testing.T) {
	for value, want := range map[string]int64{
		"3": 3, `"3"`: 3, `W/"3"`: 3, ` "17" `: 17, "": 0, "*": 0, `"3", "4"`: 0, "-1": 0, "0": 0, "+3": 0, "3.0": 0, `"3`: 0, "abc": 0, `""`: 0, "9223372036854775808": 0,
	} {
		got, err := ifMatch(http.Header{"If-Match": {value}})
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d %v, want %d", value, got, err, want)
		}
		if want == 0 && crm.KindOf(err) != crm.Invalid {
			t.Errorf("%q: %v must be invalid", value, err)
		}
	}
	if _, err := ifMatch(http.Header{}); crm.KindOf(err) != crm.PreconditionRequired {
		t.Errorf("without If-Match: %v", err)
	}
	if _, err := ifMatch(http.Header{"If-Match": {"1", "2"}}); crm.KindOf(err) != crm.Invalid {
		t.Errorf("with two: %v", err)
	}
}

func TestNumbers(t *testing.T) {
	for value, want := range map[string]int64{"1": 1, "50": 50, "1000": 1000, "1001": 1000, "99999999999999999999999": 1000, "007": 7} {
		if got, err := number(map[string]string{"limit": value}, "limit", 1000); got != want || err != nil {
			t.Errorf("%s: %d %v", value, got, err)
		}
	}
	for _, value := range []string{"", "0", "00", "-1", "+1", "1.5", "ten", "1e3", " 1"} {
		if _, err := number(map[string]string{"limit": value}, "limit", 1000); crm.KindOf(err) != crm.Invalid {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestTraceparent(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for value, ok := range map[string]bool{
		"00-" + id + "-00f067aa0ba902b7-01":                       true,
		"01-" + id + "-00f067aa0ba902b7-01-and-more":              true,
		"00-" + id + "-00f067aa0ba902b7-01-more":                  false,
		"ff-" + id + "-00f067aa0ba902b7-01":                       false,
		"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01":      false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-" + id + "-0000000000000000-01":                       false,
		"00-" + id:                                                false,
		"":                                                        false,
		"00-../../etc/passwd-00f067aa0ba902b7-01":                 false,
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("traceparent", value)
		var seen string
		withExecution(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = execution(r.Context()) })).ServeHTTP(w, r)
		got := w.Header().Get("Execution-Id")
		if (got == id) != ok || got != seen || len(got) != 32 || !strings.HasPrefix(w.Header().Get("traceparent"), "00-"+got+"-") {
			t.Errorf("%q gave %s and %s", value, got, w.Header().Get("traceparent"))
		}
	}
}
