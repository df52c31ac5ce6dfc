package access_test

import (
	"slices"
	"strings"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// steps are the grounds of the next steps to action, with their texts.
func (w *world) steps(rec crm.Record, action crm.Action, subject crm.SubjectID) (grounds []string, text string) {
	w.t.Helper()
	e, err := w.door.Explain(w.t.Context(), caller("officer.a@amer"), rec.Entity, rec.ID, action, subject)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range e.Steps {
		grounds, text = append(grounds, s.Ground), text+s.Text+"\n"
	}
	return grounds, text
}

func TestWhyNotNamesTheNextLawfulStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.ok(w.door.Create(t.Context(), caller("manager.us@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{
		{Fields: w.accountFields("NY", "Energy"), Sensitivity: 3}}}))
	w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Clearance = 1 })
	for _, tc := range []struct {
		name    string
		subject crm.SubjectID
		action  crm.Action
		want    []string
		says    []string
	}{
		{"nothing is missing", "rep.east@amer", crm.ActionRead, nil, nil},
		{"territory and clearance", "rep.west@amer", crm.ActionRead, []string{"territory", "agreement", "share"},
			[]string{"territory US-NY is not assigned; clearance 3 is needed", "department sales", "ask its owner manager.us@amer for a share"}},
		{"segment alone, and a share opens no update", "banker@amer", crm.ActionRead, []string{"territory", "share"},
			[]string{"segment Energy is not assigned: "}},
		{"a share opens no update", "rep.west@amer", crm.ActionUpdate, []string{"territory", "agreement"}, nil},
		{"a reader never updates", "banker@amer", crm.ActionUpdate, []string{"role"}, []string{"reader"}},
		{"officers see no records", "officer.a@amer", crm.ActionRead, []string{"role"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, text := w.steps(rec, tc.action, tc.subject)
			if !slices.Equal(got, tc.want) {
				t.Errorf("steps %v, want %v", got, tc.want)
			}
			for _, s := range tc.says {
				if !strings.Contains(text, s) {
					t.Errorf("%q is not in %q", s, text)
				}
			}
		})
	}

	// Every step is lawful: taken, it opens the record.
	w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:banker@amer"})
	if got, _ := w.steps(rec, crm.ActionRead, "banker@amer"); got != nil || !w.sees("banker@amer", rec) {
		t.Errorf("after the share there are steps left: %v", got)
	}
	kept := w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantWithhold, Key: "s:banker@amer"})
	if got, text := w.steps(rec, crm.ActionRead, "banker@amer"); !slices.Equal(got, []string{"withhold"}) || !strings.Contains(text, "manager.us@amer or an officer") {
		t.Errorf("withheld: %v %q", got, text)
	}
	if _, err := w.door.EndGrant(t.Context(), caller("officer.a@amer"), kept.ID, "over"); err != nil {
		t.Fatal(err)
	}
	// The giver moves away: the share waits for review, and the step says so.
	w.alter("manager.us@amer", func(s *store.SubjectFact) { s.Territories = []string{"DE"} })
	w.review()
	if got, text := w.steps(rec, crm.ActionRead, "banker@amer"); !slices.Contains(got, "share") || !strings.Contains(text, "is suspended; ask an officer to review it") {
		t.Errorf("suspended: %v %q", got, text)
	}
	// Who may not know of the record hears nothing of it.
	_, err := w.door.Explain(t.Context(), caller("rep.west@amer"), "account", rec.ID, "", "")
	wantKind(t, err, crm.NotFound, "")
}

func TestWhoSeesARecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Financials")
	w.agree(crm.Agreement{Account: rec.ID, Department: "legal", Groups: []string{"core", "commercial"}})
	w.agree(crm.Agreement{Account: rec.ID, Department: "sales", Effect: crm.EffectWall})
	c := w.called("officer.a@amer")
	viewers, err := w.door.WhoSees(t.Context(), c, "account", "source_id:"+rec.Fields["source_id"].Text())
	if err != nil {
		t.Fatal(err)
	}
	got := map[crm.SubjectID]access.Viewer{}
	for _, v := range viewers {
		got[v.Subject] = v
	}
	for _, s := range amer().Subjects { // who is listed sees, who is not does not
		if _, listed := got[s.ID]; listed != w.sees(s.ID, rec) {
			t.Errorf("%s is listed: %v", s.ID, listed)
		}
	}
	if v := got["lawyer@amer"]; len(v.Opens) != 1 || v.Opens[0].Ground != "agreement" || len(v.Revealed) != 2 {
		t.Errorf("the lawyer sees by %+v", v)
	}
	if v := got["contract:amer-finserv-account"]; v.Kind != crm.KindInstance || !slices.Equal(v.Revealed, []string{"core"}) {
		t.Errorf("finserv sees by %+v", v)
	}
	if _, ok := got["contract:amer-emea-account"]; ok {
		t.Error("emea is listed without an agreement")
	}
	ds, err := w.store.Decisions(t.Context(), c.Execution)
	if err != nil || len(ds) != 1 || ds[0].Action != "explain.who" || *ds[0].Found != int64(len(viewers)) || ds[0].Records[0] != rec.ID {
		t.Errorf("logged before the answer: %+v, %v", ds, err)
	}
	_, err = w.door.WhoSees(t.Context(), caller("rep.east@amer"), "account", string(rec.ID))
	wantKind(t, err, crm.Denied, "")
	_, err = w.door.WhoSees(t.Context(), caller("officer.a@amer"), "account", string(crm.NewRecordID()))
	wantKind(t, err, crm.NotFound, "")
	_, err = w.door.WhoSees(t.Context(), caller("officer.a@amer"), "account", "source_id:NONE")
	wantKind(t, err, crm.NotFound, "")
}

func TestWhatASubjectSees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	west, east := w.account("CA", "Energy"), w.account("NY", "Energy")
	w.account("CA", "Financials")
	w.judge("rep.east@amer", crm.Grant{Entity: "account", Record: east.ID, Kind: crm.GrantShare, Key: "s:rep.west@amer"})
	w.agree(crm.Agreement{Account: west.ID, Department: "west-sales"})
	c := w.called("officer.a@amer")
	sights, err := w.door.WhatSees(t.Context(), c, "rep.west@amer")
	if err != nil || len(sights) != 8 {
		t.Fatal(sights, err)
	}
	i := slices.IndexFunc(sights, func(s access.Sight) bool { return s.Entity == "account" })
	s := sights[i]
	n, err := w.door.Count(t.Context(), caller("rep.west@amer"), "account", "")
	if err != nil || s.Total != n || n != 3 {
		t.Errorf("total %d, count says %d, %v", s.Total, n, err)
	}
	if s.Grounds["territory"] != 2 || s.Grounds["share"] != 1 || s.Grounds["agreement"] != 1 || len(s.Grounds) != 3 {
		t.Errorf("grounds %v", s.Grounds)
	}
	if s.Territories["US-CA"] != 2 || s.Territories["US-NY"] != 1 || s.Segments["Energy"] != 2 {
		t.Errorf("places %v %v", s.Territories, s.Segments)
	}
	ds, err := w.store.Decisions(t.Context(), c.Execution)
	if err != nil || len(ds) != 1 || ds[0].Action != "explain.what" || ds[0].Reasons[0] != "rep.west@amer" {
		t.Errorf("logged before the answer: %+v, %v", ds, err)
	}
	_, err = w.door.WhatSees(t.Context(), caller("manager.us@amer"), "rep.west@amer")
	wantKind(t, err, crm.Denied, "")
	_, err = w.door.WhatSees(t.Context(), caller("officer.a@amer"), "nobody@amer")
	wantKind(t, err, crm.Invalid, "subject")
}
