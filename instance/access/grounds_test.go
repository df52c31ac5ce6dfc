package access_test

import (
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// TestGrounds walks every ground of the policy, and every action on it.
func TestGrounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	california := w.account("CA", "Energy")
	newYork := w.account("NY", "Financials")
	unplaced := w.account("CA", "")
	german := w.create("loader@amer", "account", w.accountFields("", "Energy", "country", "DE"))
	german.Entity = "account"
	wests := w.ok(w.door.Create(t.Context(), caller("rep.west@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{
		{Fields: w.accountFields("WA", "Utilities"), Department: "west-sales", Sensitivity: 2}}}))
	secret := w.ok(w.door.Create(t.Context(), caller("loader@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{
		{Fields: w.accountFields("CA", "Energy"), Sensitivity: 7}}}))
	secret.Entity = "account"

	cases := []struct {
		ground string
		as     crm.SubjectID
		rec    crm.Record
		want   string // what is allowed: r(ead) u(pdate) d(elete) s(hare) w(ithhold)
	}{
		{"territory", "rep.west@amer", california, "rudsw"},
		{"territory, another's", "rep.west@amer", newYork, ""},
		{"territory, root above", "manager.us@amer", newYork, "rudsw"},
		{"territory, other country", "manager.us@amer", german, ""},
		{"segment", "rep.energy@amer", california, "rudsw"},
		{"segment, another's", "rep.energy@amer", newYork, ""},
		{"reader", "banker@amer", newYork, "r"},
		{"reader, another segment", "banker@amer", california, ""},
		{"clearance", "rep.west@amer", secret, ""},
		{"steward of all segments", "rep.west@amer", unplaced, "rudsw"},
		{"not a steward", "rep.energy@amer", unplaced, ""},
		{"relationship", "analyst@amer", wests, "rusw"},
		{"no relationship", "lawyer@amer", wests, ""},
		{"officers read no records", "officer.a@amer", california, ""},
		{"ops read no records", "ops@amer", california, ""},
	}
	for _, tc := range cases {
		t.Run(tc.ground+" of "+string(tc.as), func(t *testing.T) { w.wantActions(t, tc.as, tc.rec, tc.want) })
	}

	if w.sees("loader@amer", california) {
		t.Error("a loader reads")
	}
	t.Run("agreement", func(t *testing.T) {
		a := w.agree(crm.Agreement{Account: newYork.ID, Department: "legal"})
		w.wantActions(t, "lawyer@amer", newYork, "rsw")
		w.wantActions(t, "analyst@amer", newYork, "")
		w.endAgreement(a)
		w.wantActions(t, "lawyer@amer", newYork, "")
	})
	t.Run("agreement to update", func(t *testing.T) {
		a := w.agree(crm.Agreement{Account: newYork.ID, Department: "legal", Actions: []string{"read", "update"}, Groups: []string{"core", "personal"}})
		w.wantActions(t, "lawyer@amer", newYork, "rusw")
		w.endAgreement(a)
	})
	t.Run("agreement of a parent department", func(t *testing.T) {
		a := w.agree(crm.Agreement{Account: newYork.ID, Department: "sales"})
		w.wantActions(t, "rep.west@amer", newYork, "rsw") // west-sales is part of sales
		w.endAgreement(a)
		a = w.agree(crm.Agreement{Account: german.ID, Department: "west-sales"})
		w.wantActions(t, "manager.us@amer", german, "") // sales is more than west-sales
		w.endAgreement(a)
	})
	t.Run("wall", func(t *testing.T) {
		a := w.agree(crm.Agreement{Account: california.ID, Department: "west-sales", Effect: crm.EffectWall})
		w.wantActions(t, "rep.west@amer", california, "")
		w.wantActions(t, "manager.us@amer", california, "rudsw")
		w.endAgreement(a)
		w.wantActions(t, "rep.west@amer", california, "rudsw")
	})
	t.Run("share", func(t *testing.T) {
		g := w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: newYork.ID, Kind: crm.GrantShare, Key: "s:rep.west@amer"})
		w.wantActions(t, "rep.west@amer", newYork, "rsw")
		w.endGrant("manager.us@amer", g)
		w.wantActions(t, "rep.west@amer", newYork, "")
	})
	t.Run("share with a department", func(t *testing.T) {
		g := w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: newYork.ID, Kind: crm.GrantShare, Key: "d:legal"})
		w.wantActions(t, "lawyer@amer", newYork, "rsw")
		w.endGrant("manager.us@amer", g)
	})
	t.Run("withhold beats share", func(t *testing.T) {
		share := w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: newYork.ID, Kind: crm.GrantShare, Key: "s:rep.west@amer"})
		withhold := w.judge("rep.east@amer", crm.Grant{Entity: "account", Record: newYork.ID, Kind: crm.GrantWithhold, Key: "s:rep.west@amer"})
		w.wantActions(t, "rep.west@amer", newYork, "")
		w.endGrant("rep.east@amer", withhold)
		w.wantActions(t, "rep.west@amer", newYork, "rsw")
		w.endGrant("manager.us@amer", share)
	})
	t.Run("children follow their account", func(t *testing.T) {
		contact := w.create("manager.us@amer", "contact", w.contactFields(newYork))
		w.wantActions(t, "rep.east@amer", contact, "rudsw")
		w.wantActions(t, "rep.west@amer", contact, "")
		g := w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: newYork.ID, Kind: crm.GrantShare, Key: "s:rep.west@amer"})
		w.wantActions(t, "rep.west@amer", contact, "rsw")
		w.endGrant("manager.us@amer", g)
	})
	t.Run("catalogue", func(t *testing.T) {
		product := w.create("manager.us@amer", "product", w.fields("product", "source_id", "P1", "name", "Widget"))
		w.wantActions(t, "rep.west@amer", product, "r")
		w.wantActions(t, "manager.us@amer", product, "rud")
		w.wantActions(t, "officer.a@amer", product, "")
	})
}

