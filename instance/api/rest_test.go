package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"meridian/instance/crm"
)

const (
	west    = crm.SubjectID("rep.west@amer")
	east    = crm.SubjectID("rep.east@amer")
	manager = crm.SubjectID("manager.us@amer")
	reader  = crm.SubjectID("reader@amer")
	officer = crm.SubjectID("officer.a@amer")
	ops     = crm.SubjectID("ops@amer")
)

const (
	nowhere = "0192f3c0-5b1e-7c3a-9c1d-0123456789ab" // the id of no record
	trace   = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// TestRecordsOverREST is the life of a record, with every status on its way.
func TestRecordsOverREST(t *testing.T) {
	w := open(t)

	t.Run("create", func(t *testing.T) {
		a := w.ask(west, "POST", "/api/v1/account",
			`{"fields":{"source_id":"ACME","name":"Acme","country":"US","state":"CA","annual_revenue":12345678901234567890.10,"sample":true,"city":null},"territory":"US-CA","segment":"all"}`).want(t, 201)
		r := a.record()
		if a.Header.Get("Location") != "/api/v1/account/"+a.id() || a.Header.Get("ETag") != `"1"` || r["version"] != 1.0 || r["home"] != "amer" {
			t.Errorf("%v %s", a.Header, a.raw)
		}
		fields := r["fields"].(map[string]any)
		if fields["annual_revenue"] != "12345678901234567890.1" || fields["sample"] != true || fields["name"] != "Acme" {
			t.Errorf("fields %v", fields)
		}
		if v, ok := fields["city"]; !ok || v != nil {
			t.Errorf("an empty field that may be seen is null, not %v", v)
		}
		if withheld, ok := r["withheld"].([]any); !ok || len(withheld) != 0 {
			t.Errorf("withheld %v", r["withheld"])
		}
		if g := r["governance"].(map[string]any); g["territory"] != "US-CA" || g["owner"] != string(west) || g["account"] != a.id() {
			t.Errorf("governance %v", g)
		}
	})
	id := w.create(west, "ONE", "US-CA")
	path := "/api/v1/account/" + id

	t.Run("read", func(t *testing.T) {
		a := w.ask(west, "GET", path, "").want(t, 200)
		if a.id() != id || a.Header.Get("ETag") != `"1"` || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v %s", a.Header, a.raw)
		}
		w.ask(west, "GET", "/api/v1/account/"+strings.ToUpper(id), "").want(t, 200)
	})

	t.Run("update", func(t *testing.T) {
		w.ask(west, "PATCH", path, `{"fields":{"name":"New"}}`).want(t, 428, "precondition_required")
		w.ask(west, "PATCH", path, `{"fields":{"name":"New"}}`, "If-Match", "7").want(t, 412, "stale")
		w.ask(west, "PATCH", path, `{"fields":{"name":"New"}}`, "If-Match", "*").want(t, 400, "invalid", "If-Match")
		w.ask(west, "PATCH", path, `{"fields":{"nonsense":"New"}}`, "If-Match", "1").want(t, 400, "invalid", "nonsense")
		w.ask(west, "PATCH", path, `{"fields":{"name":null}}`, "If-Match", "1").want(t, 400, "invalid", "name")
		w.ask(west, "PATCH", path, `{}`, "If-Match", "1").want(t, 400, "invalid", "fields")
		w.ask(west, "PATCH", path, `{"fields":{"name":"New"}`, "If-Match", "1").want(t, 400, "invalid")
		for i, tag := range []string{"1", `"2"`, `W/"3"`} {
			a := w.ask(west, "PATCH", path, `{"fields":{"name":"New `+strconv.Itoa(i)+`","city":"Oakland"}}`, "If-Match", tag).want(t, 200)
			if a.record()["version"] != float64(i+2) {
				t.Errorf("%s gave %v", tag, a.record()["version"])
			}
		}
		a := w.ask(west, "PATCH", path, `{"fields":{"city":null,"annual_revenue":"0.10"}}`, "If-Match", "4").want(t, 200)
		if f := a.record()["fields"].(map[string]any); f["city"] != nil || f["annual_revenue"] != "0.1" || a.Header.Get("ETag") != `"5"` {
			t.Errorf("%v", f)
		}
	})

	t.Run("conflict", func(t *testing.T) {
		w.ask(west, "POST", "/api/v1/account", `{"fields":{"source_id":"ONE","name":"Twin"},"territory":"US-CA","segment":"all"}`).want(t, 409, "conflict", "source_id")
	})

	t.Run("denied", func(t *testing.T) {
		w.ask(reader, "POST", "/api/v1/account", `{"fields":{"source_id":"R","name":"Not mine"},"territory":"US-CA","segment":"all"}`).want(t, 403, "denied")
		w.ask(west, "POST", "/api/v1/account", `{"fields":{"source_id":"R","name":"Not mine"},"territory":"US-NY","segment":"all"}`).want(t, 403, "denied")
		w.ask(reader, "PATCH", path, `{"fields":{"name":"Mine"}}`, "If-Match", "5").want(t, 403, "denied")
		w.ask(reader, "DELETE", path, "", "If-Match", "5").want(t, 403, "denied")
		w.ask("stranger@amer", "GET", "/api/v1/account", "").want(t, 403, "denied")
	})

	t.Run("history and explain", func(t *testing.T) {
		a := w.ask(west, "GET", path+"/history?limit=3", "").want(t, 200)
		versions := a.body["versions"].([]any)
		first := versions[0].(map[string]any)
		if len(versions) != 3 || first["op"] != "update" || first["actor"] != string(west) || first["record"].(map[string]any)["version"] != 5.0 {
			t.Errorf("%s", a.raw)
		}
		if older := w.ask(west, "GET", path+"/history?before=3", "").want(t, 200).body["versions"].([]any); len(older) != 2 {
			t.Errorf("before 3: %v", older)
		}
		w.ask(west, "GET", path+"/history?limit=x", "").want(t, 400, "invalid", "limit")
		w.ask(west, "GET", path+"/history?before=0", "").want(t, 400, "invalid", "before")
		e := w.ask(west, "GET", path+"/explain", "").want(t, 200)
		if opens := e.body["opens"].([]any); e.body["allowed"] != true || len(opens) == 0 || e.body["bundle"] == "" {
			t.Errorf("%s", e.raw)
		}
		if e := w.ask(reader, "GET", path+"/explain?action=update", "").want(t, 200); e.body["allowed"] != false {
			t.Errorf("%s", e.raw)
		}
		w.ask(west, "GET", path+"/explain?subject=rep.east@amer", "").want(t, 403, "denied")
		if e := w.ask(officer, "GET", path+"/explain?subject=rep.east@amer", "").want(t, 200); e.body["allowed"] != false || e.body["subject"] != "rep.east@amer" {
			t.Errorf("%s", e.raw)
		}
		w.ask(west, "GET", path+"/explain?action=fly", "").want(t, 400, "invalid", "action")
	})

	t.Run("delete", func(t *testing.T) {
		w.ask(west, "DELETE", path, "").want(t, 428, "precondition_required")
		w.ask(west, "DELETE", path, "", "If-Match", "1").want(t, 412, "stale")
		if a := w.ask(west, "DELETE", path, "", "If-Match", `"5"`).want(t, 200); a.id() != id {
			t.Errorf("%s", a.raw)
		}
		w.ask(west, "GET", path, "").want(t, 404, "not_found")
		w.ask(west, "DELETE", path, "", "If-Match", "5").want(t, 404, "not_found")
	})

	t.Run("unavailable", func(t *testing.T) {
		w.hooks.fail.Store(&crm.Error{Kind: crm.Unavailable, Msg: "the plugin data-quality is restarting", RetryAfter: 1500 * time.Millisecond})
		defer w.hooks.fail.Store(nil)
		a := w.ask(west, "POST", "/api/v1/account", `{"fields":{"source_id":"LATE","name":"Late"},"territory":"US-CA","segment":"all"}`).want(t, 503, "unavailable")
		if a.Header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
		}
		if a := w.ask(west, "GET", "/api/v1/account:count?filter="+url.QueryEscape("source_id = 'LATE'"), "").want(t, 200); a.body["count"] != 0.0 {
			t.Errorf("something was written: %s", a.raw)
		}
	})

	t.Run("vetoed", func(t *testing.T) {
		w.hooks.fail.Store(&crm.Error{Kind: crm.Invalid, Msg: "not an e-mail address", Field: "email", Reasons: []string{"data-quality: no @"}})
		defer w.hooks.fail.Store(nil)
		a := w.ask(west, "POST", "/api/v1/account", `{"fields":{"source_id":"BAD","name":"Bad","email":"x"},"territory":"US-CA","segment":"all"}`).want(t, 400, "invalid", "email")
		if !slices.Equal(a.body["reasons"].([]any), []any{"data-quality: no @"}) {
			t.Errorf("%s", a.raw)
		}
	})
}

