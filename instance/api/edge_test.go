package api_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/api"
	"meridian/instance/crm"
	"meridian/instance/store"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// TestNotHome writes to a record of another instance: who may read it learns
// where to write it, nobody else learns that it is there.
func TestNotHome(t *testing.T) {
	w := open(t)
	id := crm.NewRecordID()
	errs, err := w.door.Import(t.Context(), arriving, []access.ImportRow{{
		Op: crm.OpUpsert, Entity: "account", ID: id, Version: 7, Contract: arriving.ID, Epoch: 1, Exposure: 1,
		Governed: crm.Governed{
			Home: "emea", Territory: "US-CA", Segment: "Energy", Department: crm.Unassigned, Owner: crm.Unassigned, Account: id,
			Jurisdiction: "US", Withheld: []string{"commercial", "personal"}, Created: time.Now(), Updated: time.Now(),
		},
		Fields: map[string]crm.Value{"source_id": crm.String("FOREIGN"), "name": crm.String("Foreign")},
	}}, func(context.Context, *store.Tx, []error) error { return nil })
	must(t, err)
	must(t, errs[0])
	path := "/api/v1/account/" + string(id)

	r := w.ask(west, "GET", path, "").want(t, 200).record()
	if r["home"] != "emea" || r["version"] != 7.0 || len(r["withheld"].([]any)) != 2 {
		t.Errorf("%v", r)
	}
	for _, a := range []answer{
		w.ask(west, "PATCH", path, `{"fields":{"name":"Mine"}}`, "If-Match", "7"),
		w.ask(west, "DELETE", path, "", "If-Match", "7"),
		// No correction would make these succeed here either.
		w.ask(west, "PATCH", path, `{"fields":{"name":"Mine"}}`),
		w.ask(west, "PATCH", path, `{"fields":{"nonsense":1}}`, "If-Match", "6"),
		w.ask(west, "DELETE", path, ""),
	} {
		if a.want(t, 409, "not_home").body["home"] != "emea" {
			t.Errorf("%s", a.raw)
		}
	}
	w.ask(east, "PATCH", path, `{"fields":{"name":"Mine"}}`, "If-Match", "7").want(t, 404, "not_found")
	w.ask(east, "DELETE", path, "", "If-Match", "7").want(t, 404, "not_found")
	w.ask(east, "DELETE", path, "").want(t, 404, "not_found")
	resp, err := recordv1.NewRecordServiceClient(w.dial()).Delete(w.as(t.Context(), west), &recordv1.DeleteRequest{Entity: "account", Records: []*recordv1.RecordVersion{
		{Id: string(id), Version: 7}, {Id: string(id)},
	}})
	must(t, err)
	for _, r := range resp.Results {
		if e := r.GetError(); e.GetKind() != "not_home" || e.GetHome() != "emea" {
			t.Errorf("%v", r)
		}
	}
}

// TestOneWriterWins sends the same change many times at once.
func TestOneWriterWins(t *testing.T) {
	w := open(t)
	id := w.create(west, "RACE", "US-CA")
	var wg sync.WaitGroup
	answers := make([]answer, 8)
	for i := range answers {
		wg.Go(func() {
			answers[i] = w.ask(west, "PATCH", "/api/v1/account/"+id, `{"fields":{"city":"Oakland"}}`, "If-Match", "1")
		})
	}
	wg.Wait()
	got := map[int]int{}
	for _, a := range answers {
		got[a.StatusCode]++
	}
	if got[200] != 1 || got[412] != len(answers)-1 {
		t.Errorf("statuses %v, want one 200 and the others 412", got)
	}
}