// wantActions tries every action on a record: it compares what explain says
// with what the door does, and both with want.
func (w *world) wantActions(t *testing.T, as crm.SubjectID, rec crm.Record, want string) {
	t.Helper()
	got := ""
	if w.sees(as, rec) {
		got = "r"
	}
	for _, action := range []crm.Action{crm.ActionUpdate, crm.ActionDelete, crm.ActionShare, crm.ActionWithhold} {
		if w.may(t, as, rec, action) {
			got += string(action[0])
		}
	}
	if got != want {
		t.Errorf("%s may %q, want %q", as, got, want)
	}
	for _, action := range []crm.Action{crm.ActionRead, crm.ActionUpdate, crm.ActionDelete} {
		e, err := w.door.Explain(t.Context(), caller("officer.a@amer"), rec.Entity, rec.ID, action, as)
		if err != nil {
			t.Fatal(err)
		}
		allowed := false
		for _, c := range want {
			allowed = allowed || byte(c) == action[0]
		}
		if e.Allowed != allowed {
			t.Errorf("explain %s %s says %v: opens %v, closes %v", as, action, e.Allowed, e.Opens, e.Closes)
		}
	}
}

// may tries an action in a way that leaves the record as it was: the attempt
// fails later, for a reason that only who may act gets to hear.
func (w *world) may(t *testing.T, as crm.SubjectID, rec crm.Record, action crm.Action) bool {
	t.Helper()
	const never = 1 << 40 // a version no record has
	var err error
	var want crm.Kind
	switch action {
	case crm.ActionUpdate:
		want, err = crm.Stale, w.refusal(w.door.Update(t.Context(), caller(as), access.UpdateRequest{Entity: rec.Entity,
			Rows: []access.UpdateRow{{ID: rec.ID, Version: never}}}))
	case crm.ActionDelete:
		want, err = crm.Stale, w.refusal(w.door.Delete(t.Context(), caller(as), access.DeleteRequest{Entity: rec.Entity,
			Rows: []access.DeleteRow{{ID: rec.ID, Version: never}}}))
	default: // a judgement without a reason is invalid
		want = crm.Invalid
		_, err = w.door.Judge(t.Context(), caller(as), crm.Grant{Entity: rec.Entity, Record: rec.ID, Kind: crm.GrantKind(action), Key: "d:legal"})
	}
	if kind := crm.KindOf(err); kind != want && kind != crm.NotFound && kind != crm.Denied {
		t.Fatalf("%s of %s: %v", action, as, err)
	}
	return crm.KindOf(err) == want
}