// TestHiddenIsAbsent compares every answer about a record of another territory
// with the answer about one that never was: they differ in nothing.
func TestHiddenIsAbsent(t *testing.T) {
	w := open(t)
	hidden := w.create(west, "HIDDEN", "US-CA")
	for _, c := range []struct{ name, method, suffix, body, ifMatch string }{
		{name: "get", method: "GET"},
		{name: "get with nonsense", method: "GET", suffix: "?nonsense=1"},
		{name: "history", method: "GET", suffix: "/history"},
		{name: "history with a bad limit", method: "GET", suffix: "/history?limit=x"},
		{name: "explain", method: "GET", suffix: "/explain"},
		{name: "explain another action", method: "GET", suffix: "/explain?action=update"},
		{name: "explain a bad action", method: "GET", suffix: "/explain?action=fly"},
		{name: "explain another subject", method: "GET", suffix: "/explain?subject=rep.west@amer"},
		{name: "explain nonsense", method: "GET", suffix: "/explain?nonsense=1"},
		{name: "update", method: "PATCH", body: `{"fields":{"name":"x"}}`, ifMatch: "1"},
		{name: "update at a stale version", method: "PATCH", body: `{"fields":{"name":"x"}}`, ifMatch: "9"},
		{name: "update without version", method: "PATCH", body: `{"fields":{"name":"x"}}`},
		{name: "update with a broken body", method: "PATCH", body: `{`, ifMatch: "1"},
		{name: "update of no field", method: "PATCH", body: `{"fields":{"nonsense":1}}`, ifMatch: "1"},
		{name: "update of a wrong type", method: "PATCH", body: `{"fields":{"name":1}}`, ifMatch: "1"},
		{name: "update clearing a required field", method: "PATCH", body: `{"fields":{"name":null}}`, ifMatch: "1"},
		{name: "update of a taken key", method: "PATCH", body: `{"fields":{"source_id":"EAST"}}`, ifMatch: "1"},
		{name: "delete", method: "DELETE", ifMatch: "1"},
		{name: "delete without version", method: "DELETE"},
		{name: "delete at a bad version", method: "DELETE", ifMatch: "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen []string
			for _, id := range []string{hidden, nowhere, "not-an-id"} {
				headers := []string{"traceparent", trace}
				if c.ifMatch != "" {
					headers = append(headers, "If-Match", c.ifMatch)
				}
				a := w.ask(east, c.method, "/api/v1/account/"+id+c.suffix, c.body, headers...).want(t, 404, "not_found")
				seen = append(seen, a.raw)
			}
			if seen[0] != seen[1] || seen[1] != seen[2] {
				t.Errorf("hidden, absent and malformed differ:\n%s%s%s", seen[0], seen[1], seen[2])
			}
		})
	}
	t.Run("list and count", func(t *testing.T) {
		if a := w.ask(east, "GET", "/api/v1/account", "").want(t, 200); len(a.body["records"].([]any)) != 0 {
			t.Errorf("%s", a.raw)
		}
		if a := w.ask(east, "GET", "/api/v1/account:count", "").want(t, 200); a.body["count"] != 0.0 || a.body["exact"] != true {
			t.Errorf("%s", a.raw)
		}
		if a := w.ask(manager, "GET", "/api/v1/account:count", "").want(t, 200); a.body["count"] != 1.0 {
			t.Errorf("%s", a.raw)
		}
	})
	t.Run("after a share", func(t *testing.T) {
		p := w.policy(west)
		_, err := p.Judge(t.Context(), judgement(hidden, "s:"+string(east), "core"))
		must(t, err)
		r := w.ask(east, "GET", "/api/v1/account/"+hidden, "").want(t, 200).record()
		withheld, fields := r["withheld"].([]any), r["fields"].(map[string]any)
		if !slices.Contains(withheld, any("personal")) || !slices.Contains(withheld, any("commercial")) || fields["name"] == nil {
			t.Errorf("%v", r)
		}
		for _, f := range []string{"email", "annual_revenue"} {
			if _, ok := fields[f]; ok {
				t.Errorf("%s of a withheld group is named in fields", f)
			}
		}
	})
}

