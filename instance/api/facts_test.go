package api_test

import (
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
	"meridian/proto/gen/meridian/policy/v1/policyv1connect"
)

func TestSuspendedGrantsAreReviewedByOfficers(t *testing.T) {
	w := open(t)
	_, err := w.policy(west).ListGrants(t.Context(), &policyv1.ListGrantsRequest{Suspended: true})
	if connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("a rep lists what is suspended: %v", err)
	}
	list, err := w.policy(officer).ListGrants(t.Context(), &policyv1.ListGrantsRequest{Suspended: true})
	if err != nil || len(list.Grants) != 0 {
		t.Errorf("%v %v", list, err)
	}
	_, err = w.policy(officer).ReinstateGrant(t.Context(), &policyv1.ReinstateGrantRequest{Id: nowhere, Reason: "x"})
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("what is not there is reinstated: %v", err)
	}
}

func TestWhoAndWhatAreForOfficers(t *testing.T) {
	w := open(t)
	id := w.create(west, "S1", "US-CA")
	who, err := w.policy(officer).ExplainRecord(t.Context(), &policyv1.ExplainRecordRequest{Entity: "account", Id: id})
	if err != nil || len(who.Viewers) == 0 || who.Viewers[0].Opens[0].Ground == "" {
		t.Errorf("%v %v", who, err)
	}
	what, err := w.policy(officer).ExplainSubject(t.Context(), &policyv1.ExplainSubjectRequest{Subject: string(west)})
	if err != nil || len(what.Sights) == 0 {
		t.Errorf("%v %v", what, err)
	}
	_, err = w.policy(west).ExplainRecord(t.Context(), &policyv1.ExplainRecordRequest{Entity: "account", Id: id})
	if connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("a rep asks who sees a record: %v", err)
	}
	_, err = w.policy(officer).ExplainRecord(t.Context(), &policyv1.ExplainRecordRequest{Entity: "account", Id: "x"})
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("nonsense: %v", err)
	}
	_, err = w.policy(west).ExplainSubject(t.Context(), &policyv1.ExplainSubjectRequest{Subject: string(west)})
	if connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("a rep asks what somebody sees: %v", err)
	}
}

// TestFactsAreForOfficers: what officers say comes back as they said it, and is
// nobody else's to read or to say.
func TestFactsAreForOfficers(t *testing.T) {
	w := open(t)
	facts := func(as crm.SubjectID) policyv1connect.FactServiceClient {
		return policyv1connect.NewFactServiceClient(w.http, w.url, bearer(w.token(as)))
	}
	begin := timestamppb.New(time.Now().Add(24 * time.Hour).Truncate(time.Second))
	edits := []*policyv1.FactEdit{
		{Do: "add", Kind: "subject", Id: "new@amer", Roles: []string{"rep"}, Clearance: new(int32(4)), From: begin},
		{Do: "assign", Kind: "territory", Id: "US-W", Subject: "new@amer", From: begin},
		{Do: "relate", Kind: "department", Id: "legal", On: "sales", Actions: []string{"read"}, From: begin},
	}
	preview, err := facts(officer).Reorganise(t.Context(), &policyv1.ReorganiseRequest{Edits: edits, Reason: "joins"})
	must(t, err)
	if preview.Applied || preview.Compared < 2 || !preview.At.AsTime().Equal(begin.AsTime()) {
		t.Errorf("%v", preview)
	}
	made, err := facts(officer).EditFacts(t.Context(), &policyv1.EditFactsRequest{Edits: edits, Reason: "joins"})
	must(t, err)
	if len(made.Facts) != 3 {
		t.Fatalf("%v", made.Facts)
	}
	for _, f := range made.Facts {
		if f.Origin != string(officer) || f.RecordedBy != string(officer) || f.Reason != "joins" || !f.From.AsTime().Equal(begin.AsTime()) {
			t.Errorf("%v", f)
		}
	}
	if s := made.Facts[0]; s.Kind != "subject" || s.Id != "new@amer" || s.Clearance != 4 || len(s.Roles) != 1 || s.Type != "person" {
		t.Errorf("%v", s)
	}
	if a := made.Facts[1]; a.Subject != "new@amer" || a.Tree != "territory" || a.Id != "US-W" {
		t.Errorf("%v", a)
	}
	if r := made.Facts[2]; r.Id != "legal" || r.On != "sales" || len(r.Actions) != 1 {
		t.Errorf("%v", r)
	}
	none := []*policyv1.FactEdit{{Do: "change", Kind: "subject", Id: "new@amer", Roles: []string{""}, From: begin}}
	cleared, err := facts(officer).EditFacts(t.Context(), &policyv1.EditFactsRequest{Edits: none, Reason: "not yet"})
	must(t, err)
	if s := cleared.Facts[0]; len(s.Roles) != 0 || s.Clearance != 4 {
		t.Errorf("%v", s)
	}
	list := func(at *timestamppb.Timestamp) (found int) {
		resp, err := facts(officer).ListFacts(t.Context(), &policyv1.ListFactsRequest{Kind: "subject", At: at})
		must(t, err)
		for _, f := range resp.Facts {
			if f.Id == "new@amer" {
				found++
			}
		}
		return found
	}
	if now, then := list(nil), list(begin); now != 0 || then != 1 {
		t.Errorf("now %d, then %d", now, then)
	}
	history, err := facts(officer).GetFactHistory(t.Context(), &policyv1.GetFactHistoryRequest{Kind: "subject", Id: "new@amer"})
	must(t, err)
	if len(history.Facts) != 3 { // as added, as changed, and the assignment
		t.Errorf("%v", history)
	}
	forecast, err := facts(officer).Forecast(t.Context(), &policyv1.ForecastRequest{Days: 2})
	must(t, err)
	if len(forecast.Turns) != 1 || len(forecast.Turns[0].Events) != 3 || !forecast.Turns[0].Events[0].Begins {
		t.Errorf("%v", forecast)
	}
	for name, call := range map[string]func(policyv1connect.FactServiceClient) error{
		"list": func(c policyv1connect.FactServiceClient) error {
			_, err := c.ListFacts(t.Context(), &policyv1.ListFactsRequest{Kind: "subject"})
			return err
		},
		"history": func(c policyv1connect.FactServiceClient) error {
			_, err := c.GetFactHistory(t.Context(), &policyv1.GetFactHistoryRequest{Kind: "subject", Id: "new@amer"})
			return err
		},
		"edit": func(c policyv1connect.FactServiceClient) error {
			_, err := c.EditFacts(t.Context(), &policyv1.EditFactsRequest{Edits: edits, Reason: "mine"})
			return err
		},
		"reorganise": func(c policyv1connect.FactServiceClient) error {
			_, err := c.Reorganise(t.Context(), &policyv1.ReorganiseRequest{Edits: edits, Reason: "mine", Apply: true})
			return err
		},
		"forecast": func(c policyv1connect.FactServiceClient) error {
			_, err := c.Forecast(t.Context(), &policyv1.ForecastRequest{})
			return err
		},
	} {
		if err := call(facts(west)); kindOf(err) != crm.Denied {
			t.Errorf("%s as a rep: %v", name, err)
		}
	}
}
