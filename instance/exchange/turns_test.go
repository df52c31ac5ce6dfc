package exchange

import (
	"context"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// Facts that come with a subject wake the exchange too when they begin or end
// by time alone: an agreement about an area, and a denial.
func TestAreasAndDenialsTurnByTimeAlone(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	bank := amer.create("First Bank", "US-CA", banks)
	oil := amer.create("Oil", "US-CA", energy)
	emea.arrives(bank)
	quiet(t, amer, emea)
	if _, ok := emea.raw(oil.ID); ok {
		t.Fatal("oil left although no contract covers it")
	}

	area := func(effect crm.Effect, from, to time.Time) {
		t.Helper()
		_, err := amer.door.CreateAgreement(t.Context(), amer.as("officer"), crm.Agreement{
			Territory: "US-CA", Department: emea.name + "/" + desk, Effect: effect, From: from, To: to, Reason: "test", Document: "paper",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now().Add(2 * time.Second)
	area(crm.EffectOpen, begin, begin.Add(4*time.Second))
	if _, ok := emea.raw(oil.ID); ok {
		t.Error("oil left before the area opened")
	}
	emea.arrives(oil)
	if time.Now().Before(begin) {
		t.Error("oil left before the area opened")
	}
	emea.leaves(oil.ID)
	if _, ok := emea.raw(bank.ID); !ok {
		t.Error("the bank went with the area that did not open it")
	}

	area(crm.EffectWall, time.Now().Add(time.Second), time.Now().Add(5*time.Second))
	emea.leaves(bank.ID)
	emea.arrives(bank)

	err := amer.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := tx.Attribute(ctx, amer.as("officer")); err != nil {
			return err
		}
		_, err := tx.AddDenial(ctx, store.Denial{ID: "leak", Account: bank.ID, Reason: "test", By: amer.subject("officer")}, 3*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	emea.leaves(bank.ID)
	emea.arrives(bank)
}
