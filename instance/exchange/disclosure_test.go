package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/feed"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

func TestRecordArrivesAsFarAsItMayLeave(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	quiet(t, amer, emea) // what is there already comes as a snapshot
	caller := amer.as("rep")
	r := amer.createAs(caller, "First Bank", "US-CA", banks)
	elsewhere := amer.create("Oil", "US-CA", energy)
	abroad := amer.create("Bank of Elsewhere", "DE", banks)

	got := emea.arrives(r)
	if got.Home != amer.name || got.Territory != "US-CA" || got.Segment != banks || got.Fields["name"].Text() != "First Bank" {
		t.Errorf("arrived as %+v", got)
	}
	for _, field := range []string{"annual_revenue", "email"} {
		if v, ok := got.Fields[field]; ok && !v.IsNull() {
			t.Errorf("%s arrived although its group may not leave", field)
		}
	}
	read, err := emea.door.Get(t.Context(), emea.as("reader"), "account", []crm.RecordID{r.ID})
	if seen := one(t, read, err); !slices.Equal(seen.Withheld, []string{"commercial", "personal"}) {
		t.Errorf("withheld %v, want commercial and personal", seen.Withheld)
	}
	quiet(t, amer, emea)
	for _, other := range []crm.Record{elsewhere, abroad} {
		if _, ok := emea.raw(other.ID); ok {
			t.Errorf("%s left although no contract covers it", other.Fields["name"].Text())
		}
	}

	t.Run("Ledger", func(t *testing.T) {
		entries, err := amer.x.Ledger(t.Context(), &exchangev1.ListLedgerRequest{RecordId: string(r.ID)})
		if err != nil || len(entries) != 1 {
			t.Fatalf("ledger has %d entries, %v; want one", len(entries), err)
		}
		e := entries[0]
		if e.Destination != emea.name || e.Operation != "upsert" || !e.Held || !slices.Equal(e.Groups, []string{"core"}) ||
			e.Bundle != amer.inForce().Digest() || e.ExecutionId != caller.Execution || e.RecordVersion != r.Version {
			t.Errorf("ledger says %v", e)
		}
	})
	t.Run("ExecutionIsLoggedAtTheDestination", func(t *testing.T) {
		eventually(t, func() error {
			if !emea.log.has(caller.Execution, "change applied", string(r.ID)) {
				return fmt.Errorf("execution %s is not in the log", caller.Execution)
			}
			return nil
		})
	})
	t.Run("WriteAwayFromHomeNamesTheHome", func(t *testing.T) {
		results, err := emea.door.Update(t.Context(), emea.as("rep"), access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{
			{ID: r.ID, Version: got.Version, Fields: map[string]crm.Value{"name": crm.String("Mine")}}}})
		if err == nil {
			err = results[0].Err
		}
		if e := crm.Public(err); e.Kind != crm.NotHome || e.Home != amer.name {
			t.Errorf("update away from home: %v (%s, home %q), want not_home naming %s", err, e.Kind, e.Home, amer.name)
		}
	})
	t.Run("NothingBeyondTheContractIsInTheTopic", func(t *testing.T) {
		messages := wholeTopic(t, amer, "account")
		if len(messages) == 0 {
			t.Fatal("the topic is empty")
		}
		for _, m := range messages {
			assertNoSecrets(t, m)
			if m.Key == string(elsewhere.ID) || m.Key == string(abroad.ID) {
				t.Errorf("a record out of scope is in the topic")
			}
		}
		at := slices.IndexFunc(messages, func(m Message) bool { return m.Key == string(r.ID) })
		if at < 0 {
			t.Fatal("the record is not in the topic under its id")
		}
		m := messages[at]
		if m.Headers["operation"] != "upsert" || m.Headers["sequence"] == "" || !bytes.Contains([]byte(m.Headers["traceparent"]), []byte(caller.Execution)) {
			t.Errorf("headers %v", m.Headers)
		}
	})
}

// assertNoSecrets scans a message, and its fields, for what may not leave.
func assertNoSecrets(t *testing.T, m Message) {
	t.Helper()
	for _, secret := range []string{secretRevenue, secretMail, "987654321", "annual_revenue", "email"} {
		// Names of fields travel only with their values; groups are named as withheld.
		if bytes.Contains(m.Value, []byte(secret)) {
			t.Errorf("message %d (%s) holds %q", m.Offset, m.Headers["operation"], secret)
		}
	}
}

