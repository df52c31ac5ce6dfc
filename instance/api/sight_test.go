package api_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/gen/meridian/record/v1/recordv1connect"
)

// TestFindingAddingUpAndExporting: over REST and RPC a caller finds, adds up
// and exports what they may read, and is told what is wrong with a question.
func TestFindingAddingUpAndExporting(t *testing.T) {
	w := open(t)
	const west, manager = "rep.west@amer", "manager.us@amer"
	for i, place := range []string{"US-CA", "US-CA", "US-WA", "US-NY"} {
		w.create(manager, fmt.Sprintf("K%d", i), place)
	}
	records := func(a answer) (names []string) {
		for _, r := range a.body["records"].([]any) {
			names = append(names, r.(map[string]any)["fields"].(map[string]any)["source_id"].(string))
		}
		return names
	}

	t.Run("search", func(t *testing.T) {
		first := w.ask(west, http.MethodGet, "/api/v1/account:search?q=company+k&limit=2", "").want(t, http.StatusOK)
		rest := w.ask(west, http.MethodGet, "/api/v1/account:search?q=company+k&limit=2&cursor="+url.QueryEscape(first.body["next_cursor"].(string)), "").want(t, http.StatusOK)
		if found := append(records(first), records(rest)...); len(found) != 3 || strings.Contains(strings.Join(found, " "), "K3") || rest.body["next_cursor"] != "" {
			t.Errorf("two pages find %v", found)
		}
		filtered := w.ask(west, http.MethodGet, "/api/v1/account:search?q=k1&filter="+url.QueryEscape("country = 'US'"), "").want(t, http.StatusOK)
		if found := records(filtered); len(found) != 1 || found[0] != "K1" {
			t.Errorf("with a filter: %v", found)
		}
		w.ask(west, http.MethodGet, "/api/v1/account:search", "").want(t, http.StatusBadRequest, "invalid", "query")
		w.ask(west, http.MethodGet, "/api/v1/account:search?q=a&sort=name", "").want(t, http.StatusBadRequest, "invalid", "sort")
		w.ask(west, http.MethodGet, "/api/v1/account:search?q=other&cursor="+url.QueryEscape(first.body["next_cursor"].(string)), "").want(t, http.StatusBadRequest, "invalid", "cursor")
	})

	t.Run("aggregate", func(t *testing.T) {
		path := "/api/v1/account:aggregate?by=territory&measures=" + url.QueryEscape("count,sum(annual_revenue)")
		want := `{"groups":[{"keys":{"territory":"US-CA"},"values":{"count":2,"sum(annual_revenue)":"2001"}},` +
			`{"keys":{"territory":"US-WA"},"values":{"count":1,"sum(annual_revenue)":"1000.5"}}],"more":false}`
		if got := w.ask(west, http.MethodGet, path, "").want(t, http.StatusOK); strings.TrimSpace(got.raw) != want {
			t.Errorf("GET answers %s", got.raw)
		}
		body := `{"by":["territory"],"measures":["count","sum(annual_revenue)"],"order":"-count","limit":5}`
		if got := w.ask(west, http.MethodPost, "/api/v1/account:aggregate", body).want(t, http.StatusOK); strings.TrimSpace(got.raw) != want {
			t.Errorf("POST answers %s", got.raw)
		}
		for query, field := range map[string]string{"by=nope": "nope", "measures=sum(name)": "name", "by=name:month": "name", "order=name": "order", "limit=0": "limit", "filter=a": "a"} {
			w.ask(west, http.MethodGet, "/api/v1/account:aggregate?"+query, "").want(t, http.StatusBadRequest, "invalid", field)
		}
		w.ask(west, http.MethodPost, "/api/v1/account:aggregate", `{"groupby":[]}`).want(t, http.StatusBadRequest, "invalid", "groupby")
	})

	t.Run("export", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/api/v1/account:export", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+w.token(west))
		resp, err := w.http.Do(req)
		must(t, err)
		defer resp.Body.Close()
		lines := json.NewDecoder(resp.Body)
		var ids []string
		for lines.More() {
			var r struct {
				ID     string         `json:"id"`
				Fields map[string]any `json:"fields"`
				Masked []string       `json:"masked"`
			}
			must(t, lines.Decode(&r))
			if r.Fields["annual_revenue"] != "1000.5" || r.Masked == nil {
				t.Errorf("a line says %+v", r)
			}
			ids = append(ids, r.ID)
		}
		if len(ids) != 3 || !slices.IsSorted(ids) || resp.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s with %v", resp.Header.Get("Content-Type"), ids)
		}
	})
	t.Run("export as CSV", func(t *testing.T) {
		w.ask(manager, http.MethodPost, "/api/v1/account", `{"fields":{"source_id":"=1+1","name":"Quote \", comma, and\nline"},"territory":"US-CA","segment":"all"}`).want(t, http.StatusCreated)
		a := w.ask(west, http.MethodGet, "/api/v1/account:export?format=csv", "").want(t, http.StatusOK)
		rows, err := csv.NewReader(strings.NewReader(a.raw)).ReadAll()
		if err != nil || len(rows) != 5 || rows[0][0] != "id" || rows[4][7] != "'=1+1" || rows[4][8] != "Quote \", comma, and\nline" {
			t.Errorf("%v: %q", err, a.raw)
		}
		w.ask(west, http.MethodGet, "/api/v1/account:export?format=xml", "").want(t, http.StatusBadRequest, "invalid", "format")
		w.ask(west, http.MethodHead, "/api/v1/account:export", "")
	})

	t.Run("RPC", func(t *testing.T) {
		c := recordv1connect.NewRecordServiceClient(w.http, w.url, bearer(w.token(west)))
		if found, err := c.Search(t.Context(), &recordv1.SearchRequest{Entity: "account", Query: "k0"}); err != nil || len(found.GetRecords()) != 1 {
			t.Errorf("search: %v, %v", found, err)
		}
		sums, err := c.Aggregate(t.Context(), &recordv1.AggregateRequest{Entity: "account", By: []string{"country"}, Measures: []string{"distinct(territory)"}})
		if err != nil || len(sums.GetGroups()) != 2 || sums.GetGroups()[0].GetValues()[0].GetInteger() != 2 {
			t.Errorf("aggregate: %v, %v", sums, err)
		}
		// The interceptor of bearer is for unary calls; a stream says who asks itself.
		ctx, call := connect.NewClientContext(t.Context())
		call.RequestHeader().Set("Authorization", "Bearer "+w.token(west))
		stream, err := recordv1connect.NewRecordServiceClient(w.http, w.url).Export(ctx, &recordv1.ExportRequest{Entity: "account", Filter: "territory = 'US-CA'"})
		must(t, err)
		n := 0
		for stream.Receive() {
			n += len(stream.Msg().GetRecords())
		}
		if stream.Err() != nil || n != 3 {
			t.Errorf("export: %d records, %v", n, stream.Err())
		}
		must(t, stream.Close())
	})
}
