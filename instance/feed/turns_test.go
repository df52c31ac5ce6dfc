package feed

import (
	"context"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// Watchers hear of facts that come with them, an agreement about an area and a
// denial, when these begin or end by time alone.
func TestAreasAndDenialsTurnByTimeAlone(t *testing.T) {
	o := open(t, asItIs)
	w := o.watch("west", "")
	east := o.create(as("rep"), "East", "US-NY")
	passing := func(want string) { // whoever keeps the clock says so
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && len(w.events) == 0; {
			if err := o.store.EnqueueBoundaries(t.Context()); err != nil {
				t.Fatal(err)
			}
			sleep(t.Context(), 20*time.Millisecond)
		}
		w.want(want, east.ID)
	}
	begin := time.Now().Add(time.Second)
	_, err := o.door.CreateAgreement(t.Context(), as("officer"), crm.Agreement{
		Territory: "US-NY", Department: "desk", Effect: crm.EffectOpen, From: begin, To: begin.Add(2 * time.Second), Reason: "test", Document: "paper",
	})
	if err != nil {
		t.Fatal(err)
	}
	passing(Upsert)
	passing(Gone)

	o.agree(east.ID, crm.EffectOpen, crm.Forever)
	w.want(Upsert, east.ID)
	err = o.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := tx.Attribute(ctx, as("officer")); err != nil {
			return err
		}
		_, err := tx.AddDenial(ctx, store.Denial{ID: "leak", Account: east.ID, Reason: "test", By: "officer@amer"}, 2*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.want(Gone, east.ID)
	passing(Upsert)
}
