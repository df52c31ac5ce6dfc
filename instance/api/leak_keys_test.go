package api_test

import (
	"net/http"
	"strings"
	"testing"
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