// wholeTopic reads all that amer ever sent of an entity.
func wholeTopic(t *testing.T, from *side, entity string) []Message {
	t.Helper()
	streams, err := from.store.StreamsOut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []Message
	for _, s := range streams {
		if s.Entity == entity {
			all = append(all, readTopic(t, from.brokers, s.Stream)...)
		}
	}
	return all
}

// readTopic reads a topic from its start; one that nobody made yet is empty.
func readTopic(t testing.TB, brokers []string, topic string) (all []Message) {
	t.Helper()
	tr := NewKafka(brokers)
	defer func() { _ = tr.Close() }() // it only read
	for offset := int64(0); ; {
		f, err := tr.Fetch(t.Context(), topic, offset)
		if _, unknown := errors.AsType[*UnknownTopic](err); unknown {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f.Messages...)
		if offset = f.Next; offset >= f.End {
			return all
		}
	}
}

func decoded(t *testing.T, m Message) *exchangev1.Envelope {
	t.Helper()
	var env exchangev1.Envelope
	if err := proto.Unmarshal(m.Value, &env); err != nil {
		t.Fatal(err)
	}
	return &env
}

// Each way a record leaves a contract's scope ends in its removal over there,
// within two seconds, with its history, and watchers hear of it.
func TestRetraction(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	far := crm.Forever
	causes := []struct {
		name string
		op   string
		// begin makes a record that is exposed; the answer ends that.
		begin func(t *testing.T) (crm.Record, func())
	}{
		{"MovedSegment", "retract", func(*testing.T) (crm.Record, func()) {
			r := amer.create("Bank that becomes oil", "US-NY", banks)
			return r, func() { amer.update(r, access.UpdateRow{Segment: energy}) }
		}},
		{"MovedTerritory", "retract", func(*testing.T) (crm.Record, func()) {
			r := amer.create("Bank that goes abroad", "US-NY", banks)
			return r, func() { amer.update(r, access.UpdateRow{Territory: "DE"}) }
		}},
		{"Deleted", "delete", func(*testing.T) (crm.Record, func()) {
			r := amer.create("Bank that closes", "US-NY", banks)
			return r, func() { amer.delete(r) }
		}},
		{"AgreementEnded", "retract", func(*testing.T) (crm.Record, func()) {
			r := amer.create("Oil by agreement", "US-TX", energy)
			a := amer.agree(r.ID, emea.name+"/"+desk, crm.EffectOpen, far)
			return r, func() { amer.endAgreement(a) }
		}},
		{"AgreementExpiredByTimeAlone", "retract", func(t *testing.T) (crm.Record, func()) {
			r := amer.create("Oil for a moment", "US-TX", energy)
			end := time.Now().Add(3 * time.Second)
			amer.agree(r.ID, emea.name+"/"+desk, crm.EffectOpen, end)
			return r, func() {
				if !sleep(t.Context(), time.Until(end)) {
					t.Fatal(t.Context().Err())
				}
			}
		}},
		{"WalledOff", "retract", func(*testing.T) (crm.Record, func()) {
			r := amer.create("Bank behind a wall", "US-NY", banks)
			return r, func() { amer.agree(r.ID, emea.name+"/"+desk, crm.EffectWall, far) }
		}},
		{"ContractEnded", "retract", func(*testing.T) (crm.Record, func()) {
			r := amer.create("Bank of a contract that ends", "US-NY", banks)
			return r, func() { amer.declare() } // last: nothing leaves afterwards
		}},
	}
	for _, cause := range causes {
		t.Run(cause.name, func(t *testing.T) {
			amer.t, emea.t = t, t
			r, end := cause.begin(t)
			emea.arrives(r)
			gone := watchGone(t, emea, r.ID)
			end()
			within(t, 2*time.Second, func() error {
				if _, ok := emea.raw(r.ID); ok {
					return fmt.Errorf("%s still holds it", emea.name)
				}
				return nil
			})
			select {
			case <-gone:
			case <-time.After(2 * time.Second):
				t.Error("the watcher did not hear of it")
			}
			quiet(t, amer, emea)
			if vs, err := emea.door.History(t.Context(), emea.as("reader"), "account", r.ID, 10, 0); crm.KindOf(err) != crm.NotFound {
				t.Errorf("history answers %d versions, %v; want not_found", len(vs), err)
			}
			entries, err := amer.x.Ledger(t.Context(), &exchangev1.ListLedgerRequest{RecordId: string(r.ID)})
			if err != nil || len(entries) != 2 {
				t.Fatalf("the ledger has %d entries, %v; want a disclosure and its end", len(entries), err)
			}
			if entries[0].Operation != cause.op || entries[0].Held || entries[1].Held {
				t.Errorf("ledger: %s held %v after %s held %v, want %s and nothing held",
					entries[0].Operation, entries[0].Held, entries[1].Operation, entries[1].Held, cause.op)
			}
		})
	}
	for _, m := range wholeTopic(t, amer, "account") {
		assertNoSecrets(t, m)
		if env := decoded(t, m); env.Payload != nil && !holds(crm.Op(env.Operation)) {
			t.Errorf("a %s carries values", env.Operation)
		}
	}
}