// TestAuthentication tries every way of not having a token, on every kind of
// path.
func TestAuthentication(t *testing.T) {
	w := open(t)
	foreign, err := w.other.Issue(west, "amer", time.Hour)
	must(t, err)
	elsewhere, err := w.issuer.Issue(west, "emea", time.Hour)
	must(t, err)
	good := w.token(west)
	for name, header := range map[string]string{
		"none": "", "basic": "Basic cmVwOnJlcA==", "empty": "Bearer ", "garbage": "Bearer abc.def.ghi", "foreign keys": "Bearer " + foreign,
		"another instance": "Bearer " + elsewhere, "cut": "Bearer " + good[:len(good)-4], "bare": good,
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{
				"/api/v1/account", "/api/v1/nothing", "/api/v1/account:count", "/api/v1/account:watch", "/api/v1/account/" + nowhere,
				"/api/v1/account/" + nowhere + "/history", "/api/v1/account/" + nowhere + "/explain", "/api/v1/no/such/path/at/all",
			} {
				a := w.ask("", "GET", path, "", "Authorization", header).want(t, 401, "unauthenticated")
				if a.Header.Get("WWW-Authenticate") == "" {
					t.Error("no WWW-Authenticate")
				}
			}
		})
	}
	w.ask(west, "GET", "/api/v1/account", "", "Authorization", "bearer "+good).want(t, 200)
}

