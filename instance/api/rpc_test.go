package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"meridian/instance/api"
	"meridian/instance/crm"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
	"meridian/proto/gen/meridian/exchange/v1/exchangev1connect"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
	feedv1 "meridian/proto/gen/meridian/feed/v1"
	fleetv1 "meridian/proto/gen/meridian/fleet/v1"
	"meridian/proto/gen/meridian/fleet/v1/fleetv1connect"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
	"meridian/proto/gen/meridian/policy/v1/policyv1connect"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	schemav1 "meridian/proto/gen/meridian/schema/v1"
)

func (w *world) policy(as crm.SubjectID) policyv1connect.PolicyServiceClient {
	return policyv1connect.NewPolicyServiceClient(w.http, w.url, bearer(w.token(as)))
}

func judgement(record, with string, groups ...string) *policyv1.JudgeRequest {
	return &policyv1.JudgeRequest{Grant: &policyv1.Grant{Entity: "account", Record: record, Kind: "share", With: with, Groups: groups, Reason: "covers for me"}}
}

// dial connects as a gRPC client of Google's own library does, without TLS.
func (w *world) dial() *grpc.ClientConn {
	w.t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(w.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, conn.Close()) })
	return conn
}

func (w *world) as(ctx context.Context, who crm.SubjectID) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.token(who))
}

func text(s string) *recordv1.Value {
	return &recordv1.Value{Kind: &recordv1.Value_String_{String_: s}}
}

