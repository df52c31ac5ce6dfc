package access_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

func TestLifeOfARecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, c := t.Context(), w.called("rep.west@amer")
	created := w.ok(w.door.Create(ctx, c, access.CreateRequest{Entity: "account", Rows: []access.NewRow{{Fields: w.accountFields("CA", "Energy")}}}))
	if created.Version != 1 || created.Home != "amer" || created.Territory != "US-CA" || created.Segment != "Energy" ||
		created.Owner != "rep.west@amer" || created.Account != created.ID || created.Jurisdiction != "US" || len(created.Withheld) != 0 {
		t.Errorf("created %+v", created)
	}
	updated := w.ok(w.update("rep.west@amer", created, "phone", "+14155550100", "annual_revenue", "2000000"))
	if updated.Version != 2 || updated.Fields["phone"].Text() != "+14155550100" || updated.Fields["annual_revenue"].Text() != "2000000" {
		t.Errorf("updated %+v", updated)
	}
	same := w.ok(w.update("rep.west@amer", updated, "phone", "+14155550100"))
	if same.Version != 2 {
		t.Errorf("a change of nothing made version %d", same.Version)
	}
	moved := w.ok(w.update("rep.west@amer", updated, "state", "WA", "sector", "Utilities"))
	if moved.Territory != "US-WA" || moved.Segment != "Utilities" {
		t.Errorf("moved to %s, %s", moved.Territory, moved.Segment)
	}
	versions, err := w.door.History(ctx, c, "account", created.ID, 0, 0)
	if err != nil || len(versions) != 3 || versions[0].Version != 3 || versions[2].Op != crm.OpCreate || versions[2].Actor != "rep.west@amer" {
		t.Fatalf("history %v, %v", versions, err)
	}
	if versions[2].Execution != c.Execution {
		t.Errorf("version 1 has execution %q", versions[2].Execution)
	}
	older, err := w.door.History(ctx, c, "account", created.ID, 0, 2)
	if err != nil || len(older) != 1 {
		t.Errorf("before version 2: %v, %v", older, err)
	}
	none, err := w.door.History(ctx, c, "account", created.ID, 0, 1)
	if err != nil || len(none) != 0 {
		t.Errorf("before version 1: %v, %v", none, err)
	}
	gone := w.ok(w.door.Delete(ctx, c, access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: moved.ID, Version: 3}}}))
	if gone.ID != moved.ID || gone.Fields["name"].Text() != moved.Fields["name"].Text() {
		t.Errorf("deleted %+v", gone)
	}
	if w.refusal(w.get("rep.west@amer", moved)).Kind != crm.NotFound {
		t.Error("still there")
	}
	if vs, err := w.door.History(ctx, c, "account", created.ID, 0, 0); err != nil || len(vs) != 4 {
		t.Errorf("history of the deleted: %v, %v", vs, err)
	}
}

func TestRefusalsOfAWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	row := func(u access.UpdateRow) ([]access.Result, error) {
		u.ID = rec.ID
		return w.door.Update(t.Context(), caller("rep.west@amer"), access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{u}})
	}
	f := func(pairs ...string) map[string]crm.Value { return w.fields("account", pairs...) }
	for name, tc := range map[string]struct {
		row   access.UpdateRow
		kind  crm.Kind
		field string
	}{
		"no version":         {access.UpdateRow{Fields: f("name", "X")}, crm.PreconditionRequired, ""},
		"old version":        {access.UpdateRow{Version: 9, Fields: f("name", "X")}, crm.Stale, ""},
		"unknown field":      {access.UpdateRow{Version: 1, Fields: map[string]crm.Value{"colour": crm.String("red")}}, crm.Invalid, "colour"},
		"wrong type":         {access.UpdateRow{Version: 1, Fields: map[string]crm.Value{"annual_revenue": crm.String("much")}}, crm.Invalid, "annual_revenue"},
		"not a decimal":      {access.UpdateRow{Version: 1, Fields: map[string]crm.Value{"annual_revenue": crm.Decimal("1e9")}}, crm.Invalid, "annual_revenue"},
		"clears required":    {access.UpdateRow{Version: 1, Fields: map[string]crm.Value{"name": {}}}, crm.Invalid, "name"},
		"unknown territory":  {access.UpdateRow{Version: 1, Territory: "XX"}, crm.Invalid, "territory"},
		"unknown segment":    {access.UpdateRow{Version: 1, Segment: "Magic"}, crm.Invalid, "segment"},
		"pin and unpin":      {access.UpdateRow{Version: 1, Territory: "US-CA", Unpin: true}, crm.Invalid, "unpin"},
		"moves out of reach": {access.UpdateRow{Version: 1, Fields: f("state", "NY")}, crm.Denied, ""},
		"pins out of reach":  {access.UpdateRow{Version: 1, Territory: "US-NY"}, crm.Denied, ""},
	} {
		t.Run(name, func(t *testing.T) {
			wantKind(t, w.refusal(row(tc.row)), tc.kind, tc.field)
		})
	}
	if got := w.ok(w.get("rep.west@amer", rec)); got.Version != 1 {
		t.Errorf("a refused write left version %d", got.Version)
	}
	create := func(n access.NewRow) *crm.Error {
		return w.refusal(w.door.Create(t.Context(), caller("rep.west@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{n}}))
	}
	missing := w.accountFields("CA", "Energy")
	delete(missing, "name")
	wantKind(t, create(access.NewRow{Fields: missing}), crm.Invalid, "name")
	wantKind(t, create(access.NewRow{Fields: w.accountFields("NY", "Energy")}), crm.Denied, "")
	wantKind(t, create(access.NewRow{Fields: w.accountFields("CA", "Energy"), Sensitivity: 10}), crm.Invalid, "sensitivity")
	wantKind(t, create(access.NewRow{Fields: w.accountFields("CA", "Energy"), Sensitivity: 9}), crm.Denied, "")
	wantKind(t, create(access.NewRow{Fields: w.accountFields("CA", "Energy"), Department: "legal"}), crm.Denied, "department")
	_, err := w.door.Create(t.Context(), caller("rep.west@amer"), access.CreateRequest{Entity: "unicorn"})
	wantKind(t, err, crm.NotFound, "")
	_, err = w.door.Create(t.Context(), caller("nobody@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{{}}})
	wantKind(t, err, crm.Denied, "")
	_, err = w.door.Create(t.Context(), caller("rep.west@amer"), access.CreateRequest{Entity: "account", Rows: make([]access.NewRow, 1001)})
	wantKind(t, err, crm.Invalid, "")
	child := w.refusal(w.door.Create(t.Context(), caller("rep.west@amer"), access.CreateRequest{Entity: "contact", Rows: []access.NewRow{
		{Fields: w.contactFields(rec), Territory: "US-WA"}}}))
	wantKind(t, child, crm.Invalid, "territory")
}

// TestPins: what a person places stays where it is until they give it back.
func TestPins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	update := func(rec crm.Record, u access.UpdateRow) crm.Record {
		t.Helper()
		u.ID, u.Version = rec.ID, rec.Version
		return w.ok(w.door.Update(t.Context(), caller("manager.us@amer"), access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{u}}))
	}
	rec := w.ok(w.door.Create(t.Context(), caller("manager.us@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{
		{Fields: w.accountFields("CA", "Energy"), Territory: "US-NY"}}}))
	if rec.Territory != "US-NY" || rec.Segment != "Energy" || !rec.Pinned {
		t.Fatalf("pinned to %s, %s, %v", rec.Territory, rec.Segment, rec.Pinned)
	}
	rec = update(rec, access.UpdateRow{Fields: w.fields("account", "state", "TX")})
	if rec.Territory != "US-NY" {
		t.Errorf("a pin moved to %s", rec.Territory)
	}
	rec = update(rec, access.UpdateRow{Segment: "Utilities"})
	if rec.Territory != "US-NY" || rec.Segment != "Utilities" {
		t.Errorf("placed in %s, %s", rec.Territory, rec.Segment)
	}
	rec = update(rec, access.UpdateRow{Unpin: true})
	if rec.Territory != "US-TX" || rec.Segment != "Energy" || rec.Pinned {
		t.Errorf("given back: %s, %s, %v", rec.Territory, rec.Segment, rec.Pinned)
	}
}

func TestNobodyOverwritesWhatTheyCannotSee(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("NY", "Energy")
	w.agree(crm.Agreement{Account: rec.ID, Department: "legal", Actions: []string{"read", "update"}, Groups: []string{"core"}})
	e := w.refusal(w.update("lawyer@amer", rec, "city", "Albany", "annual_revenue", "1"))
	wantKind(t, e, crm.Denied, "annual_revenue")
	got := w.ok(w.update("lawyer@amer", rec, "city", "Albany"))
	if got.Fields["city"].Text() != "Albany" || len(got.Withheld) != 2 {
		t.Errorf("updated %+v", got)
	}
	if full := w.ok(w.get("manager.us@amer", rec)); full.Fields["annual_revenue"].Text() != "1000000" {
		t.Error("a hidden value was lost")
	}
	// Changing the state would move the account to where the lawyer could not
	// have created it.
	wantKind(t, w.refusal(w.update("lawyer@amer", got, "state", "CA")), crm.Denied, "")
}

func TestHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	hidden := w.account("NY", "Energy")
	t.Run("never see what the caller may not", func(t *testing.T) {
		w.hooks.seen = nil
		wantKind(t, w.refusal(w.update("rep.west@amer", hidden, "name", "X")), crm.NotFound, "")
		wantKind(t, w.refusal(w.door.Update(t.Context(), caller("rep.west@amer"), access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{{ID: rec.ID, Version: 9}}})), crm.Stale, "")
		if len(w.hooks.seen) != 0 {
			t.Errorf("%d drafts reached the plugins", len(w.hooks.seen))
		}
	})
	t.Run("see the record before and after", func(t *testing.T) {
		w.hooks.seen = nil
		wantKind(t, w.refusal(w.update("rep.west@amer", rec, "name", "Y", "state", "NY")), crm.Denied, "")
		d := w.hooks.seen[0]
		if d.Before["state"].Text() != "CA" || d.Fields["state"].Text() != "NY" || d.Governed.Territory != "US-CA" {
			t.Errorf("draft %+v", d)
		}
		if diff := cmp.Diff([]string{"name", "state"}, d.Changed); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("refuse", func(t *testing.T) {
		w.hooks.refusing(func(d *access.Draft) error { return crm.FieldErrorf("email", "is not an address") })
		wantKind(t, w.refusal(w.update("rep.west@amer", rec, "email", "x")), crm.Invalid, "email")
	})
	t.Run("are needed", func(t *testing.T) {
		w.hooks.refusing(func(d *access.Draft) error {
			return &crm.Error{Kind: crm.Unavailable, Msg: "data-quality is restarting", RetryAfter: time.Second}
		})
		e := w.refusal(w.update("rep.west@amer", rec, "email", "a@example.com"))
		if e.Kind != crm.Unavailable || e.RetryAfter != time.Second {
			t.Errorf("got %+v", e)
		}
		w.hooks.refusing(nil)
		if got := w.ok(w.get("rep.west@amer", rec)); got.Version != 1 {
			t.Errorf("an unchecked write went through: version %d", got.Version)
		}
	})
	t.Run("say where a record lies and nothing more", func(t *testing.T) {
		w.hooks.refusing(func(d *access.Draft) error {
			d.Governed.Home, d.Governed.Owner, d.Governed.Account = "emea", "thief@amer", hidden.ID
			d.Governed.Jurisdiction = "CA"
			return nil
		})
		got := w.ok(w.update("rep.west@amer", rec, "name", "Z"))
		if got.Home != "amer" || got.Owner != "manager.us@amer" || got.Account != rec.ID || got.Jurisdiction != "CA" {
			t.Errorf("got %+v", got.Governed)
		}
		w.hooks.refusing(func(d *access.Draft) error {
			d.Fields["name"] = crm.Integer(4)
			return nil
		})
		wantKind(t, w.refusal(w.update("rep.west@amer", got, "city", "LA")), crm.Invalid, "name")
		w.hooks.refusing(nil)
	})
}

func TestBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rows := func() []access.NewRow {
		return []access.NewRow{{Fields: w.accountFields("CA", "Energy")}, {Fields: w.accountFields("NY", "Energy")}, {Fields: w.accountFields("WA", "Energy")}}
	}
	rs, err := w.door.Create(t.Context(), caller("rep.west@amer"), access.CreateRequest{Entity: "account", Rows: rows()})
	if err != nil || rs[0].Err != nil || rs[2].Err != nil {
		t.Fatalf("%+v, %v", rs, err)
	}
	wantKind(t, rs[1].Err, crm.Denied, "")
	before := w.count("manager.us@amer")
	rs, err = w.door.Create(t.Context(), caller("rep.west@amer"), access.CreateRequest{Entity: "account", Rows: rows(), Atomic: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []crm.Kind{crm.Conflict, crm.Denied, crm.Conflict} {
		wantKind(t, rs[i].Err, want, "")
	}
	broken := rows()
	broken[2].Sensitivity = -1
	rs, err = w.door.Create(t.Context(), caller("rep.west@amer"), access.CreateRequest{Entity: "account", Rows: broken, Atomic: true})
	if err != nil {
		t.Fatal(err)
	}
	wantKind(t, rs[0].Err, crm.Conflict, "")
	wantKind(t, rs[2].Err, crm.Invalid, "sensitivity")
	if after := w.count("manager.us@amer"); after != before {
		t.Errorf("a failed atomic batch left %d records", after-before)
	}
}

func (w *world) count(as crm.SubjectID) int64 {
	w.t.Helper()
	n, err := w.door.Count(w.t.Context(), caller(as), "account", "")
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	request := access.CreateRequest{Entity: "account", IdempotencyKey: "k1", Rows: []access.NewRow{
		{Fields: w.accountFields("CA", "Energy")}, {Fields: w.accountFields("NY", "Energy")}}}
	send := func(as crm.SubjectID, r access.CreateRequest) ([]access.Result, error) {
		return w.door.Create(t.Context(), caller(as), r)
	}
	first, err := send("rep.west@amer", request)
	if err != nil || first[0].Err != nil {
		t.Fatal(first, err)
	}
	again, err := send("rep.west@amer", request)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first[0].Record, again[0].Record, cmp.AllowUnexported(crm.Value{})); diff != "" {
		t.Errorf("a replay differs: %s", diff)
	}
	if diff := cmp.Diff(explicit(first[1].Err), explicit(again[1].Err)); diff != "" {
		t.Errorf("a replayed refusal differs: %s", diff)
	}
	if n := w.count("rep.west@amer"); n != 1 {
		t.Errorf("%d records after a replay", n)
	}
	other := request
	other.Rows = other.Rows[:1]
	_, err = send("rep.west@amer", other)
	wantKind(t, err, crm.Conflict, "idempotency_key")

	long := request
	long.IdempotencyKey = strings.Repeat("k", 256)
	_, err = send("rep.west@amer", long)
	wantKind(t, err, crm.Invalid, "idempotency_key")

	// The key is the identity's own: another one's request is a new request.
	theirs, err := send("rep.east@amer", request)
	if err != nil {
		t.Fatal(err)
	}
	if theirs[0].Err == nil && theirs[0].Record.ID == first[0].Record.ID {
		t.Error("another identity was given the answer")
	}

	// A replay is read again: what is withdrawn since is not shown.
	w.agree(crm.Agreement{Account: first[0].Record.ID, Department: "west-sales", Effect: crm.EffectWall})
	walled, err := send("rep.west@amer", request)
	if err != nil {
		t.Fatal(err)
	}
	if rec := walled[0].Record; len(rec.Fields) != 0 || len(rec.Withheld) != 3 || rec.Territory != "" {
		t.Errorf("a replay shows what is withdrawn: %+v", rec)
	}

	// Nothing was done: the key is not spent.
	w.hooks.refusing(func(*access.Draft) error { return &crm.Error{Kind: crm.Unavailable, Msg: "plugins are away"} })
	late := access.CreateRequest{Entity: "account", IdempotencyKey: "k2", Rows: []access.NewRow{{Fields: w.accountFields("CA", "Energy")}}}
	wantKind(t, w.refusal(send("rep.west@amer", late)), crm.Unavailable, "")
	w.hooks.refusing(nil)
	w.ok(send("rep.west@amer", late))
}

func TestConcurrentTwinsAreAnsweredOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	request := access.CreateRequest{Entity: "account", IdempotencyKey: "twin", Rows: []access.NewRow{{Fields: w.accountFields("CA", "Energy")}}}
	ids := make(chan crm.RecordID, 6)
	for range cap(ids) {
		go func() {
			rs, err := w.door.Create(t.Context(), caller("rep.west@amer"), request)
			if err != nil || rs[0].Err != nil {
				t.Error(err, rs)
				ids <- ""
				return
			}
			ids <- rs[0].Record.ID
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			t.Errorf("two answers: %s and %s", first, id)
		}
	}
	if n := w.count("rep.west@amer"); n != 1 {
		t.Errorf("%d records", n)
	}
}

