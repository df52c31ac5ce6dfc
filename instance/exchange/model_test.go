package exchange

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
)

// compareReplica holds what emea has against what amer's policy would let it
// have now, record by record and value by value.
func compareReplica(t testing.TB, amer, emea *side, ids []crm.RecordID) error {
	t.Helper()
	contract := amer.facts.Contracts[0]
	var projections []access.Projection
	err := amer.store.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		projections, err = amer.door.Project(ctx, tx, contract, ids)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	held, err := emea.store.Load(t.Context(), "account", ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		p := projections[i]
		got, ok := held[id]
		if ok != p.InScope {
			return fmt.Errorf("record %s: held %v, in scope %v", id, ok, p.InScope)
		}
		if !ok {
			continue
		}
		want := present(p.Record.Fields)
		if diff := cmp.Diff(want, present(got.Fields), cmp.Comparer(crm.Value.Equal)); diff != "" || got.Version != p.Record.Version ||
			got.Territory != p.Record.Territory || got.Segment != p.Record.Segment || got.Home != amer.name {
			return fmt.Errorf("record %s: version %d at home, %d here; fields (-home +here):\n%s", id, p.Record.Version, got.Version, diff)
		}
	}
	return nil
}

// present leaves out nulls: a group that did not come is null.
func present(fields map[string]crm.Value) map[string]crm.Value {
	out := map[string]crm.Value{}
	for name, v := range fields {
		if !v.IsNull() {
			out[name] = v
		}
	}
	return out
}

// TestReplicasEqualProjections makes random writes, moves, deletions,
// agreements, walls, judgements and changes of the contract, with both sides
// stopping and starting, and compares after quiet.
func TestReplicasEqualProjections(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	contract := financials(amer, emea)
	fewChecks()
	m := &model{t: t, amer: amer, emea: emea, live: map[crm.RecordID]crm.Record{}}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.IntRange(5, 25).Draw(rt, "steps")
		for range steps {
			switch rapid.SampledFrom([]string{"create", "create", "rename", "move", "move", "delete", "agree", "agree", "end", "withhold", "contract", "restart", "look"}).Draw(rt, "step") {
			case "create":
				r := amer.create(rapid.StringMatching(`[a-z]{1,12}`).Draw(rt, "name"), m.territory(rt), m.segment(rt))
				m.live[r.ID] = r
				m.ids = append(m.ids, r.ID)
			case "rename":
				m.change(rt, func(r crm.Record) crm.Record {
					return amer.rename(r, rapid.StringMatching(`[a-z]{1,12}`).Draw(rt, "name"))
				})
			case "move":
				m.change(rt, func(r crm.Record) crm.Record {
					return amer.update(r, access.UpdateRow{Territory: m.territory(rt), Segment: m.segment(rt)})
				})
			case "delete":
				m.change(rt, func(r crm.Record) crm.Record {
					amer.delete(r)
					return crm.Record{}
				})
			case "agree":
				m.change(rt, func(r crm.Record) crm.Record {
					effect := rapid.SampledFrom([]crm.Effect{crm.EffectOpen, crm.EffectOpen, crm.EffectWall}).Draw(rt, "effect")
					to := rapid.SampledFrom([]time.Duration{200 * time.Millisecond, time.Hour}).Draw(rt, "for")
					m.agreements = append(m.agreements, amer.agree(r.ID, emea.name+"/"+desk, effect, time.Now().Add(to)))
					return r
				})
			case "end":
				if n := len(m.agreements); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(rt, "agreement")
					a := m.agreements[i]
					m.agreements = append(m.agreements[:i], m.agreements[i+1:]...)
					if _, err := amer.door.EndAgreement(t.Context(), amer.as("officer"), a.ID, "test"); err != nil && crm.KindOf(err) != crm.Conflict {
						rt.Fatal(err)
					}
				}
			case "withhold":
				m.change(rt, func(r crm.Record) crm.Record {
					if _, err := amer.door.Judge(t.Context(), amer.as("rep"), crm.Grant{Entity: "account", Record: r.ID, Kind: crm.GrantWithhold,
						Key: "d:" + emea.name + "/" + desk, Reason: "test", From: time.Now(), To: time.Now().Add(300 * time.Millisecond)}); err != nil {
						rt.Fatal(err)
					}
					return r
				})
			case "contract":
				contract.Groups = rapid.SampledFrom([][]string{{"core"}, {"core", "commercial"}}).Draw(rt, "groups")
				contract.Territories = rapid.SampledFrom([][]string{{"US"}, {"US-W", "DE"}}).Draw(rt, "territories")
				amer.declare(contract)
				emea.declare(contract)
			case "restart":
				s := m.side(rt)
				s.stop()
				s.start()
			case "look":
				if err := acknowledgedIsDone(t, amer, emea); err != nil {
					rt.Fatal(err)
				}
			}
		}
		within(t, 60*time.Second, func() error {
			quiet(t, amer, emea)
			return compareReplica(t, amer, emea, m.ids)
		})
		allAcknowledged(t, amer, emea)
		if err := acknowledgedIsDone(t, amer, emea); err != nil {
			rt.Fatal(err)
		}
	})
}

// fewChecks bounds tests of which each check costs a second or two on a busy
// machine; the build's full run asks for more with -rapid.checks.
var fewChecks = sync.OnceFunc(func() {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("15"); err != nil {
			panic(err)
		}
	}
})

