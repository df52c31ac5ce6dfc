package exchange

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"meridian/instance/access"
	"meridian/instance/access/accesstest"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/feed"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
)

// The tests run two instances, each with its own database, on one broker:
// amer-<n> lets emea-<n> hold American financial accounts, and those that
// agreements open to emea's desk, without what is commercial or personal.

const (
	banks  = "Financials/Banks/Banks"
	energy = "Energy"
	desk   = "desk"
)

// side is one instance of a test.
type side struct {
	t     testing.TB
	name  string
	url   string
	store *store.Store
	door  *access.Door
	feed  *feed.Feed
	x     *Exchange
	log   *journal

	brokers []string
	facts   store.Facts
	stop    func()
}

// pair makes two instances with one contract and starts neither exchange.
func pair(t testing.TB) (amer, emea *side) {
	t.Helper()
	id := strings.ReplaceAll(string(crm.NewRecordID()), "-", "")
	amer, emea = newSide(t, "amer-"+id), newSide(t, "emea-"+id)
	contract := financials(amer, emea)
	amer.declare(contract)
	emea.declare(contract)
	return amer, emea
}

func financials(from, to *side) crm.Contract {
	return crm.Contract{
		ID: "financials-" + from.name, Source: from.name, Destination: to.name, Entity: "account",
		Territories: []string{"US"}, Segments: []string{"Financials"}, Departments: []string{to.name + "/" + desk},
		Groups: []string{"core"}, Jurisdictions: []string{"*"}, Purpose: "coverage", LegalBasis: "contract",
		From: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), To: crm.Forever,
	}
}

// inForce is the engine that decides.
func (s *side) inForce() *policy.Engine {
	s.t.Helper()
	e, err := s.door.InForce(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// engine is compiled once: it holds no state of an instance.
var engine = sync.OnceValues(func() (*policy.Engine, error) { return policy.New(context.Background(), policy.Embedded()) })

func newSide(t testing.TB, name string) *side {
	t.Helper()
	s := &side{t: t, name: name, url: embeddedtest.Database(t), log: &journal{}, brokers: testBrokers(t)}
	log := slog.New(slog.NewJSONHandler(s.log, nil))
	var err error
	if s.store, err = store.Open(t.Context(), store.Config{URL: embeddedtest.App(s.url), OwnerURL: s.url, Instance: name, MaxConns: 12, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.store.Close)
	if err := s.store.Install(t.Context(), schema.Common()); err != nil {
		t.Fatal(err)
	}
	engine, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	if err := accesstest.Enrol(t.Context(), s.store); err != nil {
		t.Fatal(err)
	}
	s.door = access.New(access.Config{Instance: name, Store: s.store, Engine: engine, Log: log, Officers: accesstest.Trusted()})
	s.facts = store.Facts{
		Territories: trees.Territories(), Segments: trees.Segments(),
		Departments: []store.Department{{ID: desk, Name: "Desk"}},
		Subjects: []store.SubjectFact{
			{ID: s.subject("rep"), Kind: crm.KindPerson, Roles: []string{"rep"}, Clearance: 9, Territories: []string{trees.World}, Segments: []string{trees.AllSegments}},
			{ID: s.subject("officer"), Kind: crm.KindPerson, Roles: []string{"officer"}, Clearance: 9},
			{ID: s.subject("reader"), Kind: crm.KindPerson, Roles: []string{"reader"}, Clearance: 9, Territories: []string{trees.World}, Segments: []string{trees.AllSegments}},
		},
	}
	s.declare()
	return s
}

func (s *side) subject(role string) crm.SubjectID { return crm.SubjectID(role + "@" + s.name) }

// as is a call by one of the side's subjects, under an execution of its own.
func (s *side) as(role string) crm.Caller {
	return crm.Caller{Subject: s.subject(role), Execution: strings.ReplaceAll(string(crm.NewRecordID()), "-", "")}
}

// declare makes contracts the ones in force.
func (s *side) declare(contracts ...crm.Contract) {
	s.t.Helper()
	s.facts.Contracts = contracts
	if err := s.store.Reconcile(s.t.Context(), s.facts); err != nil {
		s.t.Fatal(err)
	}
}

// start runs the side's exchange, feed and door until stopped, at the latest
// when the test ends.
func (s *side) start() {
	s.t.Helper()
	s.startOn(NewKafka(s.brokers))
}

func (s *side) startOn(tr Transport) {
	s.t.Helper()
	log := slog.New(slog.NewJSONHandler(s.log, nil))
	s.x = New(Config{Instance: s.name, Store: s.store, Door: s.door, Brokers: s.brokers, Log: log})
	s.x.transport = tr
	s.feed = feed.New(s.store, s.door, log)
	s.run(s.x.Run, s.feed.Run, s.door.Run)
}

func (s *side) run(parts ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() {
			if err := part(ctx); err != nil {
				s.t.Errorf("%s: %v", s.name, err)
			}
		})
	}
	stopped := sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	s.stop = stopped
	s.t.Cleanup(stopped)
}

// create makes an account in a territory and a segment.
func (s *side) create(name, territory, segment string) crm.Record {
	s.t.Helper()
	return s.createAs(s.as("rep"), name, territory, segment)
}

func (s *side) createAs(c crm.Caller, name, territory, segment string) crm.Record {
	s.t.Helper()
	results, err := s.door.Create(s.t.Context(), c, access.CreateRequest{Entity: "account", Rows: []access.NewRow{{
		Fields: map[string]crm.Value{
			"source_id": crm.String(string(crm.NewRecordID())), "name": crm.String(name), "country": crm.String("US"),
			"annual_revenue": crm.Decimal(secretRevenue), "email": crm.String(secretMail),
		},
		Territory: territory, Segment: segment,
	}}})
	return one(s.t, results, err)
}

// Values that no contract of the tests lets leave.
const (
	secretRevenue = "987654321.12"
	secretMail    = "secret.person@example.com"
)

// update changes an account's name, or moves it.
func (s *side) update(r crm.Record, change access.UpdateRow) crm.Record {
	s.t.Helper()
	change.ID, change.Version = r.ID, r.Version
	results, err := s.door.Update(s.t.Context(), s.as("rep"), access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{change}})
	return one(s.t, results, err)
}