// TestListing pages, sorts, filters, and refuses what it does not understand.
func TestListing(t *testing.T) {
	w := open(t)
	const n = 7
	var body strings.Builder
	for i := range n {
		body.WriteString(`,{"fields":{"source_id":"S` + string(rune('0'+i)) + `","name":"Company ` + string(rune('G'-i)) + `","annual_revenue":"` + strings.Repeat("9", i+1) + `"},"territory":"US-CA","segment":"all"}`)
	}
	a := w.ask(west, "POST", "/api/v1/account", `{"records":[`+body.String()[1:]+`]}`).want(t, 200)
	if results := a.body["results"].([]any); len(results) != n || results[0].(map[string]any)["record"] == nil {
		t.Fatalf("%s", a.raw)
	}

	t.Run("pages", func(t *testing.T) {
		var names []string
		cursor, pages := "", 0
		for {
			a := w.ask(west, "GET", "/api/v1/account?limit=3&sort=-annual_revenue&cursor="+url.QueryEscape(cursor), "").want(t, 200)
			for _, r := range a.body["records"].([]any) {
				names = append(names, r.(map[string]any)["fields"].(map[string]any)["name"].(string))
			}
			cursor, _ = a.body["next_cursor"].(string)
			pages++
			if cursor == "" {
				break
			}
			if strings.Contains(cursor, "999") {
				t.Errorf("the cursor %s shows a value", cursor)
			}
		}
		if pages != 3 || strings.Join(names, " ") != "Company A Company B Company C Company D Company E Company F Company G" {
			t.Errorf("%d pages: %v", pages, names)
		}
	})
	t.Run("a cursor of another question", func(t *testing.T) {
		a := w.ask(west, "GET", "/api/v1/account?limit=3&sort=name", "").want(t, 200)
		cursor := url.QueryEscape(a.body["next_cursor"].(string))
		w.ask(west, "GET", "/api/v1/account?limit=3&sort=-annual_revenue&cursor="+cursor, "").want(t, 400, "invalid", "cursor")
		w.ask(west, "GET", "/api/v1/account?limit=3&cursor=garbage", "").want(t, 400, "invalid", "cursor")
	})
	t.Run("filters", func(t *testing.T) {
		for filter, want := range map[string]float64{
			``: n, `name = 'Company A'`: 1, `name = "Company A" or name = 'Company B'`: 2, `annual_revenue >= 1000`: 4, `not name = 'Company A'`: n - 1,
			`name in ('Company A', 'Company C')`: 2, `name contains 'company'`: n, `city is null`: n, `city is not null`: 0, `name = 'it''s'`: 0,
		} {
			a := w.ask(west, "GET", "/api/v1/account:count?filter="+url.QueryEscape(filter), "").want(t, 200)
			if a.body["count"] != want {
				t.Errorf("%s counts %v, want %v", filter, a.body["count"], want)
			}
		}
		for _, filter := range []string{`name =`, `nonsense = 1`, `name = 'x`, `'; drop table record.account; --`, `name = 'x' and`, "name = '\x00'", `annual_revenue = 'much'`} {
			w.ask(west, "GET", "/api/v1/account?filter="+url.QueryEscape(filter), "").want(t, 400, "invalid")
		}
	})
	t.Run("parameters", func(t *testing.T) {
		for query, field := range map[string]string{
			"limit=0": "limit", "limit=-1": "limit", "limit=x": "limit", "limit=": "limit", "fitler=x": "fitler", "limit=1&limit=2": "limit", "sort=nonsense": "nonsense",
		} {
			w.ask(west, "GET", "/api/v1/account?"+query, "").want(t, 400, "invalid", field)
		}
		w.ask(west, "GET", "/api/v1/account?filter=%zz", "").want(t, 400, "invalid")
		w.ask(west, "GET", "/api/v1/account?limit=5000", "").want(t, 200)
		w.ask(west, "GET", "/api/v1/account?limit=99999999999999999999", "").want(t, 200)
	})
	t.Run("paths and methods", func(t *testing.T) {
		w.ask(west, "GET", "/api/v1/nothing", "").want(t, 404, "not_found")
		w.ask(west, "GET", "/api/v1/Account", "").want(t, 404, "not_found")
		w.ask(west, "GET", "/api/v1/account/", "").want(t, 404, "not_found")
		w.ask(west, "GET", "/api/v1/account:drop", "").want(t, 404, "not_found")
		w.ask(west, "GET", "/api/v2/account", "").want(t, 404, "not_found")
		if a := w.ask(west, "PUT", "/api/v1/account", "{}").want(t, 405, "invalid"); a.Header.Get("Allow") != "GET, POST" {
			t.Errorf("Allow %q", a.Header.Get("Allow"))
		}
		w.ask(west, "POST", "/api/v1/account:count", "{}").want(t, 405, "invalid")
		w.ask(west, "HEAD", "/api/v1/account", "").want(t, 200)
	})
}

