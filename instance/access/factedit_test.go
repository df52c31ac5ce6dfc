package access_test

import (
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// TestOfficersEditFacts: an edit holds for the next statement of everybody, is
// logged with its decision, and is an officer's to make, about others.
func TestOfficersEditFacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	rec := w.account("NV", "Energy")
	officer := w.called("officer.a@amer")
	east := crm.SubjectID("rep.east@amer")
	if w.sees(east, rec) {
		t.Fatal("east sees Nevada before")
	}
	assign := store.Edit{Do: store.EditAssign, Kind: "territory", ID: "US-NV", Subject: east}
	facts, err := w.door.EditFacts(ctx, officer, []store.Edit{assign}, "covers Nevada")
	if err != nil || len(facts) != 1 || facts[0].Origin != "officer.a@amer" || facts[0].Reason != "covers Nevada" || facts[0].Declared() {
		t.Fatalf("%+v, %v", facts, err)
	}
	if !w.sees(east, rec) {
		t.Error("east does not see Nevada")
	}
	ds, err := w.store.Decisions(ctx, officer.Execution)
	if err != nil || len(ds) != 1 || ds[0].Action != "fact.edit" || !ds[0].Allowed || len(ds[0].Facts) != 1 {
		t.Errorf("logged %+v, %v", ds, err)
	}
	w.reconcile() // the configuration does not know of it
	if !w.sees(east, rec) {
		t.Error("a restart took it away")
	}
	assign.Do = store.EditUnassign
	if _, err := w.door.EditFacts(ctx, officer, []store.Edit{assign}, "back to before"); err != nil || w.sees(east, rec) {
		t.Errorf("after the end: %v, %v", w.sees(east, rec), err)
	}
	if list, err := w.door.FactHistory(ctx, officer, "subject", string(east)); err != nil || len(list) < 3 {
		t.Errorf("history %+v, %v", list, err)
	}
	if list, err := w.door.ListFacts(ctx, officer, "department", nil); err != nil || len(list) != 4 {
		t.Errorf("departments %+v, %v", list, err)
	}

	_, err = w.door.EditFacts(ctx, officer, []store.Edit{assign}, " ")
	wantKind(t, err, crm.Invalid, "reason")
	own := store.Edit{Do: store.EditAssign, Kind: "territory", ID: "US", Subject: "officer.a@amer"}
	_, err = w.door.EditFacts(ctx, officer, []store.Edit{own}, "I would like to see")
	wantKind(t, err, crm.Denied, "subject")
	own = store.Edit{Do: store.EditChange, Kind: "subject", ID: "officer.a@amer", Roles: []string{"rep"}}
	_, err = w.door.EditFacts(ctx, officer, []store.Edit{own}, "I would like to see")
	wantKind(t, err, crm.Denied, "subject")
	for _, as := range []crm.SubjectID{"rep.west@amer", "manager.us@amer", "ops@amer", "loader@amer"} {
		_, err := w.door.EditFacts(ctx, caller(as), []store.Edit{assign}, "because")
		wantKind(t, err, crm.Denied, "")
		_, err = w.door.ListFacts(ctx, caller(as), "subject", nil)
		wantKind(t, err, crm.Denied, "")
		_, err = w.door.FactHistory(ctx, caller(as), "subject", string(east))
		wantKind(t, err, crm.Denied, "")
	}
}