type model struct {
	t          *testing.T
	amer, emea *side
	live       map[crm.RecordID]crm.Record
	ids        []crm.RecordID
	agreements []crm.Agreement
}

func (m *model) side(rt *rapid.T) *side {
	return map[string]*side{"amer": m.amer, "emea": m.emea}[rapid.SampledFrom([]string{"amer", "emea"}).Draw(rt, "side")]
}

func (m *model) territory(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"US-CA", "US-NY", "US", "DE", "JP"}).Draw(rt, "territory")
}

func (m *model) segment(rt *rapid.T) string {
	return rapid.SampledFrom([]string{banks, "Financials", energy}).Draw(rt, "segment")
}

// change does something to a live record and keeps what becomes of it.
func (m *model) change(rt *rapid.T, do func(crm.Record) crm.Record) {
	var live []crm.RecordID
	for _, id := range m.ids {
		if _, ok := m.live[id]; ok {
			live = append(live, id)
		}
	}
	if len(live) == 0 {
		return
	}
	id := rapid.SampledFrom(live).Draw(rt, "record")
	if r := do(m.live[id]); r.ID != "" {
		m.live[id] = r
	} else {
		delete(m.live, id)
	}
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	const writers, each = 8, 25
	var mu sync.Mutex
	var ids []crm.RecordID
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() {
			for i := range each {
				r := amer.create(fmt.Sprintf("Bank %d of %d", i, w), "US-CA", banks)
				if i%2 == 0 {
					r = amer.rename(r, "Renamed")
				}
				if i%5 == 0 {
					amer.update(r, access.UpdateRow{Segment: energy})
				}
				mu.Lock()
				ids = append(ids, r.ID)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	eventually(t, func() error {
		quiet(t, amer, emea)
		return compareReplica(t, amer, emea, ids)
	})
}

// A contract that is new lets in what was there before, between two
// watermarks, while writers go on.
func TestSnapshotThenStream(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.declare()
	const before = 1200
	var ids []crm.RecordID
	for i := 0; i < before; i += 200 {
		rows := make([]access.NewRow, 200)
		for j := range rows {
			rows[j] = access.NewRow{Territory: "US-CA", Segment: banks, Fields: map[string]crm.Value{
				"source_id": crm.String(fmt.Sprint("S", i+j)), "name": crm.String(fmt.Sprint("Bank ", i+j)), "annual_revenue": crm.Decimal(secretRevenue)}}
		}
		results, err := amer.door.Create(t.Context(), amer.as("rep"), access.CreateRequest{Entity: "account", Rows: rows})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			ids = append(ids, r.Record.ID)
		}
	}
	amer.start()
	emea.start()
	quiet(t, amer, emea)
	amer.declare(financials(amer, emea))
	// Meanwhile the first one is renamed again and again.
	records, err := amer.store.Load(t.Context(), "account", ids[:1])
	if err != nil {
		t.Fatal(err)
	}
	r := records[ids[0]]
	for i := range 20 {
		r = amer.rename(r, fmt.Sprint("Busy ", i))
	}
	eventually(t, func() error {
		quiet(t, amer, emea)
		return compareReplica(t, amer, emea, ids)
	})
	var marks, rows int
	for _, m := range wholeTopic(t, amer, "account") {
		assertNoSecrets(t, m)
		switch m.Headers["operation"] {
		case "watermark":
			marks++
			if env := decoded(t, m); marks == 2 && (env.Range.Last != env.Sequence || env.Range.First >= env.Range.Last) {
				t.Errorf("the snapshot ends with range %v at number %d", env.Range, env.Sequence)
			}
		case "snapshot":
			rows++
		}
	}
	if marks != 2 || rows < before-20 {
		t.Errorf("%d watermarks and %d snapshot rows, want 2 and about %d", marks, rows, before)
	}
}

// Of two replicas one works; when it goes, the other takes over where it was.
func TestReplicaTakesOver(t *testing.T) {
	t.Parallel()
	amer, emea := pair(t)
	amer.start()
	emea.start()
	first := amer.create("By the first", "US-CA", banks)
	emea.arrives(first)
	// A second process of the same instance.
	st, err := store.Open(t.Context(), store.Config{URL: embeddedtest.App(amer.url), OwnerURL: amer.url, Instance: amer.name, MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	second := &side{t: t, name: amer.name, store: st, log: &journal{}, brokers: amer.brokers,
		door: access.New(access.Config{Instance: amer.name, Store: st, Engine: amer.inForce(), Log: amer.x.log})}
	second.start()
	r := amer.create("By either", "US-CA", banks)
	emea.arrives(r)
	if second.log.has("exchange begins") {
		t.Fatal("two replicas work at once")
	}
	amer.stop()
	r = amer.rename(r, "By the second")
	emea.arrives(r)
	if !second.log.has("exchange begins") {
		t.Error("nobody took over, and yet it arrived")
	}
	seen := map[int64]string{}
	for _, m := range wholeTopic(t, amer, "account") {
		n := decoded(t, m).Sequence
		if old, ok := seen[n]; ok && old != string(m.Value) {
			t.Errorf("number %d was sent with two contents", n)
		}
		seen[n] = string(m.Value)
	}
}