// TestWriting covers bodies: strictness, batches, limits and repeats.
func TestWriting(t *testing.T) {
	w := open(t)
	const place = `"territory":"US-CA","segment":"all"`

	t.Run("strict bodies", func(t *testing.T) {
		for body, field := range map[string]string{
			`{"fields":{"source_id":"X","name":"X"},"colour":"red"}`: "colour",
			`{"Fields":{"source_id":"X","name":"X"}}`:                "Fields",
			`{"fields":{"source_id":"X","name":1}}`:                  "name",
			`{"fields":{"source_id":"X"},` + place + `}`:             "name",
			`{"fields":{"name":"X"},` + place + `}`:                  "source_id",
			`{"fields":{"id":"X"}}`:                                  "id",
			`{"fields":{"home":"emea"}}`:                             "home",
			`{"fields":[]}`:                                          "",
			`{"fields":null}`:                                        "",
			`{}`:                                                     "fields",
			`[]`:                                                     "",
			`{"fields":{},"fields":{}}`:                              "fields",
			`{"records":{}}`:                                         "records",
			`{"records":null}`:                                       "records",
			`{"records":[],"fields":{}}`:                             "fields",
			`{"fields":{"source_id":"X","name":"X"},"sensitivity":10,` + place + `}`:  "sensitivity",
			`{"fields":{"source_id":"X","name":"X"},"sensitivity":"1",` + place + `}`: "sensitivity",
			`{"fields":{"source_id":"X","name":"X"},"territory":"Narnia"}`:            "territory",
		} {
			a := w.ask(west, "POST", "/api/v1/account", body).want(t, 400, "invalid")
			if got, _ := a.body["field"].(string); got != field {
				t.Errorf("%s: names %q, want %q: %s", body, got, field, a.raw)
			}
		}
		w.ask(west, "POST", "/api/v1/account", `{}`, "Content-Type", "text/xml").want(t, 415, "invalid")
		w.ask(west, "POST", "/api/v1/account", `{"fields":{"name":"`+strings.Repeat("x", 9<<20)+`"}}`).want(t, 413, "invalid")
		w.ask(west, "POST", "/api/v1/account", `{"records":[`+strings.Repeat(`{},`, 1000)+`{}]}`).want(t, 400, "invalid", "records")
	})

	t.Run("rows fail alone", func(t *testing.T) {
		a := w.ask(west, "POST", "/api/v1/account", `{"records":[
			{"fields":{"source_id":"A","name":"A"},`+place+`}, {"fields":{"source_id":"B","name":2}}, {"fields":{"source_id":"C"},`+place+`},
			{"fields":{"source_id":"A","name":"twin"},`+place+`}, {"fields":{"source_id":"D","name":"D"},"territory":"US-NY","segment":"all"},
			{"fields":{"source_id":"E","name":"E"},`+place+`}]}`).want(t, 200)
		var got []string
		for _, r := range a.body["results"].([]any) {
			row := r.(map[string]any)
			if e, ok := row["error"].(map[string]any); ok {
				field, _ := e["field"].(string)
				got = append(got, e["kind"].(string)+" "+field)
				if e["execution_id"] != a.Header.Get("Execution-Id") {
					t.Errorf("row error %v", e)
				}
				continue
			}
			got = append(got, row["record"].(map[string]any)["fields"].(map[string]any)["name"].(string))
		}
		if strings.Join(got, ", ") != "A, invalid name, invalid name, conflict source_id, denied , E" {
			t.Errorf("%q", got)
		}
	})
	t.Run("atomic", func(t *testing.T) {
		w.ask(west, "POST", "/api/v1/account", `{"atomic":true,"records":[{"fields":{"source_id":"F","name":"F"},`+place+`},{"fields":{"source_id":"G","name":2}}]}`).want(t, 400, "invalid", "name")
		w.ask(west, "POST", "/api/v1/account", `{"atomic":true,"records":[{"fields":{"source_id":"F","name":"F"},`+place+`},{"fields":{"source_id":"A","name":"twin"},`+place+`}]}`).want(t, 200)
		if a := w.ask(west, "GET", "/api/v1/account:count?filter="+url.QueryEscape("source_id in ('F','G')"), "").want(t, 200); a.body["count"] != 0.0 {
			t.Errorf("half a batch was written: %s", a.raw)
		}
		if a := w.ask(west, "POST", "/api/v1/account", `{"records":[]}`).want(t, 200); len(a.body["results"].([]any)) != 0 {
			t.Errorf("%s", a.raw)
		}
	})
	t.Run("idempotency", func(t *testing.T) {
		body := `{"fields":{"source_id":"ONCE","name":"Once"},` + place + `}`
		first := w.ask(west, "POST", "/api/v1/account", body, "Idempotency-Key", "k-1").want(t, 201)
		again := w.ask(west, "POST", "/api/v1/account", body, "Idempotency-Key", "k-1").want(t, 201)
		if first.id() != again.id() {
			t.Errorf("%s became %s", first.id(), again.id())
		}
		w.ask(west, "POST", "/api/v1/account", `{"fields":{"source_id":"TWICE","name":"Twice"},`+place+`}`, "Idempotency-Key", "k-1").want(t, 409, "conflict")
		w.ask(manager, "POST", "/api/v1/account", `{"fields":{"source_id":"HERS","name":"Hers"},`+place+`}`, "Idempotency-Key", "k-1").want(t, 201)
		patch := w.ask(west, "PATCH", "/api/v1/account/"+first.id(), `{"fields":{"city":"Oakland"}}`, "If-Match", "1", "Idempotency-Key", "k-2").want(t, 200)
		replay := w.ask(west, "PATCH", "/api/v1/account/"+first.id(), `{"fields":{"city":"Oakland"}}`, "If-Match", "1", "Idempotency-Key", "k-2").want(t, 200)
		if patch.record()["version"] != 2.0 || replay.record()["version"] != 2.0 {
			t.Errorf("%s %s", patch.raw, replay.raw)
		}
		w.ask(west, "POST", "/api/v1/account", body, "Idempotency-Key", strings.Repeat("k", 201)).want(t, 400, "invalid", "Idempotency-Key")
	})
	t.Run("children", func(t *testing.T) {
		account := w.create(west, "PARENT", "US-CA")
		contact := func(key, account, more string) string {
			return `{"fields":{"source_id":"` + key + `","account_id":"` + account + `","last_name":"Lovelace","birthday":"1815-12-10"` + more + `}}`
		}
		a := w.ask(west, "POST", "/api/v1/contact", contact("C1", account, `,"do_not_contact":true`)).want(t, 201)
		f, g := a.record()["fields"].(map[string]any), a.record()["governance"].(map[string]any)
		if f["account_id"] != account || f["birthday"] != "1815-12-10" || f["do_not_contact"] != true || g["account"] != account || g["territory"] != "US-CA" {
			t.Errorf("%s", a.raw)
		}
		w.ask(east, "GET", "/api/v1/contact/"+a.id(), "").want(t, 404, "not_found")
		w.ask(west, "POST", "/api/v1/contact", contact("C2", account, `,"seniority":"emperor"`)).want(t, 400, "invalid", "seniority")
		w.ask(west, "POST", "/api/v1/contact", contact("C3", "ACME", "")).want(t, 400, "invalid", "account_id")
		w.ask(west, "POST", "/api/v1/contact", contact("C4", account, `,"do_not_contact":"yes"`)).want(t, 400, "invalid", "do_not_contact")
		// A customer that one may not know of is one that does not exist.
		hidden := w.ask(east, "POST", "/api/v1/contact", contact("C5", account, ""), "traceparent", trace)
		none := w.ask(east, "POST", "/api/v1/contact", contact("C5", nowhere, ""), "traceparent", trace)
		if hidden.StatusCode < 400 || hidden.raw != none.raw {
			t.Errorf("a child of a hidden customer: %s\nof none: %s", hidden.raw, none.raw)
		}
	})
}

