package access_test

import (
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

func TestAgreements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, officer := t.Context(), caller("officer.a@amer")
	rec := w.account("CA", "Energy", "source_id", "AAPL")
	byKey, err := w.door.CreateAgreement(ctx, officer, crm.Agreement{Account: "source_id:AAPL", Department: "amer/legal", Reason: "audit", Document: "vault/17"})
	if err != nil {
		t.Fatal(err)
	}
	if byKey.Account != rec.ID || byKey.Department != "legal" || byKey.Effect != crm.EffectOpen || byKey.By != "officer.a@amer" ||
		len(byKey.Actions) != 2 || byKey.Groups[0] != "core" || !byKey.To.Equal(crm.Forever) || byKey.Document != "vault/17" {
		t.Errorf("created %+v", byKey)
	}
	list := func(all bool) int {
		t.Helper()
		as, err := w.door.ListAgreements(ctx, officer, all)
		if err != nil {
			t.Fatal(err)
		}
		return len(as)
	}
	ended, err := w.door.EndAgreement(ctx, officer, byKey.ID, "audit done")
	if err != nil || !ended.Ended || !ended.To.Before(time.Now().Add(time.Minute)) || !ended.From.Equal(byKey.From) {
		t.Errorf("ended %+v, %v", ended, err)
	}
	if open, all := list(false), list(true); open != 0 || all != 1 {
		t.Errorf("%d open, %d in all", open, all)
	}
	_, err = w.door.EndAgreement(ctx, officer, byKey.ID, "again")
	wantKind(t, err, crm.Conflict, "")
	_, err = w.door.EndAgreement(ctx, officer, string(crm.NewRecordID()), "")
	wantKind(t, err, crm.NotFound, "")
	_, err = w.door.EndAgreement(ctx, officer, "x", "")
	wantKind(t, err, crm.NotFound, "")

	good := crm.Agreement{Account: rec.ID, Department: "legal"}
	for name, tc := range map[string]struct {
		change func(*crm.Agreement)
		field  string
	}{
		"no account":           {func(a *crm.Agreement) { a.Account = "" }, "account"},
		"unknown account":      {func(a *crm.Agreement) { a.Account = crm.NewRecordID() }, "account"},
		"unknown key":          {func(a *crm.Agreement) { a.Account = "source_id:NONE" }, "account"},
		"nonsense account":     {func(a *crm.Agreement) { a.Account = "apple" }, "account"},
		"no department":        {func(a *crm.Agreement) { a.Department = "" }, "department"},
		"unknown department":   {func(a *crm.Agreement) { a.Department = "espionage" }, "department"},
		"unknown effect":       {func(a *crm.Agreement) { a.Effect = "maybe" }, "effect"},
		"ends before it began": {func(a *crm.Agreement) { a.To = time.Now().Add(-time.Hour) }, "to"},
		"unknown action":       {func(a *crm.Agreement) { a.Actions = []string{"delete"} }, "actions"},
		"unknown group":        {func(a *crm.Agreement) { a.Groups = []string{"everything"} }, "groups"},
	} {
		t.Run(name, func(t *testing.T) {
			a := good
			tc.change(&a)
			_, err := w.door.CreateAgreement(ctx, officer, a)
			wantKind(t, err, crm.Invalid, tc.field)
		})
	}
	for _, as := range []crm.SubjectID{"rep.west@amer", "manager.us@amer", "ops@amer", "loader@amer"} {
		_, err := w.door.CreateAgreement(ctx, caller(as), good)
		wantKind(t, err, crm.Denied, "")
		_, err = w.door.EndAgreement(ctx, caller(as), byKey.ID, "")
		wantKind(t, err, crm.Denied, "")
		_, err = w.door.ListAgreements(ctx, caller(as), true)
		wantKind(t, err, crm.Denied, "")
	}
}

