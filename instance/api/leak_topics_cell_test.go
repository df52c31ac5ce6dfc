package api_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/exchange"
	"meridian/instance/store"
	"meridian/policy"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// readAll reads every topic of every destination, and what is booked about it.
func (m *topicMatrix) readAll(t *testing.T, tr exchange.Transport) {
	t.Helper()
	ledger := map[string]string{} // by destination
	for _, s := range m.scenarios {
		entries, err := m.x.Ledger(t.Context(), &exchangev1.ListLedgerRequest{Destination: s.destination(), Limit: 1000})
		must(t, err)
		ledger[s.destination()] = fmt.Sprint(entries)
	}
	status, err := m.x.Status(t.Context())
	must(t, err)
	booked := fmt.Sprint(status) + m.log.String()
	for _, s := range m.scenarios {
		for _, entity := range m.entities {
			if why := impossibleTopic(s.ground, m.defs[entity], s.cond); why != "" {
				m.skipped[why] += len(m.ways)
				continue
			}
			m.cells.Add(int64(len(m.ways)))
			all := m.messages(t, tr, stream(s, entity))
			m.answers.Add(int64(len(all)))
			for _, k := range all {
				m.look(s, entity, k)
			}
			m.numbered(s, entity, all)
			m.booked(s, entity, ledger[s.destination()], booked)
			if !closedTo(s) {
				m.disclosed(s, entity, all)
			}
		}
		// What destinations themselves say is in the registry too.
		for _, k := range m.messages(t, tr, strings.Join([]string{"meridian", s.destination(), "amer", "control", "v1"}, ".")) {
			m.look(s, "control", k)
		}
	}
}

// unsigned ends the id of a contract that the destinations do not sign: they park
// what comes under it, and say in their receipts that it is missing, until the
// record is deleted.
const unsigned = "-product-away"

// receivers are the destinations of some scenarios, one open and one revoked,
// as they run: what they say on their control topics is what an instance says.
func (m *topicMatrix) receivers(t *testing.T, f store.Facts, brokers []string) (out []*scenario) {
	t.Helper()
	done := map[condition]bool{}
	for _, s := range m.scenarios {
		if s.cond != allowed && s.cond != revoked || closedTo(s) || done[s.cond] {
			continue
		}
		done[s.cond] = true
		out = append(out, s)
		url := embeddedtest.Database(t)
		st, err := store.Open(t.Context(), store.Config{URL: embeddedtest.App(url), OwnerURL: url, MaxConns: 12, Instance: s.destination(), Log: m.slog()})
		must(t, err)
		t.Cleanup(st.Close)
		var defs []crm.Definition
		for _, entity := range m.entities {
			defs = append(defs, m.defs[entity])
		}
		must(t, st.Install(t.Context(), defs))
		here := store.Facts{Territories: f.Territories, Segments: f.Segments}
		for _, c := range f.Contracts {
			if c.Destination == s.destination() && !strings.HasSuffix(c.ID, unsigned) {
				here.Contracts = append(here.Contracts, c)
			}
		}
		must(t, st.Reconcile(t.Context(), here))
		door := access.New(access.Config{Instance: s.destination(), Store: st, Engine: m.engine, Log: m.slog()})
		m.run(t, exchange.Config{Instance: s.destination(), Store: st, Door: door, Brokers: brokers})
	}
	return out
}

// acknowledged waits until destinations that run said that they applied
// everything.
func (m *topicMatrix) acknowledged(t *testing.T, receivers []*scenario) {
	t.Helper()
	end := time.Now().Add(2 * leakDeadline)
	for {
		status, err := m.x.Status(t.Context())
		must(t, err)
		waits := ""
		for _, s := range receivers {
			for _, out := range status.GetStreams() {
				if out.GetPeer() == s.destination() && out.GetUnacknowledged() > 0 {
					waits = fmt.Sprintf("%d of %s", out.GetUnacknowledged(), out.GetStream())
				}
			}
		}
		switch {
		case waits == "":
			return
		case time.Now().After(end):
			t.Fatalf("not acknowledged: %s", waits)
		}
		time.Sleep(20 * time.Millisecond) // between two looks, not instead of one
	}
}

