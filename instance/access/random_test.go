package access_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/store"
)

// TestEveryWayOfReadingAgrees: for random subjects, facts and records, list,
// get, count, history, watch and explain say the same of every record.
func TestEveryWayOfReadingAgrees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	states, sectors := []string{"CA", "NY", "TX", "ZZ"}, []string{"Energy", "Financials", ""}
	var records []crm.Record
	for i := range 12 {
		rs := w.ok(w.door.Create(t.Context(), caller("loader@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{{
			Fields: w.accountFields(states[i%4], sectors[i%3]), Sensitivity: i % 5, Department: []string{"", "sales", "legal"}[i%3]}}}))
		rs.Entity = "account"
		records = append(records, rs)
	}
	rapid.Check(t, func(t *rapid.T) {
		some := func(label string, from ...string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, 2, rapid.ID).Draw(t, label)
		}
		w.alter("rep.west@amer", func(s *store.SubjectFact) {
			s.Roles = some("roles", "rep", "manager", "reader", "loader")
			s.Clearance = rapid.IntRange(0, 4).Draw(t, "clearance")
			s.Territories = some("territories", "US", "US-CA", "US-NY", "US-S", trees.World, "DE")
			s.Segments = some("segments", trees.AllSegments, "Energy", "Financials")
			s.Departments = some("departments", "sales", "west-sales", "legal", "credit")
		})
		var agreements []crm.Agreement
		var grants []crm.Grant
		for i := range rapid.IntRange(0, 3).Draw(t, "agreements") {
			agreements = append(agreements, w.agree(crm.Agreement{
				Account:    rapid.SampledFrom(records).Draw(t, fmt.Sprint("agreement on ", i)).ID,
				Department: rapid.SampledFrom([]string{"sales", "legal"}).Draw(t, fmt.Sprint("agreement with ", i)),
				Effect:     rapid.SampledFrom([]crm.Effect{crm.EffectOpen, crm.EffectWall}).Draw(t, fmt.Sprint("effect ", i)),
				Groups:     some(fmt.Sprint("agreed groups ", i), "core", "commercial", "personal"),
			}))
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "grants") {
			rec := rapid.SampledFrom(records[:6]).Draw(t, fmt.Sprint("grant on ", i))
			seen, err := w.get("manager.us@amer", rec)
			if err != nil || seen[0].Err != nil || slices.Contains(seen[0].Record.Withheld, "core") {
				continue // the giver cannot see what they would share
			}
			grants = append(grants, w.judge("manager.us@amer", crm.Grant{
				Entity: "account", Record: rec.ID,
				Kind: rapid.SampledFrom([]crm.GrantKind{crm.GrantShare, crm.GrantWithhold}).Draw(t, fmt.Sprint("kind ", i)),
				Key:  rapid.SampledFrom([]string{"s:rep.west@amer", "d:legal", "d:sales"}).Draw(t, fmt.Sprint("with ", i)),
			}))
		}
		w.agreesOnAll(t, "rep.west@amer", records)
		for _, a := range agreements {
			w.endAgreement(a)
		}
		for _, g := range grants {
			if _, err := w.door.EndGrant(w.t.Context(), caller("officer.a@amer"), g.ID, "end of case"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func (w *world) agreesOnAll(t *rapid.T, as crm.SubjectID, records []crm.Record) {
	ctx := w.t.Context()
	fatal := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	ids := make([]crm.RecordID, len(records))
	for i, r := range records {
		ids[i] = r.ID
	}
	got, err := w.door.Get(ctx, caller(as), "account", ids)
	fatal(err)
	listed := map[crm.RecordID]crm.Record{}
	sort := "-annual_revenue,name"
	for cursor := ""; ; { // page by page
		page, next, err := w.door.List(ctx, caller(as), access.ListRequest{Entity: "account", Limit: 3, Sort: sort, Cursor: cursor})
		if crm.KindOf(err) == crm.Denied && sort != "" { // a field of the order is shown on no record at all
			sort = ""
			continue
		}
		fatal(err)
		for _, r := range page {
			if _, twice := listed[r.ID]; twice {
				t.Fatalf("%s is on two pages", r.ID)
			}
			listed[r.ID] = r
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	n, err := w.door.Count(ctx, caller(as), "account", "")
	fatal(err)
	visible, _, err := w.door.Visible(ctx, caller(as), "account", "")
	fatal(err)
	if int(n) != len(listed) || len(visible) != len(listed) {
		t.Fatalf("list has %d records, count %d, watch %d", len(listed), n, len(visible))
	}
	for i, id := range ids {
		rec, inList := listed[id]
		_, historyErr := w.door.History(ctx, caller(as), "account", id, 0, 0)
		e, err := w.door.Explain(ctx, caller("officer.a@amer"), "account", id, crm.ActionRead, as)
		fatal(err)
		inGet := got[i].Err == nil
		if inGet != inList || inGet != (historyErr == nil) || inGet != slices.Contains(visible, id) || inGet != e.Allowed {
			t.Fatalf("%s: get %v, list %v, history %v, watch %v, explain %v (opens %v, closes %v)", id, inGet, inList,
				historyErr == nil, slices.Contains(visible, id), e.Allowed, e.Opens, e.Closes)
		}
		if !inGet {
			continue
		}
		if !slices.Equal(rec.Withheld, got[i].Record.Withheld) || !slices.Equal(rec.Withheld, e.Withheld) {
			t.Fatalf("%s withholds %v in list, %v in get, %v in explain", id, rec.Withheld, got[i].Record.Withheld, e.Withheld)
		}
		if _, shown := rec.Fields["tax_id"]; shown == slices.Contains(rec.Withheld, "personal") {
			t.Fatalf("%s: tax_id shown %v, withheld %v", id, shown, rec.Withheld)
		}
	}
}
