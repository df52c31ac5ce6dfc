package store_test

import (
	"context"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// kept is a bundle of a digest that only looks like one.
func kept(letter, version string) store.Bundle {
	return store.Bundle{Digest: strings.Repeat(letter, 64), Files: map[string]string{"rules.rego": "package meridian.rules # " + letter}, Version: version}
}

// TestAdopt: a build's bundle takes force where nothing or the build before it
// was in force, never over what officers chose, and never comes back by itself.
func TestAdopt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	adopt := func(b store.Bundle, want store.Adopted, inForce string, seq int64) {
		t.Helper()
		became, err := w.Adopt(t.Context(), b)
		if err != nil || became != want {
			t.Errorf("%s became %q, %v; want %q", b.Version, became, err, want)
		}
		if now, err := w.Active(t.Context()); err != nil || now.Digest != inForce || now.Seq != seq {
			t.Errorf("activation %d of %.4s, %v; want %d of %.4s", now.Seq, now.Digest, err, seq, inForce)
		}
	}
	one, two, three := kept("1", "v1"), kept("2", "v2"), kept("3", "v3")
	if now, err := w.Active(t.Context()); err != nil || now.Seq != 0 {
		t.Fatalf("in force before anything: %+v, %v", now, err)
	}
	adopt(one, store.AdoptedFirst, one.Digest, 1)
	adopt(one, store.AdoptedAlready, one.Digest, 1)
	adopt(two, store.AdoptedUpgrade, two.Digest, 2)
	adopt(one, store.AdoptedAlready, two.Digest, 2) // a replica of the old build starts again
	officers := kept("a", "")
	w.activate(officers, store.ActivationOfficers, 2)
	adopt(two, store.AdoptedAlready, officers.Digest, 3)
	adopt(three, store.AdoptedOffered, officers.Digest, 3)
	w.activate(one, store.ActivationRollback, 3) // officers chose the product's: it stays theirs
	adopt(three, store.AdoptedOffered, one.Digest, 4)
	if waiting, err := w.Shipped(t.Context()); err != nil || len(waiting) != 1 || waiting[0].Version != "v3" || waiting[0].Files["rules.rego"] != three.Files["rules.rego"] {
		t.Errorf("shipped and not in force: %+v, %v", waiting, err)
	}
}

func (w *world) activate(b store.Bundle, kind store.ActivationKind, after int64) {
	w.t.Helper()
	err := w.Tx(w.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := tx.AddBundle(ctx, b); err != nil {
			return err
		}
		_, err := tx.Activate(ctx, store.Activation{Digest: b.Digest, Kind: kind, By: "officer"}, after)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestActivateFollows: of two that follow the same activation one is stale, and
// what is recorded is neither changed nor removed.
func TestActivateFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stamp := w.stamp()
	w.activate(kept("1", "v1"), store.ActivationInitial, 0)
	if w.stamp() <= stamp {
		t.Error("an activation left the stamp where it was")
	}
	w.activate(kept("2", ""), store.ActivationOfficers, 1)
	err := w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Activate(ctx, store.Activation{Digest: kept("1", "").Digest, Kind: store.ActivationOfficers}, 1)
		return err
	})
	if crm.KindOf(err) != crm.Stale {
		t.Errorf("a second activation after the first: %v", err)
	}
	evidence, err := w.Evidence(t.Context())
	if all := evidence.Activations; err != nil || len(all) != 2 || all[0].Seq != 1 || all[1].Seq != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	for _, sql := range []string{"delete from meridian.activation", "update meridian.bundle set files = '{}'", "truncate meridian.activation"} {
		if err := w.refused(sql); err == nil {
			t.Errorf("%s was let through", sql)
		}
	}
}
