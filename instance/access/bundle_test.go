package access_test

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/access/accesstest"
	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
	"meridian/policy"
)

// amended is the shipped bundle with one file changed.
func amended(t testing.TB, path, old, replacement string) *policy.Bundle {
	t.Helper()
	files := policy.Embedded().Modules()
	if !strings.Contains(files[path], old) {
		t.Fatalf("%s does not say %q any more", path, old)
	}
	files[path] = strings.Replace(files[path], old, replacement, 1)
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// closedToReps shows representatives nothing.
func closedToReps(t testing.TB) *policy.Bundle {
	return amended(t, "actions.rego", `"rep": {"create", "read", "update", "delete", "share", "withhold"},`, `"rep": {"create"},`)
}

// put puts a bundle in force as two officers do.
func (w *world) put(b *policy.Bundle) {
	w.t.Helper()
	if err := accesstest.Activate(w.t.Context(), w.store, "amer", b, caller("officer.a@amer")); err != nil {
		w.t.Fatal(err)
	}
}

// replica is another process of the same instance: a store and a door of its own.
func (w *world) replica() *access.Door {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), store.Config{URL: embeddedtest.App(w.url), OwnerURL: w.url, MaxConns: 8, Instance: "amer"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	engine, err := shipped()
	if err != nil {
		w.t.Fatal(err)
	}
	return access.New(access.Config{Instance: "amer", Store: s, Engine: engine, Officers: w.trusted})
}

// TestActivation: a bundle holds for the next statement of everybody on every
// replica, for exchange too, and its change is in the feed.
func TestActivation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Financials")
	other := w.replica()
	head, err := w.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sees := func(d *access.Door) bool {
		t.Helper()
		rs, err := d.Get(t.Context(), caller("rep.west@amer"), "account", []crm.RecordID{rec.ID})
		if err != nil {
			t.Fatal(err)
		}
		return rs[0].Err == nil
	}
	publishes := func(d *access.Door) access.Projection {
		t.Helper()
		var out []access.Projection
		err := w.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			out, err = d.Project(ctx, tx, crm.Contract{ID: "amer-finserv-account", Entity: "account"}, []crm.RecordID{rec.ID})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	first := w.inForce()
	closed := closedToReps(t)
	local := amended(t, "actions.rego", `ask.action == "publish"`, `ask.action == "nothing"`)
	for i, step := range []struct {
		bundle        *policy.Bundle
		sees, inScope bool
	}{{first.Bundle(), true, true}, {closed, false, true}, {local, true, false}, {first.Bundle(), true, true}} {
		if i > 0 {
			w.put(step.bundle)
		}
		for name, d := range map[string]*access.Door{"this replica": w.door, "the other": other} {
			if got := sees(d); got != step.sees {
				t.Errorf("step %d, %s: the representative sees the account: %v", i, name, got)
			}
			if p := publishes(d); p.InScope != step.inScope || p.Bundle != step.bundle.Digest() {
				t.Errorf("step %d, %s: in scope %v by %.8s", i, name, p.InScope, p.Bundle)
			}
		}
	}
	// The feed waits for older transactions, those of tests beside this one too:
	// what was written before may come with it or after it.
	told := 0
	for deadline := time.Now().Add(30 * time.Second); err == nil && told < 3 && time.Now().Before(deadline); {
		var changes []crm.Change
		if changes, head, err = w.store.Changes(t.Context(), head, 10); err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if c.Kind == crm.ChangeBundle && c.Actor == "officer.a@amer" {
				told++
			}
		}
	}
	if told != 3 {
		t.Errorf("the feed told of %d of 3 activations", told)
	}
}

// TestActivationUnderLoad: while bundles change, no request fails, none is
// answered under a mixture, and none that began after a change has an answer of
// before it.
func TestActivationUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.account("CA", "Energy")
	open, closed := policy.Embedded(), closedToReps(t)
	w.put(open)
	// Odd rounds are closed to representatives. A reader knows the rounds that
	// were over when it began and when it ended.
	var begun, done atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	answered := make(chan struct{})
	for i, door := range []*access.Door{w.door, w.replica()} {
		for range 16 {
			readers.Go(func() {
				for ctx.Err() == nil {
					from := done.Load()
					rs, err := door.Get(t.Context(), caller("rep.west@amer"), "account", []crm.RecordID{rec.ID})
					until := begun.Load()
					if err != nil {
						t.Errorf("replica %d: %v", i, err)
						return
					}
					select {
					case answered <- struct{}{}:
					default:
					}
					if seen := rs[0].Err == nil; from == until && seen != (from%2 == 0) {
						t.Errorf("replica %d, round %d: seen %v", i, from, seen)
						return
					}
				}
			})
		}
	}
	for round := range int64(8) {
		for range 200 {
			select {
			case <-answered:
			case <-time.After(time.Minute):
				t.Fatal("the readers have stopped")
			}
		}
		begun.Add(1)
		w.put(map[bool]*policy.Bundle{true: closed, false: open}[round%2 == 0])
		done.Add(1)
	}
	stop()
	readers.Wait()
}

// TestBrokenBundleIsNoPolicy: a digest in force whose bundle cannot be had
// makes everything unavailable; no other policy takes its place.
func TestBrokenBundleIsNoPolicy(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]string{
		"changed byte":   `update meridian.bundle set files = jsonb_set(files, '{actions.rego}', to_jsonb((files->>'actions.rego') || ' '))`,
		"not Rego":       `update meridian.bundle set files = '{"actions.rego": "everything"}'`,
		"dropped a file": `update meridian.bundle set files = files - 'residency.rego'`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			rec := w.account("CA", "Energy")
			w.put(closedToReps(t))
			w.sql(`alter table meridian.bundle disable trigger append_only; ` + spoil)
			for _, who := range []crm.SubjectID{"rep.west@amer", "manager.us@amer"} {
				if _, err := w.get(who, rec); crm.KindOf(err) != crm.Unavailable {
					t.Errorf("%s under a spoilt bundle: %v", who, err)
				}
			}
			if _, err := w.replica().Count(t.Context(), caller("manager.us@amer"), "account", ""); crm.KindOf(err) != crm.Unavailable {
				t.Errorf("count on another replica: %v", err)
			}
		})
	}
}

// TestBundleKeepsItsBytes: what is read back from the database is what was put
// there, whatever characters it holds.
func TestBundleKeepsItsBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := amended(t, "residency.rego", "package meridian.rules", "# \"quoted\" \\u0041 \t é 漢 🙂 <&>\npackage meridian.rules")
	w.put(b)
	kept, known, err := w.store.Bundle(t.Context(), b.Digest())
	if err != nil || !known || !maps.Equal(kept.Files, b.Modules()) {
		t.Errorf("read back otherwise: %v, %v", known, err)
	}
	if w.inForce().Digest() != b.Digest() {
		t.Error("another bundle is in force")
	}
}
