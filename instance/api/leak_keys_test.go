package api_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"meridian/instance/crm"
)

// TestATakenKeySaysNoMore: a unique key can be taken by a record that one may
// not know of, and who may create hears that it is taken; there is no way
// around that but to let keys be taken twice. They hear no more: the answer is
// the one about a key of their own record, and names nothing of the other. Who
// may not create there hears nothing of keys at all.
func TestATakenKeySaysNoMore(t *testing.T) {
	w := open(t)
	hidden := w.create("manager.us@amer", "KEY-A", "US-NY")
	w.create(west, "KEY-B", "US-CA")
	ask := func(key, territory string) string {
		a := w.ask(west, http.MethodPost, "/api/v1/account", `{"fields":{"source_id":"`+key+`","name":"Probe","annual_revenue":"1"},"territory":"`+territory+`"}`)
		for _, secret := range []string{hidden, "Company KEY-A", "US-NY", "rep.", "manager.", "1000.5"} {
			if answer := (heard{header: a.Header, body: a.raw}).searchable(); answer.says(secret) {
				t.Errorf("taking %s: the answer says %s: %s", key, secret, a.raw)
			}
		}
		body := executionID.ReplaceAllString(a.raw, "<execution>")
		return http.StatusText(a.StatusCode) + strings.ReplaceAll(body, key, "<key>")
	}
	taken, mine := ask("KEY-A", "US-CA"), ask("KEY-B", "US-CA")
	if taken != mine || !strings.Contains(taken, `"kind":"conflict"`) {
		t.Errorf("a hidden record's key answers\n%s\none's own\n%s", taken, mine)
	}
	if a, b := ask("KEY-A", "US-NY"), ask("KEY-C", "US-NY"); a != b {
		t.Errorf("where they may not create, a taken key answers\n%s\na free one\n%s", a, b)
	}
}

// TestALoadLearnsNothingOfHiddenRecords: a loader names records by their keys.
// That a key is taken it hears, as everybody who may create; of the record
// itself it hears nothing, and a reference to a hidden record is refused in the
// words for one that is not there, whatever else is wrong with the row, after
// the same statements.
func TestALoadLearnsNothingOfHiddenRecords(t *testing.T) {
	trace := &statements{}
	w := openWith(t, recipe{facts: facts(), trace: trace.told, before: trace.follow})
	l := &leakWorld{world: w, tokens: map[crm.SubjectID]string{"loader@amer": w.token("loader@amer"), "ops@amer": w.token("ops@amer")}, trace: trace}
	hidden := w.create("manager.us@amer", "KEY-HIDDEN", "US-NY")
	_, err := w.door.Judge(t.Context(), crm.Caller{Subject: "manager.us@amer"}, crm.Grant{
		Entity: "account", Record: crm.RecordID(hidden), Kind: crm.GrantWithhold, Key: "s:loader@amer", Reason: "test"})
	must(t, err)

	text := func(s string) object { return object{"string": s} }
	contents := 0
	var loads []string
	load := func(entity string, rows ...object) heard {
		t.Helper()
		contents++
		begun := l.send(t.Context(), "loader@amer", rpc(loadService+"Begin", object{"feed": "f", "entity": entity, "file": "f", "sha256": fmt.Sprintf("%064d", contents), "mapping": "m", "mapping_version": 1}))
		id := regexp.MustCompile(`"loadId": ?"([^"]+)"`).FindStringSubmatch(begun.body)
		if id == nil {
			t.Fatalf("no load: %s", begun.body)
		}
		loads = append(loads, id[1])
		for i := range rows {
			rows[i]["number"] = fmt.Sprint(i + 1)
		}
		a := l.send(t.Context(), "loader@amer", rpc(loadService+"Apply", object{"load_id": id[1], "rows": rows, "position": object{"record": fmt.Sprint(len(rows))}}))
		if a.status != http.StatusOK {
			t.Fatalf("%s: %s", entity, a.body)
		}
		return a
	}
	silent := func(where string, a heard) {
		t.Helper()
		for _, secret := range []string{hidden, "Company KEY-HIDDEN", "US-NY", "rep.", "manager.", "1000.5"} {
			if a.says(secret) {
				t.Errorf("%s says %s: %s", where, secret, a.body)
			}
		}
	}

	account := func(key string) object {
		return object{"fields": object{"source_id": text(key), "name": text("Probe"), "country": text("US")}}
	}
	taken := load("account", account("KEY-HIDDEN"), account("KEY-HIDDEN"))
	silent("loading over a hidden key", taken)
	if !strings.Contains(taken.body, "conflict") {
		t.Errorf("a hidden key is loaded over: %s", taken.body)
	}

	for name, contact := range map[string]func(key string) object{
		"a whole row": func(key string) object {
			return object{"fields": object{"source_id": text("C-1"), "last_name": text("Probe")}, "references": object{"account_id": key}}
		},
		"a row that lacks a value": func(key string) object {
			return object{"fields": object{"source_id": text("C-2")}, "references": object{"account_id": key}}
		},
		"a row with a wrong value": func(key string) object {
			return object{"fields": object{"source_id": text("C-3"), "last_name": text("Probe"), "birthday": text("no day")}, "references": object{"account_id": key}}
		},
	} {
		load("contact", contact("KEY-NONESUCH")) // so that no cache tells the two apart
		a, b := load("contact", contact("KEY-HIDDEN")), load("contact", contact("KEY-NONESUCH"))
		silent(name, a)
		if x, y := executionID.ReplaceAllString(a.body, ""), executionID.ReplaceAllString(b.body, ""); x != y {
			t.Errorf("%s that refers to a hidden key answers\n%s\nto none\n%s", name, x, y)
		}
		if x, y := strings.Join(a.statements, "\n"), strings.Join(b.statements, "\n"); x != y {
			t.Errorf("%s that refers to a hidden key runs\n%s\nto none\n%s", name, x, y)
		}
	}
	for _, id := range loads {
		silent("its rejects", l.send(t.Context(), "ops@amer", rpc(loadService+"ListRejects", object{"load_id": id})))
	}
}