// TestLogsAndMetricsHoldNoValues looks for a planted value wherever operators
// look.
func TestLogsAndMetricsHoldNoValues(t *testing.T) {
	w := open(t)
	const secret = "Zyzzyva-Holdings"
	w.ask(west, "POST", "/api/v1/account", `{"fields":{"source_id":"`+secret+`","name":"`+secret+`","email":"`+secret+`@example.com"},"territory":"US-CA","segment":"all"}`,
		"traceparent", trace).want(t, 201)
	w.ask(west, "GET", "/api/v1/account?filter="+url.QueryEscape("name = '"+secret+"'")+"&sort=name&limit=1", "").want(t, 200)
	w.ask(west, "GET", "/api/v1/account/"+secret, "").want(t, 404)
	w.ask(west, "GET", "/api/v1/"+secret, "").want(t, 404)
	w.ask("", "GET", "/"+secret, "").want(t, 404)
	w.ask(west, "POST", "/api/v1/account", `{"fields":{"source_id":"`+secret+`","name":"twin"},"territory":"US-CA","segment":"all"}`).want(t, 409)

	metrics := w.ask("", "GET", "/metrics", "").want(t, 200)
	if strings.Contains(metrics.raw, "yzzyva") {
		t.Error("metrics hold a value")
	}
	for _, want := range []string{
		`meridian_api_calls_total{code="201",route="/api/v1/{entity}"} 1`, `meridian_api_calls_total{code="404",route="other"} 1`, `meridian_api_calls_in_flight`,
	} {
		if !strings.Contains(metrics.raw, want) {
			t.Errorf("metrics lack %s:\n%s", want, metrics.raw)
		}
	}
	log := w.log.String()
	if strings.Contains(log, "yzzyva") {
		t.Errorf("the log holds a value:\n%s", log)
	}
	found := false
	for line := range strings.Lines(log) {
		var l map[string]any
		must(t, json.Unmarshal([]byte(line), &l))
		if l["msg"] == "call" && l["execution_id"] == "4bf92f3577b34da6a3ce929d0e0e4736" {
			found = l["route"] == "/api/v1/{entity}" && l["entity"] == "account" && l["code"] == "201" && l["subject"] == string(west)
		}
	}
	if !found {
		t.Errorf("no line for the call:\n%s", log)
	}
}

