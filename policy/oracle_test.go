package policy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/policy"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

func TestMain(m *testing.M) { embeddedtest.Main(m) }

// answer is what a subject may see of one record.
type answer struct {
	Allowed          bool
	Revealed, Masked []string // sorted
}

// tally counts what the cases were like, over all workers.
type tally struct {
	sync.Mutex
	cases, allowed, revealed, masked, refused, bundles int
	alive                                              map[string]func(policy.Filter) policy.Filter // faults nobody noticed yet
	forgotten                                          map[string]func(*crm.Subject)                // and bounds of contracts
}

// TestFiltersAgreeWithTheOracle compares what PostgreSQL shows through the
// filters of random bundles with what plain OPA says when every record and
// every fact is a known value. The oracle shares nothing with the translator.
//
// MERIDIAN_ORACLE_CASES sets the number of (bundle, subject, facts, record)
// cases, MERIDIAN_ORACLE_SEED where the run begins.
func TestFiltersAgreeWithTheOracle(t *testing.T) {
	target, seed := knob(t, "MERIDIAN_ORACLE_CASES", 6000), knob(t, "MERIDIAN_ORACLE_SEED", 1)
	all := &tally{alive: maps.Clone(policy.Mutants), forgotten: maps.Clone(policy.Lifted)}
	var workers sync.WaitGroup
	begun, reported := time.Now(), time.Now()
	for range runtime.GOMAXPROCS(0) {
		db := openRows(t)
		all.Lock()
		if !db.collated {
			delete(all.alive, "database collation") // nothing to tell it by
		}
		all.Unlock()
		workers.Go(func() {
			for !t.Failed() {
				all.Lock()
				bundle, done := all.bundles, all.cases >= target
				all.bundles++
				if time.Since(reported) > 30*time.Second {
					reported = time.Now()
					fmt.Printf("%s %d of %d cases, %d bundles, seed %d\n", time.Since(begun).Round(time.Second), all.cases, target, bundle, seed)
				}
				all.Unlock()
				if done || !all.bundle(t, db, seed, bundle) {
					return
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d cases of %d bundles in %v: %d allowed, %d groups revealed, %d masked; %d filters refused",
		all.cases, all.bundles, time.Since(begun).Round(time.Second), all.allowed, all.revealed, all.masked, all.refused)
	if all.allowed < all.cases/20 || all.allowed > all.cases*19/20 || all.revealed < all.cases/20 || all.masked < all.cases/50 {
		t.Error("the cases are one-sided: they prove little")
	}
	if all.refused > all.bundles*subjectsOfBundle/5 {
		t.Error("too many filters of the generator's bundles are refused")
	}
	for name := range all.alive {
		t.Errorf("the oracle does not notice a translator with this fault: %s", name)
	}
	for name := range all.forgotten {
		t.Errorf("the oracle does not notice an engine with this fault: %s", name)
	}
}

const recordsOfBundle, subjectsOfBundle = 40, 5

// bundle does the cases of one bundle and reports whether they agree.
func (all *tally) bundle(t *testing.T, db rows, seed, bundle int) bool {
	g := &generator{Rand: rand.New(rand.NewPCG(uint64(seed), uint64(bundle)))}
	source, grounds := g.bundle()
	fail := func(format string, args ...any) bool {
		t.Errorf("bundle %d (seed %d): "+format+"\n%s", append(append([]any{bundle, seed}, args...), source)...)
		return false
	}
	engine, problems := compileRules(t, source)
	if len(problems) > 0 {
		return fail("refused: %q", problems)
	}
	judge, err := newOracle(t.Context(), source, grounds)
	if err != nil {
		return fail("the oracle: %v", err)
	}
	w := g.world(recordsOfBundle, 40)
	if err := db.load(t.Context(), w); err != nil {
		return fail("load: %v", err)
	}
	for range subjectsOfBundle {
		s, action := g.subject(), pick(g, crm.ActionRead, crm.ActionRead, crm.ActionUpdate, crm.ActionPublish)
		at := pick(g, nil, &policy.Moment{Valid: noon, Recorded: pick(g, instants[:5]...)})
		f, err := engine.Filter(t.Context(), s, action, w.entity, groupNames)
		if err != nil {
			all.Lock()
			all.refused++ // refused is denied, never wrong
			all.Unlock()
			if os.Getenv("MERIDIAN_ORACLE_VERBOSE") != "" {
				t.Logf("bundle %d: %v", bundle, err)
			}
			continue
		}
		want, err := judge.answers(t.Context(), s, action, w, at)
		if err != nil {
			return fail("the oracle: %v", err)
		}
		got, err := db.answers(t.Context(), w.entity, f, at)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			a := policy.NewArgs(at)
			return fail("the oracle (-) and PostgreSQL (+) differ: %v\n%s\n%s %q\nsubject %+v\naction %s entity %s at %v", err, diff, f.Where(a), a.Values(), s, action, w.entity, at)
		}
		if diff, err := explained(t.Context(), engine, s, action, w, at, want); err != nil || diff != "" {
			return fail("the oracle (-) and Explain (+) differ: %v\n%s\nsubject %+v\naction %s", err, diff, s, action)
		}
		found, err := db.branches(t.Context(), w.entity, f, at)
		if diff := cmp.Diff(ids(want), found); err != nil || diff != "" {
			return fail("the oracle (-) and the branches (+) differ: %v\n%s", err, diff)
		}
		all.count(want)
		all.breakIt(t.Context(), db, w.entity, f, at, want)
		if err := all.forget(t.Context(), engine, db, s, action, w.entity, at, want); err != nil {
			return fail("without a bound: %v", err)
		}
	}
	return true
}

func (all *tally) count(want map[crm.RecordID]answer) {
	all.Lock()
	defer all.Unlock()
	for _, a := range want {
		all.cases++
		if a.Allowed {
			all.allowed++
		}
		all.revealed += len(a.Revealed)
		all.masked += len(a.Masked)
	}
}

// breakIt puts every fault that is alive into the filter. One whose answers
// differ, or which PostgreSQL refuses, is noticed.
func (all *tally) breakIt(ctx context.Context, db rows, entity string, f policy.Filter, at *policy.Moment, want map[crm.RecordID]answer) {
	all.Lock()
	alive := maps.Clone(all.alive)
	all.Unlock()
	plain := policy.NewArgs(at)
	sound := db.query(f, plain, entity)
	for name, mutate := range alive {
		mutated := mutate(f)
		args := policy.NewArgs(at)
		if db.query(mutated, args, entity) == sound && cmp.Equal(plain.Values(), args.Values()) {
			continue // nothing to break in this filter
		}
		if got, err := db.answers(ctx, entity, mutated, at); err != nil || !cmp.Equal(want, got) {
			all.Lock()
			delete(all.alive, name)
			all.Unlock()
		}
	}
}

// forget makes the filter as if every bound that is not missed yet were not
// there.
func (all *tally) forget(ctx context.Context, e *policy.Engine, db rows, s crm.Subject, a crm.Action, entity string, at *policy.Moment, want map[crm.RecordID]answer) error {
	all.Lock()
	forgotten := maps.Clone(all.forgotten)
	all.Unlock()
	for name, lift := range forgotten {
		f, err := e.Unbounded(ctx, s, a, entity, groupNames, lift)
		if err != nil {
			return err
		}
		got, err := db.answers(ctx, entity, f, at)
		if err != nil {
			return err
		}
		if !cmp.Equal(want, got) {
			all.Lock()
			delete(all.forgotten, name)
			all.Unlock()
		}
	}
	return nil
}

func knob(t *testing.T, name string, otherwise int) int {
	if s := os.Getenv(name); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	return otherwise
}

const serviceModule = "package meridian.service\n\npermit(_, \"schema.read\") := true\n"

func compileRules(t *testing.T, source string) (*policy.Engine, []string) {
	t.Helper()
	b, err := policy.NewBundle(map[string]string{"rules.rego": source, "service.rego": serviceModule})
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	return policy.Compile(t.Context(), b, definitions...)
}

func ids(as map[crm.RecordID]answer) []string {
	out := []string{}
	for id, a := range as {
		if a.Allowed {
			out = append(out, string(id))
		}
	}
	slices.Sort(out)
	return out
}

// explainEvery thins the comparison with Explain, the slowest of the three.
const explainEvery = 4

func explained(ctx context.Context, e *policy.Engine, s crm.Subject, a crm.Action, w world, at *policy.Moment, want map[crm.RecordID]answer) (string, error) {
	var facts policy.Facts
	for _, x := range w.agreements {
		if w.believed(x.ID, at) {
			facts.Agreements = append(facts.Agreements, x)
		}
	}
	for _, x := range w.grants {
		if w.believed(x.ID, at) {
			facts.Grants = append(facts.Grants, x)
		}
	}
	for i, r := range w.records {
		if i%explainEvery != 0 {
			continue
		}
		d, err := e.Explain(ctx, s, a, r, facts, noon, groupNames)
		if err != nil {
			return "", err
		}
		slices.Sort(d.Revealed)
		slices.Sort(d.Masked)
		if diff := cmp.Diff(want[r.ID], answer{d.Allowed, d.Revealed, d.Masked}); diff != "" {
			return string(r.ID) + diff, nil
		}
		allowed, err := e.Allows(ctx, s, a, r, facts, noon)
		if err != nil {
			return "", err
		}
		if allowed != d.Allowed {
			return fmt.Sprintf("%s: allows says %v, explain %v", r.ID, allowed, d.Allowed), nil
		}
	}
	return "", nil
}

// oracle evaluates the rules in plain OPA, with all facts as collections.
type oracle struct{ query rego.PreparedEvalQuery }

func newOracle(ctx context.Context, source string, grounds []made) (oracle, error) {
	var b strings.Builder
	b.WriteString("package oracle\n\n")
	for _, g := range grounds {
		call := "data.meridian.rules." + g.name
		some, args := "", "(input.ask, input.record, input.now"
		if g.fact != "" {
			some, args = "some f in input."+g.fact+"\n\t", "(input.ask, input.record, f, input.now"
		}
		if !g.opens {
			fmt.Fprintf(&b, "closed if {\n\t%s%s%s)\n}\n\n", some, call, args)
			continue
		}
		fmt.Fprintf(&b, "opened if {\n\t%s%s%s)\n}\n\n", some, call, args)
		fmt.Fprintf(&b, "shown contains group if {\n\tsome group in input.groups\n\t%s%s%s)\n\t%s_reveals%s, group)\n}\n\n", some, call, args, call, args)
		if strings.Contains(source, "\n"+g.name+"_masks(") {
			fmt.Fprintf(&b, "dimmed contains group if {\n\tsome group in input.groups\n\t%s%s%s)\n\t%s_masks%s, group)\n}\n\n", some, call, args, call, args)
		}
	}
	b.WriteString(`dimmed contains "" if false

default allowed := false

allowed if {
	opened
	not closed
	agreed
}

# What no contract of another instance names does not leave, whatever rules say.
agreed if input.ask.subject.kind != "instance"

agreed if {
	input.contract.from <= input.now
	input.now < input.contract.to
	some jurisdiction in input.ask.subject.jurisdictions
	jurisdiction in {"*", input.record.jurisdiction}
}

named(_) if input.ask.subject.kind != "instance"

named(group) if group in input.ask.subject.groups

revealed contains group if {
	allowed
	some group in shown
	named(group)
	not group in input.record.withheld
}

masked contains group if {
	allowed
	input.ask.action == "read"
	input.ask.subject.kind != "instance"
	some group in dimmed
	not group in revealed
	not group in input.record.withheld
}
`)
	modules := map[string]*ast.Module{}
	for name, text := range map[string]string{"rules": source, "oracle": b.String()} {
		m, err := ast.ParseModuleWithOpts(name, text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return oracle{}, err
		}
		modules[name] = m
	}
	c := ast.NewCompiler()
	if c.Compile(modules); c.Failed() {
		return oracle{}, c.Errors
	}
	q, err := rego.New(rego.Compiler(c), rego.Query("allowed := data.oracle.allowed; revealed := data.oracle.revealed; masked := data.oracle.masked")).PrepareForEval(ctx)
	return oracle{q}, err
}

func (o oracle) answers(ctx context.Context, s crm.Subject, a crm.Action, w world, at *policy.Moment) (map[crm.RecordID]answer, error) {
	relationships, areas := []any{}, []any{}
	for _, r := range s.Relationships {
		relationships = append(relationships, map[string]any{"department": r.Department, "actions": list(r.Actions)})
	}
	for _, x := range s.Areas {
		if !noon.Before(x.To) { // over, whatever rules say of it
			continue
		}
		areas = append(areas, map[string]any{
			"department": x.Department, "effect": string(x.Effect), "actions": list(x.Actions), "groups": list(x.Groups),
			"any_territory": x.AnyTerritory, "any_segment": x.AnySegment, "territories": list(x.Territories), "segments": list(x.Segments),
			"on_department": x.OnDepartment, "valid_from": stamp(x.From), "valid_to": stamp(x.To),
		})
	}
	subject := map[string]any{
		"id": string(s.ID), "kind": string(s.Kind), "instance": s.Instance, "roles": list(s.Roles), "clearance": s.Clearance,
		"territories": list(s.Territories), "segments": list(s.Segments), "all_segments": s.AllSegments, "departments": list(s.Departments),
		"relationships": relationships, "keys": list(s.Keys), "groups": list(s.Groups), "jurisdictions": list(s.Jurisdictions), "purpose": s.Purpose,
	}
	known, err := ast.InterfaceToValue(map[string]any{
		"ask": map[string]any{"subject": subject, "action": string(a), "entity": w.entity}, "now": stamp(noon), "area": areas, "groups": groupNames,
		"contract": map[string]any{"from": stamp(s.From), "to": stamp(s.To)},
	})
	if err != nil {
		return nil, err
	}
	agreements, grants := o.agreements(w, at), o.grants(w, at)
	out := map[crm.RecordID]answer{}
	for _, r := range w.records {
		parts := map[string]any{"record": fieldsOf(r), "agreement": agreements[r.Account], "grant": grants[r.ID]}
		if r.Account != r.ID {
			parts["grant"] = append(slices.Clone(grants[r.ID]), grants[r.Account]...)
		}
		for name, part := range parts {
			v, err := ast.InterfaceToValue(part)
			if err != nil {
				return nil, err
			}
			known.(ast.Object).Insert(ast.StringTerm(name), ast.NewTerm(v))
		}
		rs, err := o.query.Eval(ctx, rego.EvalParsedInput(known))
		if err != nil || len(rs) != 1 {
			return nil, fmt.Errorf("no answer: %v %w", rs, err)
		}
		out[r.ID] = answer{rs[0].Bindings["allowed"].(bool), sorted(rs[0].Bindings["revealed"]), sorted(rs[0].Bindings["masked"])}
	}
	return out, nil
}

// fieldsOf is a record as plain JSON; a field without a value is null.
func fieldsOf(r crm.Record) map[string]any {
	fields := map[string]any{}
	for _, d := range definitions {
		if d.Entity != r.Entity {
			continue
		}
		for _, f := range d.Fields {
			switch v := r.Fields[f.Name]; v.Type() {
			case "":
				fields[f.Name] = nil
			case crm.TypeInteger, crm.TypeDecimal:
				fields[f.Name] = json.Number(v.Text())
			case crm.TypeBoolean:
				fields[f.Name] = v.Bool()
			case crm.TypeTimestamp:
				fields[f.Name] = stamp(v.Time())
			case crm.TypeList:
				fields[f.Name] = list(v.List())
			default:
				fields[f.Name] = v.Text()
			}
		}
	}
	return map[string]any{
		"id": string(r.ID), "home": r.Home, "territory": r.Territory, "segment": r.Segment, "department": r.Department,
		"owner": r.Owner, "account": string(r.Account), "sensitivity": r.Sensitivity, "jurisdiction": r.Jurisdiction,
		"pinned": r.Pinned, "withheld": list(r.Governed.Withheld), "created": stamp(r.Created), "updated": stamp(r.Updated), "fields": fields,
	}
}

// agreements are those believed at a moment, by account; grants by record.
func (oracle) agreements(w world, at *policy.Moment) map[crm.RecordID][]any {
	out := map[crm.RecordID][]any{}
	for _, x := range w.agreements {
		if w.believed(x.ID, at) {
			out[x.Account] = append(out[x.Account], map[string]any{
				"account": string(x.Account), "department": x.Department, "effect": string(x.Effect),
				"actions": list(x.Actions), "groups": list(x.Groups), "valid_from": stamp(x.From), "valid_to": stamp(x.To),
			})
		}
	}
	return out
}

func (oracle) grants(w world, at *policy.Moment) map[crm.RecordID][]any {
	out := map[crm.RecordID][]any{}
	for _, x := range w.grants {
		if w.believed(x.ID, at) {
			out[x.Record] = append(out[x.Record], map[string]any{
				"record": string(x.Record), "kind": string(x.Kind), "key": x.Key, "groups": list(x.Groups),
				"valid_from": stamp(x.From), "valid_to": stamp(x.To), "suspended": x.Suspended,
			})
		}
	}
	return out
}

func sorted(set any) []string {
	var out []string
	for _, s := range set.([]any) {
		out = append(out, s.(string))
	}
	slices.Sort(out)
	return out
}

func list(ss []string) []string { return append([]string{}, ss...) }