func TestNotHome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	foreign := w.arrive("US-CA", "Energy")
	for name, err := range map[string]*crm.Error{
		"update": w.refusal(w.update("rep.west@amer", foreign, "name", "X")),
		"delete": w.refusal(w.door.Delete(t.Context(), caller("rep.west@amer"), access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: foreign.ID}}})),
	} {
		if err.Kind != crm.NotHome || err.Home != "emea" {
			t.Errorf("%s: %+v", name, err)
		}
	}
	wantKind(t, w.refusal(w.update("rep.east@amer", foreign, "name", "X")), crm.NotFound, "")
}

func TestDecisionsAreLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy", "name", "Very Secret Holdings")
	hidden := w.account("NY", "Energy")
	decisions := func(c crm.Caller) []store.Decision {
		t.Helper()
		w.flush()
		ds, err := w.store.Decisions(t.Context(), c.Execution)
		if err != nil {
			t.Fatal(err)
		}
		return ds
	}
	read := w.called("rep.west@amer")
	if _, err := w.door.Get(t.Context(), read, "account", []crm.RecordID{rec.ID, hidden.ID}); err != nil {
		t.Fatal(err)
	}
	ds := decisions(read)
	if len(ds) != 1 || ds[0].Subject != "rep.west@amer" || ds[0].Allowed || len(ds[0].Records) != 1 || ds[0].Records[0] != rec.ID ||
		ds[0].Versions[0] != 1 || ds[0].Refused[0] != hidden.ID || ds[0].Bundle != w.inForce().Digest() || ds[0].Stamp == 0 {
		t.Errorf("read: %+v", ds)
	}
	write := w.called("rep.west@amer")
	if _, err := w.door.Update(t.Context(), write, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{
		{ID: rec.ID, Version: 1, Fields: w.fields("account", "city", "LA")}, {ID: hidden.ID, Version: 1}}}); err != nil {
		t.Fatal(err)
	}
	ds = decisions(write)
	if len(ds) != 2 || !ds[0].Allowed || ds[0].Versions[0] != 2 || ds[1].Allowed || ds[1].Refused[0] != hidden.ID || ds[1].Reasons[0] != "not_found" {
		t.Errorf("write: %+v", ds)
	}
	refused := w.called("rep.west@amer")
	if err := w.door.Permit(t.Context(), refused, "agreement.write"); crm.KindOf(err) != crm.Denied {
		t.Fatal(err)
	}
	if ds = decisions(refused); len(ds) != 1 || ds[0].Allowed || ds[0].Action != "agreement.write" {
		t.Errorf("permission: %+v", ds)
	}
	list := w.called("rep.west@amer")
	if _, _, err := w.door.List(t.Context(), list, access.ListRequest{Entity: "account", Filter: "name contains 'secret'"}); err != nil {
		t.Fatal(err)
	}
	if ds = decisions(list); len(ds) != 1 || len(ds[0].Records) != 1 || ds[0].Action != "list" {
		t.Errorf("list: %+v", ds)
	}
	all, err := json.Marshal(ds)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.ToLower(string(all)), "secret") {
		t.Errorf("the log holds customer data: %s", all)
	}
}

// flush writes the decisions that wait.
func (w *world) flush() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	cancel()
	if err := w.door.Run(ctx); err != nil {
		w.t.Fatal(err)
	}
}
