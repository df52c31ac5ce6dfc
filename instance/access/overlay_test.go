package access_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
)

func (o *officers) deny(name string, n signed.Denial) (store.Denial, error) {
	if n.Reason == "" {
		n.Reason = "an incident"
	}
	if n.For == 0 {
		n.For = time.Hour
	}
	return o.door.Deny(o.t.Context(), o.called(name), n, o.sign(name, o.statement(signed.Deny, n.Digest())))
}

// TestDenialCloses: what a denial names is closed at once, on every way of
// reading, to whom it names, under whatever bundle; nothing else is; and all is
// as before when it ends by hand or by the database's clock.
func TestDenialCloses(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	west, east, bank := o.account("CA", "Energy"), o.account("NY", "Energy"), o.account("CA", "Financials")
	contact := o.create("manager.us@amer", "contact", o.fields("contact", "source_id", "C1", "account_id", string(west.ID)))
	everybody := []crm.SubjectID{"rep.west@amer", "rep.east@amer", "manager.us@amer"}
	before := map[crm.SubjectID][4]bool{}
	sees := func(who crm.SubjectID) (out [4]bool) {
		for i, rec := range []crm.Record{west, east, bank, contact} {
			out[i] = o.sees(who, rec)
		}
		return out
	}
	for _, who := range everybody {
		before[who] = sees(who)
	}
	published := func() bool {
		t.Helper()
		var out []access.Projection
		err := o.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			out, err = o.door.Project(ctx, tx, crm.Contract{ID: "amer-finserv-account", Entity: "account"}, []crm.RecordID{bank.ID})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out[0].InScope
	}
	for name, c := range map[string]struct {
		denial    signed.Denial
		closed    func(who crm.SubjectID, i int) bool // of west, east, bank, contact
		published bool
	}{
		"an account":             {signed.Denial{Account: west.ID}, func(_ crm.SubjectID, i int) bool { return i == 0 || i == 3 }, true},
		"an account to one":      {signed.Denial{Account: bank.ID, Subject: "rep.west@amer"}, func(who crm.SubjectID, i int) bool { return i == 2 && who == "rep.west@amer" }, true},
		"a territory":            {signed.Denial{Territory: "US-W"}, func(_ crm.SubjectID, i int) bool { return i != 1 }, false},
		"a subject":              {signed.Denial{Subject: "manager.us@amer"}, func(who crm.SubjectID, _ int) bool { return who == "manager.us@amer" }, true},
		"an account and a place": {signed.Denial{Account: bank.ID, Territory: "US-NE"}, func(crm.SubjectID, int) bool { return false }, true},
	} {
		for _, end := range []string{"by hand", "by the clock"} {
			denied, err := o.deny("a", c.denial)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if end == "by the clock" {
				o.put(sharper(t, name)) // no bundle opens it
			}
			for _, who := range everybody {
				for i, saw := range sees(who) {
					if want := before[who][i] && !c.closed(who, i); saw != want {
						t.Errorf("%s: %s sees record %d: %v, want %v", name, who, i, saw, want)
					}
				}
			}
			if published() != c.published {
				t.Errorf("%s: published: %v", name, !c.published)
			}
			if c.closed("rep.west@amer", 2) {
				e, err := o.door.Explain(t.Context(), o.called("a"), "account", bank.ID, "", "rep.west@amer")
				if err != nil || e.Allowed || len(e.Closes) != 1 || e.Closes[0].Fact != denied.ID {
					t.Errorf("%s: explained as %+v, %v", name, e.Closes, err)
				}
			}
			if end == "by hand" {
				s := o.sign("b", o.statement(signed.EndDeny, signed.Digest(denied.ID+"\nsolved")))
				if ended, err := o.door.EndDenial(t.Context(), o.called("b"), denied.ID, "solved", s); err != nil || !ended.Ended {
					t.Fatalf("%s: %+v, %v", name, ended, err)
				}
			} else { // nobody is told: the time in the statement ends it
				o.sql(`alter table fact.denial disable trigger updated;
					update fact.denial set valid_from = valid_from - interval '2 hours', valid_to = valid_to - interval '2 hours' where recorded_to = 'infinity' and not ended;
					alter table fact.denial enable trigger updated; select fact.move_stamp()`)
			}
			for _, who := range everybody {
				if got := sees(who); got != before[who] {
					t.Errorf("%s, over %s: %s sees %v, want %v", name, end, who, got, before[who])
				}
			}
		}
	}
	all, err := o.door.Denials(t.Context(), o.called("b"), true)
	if err != nil || len(all) != 10 {
		t.Errorf("%d denials are listed, %v", len(all), err)
	}
	if now, err := o.door.Denials(t.Context(), o.called("b"), false); err != nil || len(now) != 0 {
		t.Errorf("in force: %+v, %v", now, err)
	}
}