// watchGone watches as a reader and tells when the record leaves sight.
func watchGone(t *testing.T, s *side, id crm.RecordID) <-chan struct{} {
	t.Helper()
	ready, gone := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-done
	})
	go func() {
		defer close(done)
		closed := false
		err := s.feed.Watch(ctx, s.as("reader"), "account", "", func(e feed.Event) error {
			switch {
			case e.Type == feed.Ready:
				close(ready)
			case e.Type == feed.Gone && e.ID == id && !closed:
				closed = true
				close(gone)
			}
			return nil
		})
		if err != nil {
			t.Errorf("watch: %v", err)
		}
	}()
	<-ready
	return gone
}

// A record may reach a destination under two contracts; it leaves with the
// last.
func TestRecordLeavesWithItsLastContract(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	all, coast := financials(amer, emea), financials(amer, emea)
	coast.ID, coast.Territories, coast.Groups = "coast-"+amer.name, []string{"US-W"}, []string{"core", "commercial"}
	amer.declare(all, coast)
	emea.declare(all, coast)
	amer.start()
	emea.start()
	r := amer.create("Bank of two contracts", "US-CA", banks)
	eventually(t, func() error {
		if got, ok := emea.raw(r.ID); !ok || got.Fields["annual_revenue"].Text() != secretRevenue {
			return fmt.Errorf("the union of both contracts' groups has not arrived")
		}
		return nil
	})
	r = amer.update(r, access.UpdateRow{Territory: "US-NY"})
	eventually(t, func() error {
		got, ok := emea.raw(r.ID)
		if !ok {
			return fmt.Errorf("gone although a contract still holds it")
		}
		if v := got.Fields["annual_revenue"]; !v.IsNull() {
			return fmt.Errorf("still shows the group that only the ended holding let in")
		}
		return nil
	})
	amer.update(r, access.UpdateRow{Segment: energy})
	emea.leaves(r.ID)
}

// What belongs to an account follows it: out by agreement, back when that ends
// or the account moves, although no contact was written.
func TestContactsFollowTheirAccount(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	people := financials(amer, emea)
	people.ID, people.Entity, people.Groups = "people-"+amer.name, "contact", []string{"core"}
	amer.declare(people)
	emea.declare(people)
	amer.start()
	emea.start()
	account := amer.create("Oil", "US-TX", energy)
	results, err := amer.door.Create(t.Context(), amer.as("rep"), access.CreateRequest{Entity: "contact", Rows: []access.NewRow{{
		Fields: map[string]crm.Value{"source_id": crm.String("P1"), "account_id": crm.Reference(account.ID), "last_name": crm.String("Gusher"), "email": crm.String(secretMail)}}}})
	contact := one(t, results, err)
	holds := func(want bool) {
		t.Helper()
		eventually(t, func() error {
			rs, err := emea.store.Load(t.Context(), "contact", []crm.RecordID{contact.ID})
			if _, ok := rs[contact.ID]; err == nil && ok != want {
				err = fmt.Errorf("the contact is held %v, want %v", ok, want)
			}
			return err
		})
	}
	a := amer.agree(account.ID, emea.name+"/"+desk, crm.EffectOpen, crm.Forever)
	holds(true)
	amer.endAgreement(a)
	holds(false)
	account = amer.update(account, access.UpdateRow{Segment: banks})
	holds(true)
	account = amer.update(account, access.UpdateRow{Territory: "DE"})
	holds(false)
	amer.update(account, access.UpdateRow{Territory: "US-CA"})
	holds(true)
	deleted, err := amer.door.Delete(t.Context(), amer.as("rep"), access.DeleteRequest{Entity: "contact", Rows: []access.DeleteRow{{ID: contact.ID, Version: amer.version("contact", contact.ID)}}})
	one(t, deleted, err)
	holds(false)
	for _, m := range wholeTopic(t, amer, "contact") {
		assertNoSecrets(t, m)
	}
}
