package access_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

const chief crm.SubjectID = "manager.us@amer"

// secret is an account that the manager may not see: it is too sensitive.
func (w *world) secret() crm.Record {
	w.t.Helper()
	rec := w.ok(w.door.Create(w.t.Context(), caller("loader@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{
		{Fields: w.accountFields("CA", "Energy"), Sensitivity: 7}}}))
	rec.Entity = "account"
	return rec
}

func (w *world) breaks(as crm.SubjectID, rec crm.Record, lasts time.Duration) (access.Emergency, error) {
	return w.door.BreakGlass(w.t.Context(), w.called(as), access.BreakRequest{
		Entity: rec.Entity, Record: string(rec.ID), For: lasts, Reason: "the customer waits on the line", Ticket: "INC-7"})
}

// TestBreakGlass: a person who may opens one record to themselves, to read; an
// officer sees that they did, and what they read; it is reviewed once, by
// somebody else, after its end.
func TestBreakGlass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	rec, other := w.secret(), w.secret()
	contact := w.create("loader@amer", "contact", w.fields("contact", "source_id", "K1", "account_id", string(rec.ID)))
	contact.Entity = "contact"
	if w.sees(chief, rec) || w.sees(chief, contact) {
		t.Fatal("the manager sees it anyway")
	}
	e, err := w.breaks(chief, rec, 0)
	if err != nil {
		t.Fatal(err)
	}
	if e.To.Sub(e.From) != time.Hour || !e.Open() || e.Ticket != "INC-7" || e.Record != rec.ID || w.door.GlassBroken() != 1 {
		t.Errorf("opened: %+v", e)
	}
	if !w.sees(chief, rec) || w.sees(chief, other) || w.sees(chief, contact) || w.sees("rep.west@amer", rec) || w.sees("officer.a@amer", rec) {
		t.Error("another record is open than the one, or to others")
	}
	got := w.ok(w.get(chief, rec))
	if len(got.Withheld)+len(got.Masked) > 0 || got.Fields["tax_id"].Text() != "12-3456789" {
		t.Errorf("not all of it is read: %+v", got)
	}
	if e := w.refusal(w.update(chief, got, "city", "Oakland")); e.Kind != crm.Denied {
		t.Errorf("changed: %v", e)
	}
	_, err = w.door.Judge(ctx, w.called(chief), crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:rep.west@amer", Reason: "look"})
	wantKind(t, err, crm.Denied, "")
	_, err = w.breaks(chief, rec, 0)
	wantKind(t, err, crm.Conflict, "")
	why, err := w.door.Explain(ctx, w.called(chief), "account", rec.ID, "", "")
	if err != nil || len(why.Opens) != 1 || why.Opens[0].Ground != "emergency" || why.Opens[0].Fact != e.ID {
		t.Errorf("explained as %+v, %v", why, err)
	}
	viewers, err := w.door.WhoSees(ctx, w.called("officer.a@amer"), "account", string(rec.ID))
	if err != nil || !slices.ContainsFunc(viewers, func(v access.Viewer) bool { return v.Subject == chief }) {
		t.Errorf("who sees it: %+v, %v", viewers, err)
	}

	// The officer's side.
	officer := w.called("officer.a@amer")
	_, err = w.door.ReviewEmergency(ctx, officer, e.ID, "justified", "the call is on record")
	wantKind(t, err, crm.Conflict, "") // still open
	ended, err := w.door.EndEmergency(ctx, w.called(chief), e.ID, "done")
	if err != nil || ended.Open() {
		t.Fatalf("ended: %+v, %v", ended, err)
	}
	if w.sees(chief, rec) {
		t.Error("it is read after its end")
	}
	items, err := w.door.Emergencies(ctx, officer, store.EmergencyQuery{Waiting: true})
	if err != nil || len(items) != 1 || items[0].ID != e.ID || items[0].Execution != e.Execution || items[0].Overdue() {
		t.Fatalf("listed: %+v, %v", items, err)
	}
	for _, action := range []string{"get", "list", "history"} {
		if !slices.ContainsFunc(items[0].Reads, func(d store.Decision) bool { return d.Action == action && slices.Contains(d.Records, rec.ID) }) {
			t.Errorf("%s is not among what was read: %+v", action, items[0].Reads)
		}
	}
	own, err := w.door.Emergencies(ctx, w.called(chief), store.EmergencyQuery{})
	if err != nil || len(own) != 1 || len(own[0].Reads) != 0 {
		t.Errorf("their own: %+v, %v", own, err)
	}
	if others, err := w.door.Emergencies(ctx, w.called("rep.west@amer"), store.EmergencyQuery{}); err != nil || len(others) != 0 {
		t.Errorf("a colleague lists %+v, %v", others, err)
	}
	_, err = w.door.EndEmergency(ctx, w.called("rep.west@amer"), e.ID, "no")
	wantKind(t, err, crm.NotFound, "")
	_, err = w.door.ReviewEmergency(ctx, w.called(chief), e.ID, "justified", "it was")
	wantKind(t, err, crm.Denied, "")
	_, err = w.door.ReviewEmergency(ctx, officer, e.ID, "fine", "it was")
	wantKind(t, err, crm.Invalid, "verdict")
	reviewed, err := w.door.ReviewEmergency(ctx, officer, e.ID, "unjustified", "a colleague could have read it")
	if err != nil || reviewed.Verdict != "unjustified" || reviewed.VerdictBy != "officer.a@amer" {
		t.Errorf("reviewed: %+v, %v", reviewed, err)
	}
	_, err = w.door.ReviewEmergency(ctx, officer, e.ID, "justified", "on second thoughts")
	wantKind(t, err, crm.Conflict, "")
	if waiting, _, err := w.store.EmergenciesWaiting(ctx); err != nil || waiting != 0 {
		t.Errorf("%d wait, %v", waiting, err)
	}
}

