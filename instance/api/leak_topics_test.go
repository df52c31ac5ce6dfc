package api_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/exchange"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

// The matrix of topics: every registered kind of topic and operation x every
// ground x every entity x every condition. A destination reads its topics to
// the last byte, and what is booked about it: the ledger, its holdings.

// topicGrounds open records to other instances. Steward and share must not,
// whatever they say; the others look at roles and relationships, which no
// instance has.
var (
	topicGrounds    = []string{"territory", "agreement", "area", "steward", "share"}
	topicConditions = append(slices.Clone(conditions), abroad)
)

// topicWays say of each registered entry how a message there is looked at.
func topicWays() map[string]func(*topicMatrix, *scenario, string, message) {
	const records, control = "meridian.{source}.{destination}.{entity}.v1 ", "meridian.{destination}.{source}.control.v1 "
	return map[string]func(*topicMatrix, *scenario, string, message){
		records + "upsert":    (*topicMatrix).disclosure,
		records + "snapshot":  (*topicMatrix).disclosure,
		records + "retract":   (*topicMatrix).end,
		records + "delete":    (*topicMatrix).end,
		records + "watermark": (*topicMatrix).mark,
		records + "gap":       (*topicMatrix).mark,
		control + "gap":       (*topicMatrix).mark,
		control + "receipt":   (*topicMatrix).mark,
	}
}

// message is one message as its destination reads it.
type message struct {
	exchange.Message
	entry string
	env   *exchangev1.Envelope
	hay   string
}

type topicMatrix struct {
	*matrix
	ways map[string]func(*topicMatrix, *scenario, string, message)
	x    *exchange.Exchange
	seen map[string]int
}

// impossibleTopic says why a combination cannot be, "" if it can.
func impossibleTopic(ground string, def crm.Definition, c condition) string {
	if ground == "steward" || ground == "share" {
		if c != allowed {
			return "the ground opens nothing to an instance at best"
		}
		if ground == "steward" && def.Governed == crm.GovernedFromAccount {
			return "what belongs to an account lies where that lies"
		}
		return ""
	}
	account := def.Entity == "account" || hasField(def, "account_id")
	if !account && (c == walled || ground == "agreement") {
		return "agreements are about accounts; the record has none"
	}
	return ""
}

// closed tells whether the destination of a scenario may know of its target.
func closedTo(s *scenario) bool {
	open := s.cond == allowed || s.cond == grouped || s.cond == masked || s.cond == revoked
	return !open || s.ground == "steward" || s.ground == "share"
}

// destination is the instance that a scenario is about.
func (s *scenario) destination() string { return "to-" + s.slug() }

// desk is its department.
func (s *scenario) desk() string { return s.destination() + "/desk-" + s.slug() }

// contracts of a scenario: what it holds anyway, and for the ground territory
// what the condition is about.
func (l *leakWorld) contracts(s *scenario) (out []crm.Contract) {
	for _, entity := range l.entities {
		def := l.defs[entity]
		c := crm.Contract{
			ID: s.destination() + "-" + entity, Source: "amer", Destination: s.destination(), Entity: entity,
			Territories: []string{s.own}, Segments: []string{trees.AllSegments}, Departments: []string{s.desk()}, Groups: def.Groups(),
			Jurisdictions: []string{"*"}, Purpose: "matrix", LegalBasis: "matrix", From: time.Now().AddDate(-1, 0, 0), To: crm.Forever,
		}
		if s.cond == abroad {
			c.Jurisdictions = []string{s.own}
		}
		if s.ground == "steward" || s.ground == "share" && s.cond == denied {
			c.Territories = append(c.Territories, s.away)
		}
		out = append(out, c)
		if s.ground != "territory" || s.cond == denied {
			continue
		}
		c.ID, c.Territories = c.ID+"-away", []string{s.away}
		switch s.cond {
		case grouped, masked:
			c.Groups = []string{"core"}
		case expired:
			c.From, c.To = time.Now().AddDate(0, 0, -9), time.Now().AddDate(0, 0, -1)
		case tomorrow:
			c.From, c.To = time.Now().AddDate(0, 0, 1), time.Now().AddDate(0, 0, 30)
		}
		out = append(out, c)
	}
	return out
}