func TestGRPC(t *testing.T) {
	w := open(t)
	conn := w.dial()
	records := recordv1.NewRecordServiceClient(conn)
	ctx := w.as(t.Context(), west)
	const execution = "4bf92f3577b34da6a3ce929d0e0e4736"

	var header metadata.MD
	created, err := records.Create(metadata.AppendToOutgoingContext(ctx, "traceparent", trace), &recordv1.CreateRequest{
		Entity: "account", Records: []*recordv1.NewRecord{
			{Fields: map[string]*recordv1.Value{"source_id": text("G1"), "name": text("One"), "annual_revenue": {Kind: &recordv1.Value_Decimal{Decimal: "1.50"}}}, Territory: "US-CA", Segment: "all"},
			{Fields: map[string]*recordv1.Value{"source_id": text("G2"), "name": text("a\x00b")}},
			{Fields: map[string]*recordv1.Value{"source_id": text("G3"), "name": text("Three"), "annual_revenue": {Kind: &recordv1.Value_Decimal{Decimal: "much"}}}},
		},
	}, grpc.Header(&header))
	must(t, err)
	if got := header.Get("execution-id"); !slices.Equal(got, []string{execution}) {
		t.Errorf("execution-id %v", got)
	}
	one := created.Results[0].GetRecord()
	if one.GetFields()["annual_revenue"].GetDecimal() != "1.5" || one.GetGovernance().GetHome() != "amer" || one.GetVersion() != 1 {
		t.Fatalf("%v", created)
	}
	for i, field := range map[int]string{1: "name", 2: "annual_revenue"} {
		if e := created.Results[i].GetError(); e.GetKind() != "invalid" || e.GetField() != field || e.GetExecutionId() != execution {
			t.Errorf("row %d: %v", i, e)
		}
	}

	t.Run("get", func(t *testing.T) {
		resp, err := records.Get(ctx, &recordv1.GetRequest{Entity: "account", Ids: []string{nowhere, one.Id, "nonsense"}})
		must(t, err)
		if resp.Results[0].GetError().GetKind() != "not_found" || resp.Results[1].GetRecord().GetId() != one.Id || resp.Results[2].GetError().GetMessage() != resp.Results[0].GetError().GetMessage() {
			t.Errorf("%v", resp)
		}
		if resp, err := records.Get(ctx, &recordv1.GetRequest{Entity: "account", Ids: []string{"nonsense"}}); err != nil || len(resp.Results) != 1 {
			t.Errorf("%v %v", resp, err)
		}
	})
	t.Run("list, count, history", func(t *testing.T) {
		list, err := records.List(ctx, &recordv1.ListRequest{Entity: "account"})
		must(t, err)
		count, err := records.Count(ctx, &recordv1.CountRequest{Entity: "account"})
		must(t, err)
		past, err := records.History(ctx, &recordv1.HistoryRequest{Entity: "account", Id: one.Id})
		must(t, err)
		if len(list.Records) != 1 || count.Count != 1 || !count.Exact || len(past.Versions) != 1 || past.Versions[0].ExecutionId != execution || past.Versions[0].Actor != string(west) {
			t.Errorf("%v %v %v", list, count, past)
		}
	})
	t.Run("update and delete", func(t *testing.T) {
		resp, err := records.Update(ctx, &recordv1.UpdateRequest{Entity: "account", Records: []*recordv1.RecordUpdate{
			{Id: one.Id, Version: 1, Fields: map[string]*recordv1.Value{"city": text("Oakland"), "annual_revenue": {}}},
			{Id: one.Id}, {Id: nowhere}, {Id: "nonsense", Version: 1}, {Id: one.Id, Version: 9, Fields: map[string]*recordv1.Value{"city": text("Rome")}},
		}})
		must(t, err)
		var got []string
		for _, r := range resp.Results {
			got = append(got, r.GetError().GetKind())
		}
		if want := []string{"", "precondition_required", "not_found", "not_found", "stale"}; !slices.Equal(got, want) {
			t.Errorf("%v: %v", got, resp)
		}
		if v := resp.Results[0].GetRecord().GetFields()["annual_revenue"]; v.GetKind() != nil {
			t.Errorf("not cleared: %v", v)
		}
		gone, err := records.Delete(ctx, &recordv1.DeleteRequest{Entity: "account", Records: []*recordv1.RecordVersion{{Id: one.Id}, {Id: one.Id, Version: 2}}})
		must(t, err)
		if gone.Results[0].GetError().GetKind() != "precondition_required" || gone.Results[1].GetRecord().GetId() != one.Id {
			t.Errorf("%v", gone)
		}
	})
	t.Run("errors", func(t *testing.T) {
		for name, c := range map[string]struct {
			call func() error
			code codes.Code
			kind crm.Kind
		}{
			"no token": {func() error {
				_, err := records.Count(t.Context(), &recordv1.CountRequest{Entity: "account"})
				return err
			}, codes.Unauthenticated, crm.Unauthenticated},
			"no entity": {func() error { _, err := records.Count(ctx, &recordv1.CountRequest{Entity: "nothing"}); return err }, codes.NotFound, crm.NotFound},
			"bad filter": {func() error {
				_, err := records.List(ctx, &recordv1.ListRequest{Entity: "account", Filter: "="})
				return err
			}, codes.InvalidArgument, crm.Invalid},
			"bad limit": {func() error {
				_, err := records.List(ctx, &recordv1.ListRequest{Entity: "account", Limit: -1})
				return err
			}, codes.InvalidArgument, crm.Invalid},
			"no such id": {func() error {
				_, err := records.History(ctx, &recordv1.HistoryRequest{Entity: "account", Id: nowhere})
				return err
			}, codes.NotFound, crm.NotFound},
			"not for reps": {func() error {
				_, err := exchangev1.NewExchangeServiceClient(conn).GetStatus(ctx, &exchangev1.GetStatusRequest{})
				return err
			}, codes.PermissionDenied, crm.Denied},
			"not running": {func() error {
				_, err := exchangev1.NewExchangeServiceClient(conn).GetStatus(w.as(t.Context(), ops), &exchangev1.GetStatusRequest{})
				return err
			}, codes.Unavailable, crm.Unavailable},
		} {
			st, ok := status.FromError(c.call())
			if !ok || st.Code() != c.code {
				t.Errorf("%s: %v", name, st)
				continue
			}
			if len(st.Details()) != 1 {
				t.Errorf("%s: details %v", name, st.Details())
				continue
			}
			if d, ok := st.Details()[0].(*recordv1.ErrorDetail); !ok || d.Kind != string(c.kind) || len(d.ExecutionId) != 32 {
				t.Errorf("%s: detail %v", name, st.Details()[0])
			}
		}
	})
	t.Run("health", func(t *testing.T) {
		h := healthv1.NewHealthClient(conn)
		for _, service := range []string{"", "meridian.record.v1.RecordService"} {
			if r, err := h.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service}); err != nil || r.Status != healthv1.HealthCheckResponse_SERVING {
				t.Errorf("%q: %v %v", service, r, err)
			}
		}
		if _, err := h.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "nothing"}); status.Code(err) != codes.NotFound {
			t.Errorf("%v", err)
		}
		if r, err := h.List(t.Context(), &healthv1.HealthListRequest{}); err != nil || len(r.Statuses) != 14 {
			t.Errorf("%v %v", r, err)
		}
		watch, err := h.Watch(t.Context(), &healthv1.HealthCheckRequest{})
		must(t, err)
		for _, want := range []healthv1.HealthCheckResponse_ServingStatus{healthv1.HealthCheckResponse_SERVING, healthv1.HealthCheckResponse_NOT_SERVING} {
			r, err := watch.Recv()
			if err != nil || r.Status != want {
				t.Fatalf("%v %v, want %v", r, err, want)
			}
			w.down.Store(true)
		}
		w.down.Store(false)
	})
	t.Run("reflection", func(t *testing.T) {
		stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		must(t, err)
		must(t, stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}))
		resp, err := stream.Recv()
		must(t, err)
		var names []string
		for _, s := range resp.GetListServicesResponse().GetService() {
			names = append(names, s.Name)
		}
		for _, want := range []string{
			"meridian.record.v1.RecordService", "meridian.schema.v1.SchemaService", "meridian.feed.v1.FeedService", "meridian.exchange.v1.ExchangeService",
			"meridian.policy.v1.PolicyService", "meridian.policy.v1.AuditService", "meridian.policy.v1.FactService", "meridian.policy.v1.ImpactService", "meridian.plugin.v1.CatalogService", "meridian.facade.v1.LoadService", "meridian.fleet.v1.InstanceService", "grpc.health.v1.Health",
		} {
			if !slices.Contains(names, want) {
				t.Errorf("%s is not listed: %v", want, names)
			}
			must(t, stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: want}}))
			if resp, err := stream.Recv(); err != nil || len(resp.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
				t.Errorf("%s has no descriptor: %v %v", want, resp, err)
			}
		}
	})
}