// TestNobodyReviewsTheirOwnGlass: not even who is an officer as well.
func TestNobodyReviewsTheirOwnGlass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.secret()
	w.alter(chief, func(s *store.SubjectFact) { s.Roles = []string{"manager", "officer"} })
	e, err := w.breaks(chief, rec, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.door.EndEmergency(t.Context(), w.called(chief), e.ID, "done"); err != nil {
		t.Fatal(err)
	}
	_, err = w.door.ReviewEmergency(t.Context(), w.called(chief), e.ID, "justified", "I know it was")
	wantKind(t, err, crm.Denied, "")
}

// TestGlassDoesNotBreakWalls: what a wall, a withhold or a denial closes stays
// closed, and is answered and logged as what was never there; the attempt leaves
// no fact and takes no turn.
func TestGlassDoesNotBreakWalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	walled, withheld, never := w.secret(), w.secret(), crm.Record{Entity: "account"}
	never.ID = crm.NewRecordID()
	w.agree(crm.Agreement{Account: walled.ID, Department: "sales", Effect: crm.EffectWall, Reason: "an information barrier"})
	w.sql(fmt.Sprintf(`insert into fact."grant" (id, entity, record, kind, key, groups, reason, given_by, recorded_by, valid_from, valid_to)
		values (gen_random_uuid(), 'account', '%s', 'withhold', 's:%s', '{}', 'merger', 'x@amer', 'x@amer', now(), 'infinity')`, withheld.ID, chief))
	var said []string
	for name, rec := range map[string]crm.Record{"walled": walled, "withheld": withheld, "never there": never} {
		_, err := w.breaks(chief, rec, 0)
		wantKind(t, err, crm.NotFound, "")
		said = append(said, fmt.Sprint(err))
		logged, err := w.store.FindDecisions(t.Context(), store.DecisionQuery{Record: rec.ID, Subject: chief, Limit: 10}) // durable already: nothing was flushed
		if err != nil || len(logged) != 1 || logged[0].Action != "breakglass" || logged[0].Allowed || len(logged[0].Facts) != 0 {
			t.Errorf("%s: logged as %+v, %v", name, logged, err)
		}
	}
	if said[0] != said[1] || said[1] != said[2] {
		t.Errorf("told apart: %q", said)
	}
	for _, name := range []string{"source_id:" + walled.Fields["source_id"].Text(), "source_id:never"} {
		_, err := w.door.BreakGlass(t.Context(), w.called(chief), access.BreakRequest{Entity: "account", Record: name, Reason: "the customer waits"})
		wantKind(t, err, crm.NotFound, "")
	}
	if found, err := w.store.Emergencies(t.Context(), store.EmergencyQuery{Limit: 10}); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}

	open := w.secret()
	if _, err := w.breaks(chief, open, 0); err != nil || !w.sees(chief, open) {
		t.Fatalf("not open: %v", err)
	}
	w.agree(crm.Agreement{Account: open.ID, Department: "sales", Effect: crm.EffectWall, Reason: "an information barrier"})
	if w.sees(chief, open) {
		t.Error("a wall does not close what a broken glass opened")
	}
}

// TestGlassEndsByTheStatementsTime: nothing is written, and it closes.
func TestGlassEndsByTheStatementsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.secret()
	e, err := w.breaks(chief, rec, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	stamp, _, err := w.store.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.until(func() bool { rs, err := w.get(chief, rec); return err == nil && rs[0].Err != nil })
	after, now, err := w.store.Stamp(t.Context())
	if err != nil || after != stamp || now.Before(e.To) {
		t.Errorf("closed at %s under stamp %d, %v; it was to hold until %s, stamp %d", now, after, err, e.To, stamp)
	}
}

