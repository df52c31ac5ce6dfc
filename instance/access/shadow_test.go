package access_test

import (
	"context"
	"strconv"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// TestShadow: reads go on under the bundle in force; what the shadow would have
// answered otherwise is summed up by subject and action, as ids and counts.
func TestShadow(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	west := o.account("CA", "Energy")
	o.account("CA", "Financials")
	shadow := closedToReps(t)
	err := o.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.AddBundle(ctx, store.Bundle{Digest: shadow.Digest(), Files: shadow.Modules()})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- o.door.Shade(ctx) }()
	if _, _, err := o.door.StartShadow(t.Context(), o.called("a"), shadow.Digest()[:10]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.door.StartShadow(t.Context(), o.called("b"), shadow.Digest()); crm.KindOf(err) != crm.Conflict {
		t.Errorf("two shadows: %v", err)
	}
	found := map[string]store.ShadowDifference{}
	o.until(func() bool {
		for _, who := range []crm.SubjectID{"rep.west@amer", "manager.us@amer"} {
			page, _, err := o.door.List(t.Context(), caller(who), access.ListRequest{Entity: "account"})
			if err != nil || len(page) != 2 {
				t.Fatalf("%s lists %d, %v", who, len(page), err)
			}
			if _, err := o.get(who, west); err != nil {
				t.Fatal(err)
			}
		}
		_, ds, err := o.door.Shadowed(t.Context(), o.called("b"))
		if err != nil {
			t.Fatal(err)
		}
		compared := 0
		for _, d := range ds {
			found[string(d.Subject)+" "+d.Action] = d
			compared += int(min(d.Reads, 1))
		}
		return compared == 4
	})
	rep, get, manager := found["rep.west@amer list"], found["rep.west@amer get"], found["manager.us@amer list"]
	if rep.Differed != rep.Reads || rep.Lost != 2*rep.Reads || rep.Gained != 0 || len(rep.Sample) != 2 || rep.Failed != 0 {
		t.Errorf("the representative's lists: %+v", rep)
	}
	if get.Lost != get.Reads || len(get.Sample) != 1 || get.Sample[0] != west.ID {
		t.Errorf("the representative's reads: %+v", get)
	}
	if manager.Reads == 0 || manager.Differed != 0 || len(manager.Sample) != 0 {
		t.Errorf("the manager's lists: %+v", manager)
	}
	for _, who := range []crm.SubjectID{"rep.west@amer", "ops@amer"} {
		if _, _, err := o.door.Shadowed(t.Context(), caller(who)); crm.KindOf(err) != crm.Denied {
			t.Errorf("%s reads the shadow: %v", who, err)
		}
	}
	if w, _, err := o.door.StopShadow(t.Context(), o.called("b")); err != nil || w.StoppedAt == nil {
		t.Errorf("%+v, %v", w, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestShadowNeverDelays: while nobody compares, reads are answered as ever, and
// what was not compared is counted.
func TestShadowNeverDelays(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	rec := o.account("CA", "Energy")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- o.door.Shade(ctx) }()
	now, err := o.store.Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.door.StartShadow(t.Context(), o.called("a"), now.Digest); err != nil {
		t.Fatal(err)
	}
	read := func() {
		t.Helper()
		if rs, err := o.get("rep.west@amer", rec); err != nil || rs[0].Err != nil {
			t.Fatalf("%+v, %v", rs, err)
		}
	}
	o.until(func() bool { // it has noticed
		read()
		_, ds, err := o.door.Shadowed(t.Context(), o.called("a"))
		if err != nil {
			t.Fatal(err)
		}
		return len(ds) > 0
	})
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for range 400 { // more than the queue holds, and nobody takes from it
		read()
	}
	for range 3 {
		if n, err := o.door.Count(t.Context(), caller("rep.west@amer"), "account", ""); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		rec = o.ok(o.update("rep.west@amer", rec, "name", "Nobody waits "+strconv.FormatInt(rec.Version, 10)))
	}
	ctx, stop = context.WithCancel(t.Context())
	go func() { ended <- o.door.Shade(ctx) }()
	o.until(func() bool {
		_, ds, err := o.door.Shadowed(t.Context(), o.called("a"))
		if err != nil {
			t.Fatal(err)
		}
		dropped := map[string]int64{}
		compared := int64(0)
		for _, d := range ds {
			dropped[d.Action] += d.Dropped
			compared += d.Reads
		}
		return dropped["get"] >= 144 && compared >= 256 && dropped["count"] == 3 && dropped["update"] == 3
	})
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
