package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// tellChildren: contacts, leads, opportunities, engagements and activities are
// there, are seen with their account's territory, and move with their account.
func tellChildren(t *testing.T, f *running) {
	accounts := map[string]record{} // that rep.west sees
	for _, r := range f.list(t, "rep.west@amer", "account", "") {
		accounts[r.ID] = r
	}
	for _, entity := range []string{"contact", "lead", "opportunity", "engagement", "activity"} {
		mine := f.list(t, "rep.west@amer", entity, "")
		west, east, all := len(mine), f.count(t, "rep.east@amer", entity, ""), f.count(t, "manager.us@amer", entity, "")
		if west == 0 || east == 0 || west+east > all {
			t.Errorf("%s: rep.west sees %d, rep.east %d, manager.us %d", entity, west, east, all)
		}
		for _, r := range mine {
			if r.Fields["sample"] != true {
				t.Errorf("%s %s is not marked as a sample", entity, r.ID)
			}
			if entity == "lead" { // it has a territory of its own
				continue
			}
			a, ok := accounts[fmt.Sprint(r.Fields["account_id"])]
			if !ok || r.Governance["territory"] != a.Governance["territory"] || r.Governance["segment"] != a.Governance["segment"] {
				t.Errorf("%s %s is governed by %v, its account by %v", entity, r.ID, r.Governance, a.Governance)
			}
		}
		hidden := f.get(t, "rep.east@amer", "/api/v1/"+entity+"/"+mine[0].ID)
		if hidden.Status != http.StatusNotFound {
			t.Errorf("rep.east gets a western %s: %d", entity, hidden.Status)
		}
		// Contracts share accounts only.
		if n := f.count(t, "banker@finserv", entity, ""); n != 0 {
			t.Errorf("%d records of %s left for finserv", n, entity)
		}
	}
	contact := f.list(t, "rep.west@amer", "contact", "")[0]
	account := accounts[fmt.Sprint(contact.Fields["account_id"])]
	state := account.Fields["state"]
	sees := func(west, east int) {
		t.Helper()
		for persona, want := range map[string]int{"rep.west@amer": west, "rep.east@amer": east} {
			if a := f.get(t, persona, "/api/v1/contact/"+contact.ID); a.Status != want {
				t.Errorf("%s gets the contact with %d, want %d", persona, a.Status, want)
			}
		}
	}
	sees(http.StatusOK, http.StatusNotFound)
	moved := f.update(t, "manager.us@amer", account, map[string]any{"state": "New York"})
	sees(http.StatusNotFound, http.StatusOK)
	f.update(t, "manager.us@amer", moved, map[string]any{"state": state})
	sees(http.StatusOK, http.StatusNotFound)
}

// tellExecution: one execution ID, given by the caller, leads from the call
// through history to the log of the instance that the change was sent to.
func tellExecution(t *testing.T, f *running) {
	const id = "5ce1e57a11f0114e4bd68a3c1d7e9f02"
	bank := f.list(t, "rep.west@amer", "account", "sector = 'Financials'")[0]
	a := f.call(t, "rep.west@amer", http.MethodPatch, "/api/v1/account/"+bank.ID, map[string]any{"fields": map[string]any{"city": "Traced", "phone": "+1 415 555 0199"}},
		"If-Match", fmt.Sprint(bank.Version), "traceparent", "00-"+id+"-00f067aa0ba902b7-01")
	if a.Status != http.StatusOK || a.Header.Get("Execution-Id") != id {
		t.Fatalf("%d, execution %s: %s", a.Status, a.Header.Get("Execution-Id"), a.Body)
	}
	var history struct {
		Versions []struct {
			ExecutionID string `json:"execution_id"`
			Steps       []struct{ Plugin string }
		}
	}
	if err := json.Unmarshal(f.get(t, "rep.west@amer", "/api/v1/account/"+bank.ID+"/history").Body, &history); err != nil {
		t.Fatal(err)
	}
	if v := history.Versions[0]; v.ExecutionID != id || len(v.Steps) == 0 { // a phone number passes data-quality
		t.Errorf("history says %+v", v)
	}
	for instance, message := range map[string]string{"amer": "call", "finserv": "change applied"} {
		eventually(t, instance+"'s log names the execution", func() error { return f.logged(instance, message, id) })
	}
	if a := f.get(t, "banker@finserv", "/api/v1/account/"+bank.ID); a.Record.Fields["city"] != "Traced" {
		t.Errorf("finserv logged the change and has %s", a.Body)
	}
}

// logged looks for a message with an execution ID in an instance's log.
func (f *running) logged(instance, message, execution string) error {
	file, err := os.Open(filepath.Join(f.data, instance, "serve.log"))
	if err != nil {
		return err
	}
	defer file.Close() // only read
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Msg       string `json:"msg"`
			Execution string `json:"execution_id"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == message && line.Execution == execution {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return fmt.Errorf("no %q with execution %s", message, execution)
}