// newTopicWorld makes an instance with a destination for every scenario.
func newTopicWorld(t *testing.T, only string, rules map[string]string) (*leakWorld, store.Facts) {
	t.Helper()
	l := &leakWorld{only: only, defs: map[string]crm.Definition{}, trace: &statements{},
		entities: []string{"product", "account", "contact", "lead", "engagement", "opportunity", "case", "activity"}}
	defs := mask(schema.Common())
	for _, d := range defs {
		l.defs[d.Entity] = d
	}
	var places []string
	for _, n := range trees.Territories() {
		if n.Level == "country" && n.ID != "US" {
			places = append(places, n.ID)
		}
	}
	f := store.Facts{Territories: trees.Territories(), Segments: trees.Segments(), Subjects: []store.SubjectFact{
		{ID: maker, Kind: crm.KindPerson, Roles: []string{"manager"}, Clearance: 9, Territories: []string{trees.World}, Segments: []string{trees.AllSegments}},
		{ID: "officer@amer", Kind: crm.KindPerson, Roles: []string{"officer"}},
	}}
	for _, g := range topicGrounds {
		for _, c := range topicConditions {
			if only != "" && g != only || !slices.ContainsFunc(l.entities, func(e string) bool { return impossibleTopic(g, l.defs[e], c) == "" }) {
				continue
			}
			s := &scenario{ground: g, cond: c, own: places[0], away: places[1], targets: map[string]*aim{}, decoys: map[string]*aim{}, others: map[string][]*aim{}}
			places = places[2:]
			l.scenarios = append(l.scenarios, s)
			f.Contracts = append(f.Contracts, l.contracts(s)...)
		}
	}
	modules := policy.Embedded().Modules()
	modules["masks_of_the_matrix.rego"] = moreMasks
	maps.Copy(modules, rules)
	bundle, err := policy.NewBundle(modules)
	must(t, err)
	l.world = openWith(t, recipe{facts: f, defs: defs, bundle: bundle, trace: l.trace.told})
	l.db, err = pgx.Connect(t.Context(), l.world.db)
	must(t, err)
	t.Cleanup(func() { _ = l.db.Close(context.WithoutCancel(t.Context())) })
	for _, entity := range l.entities {
		l.fillTopics(entity)
	}
	for _, s := range l.scenarios {
		l.agreeTopics(s)
	}
	return l, f
}

func (l *leakWorld) fillTopics(entity string) {
	def := l.defs[entity]
	var rows []access.NewRow
	var made []*aim
	for _, s := range l.scenarios {
		for _, to := range []struct {
			of    map[string]*aim
			place string
		}{{s.targets, s.away}, {s.decoys, s.own}} {
			refs := map[string]crm.RecordID{}
			if a := to.of["account"]; a != nil {
				refs["account_id"] = a.id
			}
			a := invent(def, refs)
			row := access.NewRow{Fields: a.fields, Territory: to.place, Segment: trees.AllSegments}
			if s.ground == "steward" && to.place == s.away {
				row.Segment = ""
			}
			if def.Governed == crm.GovernedFromAccount {
				row.Territory, row.Segment = "", ""
			}
			rows, made = append(rows, row), append(made, a)
			to.of[entity] = a
		}
	}
	results, err := l.door.Create(l.t.Context(), crm.Caller{Subject: maker}, access.CreateRequest{Entity: entity, Rows: rows})
	must(l.t, err)
	for i, r := range results {
		must(l.t, r.Err)
		made[i].id, made[i].version = r.Record.ID, r.Record.Version
	}
}

// agreeTopics makes the agreements and judgements of a scenario.
func (l *leakWorld) agreeTopics(s *scenario) {
	ctx := l.t.Context()
	agree := func(g crm.Agreement) {
		g.Department, g.Actions, g.Document, g.Reason = s.desk(), []string{"read", "publish"}, "matrix", "matrix"
		if g.Effect == crm.EffectOpen {
			g.Groups = []string{"core"}
			if s.cond != grouped && s.cond != masked {
				g.Groups = []string{"core", "commercial", "personal"}
			}
		}
		switch s.cond {
		case expired:
			g.From, g.To = time.Now().AddDate(0, 0, -9), time.Now().AddDate(0, 0, -1)
		case tomorrow:
			g.From, g.To = time.Now().AddDate(0, 0, 1), time.Now().AddDate(0, 0, 30)
		}
		made, err := l.door.CreateAgreement(ctx, crm.Caller{Subject: "officer@amer"}, g)
		must(l.t, err)
		s.agreed = append(s.agreed, made.ID)
	}
	account := s.targets["account"].id
	if s.ground == "agreement" && s.cond != denied {
		agree(crm.Agreement{Account: account, Effect: crm.EffectOpen})
	}
	if s.ground == "area" && s.cond != denied {
		agree(crm.Agreement{Territory: s.away, Effect: crm.EffectOpen})
	}
	switch s.cond {
	case walled:
		agree(crm.Agreement{Account: account, Effect: crm.EffectWall})
	case areaWalled:
		agree(crm.Agreement{Territory: s.away, Effect: crm.EffectWall})
	}
	judge := func(kind crm.GrantKind) {
		for entity, a := range s.targets {
			_, err := l.door.Judge(ctx, crm.Caller{Subject: maker}, crm.Grant{Entity: entity, Record: a.id, Kind: kind, Key: "d:" + s.desk(), Reason: "matrix"})
			must(l.t, err)
		}
	}
	if s.cond == withheld {
		judge(crm.GrantWithhold)
	}
	if s.ground == "share" {
		judge(crm.GrantShare)
	}
}