func TestPages(t *testing.T) {
	w := open(t)
	t.Run("landing", func(t *testing.T) {
		if a := w.ask("", "GET", "/", "").want(t, 200); a.body["instance"] != "amer" || a.body["links"].(map[string]any)["/openapi.json"] == nil {
			t.Errorf("%s", a.raw)
		}
		if a := w.ask("", "GET", "/", "", "Accept", "text/html,*/*").want(t, 200); !strings.Contains(a.raw, "<h1>Meridian: amer</h1>") {
			t.Errorf("%s", a.raw)
		}
	})
	t.Run("health", func(t *testing.T) {
		w.ask("", "GET", "/healthz", "").want(t, 200)
		w.ask("", "GET", "/readyz", "").want(t, 200)
		w.down.Store(true)
		defer w.down.Store(false)
		w.ask("", "GET", "/healthz", "").want(t, 200)
		resp, err := w.http.Get(w.url + "/readyz")
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("readyz answered %d", resp.StatusCode)
		}
	})
	t.Run("problems", func(t *testing.T) {
		if a := w.ask("", "GET", "/problems/stale", "").want(t, 200); a.body["status"] != 412.0 || a.body["remedy"] == "" {
			t.Errorf("%s", a.raw)
		}
		w.ask("", "GET", "/problems/murder", "").want(t, 404, "not_found")
	})
	t.Run("openapi", func(t *testing.T) {
		a := w.ask("", "GET", "/openapi.json", "").want(t, 200)
		if a.body["openapi"] != "3.1.0" {
			t.Errorf("openapi %v", a.body["openapi"])
		}
		paths := a.body["paths"].(map[string]any)
		for _, p := range []string{"/api/v1/account", "/api/v1/account:count", "/api/v1/account:watch", "/api/v1/account/{id}", "/api/v1/account/{id}/history", "/api/v1/account/{id}/explain", "/api/v1/case"} {
			if paths[p] == nil {
				t.Errorf("no path %s", p)
			}
		}
		revenue := dig(t, a.body, "components", "schemas", "account_fields", "properties", "annual_revenue")
		if revenue["format"] != "decimal" || revenue["x-meridian-group"] != "commercial" {
			t.Errorf("%v", revenue)
		}
		resolveRefs(t, a.body, a.body)
	})
}

func dig(t *testing.T, v map[string]any, keys ...string) map[string]any {
	t.Helper()
	for _, k := range keys {
		next, ok := v[k].(map[string]any)
		if !ok {
			t.Fatalf("no %s among %v", k, v)
		}
		v = next
	}
	return v
}

// resolveRefs fails for a reference to nothing.
func resolveRefs(t *testing.T, doc map[string]any, v any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			resolveRefs(t, doc, e)
		}
	case map[string]any:
		if to, ok := v["$ref"].(string); ok {
			dig(t, doc, strings.Split(strings.TrimPrefix(to, "#/"), "/")...)
		}
		for _, e := range v {
			resolveRefs(t, doc, e)
		}
	}
}