// TestGlassHasLimits: of policy, exactly also when many break it at once; and
// who loses the right to break it reads no more.
func TestGlassHasLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	rec := w.secret()
	for name, c := range map[string]struct {
		who    crm.SubjectID
		lasts  time.Duration
		reason string
		field  string
	}{
		"a rep":             {"rep.west@amer", 0, "the customer waits", ""},
		"an officer":        {"officer.a@amer", 0, "the customer waits", ""},
		"too long":          {chief, 61 * time.Minute, "the customer waits", "for"},
		"no reason to tell": {chief, 0, "   because    ", "reason"},
	} {
		_, err := w.door.BreakGlass(ctx, w.called(c.who), access.BreakRequest{Entity: "account", Record: string(rec.ID), For: c.lasts, Reason: c.reason})
		if wantKind(t, err, crm.Denied, c.field); t.Failed() {
			t.Fatal(name)
		}
	}
	const most = 5
	var opened atomic.Int64
	var all sync.WaitGroup
	recs := make([]crm.Record, 2*most)
	for i := range recs {
		recs[i] = w.secret()
	}
	for _, rec := range recs {
		all.Go(func() {
			for { // facts that change too fast are no refusal
				_, err := w.breaks(chief, rec, 0)
				if crm.KindOf(err) == crm.Unavailable && err != nil {
					continue
				}
				if err == nil {
					opened.Add(1)
				}
				return
			}
		})
	}
	all.Wait()
	if opened.Load() != most {
		t.Errorf("%d are open at once, want %d", opened.Load(), most)
	}
	i := slices.IndexFunc(recs, func(r crm.Record) bool { return w.sees(chief, r) })
	w.alter(chief, func(s *store.SubjectFact) { s.Roles = []string{"rep"} })
	if w.sees(chief, recs[i]) {
		t.Error("who may not break the glass any more still reads")
	}
}

// TestGlassIsNotPassedOn: who may share the core of a record and broke the
// glass for the rest shares the core and no more.
func TestGlassIsNotPassedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.alter("analyst@amer", func(s *store.SubjectFact) { s.Roles = []string{"manager"} })
	rec := w.ok(w.door.Create(t.Context(), caller("rep.west@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{
		{Fields: w.accountFields("WA", "Utilities"), Department: "west-sales", Sensitivity: 2}}}))
	rec.Entity = "account"
	if got := w.ok(w.get("analyst@amer", rec)); got.Shows("commercial") {
		t.Fatalf("shown anyway: %+v", got)
	}
	if _, err := w.breaks("analyst@amer", rec, 0); err != nil {
		t.Fatal(err)
	}
	if got := w.ok(w.get("analyst@amer", rec)); !got.Shows("commercial") {
		t.Fatalf("not shown: %+v", got)
	}
	share := crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "s:lawyer@amer", Groups: []string{"core", "commercial"}, Reason: "look"}
	_, err := w.door.Judge(t.Context(), w.called("analyst@amer"), share)
	wantKind(t, err, crm.Denied, "groups")
	share.Groups = []string{"core"}
	w.judge("analyst@amer", share)
}

// TestOverdueReview: a week without a review is told.
func TestOverdueReview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.breaks(chief, w.secret(), 0); err != nil {
		t.Fatal(err)
	}
	w.sql(`alter table meridian.emergency disable trigger append_only;
		update fact."grant" set valid_from = valid_from - interval '8 days', valid_to = valid_to - interval '8 days' where kind = 'emergency';
		update meridian.emergency set at = at - interval '8 days';
		alter table meridian.emergency enable trigger append_only`)
	list, err := w.door.Emergencies(t.Context(), w.called("officer.a@amer"), store.EmergencyQuery{})
	if err != nil || len(list) != 1 || !list[0].Overdue() || list[0].Open() {
		t.Errorf("%+v, %v", list, err)
	}
	if waiting, overdue, err := w.store.EmergenciesWaiting(t.Context()); err != nil || waiting != 1 || overdue != 1 {
		t.Errorf("%d wait, %d for long, %v", waiting, overdue, err)
	}
}

// TestExplanationsOfferBreakGlass to who may break it, and in the same words
// whether the record is hidden or not there; and never where a wall stands.
func TestExplanationsOfferBreakGlass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.secret()
	ask := func(as crm.SubjectID, id crm.RecordID, action crm.Action) string {
		_, err := w.door.Explain(t.Context(), w.called(as), "account", id, action, "")
		wantKind(t, err, crm.NotFound, "")
		return err.Error()
	}
	for _, as := range []crm.SubjectID{chief, "rep.west@amer"} {
		for _, action := range []crm.Action{"", crm.ActionRead, crm.ActionUpdate} {
			said := ask(as, rec.ID, action)
			if nothing := ask(as, crm.NewRecordID(), action); said != nothing {
				t.Errorf("%s, %s: %q of what is hidden, %q of what is not there", as, action, said, nothing)
			}
			if offered := strings.Contains(said, "meridian breakglass open"); offered != (as == chief && action != crm.ActionUpdate) {
				t.Errorf("%s is told %q about %s", as, said, action)
			}
		}
	}
	offered := func(as crm.SubjectID, action crm.Action) bool {
		grounds, _ := w.steps(rec, action, as)
		return slices.Contains(grounds, "emergency")
	}
	if !offered(chief, crm.ActionRead) || offered(chief, crm.ActionUpdate) || offered("rep.west@amer", crm.ActionRead) {
		t.Error("an officer is told other steps than there are")
	}
	w.agree(crm.Agreement{Account: rec.ID, Department: "sales", Effect: crm.EffectWall})
	if offered(chief, crm.ActionRead) {
		t.Error("breaking the glass is offered where a wall stands")
	}
}