// run runs an exchange until the test ends.
func (m *topicMatrix) run(t *testing.T, c exchange.Config) *exchange.Exchange {
	t.Helper()
	c.Log = m.slog()
	x := exchange.New(c)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := x.Run(ctx); err != nil {
			t.Errorf("exchange of %s: %v", c.Instance, err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return x
}

// TestNothingLeaksIntoTopics is the matrix of what leaves for other instances.
// LEAK_BREAK=topics (or masks) breaks the policy that it runs under, and it
// must fail.
func TestNothingLeaksIntoTopics(t *testing.T) {
	var rules map[string]string
	if b, ok := topicBreaks()[os.Getenv("LEAK_BREAK")]; ok {
		rules = b.rules
	}
	m := newTopicMatrix(t, os.Getenv("LEAK_GROUND"), rules)
	for _, entry := range slices.Sorted(maps.Keys(m.ways)) {
		if m.seen[entry] == 0 && m.only == "" {
			t.Errorf("no message %s was seen: the matrix proves nothing about it", entry)
		}
	}
	m.report(t)
	t.Logf("messages by kind: %v", m.seen)
}

// newTopicMatrix makes a world and everything that can happen in it, and reads
// all topics.
func newTopicMatrix(t *testing.T, only string, rules map[string]string) *topicMatrix {
	t.Helper()
	began := time.Now()
	l, facts := newTopicWorld(t, only, rules)
	m := &topicMatrix{matrix: l.matrix(nil), ways: topicWays(), seen: map[string]int{}}
	m.matrix.paths = slices.Sorted(maps.Keys(m.ways))
	m.registeredTopics(t)
	brokers := embeddedtest.OwnKafka(t)
	m.x = m.run(t, exchange.Config{Instance: "amer", Store: m.store, Door: m.door, Brokers: brokers})
	receivers := m.receivers(t, facts, brokers)
	t.Logf("%v: the world is made", time.Since(began))
	m.arrives(t, brokers, "the snapshot", func(s *scenario, entity string) string { return s.decoys[entity].key })
	t.Logf("%v: the snapshot left", time.Since(began))

	// What was open closes, and everything is written once more; then decoys,
	// so that who has them has all that came before.
	m.revokeTopics(facts)
	m.rewrite(t, func(s *scenario) map[string]*aim { return s.targets })
	m.rewrite(t, func(s *scenario) map[string]*aim { return s.decoys })
	m.arrives(t, brokers, "the change", func(s *scenario, entity string) string { return s.decoys[entity].key + "-later" })
	t.Logf("%v: the changes left", time.Since(began))

	// Every destination says it missed everything, and is sent it again.
	tr := exchange.NewKafka(brokers)
	defer func() { _ = tr.Close() }() // it only asks and reads
	for _, s := range m.scenarios {
		m.missEverything(t, tr, s)
	}
	m.arrives(t, brokers, "the repair", func(*scenario, string) string { return "\x00gap" })
	// At last the targets are deleted.
	m.delete(t)
	m.rewrite(t, func(s *scenario) map[string]*aim { return s.decoys })
	m.arrives(t, brokers, "the last change", func(s *scenario, entity string) string { return s.decoys[entity].key + "-later-later" })
	t.Logf("%v: all has left", time.Since(began))
	m.acknowledged(t, receivers)
	t.Logf("%v: %d destinations acknowledged what they applied", time.Since(began), len(receivers))
	m.readAll(t, tr)
	return m
}

// registeredTopics fails the test for an entry that is produced and not tried.
func (m *topicMatrix) registeredTopics(t *testing.T) {
	t.Helper()
	for _, entry := range exchange.Topics() {
		if m.ways[entry] == nil {
			t.Errorf("%s leaves the instance and is missing from the leak matrix: add it to topicWays", entry)
		}
	}
	for entry := range m.ways {
		if !slices.Contains(exchange.Topics(), entry) {
			t.Errorf("%s is in the leak matrix and leaves nowhere", entry)
		}
	}
}

func (m *topicMatrix) revokeTopics(f store.Facts) {
	ctx := m.t.Context()
	f.Contracts = slices.DeleteFunc(slices.Clone(f.Contracts), func(c crm.Contract) bool {
		return strings.HasPrefix(c.ID, "to-territory-just-revoked-") && strings.HasSuffix(c.ID, "-away")
	})
	must(m.t, m.store.Reconcile(ctx, f))
	for _, s := range m.scenarios {
		if s.cond != revoked {
			continue
		}
		for _, id := range s.agreed {
			_, err := m.door.EndAgreement(ctx, crm.Caller{Subject: "officer@amer"}, id, "matrix")
			must(m.t, err)
		}
	}
}

// rewrite changes the key of records.
func (m *topicMatrix) rewrite(t *testing.T, which func(*scenario) map[string]*aim) {
	t.Helper()
	set := map[*aim]map[string]crm.Value{}
	for _, s := range m.scenarios {
		for entity, a := range which(s) {
			a.written += "-later"
			set[a] = map[string]crm.Value{m.defs[entity].Key: crm.String(a.key + a.written)}
		}
	}
	m.write(t, set)
}

// delete deletes all targets, children first.
func (m *topicMatrix) delete(t *testing.T) {
	t.Helper()
	for _, entity := range slices.Backward(m.entities) {
		var rows []access.DeleteRow
		for _, s := range m.scenarios {
			rows = append(rows, access.DeleteRow{ID: s.targets[entity].id, Version: s.targets[entity].version})
		}
		results, err := m.door.Delete(t.Context(), crm.Caller{Subject: maker}, access.DeleteRequest{Entity: entity, Rows: rows})
		must(t, err)
		for _, r := range results {
			must(t, r.Err)
		}
	}
}

func stream(s *scenario, entity string) string {
	return strings.Join([]string{"meridian", "amer", s.destination(), entity, "v1"}, ".")
}

// missEverything is a destination that asks for all numbers of its streams,
// and for one that never was.
func (m *topicMatrix) missEverything(t *testing.T, tr exchange.Transport, s *scenario) {
	t.Helper()
	topic := strings.Join([]string{"meridian", s.destination(), "amer", "control", "v1"}, ".")
	must(t, tr.CreateTopic(t.Context(), topic))
	var ms []exchange.Message
	for _, entity := range m.entities {
		body, err := proto.Marshal(&exchangev1.Envelope{EventId: string(crm.NewRecordID()), Origin: s.destination(), Stream: stream(s, entity), Entity: entity,
			Operation: string(crm.OpGap), Range: &exchangev1.Range{First: 1}})
		must(t, err)
		ms = append(ms, exchange.Message{Key: stream(s, entity), Value: body, Headers: map[string]string{"operation": string(crm.OpGap)}})
	}
	must(t, tr.Produce(t.Context(), topic, ms))
}

// arrives waits until every topic holds a mark.
func (m *topicMatrix) arrives(t *testing.T, brokers []string, what string, mark func(*scenario, string) string) {
	t.Helper()
	tr := exchange.NewKafka(brokers)
	defer func() { _ = tr.Close() }() // it only reads
	end := time.Now().Add(2 * leakDeadline)
	next := map[string]int64{}
	m.parallelT(t, func(s *scenario, entity string) {
		for {
			_, from := m.at(next, stream(s, entity), -1)
			f, err := tr.Fetch(t.Context(), stream(s, entity), from)
			found := false
			if err == nil {
				m.at(next, stream(s, entity), f.Next)
				want := mark(s, entity)
				found = slices.ContainsFunc(f.Messages, func(k exchange.Message) bool {
					return strings.Contains(string(k.Value), want) || want == "\x00"+k.Headers["operation"]
				})
			}
			switch {
			case found:
				return
			case time.Now().After(end):
				t.Errorf("%s of %s has not left for %s: %v", what, entity, s.destination(), err)
				return
			case err != nil: // not made yet
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
	if t.Failed() {
		for line := range strings.Lines(m.log.String()) {
			if strings.Contains(line, `"ERROR"`) || strings.Contains(line, `"WARN"`) {
				t.Log(line)
			}
		}
		t.FailNow()
	}
}

// at keeps how far a topic was read; -1 only asks.
func (m *topicMatrix) at(next map[string]int64, topic string, to int64) (bool, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if to >= 0 {
		next[topic] = to
	}
	return true, next[topic]
}

// parallelT calls do for every stream, some at a time: a fetch waits.
func (m *topicMatrix) parallelT(t *testing.T, do func(*scenario, string)) {
	t.Helper()
	n := len(m.entities)
	var workers sync.WaitGroup
	next := make(chan int)
	for range 32 {
		workers.Go(func() {
			for i := range next {
				do(m.scenarios[i/n], m.entities[i%n])
			}
		})
	}
	for i := range n * len(m.scenarios) {
		next <- i
	}
	close(next)
	workers.Wait()
}