func (m *topicMatrix) messages(t *testing.T, tr exchange.Transport, topic string) (all []message) {
	t.Helper()
	for offset := int64(0); ; {
		f, err := tr.Fetch(t.Context(), topic, offset)
		must(t, err)
		for _, k := range f.Messages {
			var env exchangev1.Envelope
			must(t, proto.Unmarshal(k.Value, &env))
			heads := fmt.Sprint(k.Key, k.Headers, topic)
			all = append(all, message{Message: k, entry: exchange.Entry(topic, k), env: &env, hay: strings.ToLower(heads + string(k.Value) + env.String())})
		}
		if offset = f.Next; offset >= f.End {
			return all
		}
	}
}

// look looks at one message in the way its entry of the registry has.
func (m *topicMatrix) look(s *scenario, entity string, k message) {
	m.seen[k.entry]++
	way, ok := m.ways[k.entry]
	if !ok {
		m.leak(s, entity, k.entry, "a message that no way of the matrix looks at")
		return
	}
	way(m, s, entity, k)
	// Of other scenarios nobody hears.
	for _, other := range m.scenarios {
		for _, a := range other.targets {
			if other != s && (strings.Contains(k.hay, string(a.id)) || strings.Contains(k.hay, a.nonce)) {
				m.leak(s, entity, k.entry, "names a record of %s", other.slug())
			}
		}
	}
}

// hiddenTopic are the fields of a target that may never leave.
func (m *topicMatrix) hiddenTopic(s *scenario, entity string) (out []crm.Field) {
	for _, f := range m.defs[entity].Fields {
		if closedTo(s) || (s.cond == grouped || s.cond == masked) && f.Group != "core" {
			out = append(out, f)
		}
	}
	return out
}

// clean looks for what may not leave, whatever the message is.
func (m *topicMatrix) clean(s *scenario, entity string, k message) {
	for of, target := range s.targets { // also through the messages of other entities
		if closedTo(s) && impossibleTopic(s.ground, m.defs[of], s.cond) == "" &&
			(strings.Contains(k.hay, string(target.id)) || strings.Contains(k.hay, target.nonce)) {
			m.leak(s, entity, k.entry, "names the %s: number %d", of, k.env.Sequence)
		}
	}
	target := s.targets[entity]
	if target == nil {
		return
	}
	for _, f := range m.hiddenTopic(s, entity) {
		if mark := target.marks[f.Name]; mark != "" && strings.Contains(k.hay, strings.ToLower(mark)) {
			m.leak(s, entity, k.entry, "holds %s of field %s: number %d", mark, f.Name, k.env.Sequence)
		}
		if k.env.RecordId == string(target.id) && k.env.Payload.GetFields()[f.Name] != nil {
			m.leak(s, entity, k.entry, "holds something of field %s: number %d", f.Name, k.env.Sequence)
		}
	}
	if strings.Contains(k.hay, "••••") {
		m.leak(s, entity, k.entry, "holds a masked value: nothing is sent in part")
	}
	if s.cond == revoked && strings.Contains(k.hay, strings.ToLower(target.key)+"-later") {
		m.leak(s, entity, k.entry, "holds what was written after it was closed: number %d", k.env.Sequence)
	}
}

// disclosure is a message with values.
func (m *topicMatrix) disclosure(s *scenario, entity string, k message) { m.clean(s, entity, k) }

// end takes a record back: it names one that was disclosed, and no value.
func (m *topicMatrix) end(s *scenario, entity string, k message) {
	m.clean(s, entity, k)
	if k.env.Payload != nil {
		m.leak(s, entity, k.entry, "an end carries values")
	}
	for f, mark := range s.targets[entity].marks {
		if strings.Contains(k.hay, strings.ToLower(mark)) {
			m.leak(s, entity, k.entry, "an end carries field %s", f)
		}
	}
}

// mark is about the stream itself: it names no record at all.
func (m *topicMatrix) mark(s *scenario, entity string, k message) {
	for _, a := range append(slices.Collect(maps.Values(s.targets)), slices.Collect(maps.Values(s.decoys))...) {
		if strings.Contains(k.hay, string(a.id)) || strings.Contains(k.hay, a.nonce) {
			m.leak(s, entity, k.entry, "names a record")
		}
	}
	if k.env.RecordId != "" || k.env.Payload != nil || k.env.RecordVersion != 0 || k.env.Exposure != 0 {
		m.leak(s, entity, k.entry, "is about a record: %s", k.env.RecordId)
	}
}

