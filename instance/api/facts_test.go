package api_test

import (
	"testing"

	"connectrpc.com/connect"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
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