// TestOtherServices calls the services that are not about records.
func TestOtherServices(t *testing.T) {
	w := open(t)
	schema := schemav1.NewSchemaServiceClient(w.dial())
	entities, err := schema.ListEntities(w.as(t.Context(), west), &schemav1.ListEntitiesRequest{})
	must(t, err)
	account, err := schema.GetEntity(w.as(t.Context(), west), &schemav1.GetEntityRequest{Entity: "account"})
	must(t, err)
	if len(entities.Entities) != 8 || account.Entity.Key != "source_id" || len(account.Entity.Fields) < 10 {
		t.Errorf("%d entities, %v", len(entities.Entities), account)
	}
	if _, err := schema.GetEntity(w.as(t.Context(), west), &schemav1.GetEntityRequest{Entity: "nothing"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}

	id := w.create(west, "AG", "US-CA")
	t.Run("agreements", func(t *testing.T) {
		p := w.policy(officer)
		made, err := p.CreateAgreement(t.Context(), &policyv1.CreateAgreementRequest{Agreement: &policyv1.Agreement{
			Account: "source_id:AG", Department: "legal", Effect: "open", Reason: "review",
		}})
		must(t, err)
		if made.Agreement.Account != id || made.Agreement.By != string(officer) || made.Agreement.Ended {
			t.Errorf("%v", made)
		}
		list, err := p.ListAgreements(t.Context(), &policyv1.ListAgreementsRequest{})
		must(t, err)
		ended, err := p.EndAgreement(t.Context(), &policyv1.EndAgreementRequest{Id: made.Agreement.Id, Reason: "done"})
		must(t, err)
		after, err := p.ListAgreements(t.Context(), &policyv1.ListAgreementsRequest{})
		must(t, err)
		if len(list.Agreements) != 1 || !ended.Agreement.Ended || len(after.Agreements) != 0 {
			t.Errorf("%v %v %v", list, ended, after)
		}
		if _, err := w.policy(west).ListAgreements(t.Context(), &policyv1.ListAgreementsRequest{}); kindOf(err) != crm.Denied {
			t.Error(err)
		}
	})
	t.Run("judgement", func(t *testing.T) {
		p := w.policy(west)
		made, err := p.Judge(t.Context(), judgement(id, "s:"+string(east)))
		must(t, err)
		list, err := p.ListGrants(t.Context(), &policyv1.ListGrantsRequest{Entity: "account", Record: id})
		must(t, err)
		if len(list.Grants) != 1 || list.Grants[0].Id != made.Grant.Id {
			t.Errorf("%v", list)
		}
		if ended, err := p.EndGrant(t.Context(), &policyv1.EndGrantRequest{Id: made.Grant.Id, Reason: "back"}); err != nil || !ended.Grant.Ended {
			t.Errorf("%v %v", ended, err)
		}
		for _, record := range []string{id, nowhere, "nonsense"} {
			_, err := w.policy(east).Judge(t.Context(), judgement(record, "s:"+string(east)))
			if kindOf(err) != crm.NotFound {
				t.Errorf("%s: %v", record, err)
			}
			_, err = w.policy(east).ListGrants(t.Context(), &policyv1.ListGrantsRequest{Entity: "account", Record: record})
			if kindOf(err) != crm.NotFound {
				t.Errorf("%s: %v", record, err)
			}
		}
	})
	t.Run("bundle", func(t *testing.T) {
		p := w.policy(officer)
		b, err := p.GetBundle(t.Context(), &policyv1.GetBundleRequest{})
		must(t, err)
		checked, err := p.CheckBundle(t.Context(), &policyv1.CheckBundleRequest{})
		must(t, err)
		tested, err := p.TestBundle(t.Context(), &policyv1.TestBundleRequest{})
		must(t, err)
		if b.Digest == "" || len(b.Modules) == 0 || len(checked.Problems) != 0 || checked.Digest != b.Digest || !tested.Passed || len(tested.Results) == 0 {
			t.Errorf("digest %q, %d modules, problems %v, %d tests, passed %v", b.Digest, len(b.Modules), checked.Problems, len(tested.Results), tested.Passed)
		}
		broken, err := p.CheckBundle(t.Context(), &policyv1.CheckBundleRequest{Modules: []*policyv1.Module{{Path: "rules.rego", Text: "package meridian.rules\n\nallow if {"}}})
		must(t, err)
		if len(broken.Problems) == 0 {
			t.Error("a broken bundle has no problems")
		}
		eval, err := p.Eval(t.Context(), &policyv1.EvalRequest{Subject: string(west), Action: "read", Entity: "account"})
		must(t, err)
		if !strings.Contains(eval.Sql, "territory") || len(eval.Args) == 0 || eval.Bundle == "" {
			t.Errorf("%v", eval)
		}
		if _, err := w.policy(west).GetBundle(t.Context(), &policyv1.GetBundleRequest{}); kindOf(err) != crm.Denied {
			t.Error(err)
		}
	})
	t.Run("operators", func(t *testing.T) {
		token := bearer(w.token(ops))
		d, err := fleetv1connect.NewInstanceServiceClient(w.http, w.url, token).Describe(t.Context(), &fleetv1.DescribeRequest{})
		must(t, err)
		loads, err := facadev1connect.NewLoadServiceClient(w.http, w.url, token).ListLoads(t.Context(), &facadev1.ListLoadsRequest{})
		must(t, err)
		if d.Instance != "amer" || len(d.Parts) != 1 || len(loads.Loads) != 0 {
			t.Errorf("%v %v", d, loads)
		}
		_, err = exchangev1connect.NewExchangeServiceClient(w.http, w.url, token).ListContracts(t.Context(), &exchangev1.ListContractsRequest{})
		if kindOf(err) != crm.Unavailable {
			t.Error(err)
		}
	})
	t.Run("json over http", func(t *testing.T) {
		a := w.ask(west, "POST", "/meridian.record.v1.RecordService/Count", `{"entity":"account"}`)
		if a.StatusCode != 200 || a.body["count"] != "1" {
			t.Errorf("%d %s", a.StatusCode, a.raw)
		}
		if a := w.ask("", "POST", "/meridian.record.v1.RecordService/Count", `{"entity":"account"}`); a.StatusCode != 401 || a.body["code"] != "unauthenticated" {
			t.Errorf("%d %s", a.StatusCode, a.raw)
		}
	})
}

func kindOf(err error) crm.Kind {
	if err == nil {
		return ""
	}
	e, _ := api.ErrorOf(err)
	return e.Kind
}

// sse is one server-sent event.
type sse struct {
	name, id string
	data     map[string]any
}

// stream opens a watch over REST and delivers its events.
func (w *world) stream(as crm.SubjectID, path string) <-chan sse {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+path, nil)
	must(w.t, err)
	req.Header.Set("Authorization", "Bearer "+w.token(as))
	resp, err := w.http.Do(req)
	must(w.t, err)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("watch answered %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	events := make(chan sse, 100)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		var e sse
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				_ = json.Unmarshal([]byte(value), &e.data)
			case "":
				events <- e
				e = sse{}
			}
		}
	}()
	return events
}