// TestHostileInput puts text that breaks careless programs wherever text goes.
// The answer may be anything but an internal error.
func TestHostileInput(t *testing.T) {
	w := open(t)
	id := w.create(west, "TARGET", "US-CA")
	client, officers := recordv1.NewRecordServiceClient(w.dial()), w.policy(officer)
	reps := w.policy(west)
	for name, s := range map[string]string{
		"NUL": "a\x00b", "invalid UTF-8": "a\xffb", "quote": "'", "comment": "--", "placeholder": "$1", "percent": "%s%n%", "array": "{a,b}", "long": strings.Repeat("x", 5000),
		"braces": "{{.}}", "newline": "a\r\nSet-Cookie: x", "emoji": "💥", "right to left": "\u202e", "json": `"}]}`, "infinity": "Infinity", "deep": strings.Repeat("(", 3000),
	} {
		t.Run(name, func(t *testing.T) {
			q := url.QueryEscape(s)
			for _, a := range []answer{
				w.ask(west, "GET", "/api/v1/account?filter="+q, ""), w.ask(west, "GET", "/api/v1/account?filter="+url.QueryEscape("name = '")+q+"%27", ""),
				w.ask(west, "GET", "/api/v1/account?sort="+q, ""), w.ask(west, "GET", "/api/v1/account?cursor="+q, ""), w.ask(west, "GET", "/api/v1/account:count?filter="+q, ""),
				w.ask(west, "GET", "/api/v1/account:watch?filter="+url.QueryEscape("nonsense = ")+q, ""),
				w.ask(west, "GET", "/api/v1/"+url.PathEscape(s), ""), w.ask(west, "GET", "/api/v1/account/"+url.PathEscape(s), ""),
				w.ask(officer, "GET", "/api/v1/account/"+id+"/explain?subject="+q, ""), w.ask(west, "GET", "/api/v1/account/"+id+"/explain?action="+q, ""),
				w.ask(west, "POST", "/api/v1/account", s), w.ask(west, "POST", "/api/v1/account", `{"fields":{"source_id":"`+s+`"}}`),
				w.ask(west, "POST", "/api/v1/account", `{"fields":{"source_id":"X","name":"X"},"territory":"`+s+`","segment":"`+s+`","department":"`+s+`"}`),
				w.ask(west, "PATCH", "/api/v1/account/"+id, `{"fields":{"`+s+`":1}}`, "If-Match", "1"),
			} {
				if a.StatusCode >= 500 {
					t.Errorf("%s %.100s answered %d: %s", a.Request.Method, a.Request.URL, a.StatusCode, a.raw)
				}
				if a.Header.Get("Set-Cookie") != "" {
					t.Errorf("%.100s injected a header", a.Request.URL)
				}
			}
			calls := map[string]func() error{
				"filter": func() error {
					_, err := client.List(w.as(t.Context(), west), &recordv1.ListRequest{Entity: "account", Filter: "name = '" + s + "'"})
					return err
				},
				"entity": func() error {
					_, err := client.Count(w.as(t.Context(), west), &recordv1.CountRequest{Entity: s})
					return err
				},
				"agreement": func() error {
					_, err := officers.CreateAgreement(t.Context(), &policyv1.CreateAgreementRequest{Agreement: &policyv1.Agreement{
						Account: "source_id:" + s, Department: s, Effect: s, Reason: s, Document: s, Groups: []string{s}, Actions: []string{s},
					}})
					return err
				},
				"reason": func() error {
					_, err := officers.CreateAgreement(t.Context(), &policyv1.CreateAgreementRequest{Agreement: &policyv1.Agreement{
						Account: id, Department: "legal", Effect: "open", Reason: s, Document: s,
					}})
					return err
				},
				"end of agreement": func() error {
					_, err := officers.EndAgreement(t.Context(), &policyv1.EndAgreementRequest{Id: s, Reason: s})
					return err
				},
				"end of grant": func() error {
					_, err := reps.EndGrant(t.Context(), &policyv1.EndGrantRequest{Id: s, Reason: s})
					return err
				},
				"judgement": func() error {
					_, err := reps.Judge(t.Context(), judgement(id, s, s))
					return err
				},
				"eval": func() error {
					_, err := officers.Eval(t.Context(), &policyv1.EvalRequest{Subject: s, Action: s, Entity: "account"})
					return err
				},
			}
			for what, call := range calls {
				if err := call(); err != nil && kindOf(err) == crm.Internal && !strings.Contains(err.Error(), "invalid UTF-8") {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	if a := w.ask(west, "GET", "/api/v1/account/"+id, "").want(t, 200); a.record()["version"] != 1.0 {
		t.Errorf("something was written: %s", a.raw)
	}
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			t.Errorf("logged: %s", line)
		}
	}
}

// TestStopping lets a call finish that runs while the server stops.
func TestStopping(t *testing.T) {
	w := open(t)
	began, proceed := make(chan struct{}), make(chan struct{})
	srv := api.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		close(began)
		<-proceed
		if r.Context().Err() != nil {
			out.WriteHeader(http.StatusTeapot)
		}
	}), w.slog())
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	status := make(chan int, 1)
	go func() {
		resp, err := w.http.Get("http://" + listener.Addr().String())
		if err != nil {
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Shutdown(context.WithoutCancel(t.Context())) }()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) { // no new calls
		t.Error(err)
	}
	close(proceed)
	if got := <-status; got != http.StatusOK {
		t.Errorf("the call in flight got %d", got)
	}
	must(t, <-stopped)
}