func (s *side) rename(r crm.Record, name string) crm.Record {
	s.t.Helper()
	return s.update(r, access.UpdateRow{Fields: map[string]crm.Value{"name": crm.String(name)}})
}

func (s *side) delete(r crm.Record) {
	s.t.Helper()
	results, err := s.door.Delete(s.t.Context(), s.as("rep"), access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: r.ID, Version: r.Version}}})
	one(s.t, results, err)
}

// agree opens an account to a department for a while.
func (s *side) agree(account crm.RecordID, department string, effect crm.Effect, to time.Time) crm.Agreement {
	s.t.Helper()
	a, err := s.door.CreateAgreement(s.t.Context(), s.as("officer"), crm.Agreement{
		Account: account, Department: department, Effect: effect, From: time.Now().Add(-time.Hour), To: to, Reason: "test", Document: "paper",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *side) endAgreement(a crm.Agreement) {
	s.t.Helper()
	if _, err := s.door.EndAgreement(s.t.Context(), s.as("officer"), a.ID, "test"); err != nil {
		s.t.Fatal(err)
	}
}

func one(t testing.TB, results []access.Result, err error) crm.Record {
	t.Helper()
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Record
}

// version is a record's version now: children move with their account.
func (s *side) version(entity string, id crm.RecordID) int64 {
	s.t.Helper()
	rs, err := s.store.Load(s.t.Context(), entity, []crm.RecordID{id})
	if err != nil {
		s.t.Fatal(err)
	}
	return rs[id].Version
}

// raw reads the side's database past the door: what is held, whoever may see
// it.
func (s *side) raw(id crm.RecordID) (crm.Record, bool) {
	s.t.Helper()
	rs, err := s.store.Load(s.t.Context(), "account", []crm.RecordID{id})
	if err != nil {
		s.t.Fatal(err)
	}
	r, ok := rs[id]
	return r, ok
}

// arrives waits until the side holds the record at its version.
func (s *side) arrives(r crm.Record) crm.Record {
	s.t.Helper()
	var got crm.Record
	eventually(s.t, func() error {
		var ok bool
		if got, ok = s.raw(r.ID); !ok || got.Version < r.Version {
			return fmt.Errorf("%s holds version %d of %s, not %d", s.name, got.Version, r.ID, r.Version)
		}
		return nil
	})
	return got
}

// leaves waits until the side holds the record no more.
func (s *side) leaves(id crm.RecordID) {
	s.t.Helper()
	eventually(s.t, func() error {
		if r, ok := s.raw(id); ok {
			return fmt.Errorf("%s still holds version %d of %s", s.name, r.Version, id)
		}
		return nil
	})
}

// quiet waits until everything amer has to say has been applied by emea.
func quiet(t testing.TB, amer, emea *side) {
	t.Helper()
	eventually(t, func() error {
		out, err := amer.x.Status(t.Context())
		if err != nil {
			return err
		}
		in, err := emea.x.Status(t.Context())
		if err != nil {
			return err
		}
		if out.RelayBacklog > 0 {
			return fmt.Errorf("%d changes unread", out.RelayBacklog)
		}
		applied := map[string]int64{}
		for _, s := range in.Streams {
			if s.Direction == "in" {
				applied[s.Stream] = s.Sequence
				if s.Gaps > 0 {
					return fmt.Errorf("%s has %d gaps", s.Stream, s.Gaps)
				}
			}
		}
		for _, s := range out.Streams {
			if s.Direction == "out" && (s.Pending > 0 || applied[s.Stream] < s.Sequence) {
				return fmt.Errorf("%s: %d stored, %d pending, %d applied", s.Stream, s.Sequence, s.Pending, applied[s.Stream])
			}
		}
		return nil
	})
}

// eventually waits until check passes: a condition with a deadline.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	within(t, 60*time.Second, check)
}

func within(t testing.TB, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not so within %v: %v", limit, err)
		}
		if !sleep(t.Context(), 5*time.Millisecond) { // between two looks, not instead of one
			t.Fatal(errors.Join(err, t.Context().Err()))
		}
	}
}

// journal keeps a log for tests to read.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(p))
	return len(p), nil
}

func (j *journal) has(parts ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(l, p)
		}
		if all {
			return true
		}
	}
	return false
}