// TestJudgementsHaveLimits that policy sets, in both directions.
func TestJudgementsHaveLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	judge := func(g crm.Grant) error {
		g.Entity, g.Record, g.Reason = "account", rec.ID, "because"
		_, err := w.door.Judge(t.Context(), caller("rep.west@amer"), g)
		return err
	}
	withhold := crm.Grant{Kind: crm.GrantWithhold, Key: "d:legal"}
	if err := judge(withhold); err != nil {
		t.Errorf("from legal, where no officer is: %v", err)
	}
	w.alter("officer.a@amer", func(s *store.SubjectFact) { s.Departments = []string{"legal"} })
	wantKind(t, judge(withhold), crm.Denied, "with")
	wantKind(t, judge(crm.Grant{Kind: crm.GrantWithhold, Key: "s:officer.a@amer"}), crm.Denied, "with")
	if err := judge(crm.Grant{Kind: crm.GrantShare, Key: "d:legal"}); err != nil {
		t.Errorf("sharing with a department that has an officer: %v", err)
	}
	w.alter("officer.a@amer", func(s *store.SubjectFact) { s.Departments = []string{"west-sales"} })
	wantKind(t, judge(crm.Grant{Kind: crm.GrantWithhold, Key: "d:sales"}), crm.Denied, "with") // a member of west-sales is one of sales
	wantKind(t, judge(crm.Grant{Kind: crm.GrantShare, Key: "s:rep.west@amer"}), crm.Denied, "with")

	share := crm.Grant{Kind: crm.GrantShare, Key: "d:credit", From: time.Now()}
	share.To = share.From.AddDate(2, 0, 0)
	wantKind(t, judge(share), crm.Denied, "to")
	share.To = share.From.Add(365 * 24 * time.Hour)
	if err := judge(share); err != nil {
		t.Errorf("for a year: %v", err)
	}
}

// TestAgreementsAboutAreas open and wall off what lies there, and what will.
func TestAgreementsAboutAreas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, officer := t.Context(), caller("officer.a@amer")
	oil, bank := w.account("CA", "Energy"), w.account("CA", "Financials")
	lawyer, west := crm.SubjectID("lawyer@amer"), crm.SubjectID("rep.west@amer")
	a := w.agree(crm.Agreement{Territory: "US-W", Segment: "Energy", Department: "legal", Reason: "inquiry"})
	if a.Account != "" || a.Territory != "US-W" || a.Effect != crm.EffectOpen {
		t.Errorf("created %+v", a)
	}
	if !w.sees(lawyer, oil) || w.sees(lawyer, bank) {
		t.Error("the area opens what lies in it, and nothing else")
	}
	later := w.account("OR", "Energy")
	if !w.sees(lawyer, later) {
		t.Error("what comes to lie there is open too")
	}
	e, err := w.door.Explain(ctx, caller(lawyer), "account", oil.ID, "", "")
	if err != nil || len(e.Opens) != 1 || e.Opens[0].Ground != "area" || e.Opens[0].Fact != a.ID {
		t.Errorf("explained %+v, %v", e, err)
	}
	viewers, err := w.door.WhoSees(ctx, officer, "account", string(oil.ID))
	found := false
	for _, v := range viewers {
		found = found || v.Subject == lawyer
	}
	if err != nil || !found {
		t.Errorf("who sees it: %+v, %v", viewers, err)
	}
	wall := w.agree(crm.Agreement{Segment: "Energy", Department: "west-sales", Effect: crm.EffectWall, Reason: "barrier"})
	if w.sees(west, oil) || !w.sees(west, bank) {
		t.Error("the wall closes what lies in the area, and nothing else")
	}
	e, err = w.door.Explain(ctx, officer, "account", oil.ID, "", west)
	if err != nil || e.Allowed || len(e.Steps) == 0 || e.Steps[0].Fact != wall.ID || e.Steps[0].Text != "ask an officer to end the wall of an area on department west-sales" {
		t.Errorf("next steps %+v, %v", e, err)
	}
	if _, err := w.door.EndAgreement(ctx, officer, wall.ID, "over"); err != nil || !w.sees(west, oil) {
		t.Errorf("after the wall: %v", err)
	}
	good := crm.Agreement{Territory: "US-W", Department: "legal"}
	for name, tc := range map[string]struct {
		change func(*crm.Agreement)
		field  string
	}{
		"account and area":   {func(a *crm.Agreement) { a.Account = oil.ID }, "account"},
		"unknown territory":  {func(a *crm.Agreement) { a.Territory = "MOON" }, "territory"},
		"unknown segment":    {func(a *crm.Agreement) { a.Segment = "Moon" }, "segment"},
		"unknown department": {func(a *crm.Agreement) { a.OnDepartment = "moon" }, "on_department"},
		"no place":           {func(a *crm.Agreement) { a.Territory = crm.Unassigned }, "territory"},
	} {
		a := good
		tc.change(&a)
		_, err := w.door.CreateAgreement(ctx, officer, a)
		if err == nil {
			t.Errorf("%s: created", name)
			continue
		}
		wantKind(t, err, crm.Invalid, tc.field)
	}
}
