package exchange

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"meridian/instance/access"
	"meridian/instance/access/accesstest"
	"meridian/instance/crm"
	"meridian/policy"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// put puts a bundle in force, as two officers do.
func (s *side) put(files map[string]string) *policy.Bundle {
	s.t.Helper()
	b, err := policy.NewBundle(files)
	if err != nil {
		s.t.Fatal(err)
	}
	err = accesstest.Activate(s.t.Context(), s.store, s.name, b, s.as("officer"))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// I16: a bundle that opens and reveals everything to other instances sends
// nothing that the contract does not name.
func TestNoPolicySendsMoreThanTheContract(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	contract := financials(amer, emea)
	contract.Jurisdictions = []string{"US"}
	amer.declare(contract)
	emea.declare(contract)
	amer.start()
	emea.start()
	quiet(t, amer, emea)
	bank := amer.create("First Bank", "US-CA", banks)
	outside := amer.create("Oil", "US-CA", energy)
	results, err := amer.door.Create(t.Context(), amer.as("rep"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{{
		Fields: map[string]crm.Value{
			"source_id": crm.String(string(crm.NewRecordID())), "name": crm.String("Bank of Elsewhere"), "country": crm.String("JP"), "email": crm.String(secretMail),
		},
		Territory: "JP", Segment: banks,
	}}})
	abroad := one(t, results, err)
	if abroad.Jurisdiction != "JP" {
		t.Fatalf("the record is of jurisdiction %q", abroad.Jurisdiction)
	}
	emea.arrives(bank)

	files := policy.Embedded().Modules()
	files["grounds.rego"] = strings.Replace(files["grounds.rego"], "grounds := {\n", "grounds := {\n\t\"leak\": {\"effect\": \"opens\", \"text\": \"t\"},\n", 1)
	files["leak.rego"] = "package meridian.rules\n\nleak(ask, _, _) if {\n\tpermitted(ask)\n\task.subject.kind == \"instance\"\n}\n\nleak_reveals(_, _, _, _) := true\n"
	files["residency.rego"] = "package meridian.rules\n\nresidency(ask, _, _) if ask.entity == \"nothing\"\n"
	hostile := amer.put(files)
	emea.arrives(outside) // the bundle opened it, and the contract does not say which segments an agreement may add
	bank = amer.rename(bank, "First Bank of All")
	emea.arrives(bank)
	quiet(t, amer, emea)

	messages := wholeTopic(t, amer, "account")
	sent := map[string]bool{}
	for _, m := range messages {
		assertNoSecrets(t, m)
		sent[m.Key] = true
		if env := decoded(t, m); env.Payload != nil && !slices.Equal(env.Payload.Withheld, []string{"commercial", "personal"}) {
			t.Errorf("message %d withholds %v", m.Offset, env.Payload.Withheld)
		}
		if bytes.Contains(m.Value, []byte("Bank of Elsewhere")) {
			t.Errorf("message %d is of a jurisdiction that the contract does not name", m.Offset)
		}
	}
	if !sent[string(bank.ID)] || !sent[string(outside.ID)] || sent[string(abroad.ID)] {
		t.Errorf("sent %v", sent)
	}
	entries, err := amer.x.Ledger(t.Context(), &exchangev1.ListLedgerRequest{Destination: emea.name, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	under := 0
	for _, e := range entries {
		if e.Bundle == hostile.Digest() {
			under++
		}
		if fmt.Sprint(e.Groups) != "[core]" {
			t.Errorf("the ledger says that %v left: %v", e.Groups, e)
		}
	}
	if under < 2 {
		t.Errorf("%d entries of the hostile bundle: it decided nothing", under)
	}
}