// numbered: the numbers of a stream are dense, so that one left out does not
// tell that something was withheld.
func (m *topicMatrix) numbered(s *scenario, entity string, all []message) {
	last := int64(0)
	for _, k := range all {
		if k.env.Sequence > last+1 {
			m.leak(s, entity, k.entry, "number %d follows %d: the hole tells of something", k.env.Sequence, last)
		}
		last = max(last, k.env.Sequence)
	}
}

// booked looks at what operators read about the destination, and at the log.
func (m *topicMatrix) booked(s *scenario, entity, ledger, rest string) {
	target := s.targets[entity]
	if closedTo(s) && strings.Contains(ledger, string(target.id)) {
		m.leak(s, entity, "the ledger", "says that the record left")
	}
	for f, mark := range target.marks {
		if strings.Contains(ledger, mark) || strings.Contains(rest, mark) {
			m.leak(s, entity, "the ledger, the status and the log", "hold field %s", f)
		}
	}
	var held int
	err := m.db.QueryRow(m.t.Context(), `select count(*) from meridian.egress_holding where record_id = $1::uuid and contract like $2 and (held or $3)`,
		string(target.id), s.destination()+"-%", closedTo(s)).Scan(&held)
	must(m.t, err)
	if held > 0 {
		m.leak(s, entity, "the holdings", "say that the destination holds the record")
	}
}

// disclosed: what is open did leave, or the matrix proves nothing; and what was
// revoked or deleted was taken back at the end.
func (m *topicMatrix) disclosed(s *scenario, entity string, all []message) {
	target := s.targets[entity]
	var left, back bool
	for _, k := range all {
		if k.env.RecordId != string(target.id) {
			continue
		}
		left = left || k.env.Payload != nil && strings.Contains(k.hay, target.key)
		back = k.env.Payload == nil
		for _, f := range m.defs[entity].Fields {
			mark := target.marks[f.Name]
			open := s.cond == allowed && k.env.Payload != nil && mark != ""
			if open && !strings.Contains(k.hay, strings.ToLower(mark)) {
				m.leak(s, entity, k.entry, "does not hold field %s, which may leave", f.Name)
			}
		}
	}
	if !left || !back {
		m.leak(s, entity, m.paths[0], "what may leave did: %v, and was taken back when it was deleted: %v", left, back)
	}
}

// topicBreak is a policy that lets too much leave.
type topicBreak struct {
	what  string
	rules map[string]string
	finds condition // what the matrix notices first of all
}

// That no jurisdiction leaves which the contract does not grant is no matter of
// rules any more (I16): no bundle breaks it.
func topicBreaks() map[string]topicBreak {
	replaced := func(file, old, by string) map[string]string {
		modules := embeddedModules()
		if !strings.Contains(modules[file], old) {
			panic("the bundle does not say " + old)
		}
		return map[string]string{file: strings.ReplaceAll(modules[file], old, by)}
	}
	return map[string]topicBreak{
		"groups": {"agreements let every group leave", replaced("agreement.rego", "\tlists(fact, group)\n\twithin_contract(ask, group)", "\tfact.effect == \"open\"\n\tgroup != \"\"\n\task.action != \"\""), grouped},
		"walls":  {"walls do not hold for other instances", replaced("agreement.rego", "\tfact.effect == \"wall\"", "\tfact.effect == \"wall\"\n\task.subject.kind != \"instance\""), walled},
	}
}

func embeddedModules() map[string]string { return policy.Embedded().Modules() }

// TestTheTopicMatrixFindsBreaks runs the matrix of topics, one ground of it,
// under policies that let too much leave.
func TestTheTopicMatrixFindsBreaks(t *testing.T) {
	for name, b := range topicBreaks() {
		t.Run(name, func(t *testing.T) {
			m := newTopicMatrix(t, "agreement", b.rules)
			if !slices.ContainsFunc(m.found, func(k leak) bool { return k.cond == b.finds }) {
				t.Errorf("%s: the matrix does not find it", b.what)
			}
			t.Logf("%s: %d leaks found", b.what, len(m.found))
		})
	}
}