// TestDenialEndsByTheStatementsTime: a filter that was made while a denial held
// stops closing when its time is over, without any write and without a new
// filter.
func TestDenialEndsByTheStatementsTime(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	rec := o.account("CA", "Energy")
	denied, err := o.deny("a", signed.Denial{Account: rec.ID, For: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	stamp, _, err := o.store.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	o.until(func() bool {
		rs, err := o.get("rep.west@amer", rec)
		if err != nil {
			t.Fatal(err)
		}
		_, now, err := o.store.Stamp(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if rs[0].Err == nil {
			seen++
			if now.Before(denied.To) {
				t.Errorf("seen at %s, denied until %s", now, denied.To)
			}
		}
		return seen > 0
	})
	if after, _, err := o.store.Stamp(t.Context()); err != nil || after != stamp {
		t.Errorf("the stamp moved from %d to %d, %v", stamp, after, err)
	}
}

// TestDenialsThatAreRefused: longer than a day, of nothing, without a reason or
// a good signature, or signed once and used twice.
func TestDenialsThatAreRefused(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	rec := o.account("CA", "Energy")
	for name, c := range map[string]struct {
		n     signed.Denial
		field string
	}{
		"longer than a day": {signed.Denial{Account: rec.ID, For: 25 * time.Hour}, "for"},
		"for ever":          {signed.Denial{Account: rec.ID, For: -1}, "for"},
		"of nothing":        {signed.Denial{}, "account"},
		"no such account":   {signed.Denial{Account: crm.NewRecordID()}, "account"},
		"no such territory": {signed.Denial{Territory: "Atlantis"}, "territory"},
		"no such subject":   {signed.Denial{Subject: "nobody@amer"}, "subject"},
	} {
		_, err := o.deny("a", c.n)
		if crm.KindOf(err) != crm.Invalid || crm.Public(err).Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	n := signed.Denial{Account: rec.ID, Reason: "an incident", For: time.Hour}
	s := o.sign("a", o.statement(signed.Deny, n.Digest()))
	longer := n
	longer.For = 24 * time.Hour
	if _, err := o.door.Deny(t.Context(), o.called("a"), longer, s); crm.KindOf(err) != crm.Denied {
		t.Errorf("for longer than was signed: %v", err)
	}
	if _, err := o.door.Deny(t.Context(), o.called("b"), n, s); crm.KindOf(err) != crm.Denied {
		t.Errorf("another officer used it: %v", err)
	}
	denied, err := o.door.Deny(t.Context(), o.called("a"), n, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.door.EndDenial(t.Context(), o.called("a"), denied.ID, "x", s); crm.KindOf(err) != crm.Denied {
		t.Errorf("ended by the signature that made it: %v", err)
	}
	end := o.sign("a", o.statement(signed.EndDeny, signed.Digest(denied.ID+"\nsolved")))
	if _, err := o.door.EndDenial(t.Context(), o.called("a"), denied.ID, "solved", end); err != nil {
		t.Fatal(err)
	}
	if _, err := o.door.Deny(t.Context(), o.called("a"), n, s); crm.KindOf(err) != crm.Conflict || !strings.Contains(err.Error(), "used before") {
		t.Errorf("a denial that was ended was replayed: %v", err)
	}
}