func TestJudgement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	rec := w.account("CA", "Energy")
	judge := func(as crm.SubjectID, g crm.Grant) (crm.Grant, error) {
		g.Entity, g.Record = "account", rec.ID
		return w.door.Judge(ctx, caller(as), g)
	}
	share := crm.Grant{Kind: crm.GrantShare, Key: "s:rep.east@amer", Reason: "covers for me"}
	g, err := judge("rep.west@amer", share)
	if err != nil {
		t.Fatal(err)
	}
	if lasts := g.To.Sub(g.From); lasts != 30*24*time.Hour || g.By != "rep.west@amer" || g.Groups[0] != "core" || len(g.Groups) != 1 {
		t.Errorf("given %+v for %s", g, lasts)
	}
	t.Run("opens no more than its giver sees", func(t *testing.T) {
		onward := crm.Grant{Kind: crm.GrantShare, Key: "d:legal", Reason: "x", Groups: []string{"core", "personal"}}
		_, err := judge("rep.east@amer", onward) // who was shown core alone
		wantKind(t, err, crm.Denied, "groups")
		onward.Groups = nil
		if _, err := judge("rep.east@amer", onward); err != nil {
			t.Error(err)
		}
		if _, err := judge("rep.west@amer", crm.Grant{Kind: crm.GrantShare, Key: "d:credit", Reason: "x", Groups: []string{"core", "personal"}}); err != nil {
			t.Error(err)
		}
	})
	t.Run("has its limits", func(t *testing.T) {
		for name, tc := range map[string]struct {
			as    crm.SubjectID
			grant crm.Grant
			kind  crm.Kind
			field string
		}{
			"no reason":              {"rep.west@amer", crm.Grant{Kind: crm.GrantShare, Key: "d:legal", Reason: "  "}, crm.Invalid, "reason"},
			"unknown kind":           {"rep.west@amer", crm.Grant{Kind: "lend", Key: "d:legal", Reason: "x"}, crm.Invalid, "kind"},
			"nobody":                 {"rep.west@amer", crm.Grant{Kind: crm.GrantShare, Key: "legal", Reason: "x"}, crm.Invalid, "with"},
			"unknown subject":        {"rep.west@amer", crm.Grant{Kind: crm.GrantShare, Key: "s:spy@amer", Reason: "x"}, crm.Invalid, "with"},
			"unknown department":     {"rep.west@amer", crm.Grant{Kind: crm.GrantShare, Key: "d:spies", Reason: "x"}, crm.Invalid, "with"},
			"unknown group":          {"rep.west@amer", crm.Grant{Kind: crm.GrantShare, Key: "d:legal", Groups: []string{"all"}, Reason: "x"}, crm.Invalid, "groups"},
			"ends first":             {"rep.west@amer", crm.Grant{Kind: crm.GrantShare, Key: "d:legal", Reason: "x", To: time.Now().Add(-time.Hour)}, crm.Invalid, "to"},
			"withheld from officers": {"rep.west@amer", crm.Grant{Kind: crm.GrantWithhold, Key: "s:officer.a@amer", Reason: "x"}, crm.Denied, "with"},
			"a reader's":             {"banker@amer", crm.Grant{Kind: crm.GrantShare, Key: "d:legal", Reason: "x"}, crm.NotFound, ""},
			"a loader's":             {"loader@amer", crm.Grant{Kind: crm.GrantShare, Key: "d:legal", Reason: "x"}, crm.NotFound, ""},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := judge(tc.as, tc.grant)
				wantKind(t, err, tc.kind, tc.field)
			})
		}
		bank := w.account("NY", "Financials")
		_, err := w.door.Judge(ctx, caller("banker@amer"), crm.Grant{Entity: "account", Record: bank.ID, Kind: crm.GrantShare, Key: "d:legal", Reason: "x"})
		wantKind(t, err, crm.Denied, "") // may read, may not judge
		if _, err := judge("rep.west@amer", crm.Grant{Kind: crm.GrantShare, Key: "s:banker@finserv", Reason: "a colleague elsewhere"}); err != nil {
			t.Error(err)
		}
	})
	t.Run("is listed for who reads the record", func(t *testing.T) {
		gs, err := w.door.ListGrants(ctx, caller("rep.east@amer"), "account", rec.ID)
		if err != nil || len(gs) != 4 {
			t.Errorf("%d grants, %v", len(gs), err)
		}
		if gs, err = w.door.ListGrants(ctx, caller("officer.a@amer"), "account", rec.ID); err != nil || len(gs) != 4 {
			t.Errorf("an officer: %d grants, %v", len(gs), err)
		}
	})
	t.Run("is ended by its giver or an officer", func(t *testing.T) {
		_, err := w.door.EndGrant(ctx, caller("manager.us@amer"), g.ID, "no")
		wantKind(t, err, crm.Denied, "")
		_, err = w.door.EndGrant(ctx, caller("ops@amer"), g.ID, "no")
		wantKind(t, err, crm.NotFound, "")
		ended, err := w.door.EndGrant(ctx, caller("rep.west@amer"), g.ID, "back from leave")
		if err != nil || !ended.Ended {
			t.Errorf("ended %+v, %v", ended, err)
		}
		_, err = w.door.EndGrant(ctx, caller("officer.a@amer"), g.ID, "again")
		wantKind(t, err, crm.Conflict, "")
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("NY", "Energy")
	a := w.agree(crm.Agreement{Account: rec.ID, Department: "legal"})
	c := w.called("lawyer@amer")
	e, err := w.door.Explain(t.Context(), c, "account", rec.ID, "", "")
	if err != nil || !e.Allowed || e.Action != crm.ActionRead || e.Subject != "lawyer@amer" || len(e.Opens) != 1 ||
		e.Opens[0].Ground != "agreement" || e.Opens[0].Fact != a.ID || len(e.Revealed) != 1 || len(e.Withheld) != 2 ||
		e.Bundle != w.inForce().Digest() {
		t.Errorf("explained %+v, %v", e, err)
	}
	w.flush()
	ds, err := w.store.Decisions(t.Context(), c.Execution)
	if err != nil || len(ds) != 1 || len(ds[0].Facts) != 1 || ds[0].Facts[0] != a.ID {
		t.Errorf("logged %+v, %v", ds, err)
	}
	if e, err = w.door.Explain(t.Context(), c, "account", rec.ID, crm.ActionUpdate, ""); err != nil || e.Allowed {
		t.Errorf("update explained %+v, %v", e, err)
	}
	_, err = w.door.Explain(t.Context(), c, "account", rec.ID, "", "rep.east@amer")
	wantKind(t, err, crm.Denied, "")
	officer := caller("officer.a@amer")
	if e, err = w.door.Explain(t.Context(), officer, "account", rec.ID, "", "rep.west@amer"); err != nil || e.Allowed {
		t.Errorf("explained %+v, %v", e, err)
	}
	_, err = w.door.Explain(t.Context(), officer, "account", rec.ID, "", "nobody@amer")
	wantKind(t, err, crm.Invalid, "subject")
	_, err = w.door.Explain(t.Context(), officer, "account", crm.NewRecordID(), "", "rep.west@amer")
	wantKind(t, err, crm.NotFound, "")
}

func TestEvalShowsTheFilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sql, args, digest, err := w.door.Eval(t.Context(), caller("rep.west@amer"), "", "", "account")
	if err != nil || sql == "" || len(args) == 0 || digest != w.inForce().Digest() {
		t.Errorf("%q %v %q %v", sql, args, digest, err)
	}
	_, _, _, err = w.door.Eval(t.Context(), caller("rep.west@amer"), "rep.east@amer", "", "account")
	wantKind(t, err, crm.Denied, "")
	if _, _, _, err = w.door.Eval(t.Context(), caller("officer.a@amer"), "rep.east@amer", crm.ActionUpdate, "account"); err != nil {
		t.Error(err)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for permission, holders := range map[string]string{
		"agreement.write": "officer.a@amer", "explain.any": "officer.a@amer", "load.run": "loader@amer", "exchange.read": "ops@amer",
		"schema.read": "rep.west@amer",
	} {
		if err := w.door.Permit(t.Context(), caller(crm.SubjectID(holders)), permission); err != nil {
			t.Errorf("%s of %s: %v", permission, holders, err)
		}
		if permission != "schema.read" {
			wantKind(t, w.door.Permit(t.Context(), caller("rep.west@amer"), permission), crm.Denied, "")
		}
	}
	wantKind(t, w.door.Permit(t.Context(), caller("nobody@amer"), "schema.read"), crm.Denied, "")
	w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Roles = []string{"officer"} })
	if err := w.door.Permit(t.Context(), caller("rep.west@amer"), "agreement.write"); err != nil {
		t.Errorf("a new officer: %v", err)
	}
	defs, err := w.door.Definitions(t.Context(), caller("ops@amer"))
	if err != nil || len(defs) != 8 {
		t.Errorf("%d definitions, %v", len(defs), err)
	}
}
