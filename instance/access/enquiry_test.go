package access_test

import (
	"slices"
	"strings"
	"testing"

	"meridian/instance/crm"
)

// TestOfficersAskAboutReceivers: what a contract sends is asked as what a person
// sees: the filter, and the records of a past moment. Records of another home
// are not the contract's.
func TestOfficersAskAboutReceivers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bank := w.account("CA", "Financials")
	w.account("CA", "Energy")
	officer := caller("officer.a@amer")
	sql, args, _, err := w.door.Eval(t.Context(), officer, "contract:amer-finserv-account", "", "account")
	if err != nil || !strings.HasPrefix(sql, "where r.home = ") || !slices.Contains(args, "amer") {
		t.Errorf("%q %v %v", sql, args, err)
	}
	own, _, _, err := w.door.Eval(t.Context(), officer, "rep.west@amer", "", "account")
	if err != nil || strings.HasPrefix(own, "where r.home = ") {
		t.Errorf("%q %v", own, err)
	}
	_, now, err := w.store.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sights, _, err := w.door.PastSees(t.Context(), officer, "contract:amer-finserv-account", "", now, 10)
	if err != nil || len(sights) != 1 || sights[0].Entity != "account" || !slices.Equal(sights[0].IDs, []crm.RecordID{bank.ID}) {
		t.Errorf("%+v, %v; want %s", sights, err, bank.ID)
	}
	for about, c := range map[crm.SubjectID]struct {
		entity string
		action crm.Action
		field  string
	}{
		"contract:amer-finserv-account ": {"account", "", "subject"},
		"contract:emea-amer-account":     {"account", "", "subject"}, // another instance's
		"contract:amer-finserv-account":  {"contact", "", "entity"},
		"contract:amer-emea-account":     {"account", crm.ActionUpdate, "action"},
	} {
		_, _, _, err := w.door.Eval(t.Context(), officer, about, c.action, c.entity)
		wantKind(t, err, crm.Invalid, c.field)
	}
	_, _, _, err = w.door.Eval(t.Context(), caller("rep.west@amer"), "contract:amer-finserv-account", "", "account")
	wantKind(t, err, crm.Denied, "")
}
