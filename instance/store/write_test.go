package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
	"meridian/instance/store"
)

func TestEveryTypeComesBackAsItWent(t *testing.T) {
	w := newWorld(t)
	other := crm.NewRecordID()
	for name, values := range map[string][]crm.Value{
		"code":     {crm.String("x"), crm.String("")},
		"name":     {crm.String("O'Hare \\ \"Söhne\" 北京\n"), crm.String(strings.Repeat("x", 2000))},
		"count":    {crm.Integer(0), crm.Integer(-1), crm.Integer(9223372036854775807), crm.Integer(-9223372036854775808)},
		"listed":   {crm.Boolean(true), crm.Boolean(false)},
		"order":    {crm.Date("2026-02-28"), crm.Date("0001-01-01"), crm.Date("9999-12-31")},
		"seen":     {crm.Timestamp(at("2026-11-23T06:00:00.123456Z")), crm.Timestamp(at("2026-11-23T06:00:00+05:30")), crm.Timestamp(crm.Forever)},
		"tags":     {crm.List(), crm.List("a"), crm.List(`"`, `\`, "{}", ",", "", "NULL", "é")},
		"other_id": {crm.Reference(other)},
		"amount":   {crm.Decimal("0"), crm.Decimal("-0.5"), crm.Decimal("12345678901234567890123456789012345678"), crm.Decimal("0.00000000000000000000000000000000000001")},
		"secret":   {crm.String("s")},
	} {
		for _, v := range values {
			rec := w.create("thing", "US-CA", fields{name: v})
			got, err := w.Load(t.Context(), "thing", []crm.RecordID{rec.ID})
			if err != nil {
				t.Fatal(err)
			}
			if !got[rec.ID].Fields[name].Equal(v) {
				t.Errorf("%s: wrote %v, read %v", name, v, got[rec.ID].Fields[name])
			}
			if len(got[rec.ID].Fields) != len(thing.Fields) {
				t.Errorf("%s: a record has all its fields, this one has %d", name, len(got[rec.ID].Fields))
			}
			if diff := cmp.Diff(got[rec.ID], rec); diff != "" {
				t.Errorf("what Write says was stored is not what was: %s", diff)
			}
			w.must("thing", w.removal(everywhere, rec))
		}
	}
}

func TestValuesThatCannotBeStoredNameTheField(t *testing.T) {
	w := newWorld(t)
	for name, v := range map[string]crm.Value{
		"secret":   crm.String("zero\x00byte"),
		"name":     crm.String(strings.Repeat("x", 2001)),
		"code":     crm.String("bad\xffutf8"),
		"count":    crm.String("seven"),
		"other_id": crm.Reference("seven"),
		"no_such":  crm.String("x"),
	} {
		out := w.write("thing", false, w.creation(everywhere, "thing", "US-CA", fields{name: v}), w.creation(everywhere, "thing", "US-CA", fields{"listed": crm.Boolean(true)}))
		wantError(t, out[0].Err, crm.Invalid, name)
		if out[1].Err != nil {
			t.Errorf("%s: the row beside it failed too: %v", name, out[1].Err)
		}
	}
	// What only the database can judge still fails its own row alone.
	out := w.write("thing", false, w.creation(everywhere, "thing", "US-CA", fields{"amount": crm.Decimal("1e999999")}), w.creation(everywhere, "thing", "US-CA", nil))
	if crm.KindOf(out[0].Err) != crm.Invalid || out[1].Err != nil {
		t.Errorf("got %v and %v", out[0].Err, out[1].Err)
	}
}

func TestVersionIsCompareAndSet(t *testing.T) {
	w := newWorld(t)
	v1 := w.create("thing", "US-CA", fields{"name": crm.String("one"), "amount": crm.Decimal("1")})
	v2 := w.must("thing", w.change(everywhere, v1, fields{"name": crm.String("two")}))[0]
	if v2.Version != 2 || !v2.Updated.After(v1.Updated) || !v2.Created.Equal(v1.Created) || v2.Fields["amount"].Text() != "1" {
		t.Errorf("second version is %+v", v2)
	}
	out := w.write("thing", false, w.change(everywhere, v1, fields{"name": crm.String("late")}), w.removal(everywhere, v1))
	wantError(t, out[0].Err, crm.Stale, "")
	wantError(t, out[1].Err, crm.Stale, "")
	v3 := w.must("thing", w.change(everywhere, v2, fields{"name": {}}))[0]
	if !v3.Fields["name"].IsNull() {
		t.Errorf("null did not clear the field: %v", v3.Fields["name"])
	}
	// Two changes of one record in one batch meet as two requests would.
	out = w.write("thing", false, w.change(everywhere, v3, fields{"count": crm.Integer(1)}), w.change(everywhere, v3, fields{"count": crm.Integer(2)}))
	if out[0].Err != nil {
		t.Error(out[0].Err)
	}
	wantError(t, out[1].Err, crm.Stale, "")
}

func TestOneOfConcurrentWritersWins(t *testing.T) {
	w := newWorld(t)
	rec := w.create("thing", "US-CA", fields{"count": crm.Integer(0)})
	const writers = 8
	won := make(chan bool, writers)
	for range writers {
		go func() {
			var out []store.Written
			err := w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
				out, err = tx.Write(ctx, store.WriteBatch{Entity: "thing", Rows: []store.Write{w.change(everywhere, rec, fields{"count": crm.Integer(1)})}})
				return err
			})
			if err == nil && out[0].Err != nil && crm.KindOf(out[0].Err) != crm.Stale {
				t.Error(out[0].Err)
			}
			won <- err == nil && out[0].Err == nil
		}()
	}
	wins := 0
	for range writers {
		if <-won {
			wins++
		}
	}
	if wins != 1 {
		t.Errorf("%d of %d writers on one version won", wins, writers)
	}
}

func TestUniqueAtHomeOverLiveRecords(t *testing.T) {
	w := newWorld(t)
	first := w.create("thing", "US-CA", fields{"code": crm.String("a")})
	// The name of the code is not told across a wall: the error names the field only.
	out := w.write("thing", false,
		w.creation(everywhere, "thing", "DE", fields{"code": crm.String("b")}),
		w.creation(everywhere, "thing", "DE", fields{"code": crm.String("a")}),
		w.creation(everywhere, "thing", "DE", fields{"code": crm.String("c")}),
		w.creation(everywhere, "thing", "DE", fields{"code": crm.String("c")}),
		w.creation(everywhere, "thing", "DE", fields{"code": {}}),
		w.creation(everywhere, "thing", "DE", fields{"code": {}}))
	for i, ok := range []bool{true, false, true, false, true, true} {
		if ok && out[i].Err != nil {
			t.Errorf("row %d: %v", i, out[i].Err)
		}
		if !ok {
			wantError(t, out[i].Err, crm.Conflict, "code")
			if strings.Contains(out[i].Err.Error(), string(first.ID)) {
				t.Errorf("row %d tells who has the value", i)
			}
		}
	}
	out = w.write("thing", false, w.change(everywhere, out[0].Record, fields{"code": crm.String("a")}))
	wantError(t, out[0].Err, crm.Conflict, "code")
	w.must("thing", w.removal(everywhere, first))
	w.create("thing", "US-CA", fields{"code": crm.String("a")}) // a deleted record frees its key
	if found, err := w.FindByKey(t.Context(), "thing", []string{"a", "b", "z"}); err != nil || len(found) != 2 {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestBatchFailsByRowOrAtomically(t *testing.T) {
	w := newWorld(t)
	w.create("thing", "US-CA", fields{"code": crm.String("taken")})
	batch := func() []store.Write {
		var rows []store.Write
		for i := range 50 {
			code := fmt.Sprint("n", i)
			if i%17 == 5 {
				code = "taken"
			}
			rows = append(rows, w.creation(everywhere, "thing", "US-CA", fields{"code": crm.String(code)}))
		}
		return rows
	}
	out := w.write("thing", true, batch()...)
	for i, x := range out {
		if crm.KindOf(x.Err) != crm.Conflict {
			t.Errorf("row %d of the atomic batch: %v", i, x.Err)
		}
	}
	if n := w.number("select count(*) from record.thing"); n != 1 {
		t.Errorf("%d rows after an atomic batch failed, want the 1 from before", n)
	}
	if n := w.number("select count(*) from meridian.outbox where kind = 'record'"); n != 1 {
		t.Errorf("%d outbox entries after an atomic batch failed, want 1", n)
	}
	failed := 0
	for i, x := range w.write("thing", false, batch()...) {
		if x.Err != nil {
			failed++
			if i%17 != 5 {
				t.Errorf("row %d: %v", i, x.Err)
			}
		}
	}
	if n := w.number("select count(*) from record.thing"); failed != 3 || n != 48 {
		t.Errorf("%d rows failed and %d are stored, want 3 and 48", failed, n)
	}
}

func TestHiddenComesBeforeEverythingElse(t *testing.T) {
	w := newWorld(t)
	rec := w.create("thing", "DE", nil)
	californian := manager("US-CA")
	stale := rec
	stale.Version = 7
	absent := rec
	absent.ID = crm.NewRecordID()
	out := w.write("thing", false, w.change(californian, stale, nil), w.removal(californian, stale))
	gone := w.write("thing", false, w.change(californian, absent, nil), w.removal(californian, absent))
	for i := range out {
		wantError(t, out[i].Err, crm.NotFound, "")
		if out[i].Err.Error() != gone[i].Err.Error() {
			t.Errorf("hidden answers %q, absent %q", out[i].Err, gone[i].Err)
		}
	}
}

func TestPostImageIsAuthorised(t *testing.T) {
	w := newWorld(t)
	californian := manager("US-CA")
	out := w.write("thing", false, w.creation(californian, "thing", "US-CA", nil), w.creation(californian, "thing", "DE", nil))
	if out[0].Err != nil {
		t.Fatal(out[0].Err)
	}
	wantError(t, out[1].Err, crm.Denied, "")
	move := w.change(californian, out[0].Record, nil)
	move.Governed.Territory = "DE"
	wantError(t, w.write("thing", false, move)[0].Err, crm.Denied, "")
	if n := w.number("select count(*) from record.thing where territory = 'DE'"); n != 0 {
		t.Errorf("%d records stand where their writer may not put one", n)
	}
	// The zero filter allows nothing.
	closed := w.creation(everywhere, "thing", "US-CA", nil)
	closed.Post = store.Write{}.Post
	wantError(t, w.write("thing", false, closed)[0].Err, crm.Denied, "")
}

func TestRecordsAreWrittenAtHomeOnly(t *testing.T) {
	w := newWorld(t)
	rec := w.create("thing", "US-CA", nil)
	w.exec("update record.thing set home = 'emea' where id = $1", string(rec.ID))
	abroad := w.creation(everywhere, "thing", "US-CA", nil)
	abroad.Governed.Home = "emea"
	for i, x := range w.write("thing", false, w.change(everywhere, rec, nil), w.removal(everywhere, rec), abroad) {
		wantError(t, x.Err, crm.NotHome, "")
		if e, ok := errors.AsType[*crm.Error](x.Err); !ok || e.Home != "emea" {
			t.Errorf("row %d does not name the home: %v", i, x.Err)
		}
	}
}

func TestGroupsNotSeenAreNotOverwritten(t *testing.T) {
	w := newWorld(t)
	account := w.create("account", "DE", fields{"source_id": crm.String("a"), "name": crm.String("A"), "annual_revenue": crm.Decimal("1")})
	w.agree(account.ID, "dach-sales", []string{"read", "update"}, []string{"core"})
	guest := manager()
	guest.Departments = []string{"dach-sales"}
	row := w.change(guest, account, fields{"annual_revenue": crm.Decimal("2")})
	row.Touches = []string{"commercial"}
	wantError(t, w.write("account", false, row)[0].Err, crm.Denied, "")
	row = w.change(guest, account, fields{"city": crm.String("Bonn")})
	row.Touches = []string{"core"}
	if err := w.write("account", false, row)[0].Err; err != nil {
		t.Error(err)
	}
}

func TestDeleteLeavesATombstone(t *testing.T) {
	w := newWorld(t)
	rec := w.create("thing", "US-CA", fields{"name": crm.String("x")})
	last := w.must("thing", w.removal(everywhere, rec))[0]
	if last.Version != 2 || last.Fields["name"].Text() != "x" {
		t.Errorf("the deleted record is %+v", last)
	}
	if n := w.number("select version from meridian.tombstone where id = $1 and entity = 'thing'", string(rec.ID)); n != 2 {
		t.Errorf("tombstone of version %d, want 2", n)
	}
	again := w.creation(everywhere, "thing", "US-CA", nil)
	again.ID = rec.ID
	wantError(t, w.write("thing", false, again)[0].Err, crm.Conflict, "")
	wantError(t, w.write("thing", false, w.change(everywhere, rec, nil))[0].Err, crm.NotFound, "")
}

func TestRecordsFollowTheirAccount(t *testing.T) {
	w := newWorld(t)
	account := w.create("account", "US-CA", fields{"source_id": crm.String("a"), "name": crm.String("A")})
	var rows []store.Write
	for i := range 300 {
		rows = append(rows, w.creation(everywhere, "contact", "DE", fields{"source_id": crm.String(fmt.Sprint(i)), "account_id": crm.Reference(account.ID)}))
	}
	for _, c := range w.must("contact", rows...) {
		if c.Territory != "US-CA" || c.Account != account.ID {
			t.Fatalf("a new contact lies in %s under %s, its account in US-CA", c.Territory, c.Account)
		}
	}
	lone := w.create("contact", "DE", fields{"source_id": crm.String("lone")})
	if lone.Territory != "DE" || lone.Account != crm.NoAccount {
		t.Errorf("a contact without account is %+v", lone.Governed)
	}
	nowhere := w.creation(everywhere, "contact", "DE", fields{"source_id": crm.String("n"), "account_id": crm.Reference(crm.NewRecordID())})
	wantError(t, w.write("contact", false, nowhere)[0].Err, crm.Invalid, "account_id")

	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	move := w.change(everywhere, account, nil)
	move.Governed.Territory, move.Governed.Sensitivity = "US-NY", 3
	w.must("account", move)
	if n := w.number("select count(*) from record.contact where territory = 'US-NY' and sensitivity = 3 and version = 2"); n != 300 {
		t.Errorf("%d of 300 contacts followed their account", n)
	}
	if n := w.number("select count(*) from history.contact where territory = 'US-NY' and version = 2"); n != 300 {
		t.Errorf("%d of 300 moves are in the history", n)
	}
	cs, _, err := w.Changes(t.Context(), head, 1000)
	if err != nil || len(cs) != 301 {
		t.Errorf("%d changes are told, want the account and its 300 contacts: %v", len(cs), err)
	}
	// A contact that changes hands takes the place of its new account.
	second := w.create("account", "DE", fields{"source_id": crm.String("b"), "name": crm.String("B")})
	moved := w.must("contact", w.change(everywhere, lone, fields{"account_id": crm.Reference(second.ID)}))[0]
	if moved.Territory != "DE" || moved.Account != second.ID {
		t.Errorf("after its move the contact is %+v", moved.Governed)
	}
}
