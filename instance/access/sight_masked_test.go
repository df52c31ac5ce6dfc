package access_test

import (
	"slices"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// TestSightSaysWhatIsMasked: who can see a record, could see it, and why, says
// of a group that is shown masked that it is, as reading does.
func TestSightSaysWhatIsMasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	w.put(amended(t, "territory.rego", "territory_reveals(ask, _, _, group) if within_contract(ask, group)",
		"territory_reveals(ask, _, _, group) if {\n\twithin_contract(ask, group)\n\tgroup != \"personal\"\n}\n\nterritory_masks(_, _, _, \"personal\") := true"))
	got := all(t, w.door, "rep.west@amer")[rec.ID]
	if !slices.Equal(got.Masked, []string{"personal"}) {
		t.Fatalf("the record is read as %+v", got)
	}
	e, err := w.door.Explain(t.Context(), caller("rep.west@amer"), "account", rec.ID, crm.ActionRead, "")
	if err != nil || !slices.Equal(e.Masked, got.Masked) || slices.Contains(e.Revealed, "personal") {
		t.Errorf("explained as %+v, %v", e, err)
	}
	masked := func(viewers []access.Viewer) {
		t.Helper()
		at := slices.IndexFunc(viewers, func(v access.Viewer) bool { return v.Subject == "rep.west@amer" })
		if at < 0 || !slices.Equal(viewers[at].Masked, got.Masked) || slices.Contains(viewers[at].Revealed, "personal") {
			t.Errorf("viewers %+v", viewers)
		}
	}
	now, err := w.door.WhoSees(t.Context(), caller("officer.a@amer"), "account", string(rec.ID))
	if err != nil {
		t.Fatal(err)
	}
	masked(now)

	// Of a record that is gone by now the key of then is enough.
	_, then, err := w.store.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := "source_id:" + rec.Fields["source_id"].Text()
	if rs, err := w.door.Delete(t.Context(), caller("manager.us@amer"), access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: rec.ID, Version: rec.Version}}}); err != nil || rs[0].Err != nil {
		t.Fatal(rs, err)
	}
	past, err := w.door.PastWhoSees(t.Context(), caller("officer.a@amer"), "account", key, then)
	if err != nil || past.Record != rec.ID {
		t.Fatalf("%+v, %v", past, err)
	}
	masked(past.Viewers)
	if _, err := w.door.PastWhoSees(t.Context(), caller("officer.a@amer"), "account", key, then.Add(-24*time.Hour)); crm.KindOf(err) != crm.NotFound {
		t.Errorf("a day before it was created: %v", err)
	}
}
