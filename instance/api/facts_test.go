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