// next is the next event that is no heartbeat.
func next(t *testing.T, events <-chan sse) sse {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the stream ended")
			}
			if e.name != "heartbeat" {
				return e
			}
		case <-deadline:
			t.Fatal("no event within 10 s")
		}
	}
}

func TestWatching(t *testing.T) {
	w := open(t)
	w.ask(west, "GET", "/api/v1/nothing:watch", "").want(t, 404, "not_found")
	w.ask(west, "GET", "/api/v1/account:watch?filter=%3D", "").want(t, 400, "invalid")
	w.ask("stranger@amer", "GET", "/api/v1/account:watch", "").want(t, 403, "denied")

	mine, hers := w.stream(west, "/api/v1/account:watch"), w.stream(east, "/api/v1/account:watch")
	for _, events := range []<-chan sse{mine, hers} {
		if e := next(t, events); e.name != "ready" || e.id != "1" {
			t.Fatalf("the first event is %v", e)
		}
	}
	rpc, err := feedv1.NewFeedServiceClient(w.dial()).Watch(w.as(t.Context(), west), &feedv1.WatchRequest{Entity: "account"})
	must(t, err)
	if e, err := rpc.Recv(); err != nil || e.Event != "ready" {
		t.Fatalf("%v %v", e, err)
	}

	id := w.create(west, "WATCHED", "US-CA")
	e := next(t, mine)
	if e.name != "upsert" || e.id != "2" || e.data["id"] != id || dig(t, e.data, "record", "fields")["name"] != "Company WATCHED" || len(e.data["execution_id"].(string)) != 32 {
		t.Errorf("%v", e)
	}
	if e, err := rpc.Recv(); err != nil || e.Event != "upsert" || e.Id != id || e.Record.Fields["name"].GetString_() != "Company WATCHED" {
		t.Errorf("%v %v", e, err)
	}
	// East hears of it when it is shared, without the groups that are not, and
	// that it is gone when the share ends.
	grant, err := w.policy(west).Judge(t.Context(), judgement(id, "s:"+string(east), "core"))
	must(t, err)
	e = next(t, hers)
	if e.name != "upsert" || e.data["id"] != id || dig(t, e.data, "record", "fields")["email"] != nil {
		t.Errorf("%v", e)
	}
	_, err = w.policy(west).EndGrant(t.Context(), &policyv1.EndGrantRequest{Id: grant.Grant.Id, Reason: "back"})
	must(t, err)
	if e = next(t, hers); e.name != "gone" || e.data["id"] != id || e.data["record"] != nil {
		t.Errorf("%v", e)
	}
	w.ask(west, "DELETE", "/api/v1/account/"+id, "", "If-Match", "1").want(t, 200)
	for e = next(t, mine); e.name == "upsert"; e = next(t, mine) { // facts moved: it may have been looked at again
	}
	if e.name != "gone" || e.data["id"] != id {
		t.Errorf("%v", e)
	}
	// The streams are left open: the server must end them when it stops, which
	// the cleanup waits for.
}