func (w *world) endAgreement(a crm.Agreement) {
	w.t.Helper()
	if _, err := w.door.EndAgreement(w.t.Context(), caller("officer.a@amer"), a.ID, "done"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) endGrant(as crm.SubjectID, g crm.Grant) {
	w.t.Helper()
	if _, err := w.door.EndGrant(w.t.Context(), caller(as), g.ID, "done"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) contactFields(account crm.Record) map[string]crm.Value {
	f := w.fields("contact", "source_id", "K"+string(account.ID)[30:]+time.Now().Format("150405.000000"), "account_id", string(account.ID))
	def, _ := w.store.Definition("contact")
	for _, x := range def.Fields {
		if x.Required && f[x.Name].IsNull() && x.Type == crm.TypeString {
			f[x.Name] = crm.String("Ada")
		}
	}
	return f
}

func TestGroupsAreRevealedByGround(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	withheld := func(as crm.SubjectID) []string {
		t.Helper()
		return w.ok(w.get(as, rec)).Withheld
	}
	if got := withheld("rep.west@amer"); len(got) != 0 {
		t.Errorf("by territory: %v withheld", got)
	}
	a := w.agree(crm.Agreement{Account: rec.ID, Department: "legal", Groups: []string{"core", "personal"}})
	got := w.ok(w.get("lawyer@amer", rec))
	if len(got.Withheld) != 1 || got.Withheld[0] != "commercial" {
		t.Errorf("by agreement: %v withheld", got.Withheld)
	}
	if _, shown := got.Fields["annual_revenue"]; shown {
		t.Error("a withheld field is in the record")
	}
	if got.Fields["tax_id"].Text() != "12-3456789" {
		t.Error("a revealed field is missing")
	}
	w.endAgreement(a)
	w.judge("rep.west@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:lawyer@amer"})
	if got := withheld("lawyer@amer"); len(got) != 2 {
		t.Errorf("by share: %v withheld", got)
	}
}

// TestMaskedFieldsDoNotLeakThroughFilterAndSort probes withheld values the way
// a curious colleague would.
func TestMaskedFieldsDoNotLeakThroughFilterAndSort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	poor := w.account("CA", "Energy", "annual_revenue", "10")
	rich := w.account("CA", "Energy", "annual_revenue", "99")
	own := w.account("NY", "Energy", "annual_revenue", "50")
	for _, rec := range []crm.Record{poor, rich} {
		w.judge("rep.west@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.east@amer"})
	}
	as := caller("rep.east@amer")
	for filter, want := range map[string]int64{
		"annual_revenue > 0": 1, "annual_revenue = 99": 0, "not annual_revenue = 99": 1, "annual_revenue is null": 2,
		"annual_revenue in (10, 50, 99)": 1, "tax_id contains '12'": 1, "email is not null": 1,
	} {
		n, err := w.door.Count(t.Context(), as, "account", filter)
		if err != nil {
			t.Fatal(err)
		}
		if n != want {
			t.Errorf("count where %s: %d, want %d", filter, n, want)
		}
	}
	for _, sort := range []string{"annual_revenue,id", "-annual_revenue,id"} {
		var order []crm.RecordID
		page, _, err := w.door.List(t.Context(), as, access.ListRequest{Entity: "account", Sort: sort})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			if r.ID != own.ID {
				order = append(order, r.ID)
			}
		}
		if len(order) != 2 || order[0] != poor.ID { // ids rise with time; withheld values do not matter
			t.Errorf("order by %s follows withheld values: %v", sort, order)
		}
	}
	// One who is shown the group on no record at all is told so.
	_, err := w.door.Count(t.Context(), caller("analyst@amer"), "account", "annual_revenue > 0")
	if err != nil {
		wantKind(t, err, crm.Denied, "annual_revenue")
	}
}
