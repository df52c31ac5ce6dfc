package load_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

func balance(t *testing.T, got *facadev1.Balance, read, inserted, updated, unchanged, rejected, filtered int64) {
	t.Helper()
	want := &facadev1.Balance{Read: read, Inserted: inserted, Updated: updated, Unchanged: unchanged, Rejected: rejected, Filtered: filtered}
	if !proto.Equal(got, want) {
		t.Errorf("balance %v, want %v", got, want)
	}
}

func wantKind(t *testing.T, err error, kind crm.Kind) {
	t.Helper()
	if err == nil || crm.KindOf(err) != kind {
		t.Errorf("got %v, want kind %s", err, kind)
	}
}

func TestLoad(t *testing.T) {
	w := newWorld(t)
	first := w.begin(loader, "monday")
	if first.GetFinished() || first.GetResume().GetRecord() != 0 {
		t.Fatalf("begin %v", first)
	}
	req := batch(first.GetLoadId(), 6, rows(1, 3)...)
	req.Filtered = 2
	req.Rejects = []*facadev1.Reject{{Number: 5, Code: "lookup", Field: "country", Message: "unknown", Original: []byte("M\xfcller;1\n")}}
	balance(t, w.apply(loader, req).GetBalance(), 6, 3, 0, 0, 1, 2)
	l := w.finish(loader, first.GetLoadId(), 6)
	if l.GetState() != "complete_with_rejects" || l.GetBy() != "loader@amer" || l.GetFinished() == nil {
		t.Errorf("load %v", l)
	}

	// Tuesday's file says something new about R2.
	second := w.begin(loader, "tuesday")
	changed := rows(1, 3)
	changed[1].Fields["name"] = text("Company 2 Ltd.")
	balance(t, w.apply(loader, batch(second.GetLoadId(), 3, changed...)).GetBalance(), 3, 0, 1, 2, 0, 0)
	if l := w.finish(loader, second.GetLoadId(), 3); l.GetState() != "complete" {
		t.Errorf("load %v", l)
	}
	if n := w.number(`select count(*) from record.account`); n != 3 {
		t.Errorf("%d accounts, want 3", n)
	}
	if n := w.number(`select count(*) from history.account`); n != 4 {
		t.Errorf("%d versions, want 4: what is unchanged makes none", n)
	}
}

func TestTheSameContentAgain(t *testing.T) {
	w := newWorld(t)
	first := w.begin(loader, "monday")
	w.apply(loader, batch(first.GetLoadId(), 2, rows(1, 2)...))
	w.finish(loader, first.GetLoadId(), 2)

	again := w.begin(loader, "monday", func(r *facadev1.BeginRequest) { r.File = "copy of companies.csv" })
	if !again.GetFinished() || again.GetLoadId() != first.GetLoadId() {
		t.Errorf("begin %v, want the finished load", again)
	}
	balance(t, again.GetBalance(), 2, 2, 0, 0, 0, 0)
	if l := w.finish(loader, again.GetLoadId(), 2); l.GetState() != "complete" {
		t.Errorf("finishing it again answers %v", l)
	}
	// A new version of the mapping reads the same bytes anew.
	anew := w.begin(loader, "monday", func(r *facadev1.BeginRequest) { r.MappingVersion = 2 })
	if anew.GetFinished() || anew.GetLoadId() == first.GetLoadId() {
		t.Errorf("begin under a new mapping %v", anew)
	}
}

func TestResume(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday").GetLoadId()
	w.apply(loader, batch(id, 2, rows(1, 2)...))
	again := w.begin(loader, "monday")
	if again.GetLoadId() != id || again.GetFinished() || again.GetResume().GetRecord() != 2 || again.GetResume().GetOffset() != 200 {
		t.Fatalf("begin again %v, want to resume after record 2", again)
	}
	balance(t, w.apply(loader, batch(id, 4, rows(3, 4)...)).GetBalance(), 4, 4, 0, 0, 0, 0)
	if l := w.finish(loader, id, 4); l.GetState() != "complete" {
		t.Errorf("load %v", l)
	}
}

