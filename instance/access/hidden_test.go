package access_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// TestHiddenIsAbsent asks for a hidden record and for one that never was, by
// every method that takes an id or a key, and wants the same answer to the
// last letter.
func TestHiddenIsAbsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	hidden := w.account("NY", "Energy")
	contact := w.create("manager.us@amer", "contact", w.contactFields(hidden))
	own := w.account("CA", "Energy")
	grant := w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: hidden.ID, Kind: crm.GrantShare, Key: "d:legal"})
	deleted := w.account("NY", "Energy")
	w.ok(w.door.Delete(ctx, caller("manager.us@amer"), access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: deleted.ID, Version: 1}}}))
	west := caller("rep.west@amer")

	row := func(rs []access.Result, err error) error {
		if err != nil {
			return err
		}
		return rs[0].Err
	}
	asks := map[string]func(id crm.RecordID) error{
		"get": func(id crm.RecordID) error { return row(w.door.Get(ctx, west, "account", []crm.RecordID{id})) },
		"history": func(id crm.RecordID) error {
			_, err := w.door.History(ctx, west, "account", id, 0, 0)
			return err
		},
		"older history": func(id crm.RecordID) error {
			_, err := w.door.History(ctx, west, "account", id, 0, 1)
			return err
		},
		"explain": func(id crm.RecordID) error {
			_, err := w.door.Explain(ctx, west, "account", id, crm.ActionUpdate, "")
			return err
		},
		"update": func(id crm.RecordID) error {
			return row(w.door.Update(ctx, west, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{{ID: id, Version: 1, Fields: w.fields("account", "name", "X")}}}))
		},
		"update without version": func(id crm.RecordID) error {
			return row(w.door.Update(ctx, west, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{{ID: id}}}))
		},
		"update at a wrong version": func(id crm.RecordID) error {
			return row(w.door.Update(ctx, west, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{{ID: id, Version: 7}}}))
		},
		"update with nonsense": func(id crm.RecordID) error {
			return row(w.door.Update(ctx, west, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{
				{ID: id, Version: 1, Territory: "nowhere", Fields: map[string]crm.Value{"no_such_field": crm.String("x")}}}}))
		},
		"delete": func(id crm.RecordID) error {
			return row(w.door.Delete(ctx, west, access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: id, Version: 1}}}))
		},
		"delete without version": func(id crm.RecordID) error {
			return row(w.door.Delete(ctx, west, access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: id}}}))
		},
		"share": func(id crm.RecordID) error {
			_, err := w.door.Judge(ctx, west, crm.Grant{Entity: "account", Record: id, Kind: crm.GrantShare, Key: "d:legal", Reason: "x"})
			return err
		},
		"share badly": func(id crm.RecordID) error {
			_, err := w.door.Judge(ctx, west, crm.Grant{Entity: "account", Record: id, Kind: "whatever"})
			return err
		},
		"list grants": func(id crm.RecordID) error {
			_, err := w.door.ListGrants(ctx, west, "account", id)
			return err
		},
		"create a child": func(id crm.RecordID) error {
			f := w.contactFields(crm.Record{ID: id})
			return row(w.door.Create(ctx, west, access.CreateRequest{Entity: "contact", Rows: []access.NewRow{{Fields: f}}}))
		},
		"refer to it": func(id crm.RecordID) error {
			return row(w.door.Create(ctx, west, access.CreateRequest{Entity: "lead", Rows: []access.NewRow{{
				Territory: "US-CA", Segment: "Energy",
				Fields: w.fields("lead", "source_id", "L"+string(id), "company", "C", "converted_account_id", string(id))}}}))
		},
	}
	never := crm.NewRecordID()
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			want := ask(never)
			if want == nil {
				t.Fatal("a record that never was is there")
			}
			for what, id := range map[string]crm.RecordID{"hidden": hidden.ID, "deleted": deleted.ID} {
				if diff := cmp.Diff(explicit(want), explicit(ask(id))); diff != "" {
					t.Errorf("%s differs from absent: %s", what, diff)
				}
			}
		})
	}
	t.Run("end a grant", func(t *testing.T) {
		_, hiddenErr := w.door.EndGrant(ctx, west, grant.ID, "x")
		_, absentErr := w.door.EndGrant(ctx, west, string(never), "x")
		if diff := cmp.Diff(explicit(absentErr), explicit(hiddenErr)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("another entity's id", func(t *testing.T) {
		if diff := cmp.Diff(explicit(asks["get"](never)), explicit(asks["get"](contact.ID))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("list, count and cursor", func(t *testing.T) {
		page, next, err := w.door.List(ctx, west, access.ListRequest{Entity: "account", Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) != 1 || page[0].ID != own.ID || next != "" {
			t.Errorf("page %v, next %q: something is behind the last record", page, next)
		}
		n, err := w.door.Count(ctx, west, "account", fmt.Sprintf("id in ('%s', '%s')", hidden.ID, own.ID))
		if err != nil || n != 1 {
			t.Errorf("count %d, %v", n, err)
		}
	})
	t.Run("a taken key", func(t *testing.T) {
		// That a key is taken cannot be hidden from who may create; by whom is.
		try := func(key string) error {
			f := w.accountFields("CA", "Energy", "source_id", key)
			return row(w.door.Create(ctx, west, access.CreateRequest{Entity: "account", Rows: []access.NewRow{{Fields: f}}}))
		}
		mine, theirs := try(own.Fields["source_id"].Text()), try(hidden.Fields["source_id"].Text())
		wantKind(t, mine, crm.Conflict, "source_id")
		if diff := cmp.Diff(explicit(mine), explicit(theirs)); diff != "" {
			t.Error(diff)
		}
		upsert := func(as crm.Caller, key string) error {
			out, err := w.door.Upsert(ctx, as, access.UpsertRequest{Entity: "account", Rows: []access.UpsertRow{{Fields: w.accountFields("CA", "Energy", "source_id", key)}}})
			if err != nil {
				return err
			}
			return out[0].Err
		}
		if diff := cmp.Diff(explicit(mine), explicit(upsert(west, hidden.Fields["source_id"].Text()))); diff != "" {
			t.Error(diff)
		}
		// Who could not create with a free key hears no more of a taken one.
		for _, as := range []crm.SubjectID{"banker@amer", "rep.east@amer", "ops@amer", "analyst@amer"} {
			for way, try := range map[string]func(key string) error{
				"upsert": func(key string) error { return upsert(caller(as), key) },
				"create": func(key string) error {
					f := w.accountFields("CA", "Energy", "source_id", key)
					return row(w.door.Create(ctx, caller(as), access.CreateRequest{Entity: "account", Rows: []access.NewRow{{Fields: f}}}))
				},
			} {
				free, taken := try("FREE"), try(own.Fields["source_id"].Text())
				wantKind(t, free, crm.Denied, "")
				if diff := cmp.Diff(explicit(free), explicit(taken)); diff != "" {
					t.Errorf("%s of %s: a taken key differs: %s", way, as, diff)
				}
			}
		}
	})
}

// explicit is all that a caller can learn from an error.
func explicit(err error) map[string]string {
	if err == nil {
		return nil
	}
	e := crm.Public(err)
	return map[string]string{
		"kind": string(e.Kind), "msg": e.Msg, "field": e.Field, "home": e.Home,
		"reasons": fmt.Sprint(e.Reasons), "text": err.Error(), "retry": e.RetryAfter.String(),
	}
}