func TestARepeatedPositionChangesNothing(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday").GetLoadId()
	bad := rows(1, 3)
	delete(bad[1].Fields, "name") // required
	req := batch(id, 3, bad...)
	first := w.apply(loader, req)
	balance(t, first.GetBalance(), 3, 2, 0, 0, 1, 0)
	versions := w.number(`select count(*) from history.account`)
	second := w.apply(loader, req)
	if diff := cmp.Diff(first, second, protocmp.Transform()); diff != "" {
		t.Errorf("the answer differs: %s", diff)
	}
	if n := w.number(`select count(*) from history.account`); n != versions {
		t.Errorf("%d versions were made by a repeated batch", n-versions)
	}
}

func TestTwoRunsOfAFacadeApplyABatchOnce(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday").GetLoadId()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			resp, err := w.Apply(t.Context(), loader, batch(id, 50, rows(1, 50)...))
			if err != nil {
				t.Error(err)
				return
			}
			balance(t, resp.GetBalance(), 50, 50, 0, 0, 0, 0)
		})
	}
	wg.Wait()
	if n := w.number(`select count(*) from history.account`); n != 50 {
		t.Errorf("%d versions of 50 accounts", n)
	}
}

func TestRefusedRowsAreRejects(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday").GetLoadId()
	bad := rows(1, 5)
	delete(bad[0].Fields, "name")
	bad[1].Fields["annual_revenue"] = &recordv1.Value{Kind: &recordv1.Value_Decimal{Decimal: "much"}}
	bad[2].Fields["nonesuch"] = text("x")
	bad[3].Fields["sample"] = text("a string in a boolean field")
	resp := w.apply(loader, batch(id, 5, bad...))
	balance(t, resp.GetBalance(), 5, 1, 0, 0, 4, 0)
	var got []string
	for _, r := range resp.GetRejected() {
		got = append(got, fmt.Sprintf("%d %s %s", r.GetNumber(), r.GetCode(), r.GetField()))
	}
	slices.Sort(got)
	want := []string{"1 invalid name", "2 invalid annual_revenue", "3 invalid nonesuch", "4 invalid sample"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if l := w.finish(loader, id, 5); l.GetState() != "complete_with_rejects" {
		t.Errorf("load %v", l)
	}
}

func TestReferencesByKey(t *testing.T) {
	w := newWorld(t)
	w.apply(loader, batch(w.begin(loader, "accounts").GetLoadId(), 1, rows(1, 1)...))
	id := w.begin(loader, "contacts", func(r *facadev1.BeginRequest) { r.Feed, r.Entity = "contacts", "contact" }).GetLoadId()
	contact := func(n int64, account string) *facadev1.Row {
		return &facadev1.Row{Number: n, Fields: map[string]*recordv1.Value{"source_id": text(fmt.Sprintf("C%d", n)), "last_name": text("Weber")},
			References: map[string]string{"account_id": account}}
	}
	resp := w.apply(loader, batch(id, 2, contact(1, "R1"), contact(2, "nobody")))
	balance(t, resp.GetBalance(), 2, 1, 0, 0, 1, 0)
	if r := resp.GetRejected()[0]; r.GetNumber() != 2 || r.GetField() != "account_id" {
		t.Errorf("reject %v", r)
	}
	if n := w.number(`select count(*) from record.contact c join record.account a on a.id = c.account_id and a.id = c.account where a.source_id = 'R1'`); n != 1 {
		t.Error("the contact does not follow its account")
	}
}

func TestDryRun(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday", dry).GetLoadId()
	bad := rows(1, 3)
	delete(bad[2].Fields, "name")
	balance(t, w.apply(loader, batch(id, 3, bad...)).GetBalance(), 3, 2, 0, 0, 1, 0)
	l := w.finish(loader, id, 3)
	if !l.GetDryRun() || l.GetState() != "complete_with_rejects" {
		t.Errorf("load %v", l)
	}
	for _, table := range []string{"record.account", "history.account", "meridian.outbox where kind = 'record'"} {
		if n := w.number(`select count(*) from ` + table); n != 0 {
			t.Errorf("the dry run left %d rows in %s", n, table)
		}
	}
	if again := w.begin(loader, "monday"); again.GetFinished() {
		t.Error("a dry run passes for the load itself")
	}
	if again := w.begin(loader, "monday", dry); again.GetFinished() || again.GetLoadId() == id {
		t.Errorf("a second dry run answers %v", again)
	}
}

// Every record between two positions is accounted for, or the batch is
// refused: otherwise the balance could only close by luck.
func TestUnaccountedBatchesAreRefused(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday").GetLoadId()
	for name, change := range map[string]func(*facadev1.ApplyRequest){
		"a record is missing":           func(r *facadev1.ApplyRequest) { r.Position.Record = 4 },
		"one too many":                  func(r *facadev1.ApplyRequest) { r.Filtered = 1 },
		"less than nothing filtered":    func(r *facadev1.ApplyRequest) { r.Filtered, r.Position.Record = -1, 2 },
		"a record twice":                func(r *facadev1.ApplyRequest) { r.Rows[2].Number = 1 },
		"a record of another batch":     func(r *facadev1.ApplyRequest) { r.Rows[2].Number = 9 },
		"a row and a reject of it":      func(r *facadev1.ApplyRequest) { r.Rows = r.Rows[:2]; r.Rejects = []*facadev1.Reject{{Number: 1}} },
		"another entity":                func(r *facadev1.ApplyRequest) { r.Rows[0].Entity = "contact" },
		"more than a transaction holds": func(r *facadev1.ApplyRequest) { r.Rows, r.Position.Record = rows(1, 1001), 1001 },
	} {
		t.Run(name, func(t *testing.T) {
			req := batch(id, 3, rows(1, 3)...)
			change(req)
			_, err := w.Apply(t.Context(), loader, req)
			wantKind(t, err, crm.Invalid)
		})
	}
	if n := w.number(`select count(*) from record.account`); n != 0 {
		t.Errorf("%d accounts came in by refused batches", n)
	}
}

func TestABalanceThatDoesNotCloseHalts(t *testing.T) {
	w := newWorld(t)
	for name, tt := range map[string]struct {
		begin  func(*facadev1.BeginRequest)
		finish *facadev1.FinishRequest
		want   string
	}{
		"the facade read more": {finish: &facadev1.FinishRequest{Read: 3}, want: "the facade read 3 records, the balance holds 2"},
		"the sender sent more": {begin: func(r *facadev1.BeginRequest) { r.ControlCount = 5 }, finish: &facadev1.FinishRequest{Read: 2}, want: "the sender announced 5 records, 2 came"},
		"the facade gives up":  {finish: &facadev1.FinishRequest{Read: 2, Halt: "the file changed"}, want: "the file changed"},
	} {
		t.Run(name, func(t *testing.T) {
			change := tt.begin
			if change == nil {
				change = func(*facadev1.BeginRequest) {}
			}
			id := w.begin(loader, name, change).GetLoadId()
			w.apply(loader, batch(id, 2, rows(1, 2)...))
			tt.finish.LoadId = id
			resp, err := w.Finish(t.Context(), loader, tt.finish)
			if err != nil {
				t.Fatal(err)
			}
			if l := resp.GetLoad(); l.GetState() != "halted" || l.GetError() != tt.want {
				t.Errorf("load is %s: %s, want halted: %s", l.GetState(), l.GetError(), tt.want)
			}
			_, err = w.Apply(t.Context(), loader, batch(id, 3, rows(3, 3)...))
			wantKind(t, err, crm.Conflict)
			if again := w.begin(loader, name, change); again.GetLoadId() == id || again.GetFinished() || again.GetResume().GetRecord() != 0 {
				t.Errorf("after a halt, begin answers %v, want a new load", again)
			}
		})
	}
}

func TestWhoMayLoadAndLook(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday").GetLoadId()
	req := batch(id, 2, rows(1, 1)...)
	delete(req.Rows[0].Fields, "name")
	req.Rejects = []*facadev1.Reject{{Number: 2, Code: "lookup", Field: "country", Message: "not Atlantis", Original: []byte("R2,Atlantis\n")}}
	w.apply(loader, req)

	_, err := w.Begin(t.Context(), rep, beginRequest("tuesday"))
	wantKind(t, err, crm.Denied)
	_, err = w.Begin(t.Context(), other, beginRequest("monday"))
	wantKind(t, err, crm.Conflict)
	for name, call := range map[string]func() error{
		"apply":  func() error { _, err := w.Apply(t.Context(), other, batch(id, 3, rows(3, 3)...)); return err },
		"finish": func() error { _, err := w.Finish(t.Context(), other, &facadev1.FinishRequest{LoadId: id}); return err },
		"rejects": func() error {
			_, err := w.ListRejects(t.Context(), other, &facadev1.ListRejectsRequest{LoadId: id})
			return err
		},
		"no such load": func() error {
			_, err := w.Apply(t.Context(), loader, batch(string(crm.NewRecordID()), 3, rows(3, 3)...))
			return err
		},
		"no id": func() error {
			_, err := w.Finish(t.Context(), loader, &facadev1.FinishRequest{LoadId: "x"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantKind(t, call(), crm.NotFound) })
	}

	rejects := func(c crm.Caller) []*facadev1.Reject {
		resp, err := w.ListRejects(t.Context(), c, &facadev1.ListRejectsRequest{LoadId: id})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetRejects()
	}
	if rs := rejects(loader); len(rs) != 2 || rs[0].GetField() != "name" || rs[0].GetMessage() == "" || string(rs[1].GetOriginal()) != "R2,Atlantis\n" {
		t.Errorf("the loader sees %v", rs)
	}
	for _, r := range rejects(ops) {
		if r.GetCode() == "" || r.GetField() == "" || r.GetMessage() != "" || r.GetOriginal() != nil {
			t.Errorf("operators see %v; the bytes are customer data", r)
		}
	}
	if _, err := w.ListRejects(t.Context(), rep, &facadev1.ListRejectsRequest{LoadId: id}); crm.KindOf(err) != crm.Denied {
		t.Errorf("a rep gets %v", err)
	}

	loads := func(c crm.Caller) int {
		resp, err := w.ListLoads(t.Context(), c, &facadev1.ListLoadsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return len(resp.GetLoads())
	}
	w.begin(other, "wednesday")
	if a, b := loads(ops), loads(loader); a != 2 || b != 1 {
		t.Errorf("operators see %d loads, a loader %d of its own; want 2 and 1", a, b)
	}
	_, err = w.ListLoads(t.Context(), rep, &facadev1.ListLoadsRequest{})
	wantKind(t, err, crm.Denied)
}

func TestBeginRefuses(t *testing.T) {
	w := newWorld(t)
	for field, change := range map[string]func(*facadev1.BeginRequest){
		"entity":  func(r *facadev1.BeginRequest) { r.Entity = "nonesuch" },
		"feed":    func(r *facadev1.BeginRequest) { r.Feed = "" },
		"mapping": func(r *facadev1.BeginRequest) { r.MappingVersion = 0 },
		"sha256":  func(r *facadev1.BeginRequest) { r.Sha256 = strings.ToUpper(r.Sha256) },
	} {
		r := beginRequest("monday")
		change(r)
		_, err := w.Begin(t.Context(), loader, r)
		wantKind(t, err, crm.Invalid)
		if !strings.HasPrefix(err.Error(), field+": ") {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}

func TestRejectsByThePage(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday").GetLoadId()
	req := batch(id, 7)
	for n := range 7 {
		req.Rejects = append(req.Rejects, &facadev1.Reject{Number: int64(n + 1), Code: "lookup"})
	}
	w.apply(loader, req)
	var got []int64
	for after := int64(0); ; {
		resp, err := w.ListRejects(t.Context(), loader, &facadev1.ListRejectsRequest{LoadId: id, After: after, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetRejects()) == 0 {
			break
		}
		for _, r := range resp.GetRejects() {
			after = r.GetNumber()
			got = append(got, after)
		}
	}
	if !slices.Equal(got, []int64{1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("pages give %v", got)
	}
}

func TestProgressSaysWhatIsLeft(t *testing.T) {
	w := newWorld(t)
	id := w.begin(loader, "monday").GetLoadId()
	w.apply(loader, batch(id, 2, rows(1, 2)...))
	resp, err := w.ListLoads(t.Context(), ops, &facadev1.ListLoadsRequest{Feed: "companies"})
	if err != nil {
		t.Fatal(err)
	}
	l := resp.GetLoads()[0]
	took := l.GetUpdated().AsTime().Sub(l.GetStarted().AsTime()).Seconds()
	if want := took * 4; l.GetSecondsLeft() < want*0.99 || l.GetSecondsLeft() > want*1.01 || want <= 0 {
		t.Errorf("200 of 1000 bytes took %gs; %gs are left, want %gs", took, l.GetSecondsLeft(), want)
	}
	w.finish(loader, id, 2)
}
