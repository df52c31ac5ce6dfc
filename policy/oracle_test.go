package policy_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/policy"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

func TestMain(m *testing.M) { embeddedtest.Main(m) }

// answer is what a subject may see of one record.
type answer struct {
	Allowed  bool
	Revealed []string // sorted
}

// TestFiltersAgreeWithTheOracle compares what PostgreSQL shows through the
// filters of random bundles with what plain OPA says when every record and
// every fact is a known value. The oracle shares nothing with the translator.
//
// MERIDIAN_ORACLE_CASES sets the number of (bundle, subject, facts, record)
// cases, MERIDIAN_ORACLE_SEED where the run begins.
func TestFiltersAgreeWithTheOracle(t *testing.T) {
	const records, subjects = 40, 4
	target, seed := knob(t, "MERIDIAN_ORACLE_CASES", 6000), knob(t, "MERIDIAN_ORACLE_SEED", 1)
	db := openRows(t)
	var cases, allowed, revealed, refused, bundles int
	alive := maps.Clone(policy.Mutants)
	if !db.collated {
		delete(alive, "database collation") // nothing to tell it by
	}
	for ; cases < target; bundles++ {
		g := &generator{Rand: rand.New(rand.NewPCG(uint64(seed), uint64(bundles)))}
		source, grounds := g.bundle()
		engine, problems := compileRules(t, source)
		if len(problems) > 0 {
			t.Fatalf("bundle %d is refused: %q\n%s", bundles, problems, source)
		}
		oracle := newOracle(t, source, grounds)
		w := g.world(records, 40)
		db.load(t, w)
		for range subjects {
			s, action := g.subject(), pick(g, crm.ActionRead, crm.ActionUpdate, crm.ActionPublish)
			f, err := engine.Filter(t.Context(), s, action, w.entity, groupNames)
			if err != nil {
				refused++ // refused is denied, never wrong
				if os.Getenv("MERIDIAN_ORACLE_VERBOSE") != "" {
					t.Logf("bundle %d: %v", bundles, err)
				}
				continue
			}
			want := oracle.answers(t, s, action, w)
			for id, a := range want {
				cases++
				if a.Allowed {
					allowed++
				}
				revealed += len(a.Revealed)
				_ = id
			}
			where := fmt.Sprintf("bundle %d (seed %d)", bundles, seed)
			if diff := cmp.Diff(want, db.answers(t, w.entity, f)); diff != "" {
				var a policy.Args
				t.Fatalf("%s: the oracle (-) and PostgreSQL (+) differ:\n%s\n%s\n%s %q\nsubject %+v\naction %s entity %s", where, diff, source, f.Where(&a), a.Values(), s, action, w.entity)
			}
			for id, got := range explained(t, engine, s, action, w) {
				if diff := cmp.Diff(want[id], got); diff != "" {
					t.Fatalf("%s: the oracle (-) and Explain (+) differ about %s:\n%s\n%s", where, id, diff, source)
				}
			}
			if diff := cmp.Diff(ids(want), db.branches(t, w.entity, f)); diff != "" {
				t.Fatalf("%s: the oracle (-) and the branches (+) differ:\n%s\n%s", where, diff, source)
			}
			alive = survivors(alive, func(mutate func(policy.Filter) policy.Filter) bool {
				var plain, mutated policy.Args
				m := mutate(f)
				if db.query(f, &plain, w.entity) == db.query(m, &mutated, w.entity) {
					return true // nothing to break in this filter
				}
				return cmp.Equal(want, db.answers(t, w.entity, m))
			})
		}
	}
	t.Logf("%d cases of %d bundles: %d allowed, %d groups revealed; %d filters refused", cases, bundles, allowed, revealed, refused)
	if allowed < cases/20 || allowed > cases*19/20 || revealed < cases/20 {
		t.Error("the cases are one-sided: they prove little")
	}
	if refused > bundles*subjects/10 {
		t.Error("too many filters of the generator's bundles are refused")
	}
	for name := range alive {
		t.Errorf("the oracle does not notice a translator with this fault: %s", name)
	}
}

func survivors(ms map[string]func(policy.Filter) policy.Filter, survives func(func(policy.Filter) policy.Filter) bool) map[string]func(policy.Filter) policy.Filter {
	out := map[string]func(policy.Filter) policy.Filter{}
	for name, m := range ms {
		if survives(m) {
			out[name] = m
		}
	}
	return out
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
	return policy.Compile(t.Context(), b)
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

func explained(t *testing.T, e *policy.Engine, s crm.Subject, a crm.Action, w world) map[crm.RecordID]answer {
	var facts policy.Facts
	for _, x := range w.agreements {
		if !x.Ended { // superseded in the database
			facts.Agreements = append(facts.Agreements, x)
		}
	}
	for _, x := range w.grants {
		if !x.Ended {
			facts.Grants = append(facts.Grants, x)
		}
	}
	out := map[crm.RecordID]answer{}
	for i, id := range w.ids {
		if i%explainEvery != 0 {
			continue
		}
		d, err := e.Explain(t.Context(), s, a, crm.Record{Entity: w.entity, ID: id, Governed: w.records[i]}, facts, noon, groupNames)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(d.Revealed)
		out[id] = answer{d.Allowed, d.Revealed}
	}
	return out
}

// oracle evaluates the rules in plain OPA, with all facts as collections.
type oracle struct{ query rego.PreparedEvalQuery }

func newOracle(t *testing.T, source string, grounds []made) oracle {
	var b strings.Builder
	b.WriteString("package oracle\n\n")
	for _, g := range grounds {
		call := "data.meridian.rules." + g.name
		some, args := "", "(input.ask, input.record, input.now"
		switch g.fact {
		case "agreement":
			some, args = "some f in input.agreements\n\tnot f.ended\n\tf.account == input.record.account\n\t", "(input.ask, input.record, f, input.now"
		case "grant":
			some, args = "some f in input.grants\n\tnot f.ended\n\tf.record in {input.record.id, input.record.account}\n\t", "(input.ask, input.record, f, input.now"
		}
		if !g.opens {
			fmt.Fprintf(&b, "closed if {\n\t%s%s%s)\n}\n\n", some, call, args)
			continue
		}
		fmt.Fprintf(&b, "opened if {\n\t%s%s%s)\n}\n\n", some, call, args)
		fmt.Fprintf(&b, "shown contains group if {\n\tsome group in input.groups\n\t%s%s%s)\n\t%s_reveals%s, group)\n}\n\n", some, call, args, call, args)
	}
	b.WriteString(`default allowed := false

allowed if {
	opened
	not closed
}

revealed contains group if {
	allowed
	some group in shown
	not group in input.record.withheld
}
`)
	modules := map[string]*ast.Module{}
	for name, text := range map[string]string{"rules": source, "oracle": b.String()} {
		modules[name] = ast.MustParseModuleWithOpts(text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	}
	c := ast.NewCompiler()
	if c.Compile(modules); c.Failed() {
		t.Fatalf("%v\n%s", c.Errors, b.String())
	}
	q, err := rego.New(rego.Compiler(c), rego.Query("allowed := data.oracle.allowed; revealed := data.oracle.revealed")).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return oracle{q}
}

func (o oracle) answers(t *testing.T, s crm.Subject, a crm.Action, w world) map[crm.RecordID]answer {
	relationships := []any{}
	for _, r := range s.Relationships {
		relationships = append(relationships, map[string]any{"department": r.Department, "actions": list(r.Actions)})
	}
	subject := map[string]any{
		"id": string(s.ID), "kind": string(s.Kind), "instance": s.Instance, "roles": list(s.Roles), "clearance": s.Clearance,
		"territories": list(s.Territories), "segments": list(s.Segments), "all_segments": s.AllSegments, "departments": list(s.Departments),
		"relationships": relationships, "keys": list(s.Keys), "groups": list(s.Groups), "jurisdictions": list(s.Jurisdictions), "purpose": s.Purpose,
	}
	agreements, grants := []any{}, []any{}
	for _, x := range w.agreements {
		agreements = append(agreements, map[string]any{
			"ended": x.Ended, "account": string(x.Account), "department": x.Department, "effect": string(x.Effect),
			"actions": list(x.Actions), "groups": list(x.Groups), "valid_from": stamp(x.From), "valid_to": stamp(x.To),
		})
	}
	for _, x := range w.grants {
		grants = append(grants, map[string]any{
			"ended": x.Ended, "record": string(x.Record), "kind": string(x.Kind), "key": x.Key, "groups": list(x.Groups),
			"valid_from": stamp(x.From), "valid_to": stamp(x.To), "suspended": x.Suspended,
		})
	}
	known, err := ast.InterfaceToValue(map[string]any{
		"ask": map[string]any{"subject": subject, "action": string(a), "entity": w.entity},
		"now": stamp(noon), "agreements": agreements, "grants": grants, "groups": groupNames,
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[crm.RecordID]answer{}
	for i, r := range w.records {
		record, err := ast.InterfaceToValue(map[string]any{
			"id": string(w.ids[i]), "home": r.Home, "territory": r.Territory, "segment": r.Segment, "department": r.Department,
			"owner": r.Owner, "account": string(r.Account), "sensitivity": r.Sensitivity, "jurisdiction": r.Jurisdiction,
			"pinned": r.Pinned, "withheld": list(r.Withheld), "created": stamp(r.Created), "updated": stamp(r.Updated),
		})
		if err != nil {
			t.Fatal(err)
		}
		known.(ast.Object).Insert(ast.StringTerm("record"), ast.NewTerm(record))
		rs, err := o.query.Eval(t.Context(), rego.EvalParsedInput(known))
		if err != nil || len(rs) != 1 {
			t.Fatalf("the oracle has no answer: %v %v", rs, err)
		}
		ans := answer{Allowed: rs[0].Bindings["allowed"].(bool)}
		for _, group := range rs[0].Bindings["revealed"].([]any) {
			ans.Revealed = append(ans.Revealed, group.(string))
		}
		slices.Sort(ans.Revealed)
		out[w.ids[i]] = ans
	}
	return out
}

func list(ss []string) []string { return append([]string{}, ss...) }

// rows is a PostgreSQL with the tables that filters speak of.
type rows struct {
	conn     *pgx.Conn
	collated bool // text columns have an order of their own
}

func openRows(t testing.TB) rows {
	conn, err := pgx.Connect(t.Context(), embeddedtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	// A collation that is not by bytes, where there is one, shows whether filters ask for theirs.
	var collation string
	if err := conn.QueryRow(t.Context(), `select coalesce((select 'collate "en-x-icu"' from pg_collation where collname = 'en-x-icu'), '')`).Scan(&collation); err != nil {
		t.Fatal(err)
	}
	schema := "create schema record; create schema fact;"
	for _, entity := range []string{"account", "contact"} {
		schema += `create table record.` + entity + ` (id uuid primary key, home text not null, territory text not null, segment text not null,
			department text not null, owner text not null, account uuid not null, sensitivity int not null, jurisdiction text not null,
			pinned boolean not null, withheld text[] not null, created timestamptz not null, updated timestamptz not null);`
	}
	schema += `create table fact.agreement (id text, account uuid not null, department text not null, effect text not null, actions text[] not null,
			groups text[] not null, valid_from timestamptz not null, valid_to timestamptz not null, recorded_to timestamptz not null, recorded_from timestamptz not null default '2025-01-01');
		create index on fact.agreement (account);
		create table fact."grant" (id text, record uuid not null, kind text not null, key text not null, groups text[] not null,
			valid_from timestamptz not null, valid_to timestamptz not null, suspended boolean not null, recorded_to timestamptz not null, recorded_from timestamptz not null default '2025-01-01');
		create index on fact."grant" (record);`
	if _, err := conn.Exec(t.Context(), strings.ReplaceAll(schema, " text not null", " text "+collation+" not null")); err != nil {
		t.Fatal(err)
	}
	return rows{conn, collation != ""}
}

func (db rows) load(t testing.TB, w world) {
	var b pgx.Batch
	b.Queue(`truncate record.account, record.contact, fact.agreement, fact."grant"`)
	recordedTo := func(ended bool) string {
		if ended {
			return "2026-01-01"
		}
		return "infinity"
	}
	for i, r := range w.records {
		b.Queue(`insert into record.`+w.entity+` values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
			w.ids[i], r.Home, r.Territory, r.Segment, r.Department, r.Owner, r.Account, r.Sensitivity, r.Jurisdiction, r.Pinned, list(r.Withheld), r.Created, r.Updated)
	}
	for _, a := range w.agreements {
		b.Queue(`insert into fact.agreement values ($1, $2, $3, $4, $5, $6, $7, $8, $9::timestamptz)`,
			a.ID, a.Account, a.Department, a.Effect, list(a.Actions), list(a.Groups), a.From, a.To, recordedTo(a.Ended))
	}
	for _, g := range w.grants {
		b.Queue(`insert into fact."grant" values ($1, $2, $3, $4, $5, $6, $7, $8, $9::timestamptz)`,
			g.ID, g.Record, g.Kind, g.Key, list(g.Groups), g.From, g.To, g.Suspended, recordedTo(g.Ended))
	}
	if err := db.conn.SendBatch(t.Context(), &b).Close(); err != nil {
		t.Fatal(err)
	}
}

// query asks for every row: does the filter show it, and which groups.
func (db rows) query(f policy.Filter, a *policy.Args, entity string) string {
	var reveals []string
	for _, g := range groupNames {
		reveals = append(reveals, "("+f.Reveals(g, a)+")")
	}
	return atNoon("with shown as (select r.id, array[" + strings.Join(reveals, ", ") + "] as reveals from record." + entity + " r where " + f.Where(a) + ") " +
		"select r.id::text, s.id is not null, coalesce(s.reveals, '{}') from record." + entity + " r left join shown s on s.id = r.id")
}

// atNoon sets the database's time, so that cases hit the ends of intervals.
func atNoon(sql string) string {
	return strings.ReplaceAll(sql, "statement_timestamp()", "'"+stamp(noon)+"'::timestamptz")
}

func (db rows) answers(t *testing.T, entity string, f policy.Filter) map[crm.RecordID]answer {
	var a policy.Args
	sql := db.query(f, &a, entity)
	rs, err := db.conn.Query(t.Context(), sql, a.Values()...)
	if err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	out := map[crm.RecordID]answer{}
	var id string
	var shown bool
	var reveals []bool
	if _, err = pgx.ForEachRow(rs, []any{&id, &shown, &reveals}, func() error {
		ans := answer{Allowed: shown}
		for i, yes := range reveals {
			if yes {
				ans.Revealed = append(ans.Revealed, groupNames[i])
			}
		}
		slices.Sort(ans.Revealed)
		out[crm.RecordID(id)] = ans
		return nil
	}); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return out
}

// branches reads by the UNION plan.
func (db rows) branches(t *testing.T, entity string, f policy.Filter) []string {
	var a policy.Args
	include, exclude := f.Branches(&a)
	if len(include) == 0 {
		return []string{}
	}
	var selects []string
	for _, b := range include {
		selects = append(selects, "select r.id from record."+entity+" r where "+b)
	}
	sql := atNoon("select r.id::text from record." + entity + " r where r.id in (" + strings.Join(selects, " union ") + ") and (" + exclude + ") is not true order by 1")
	rs, err := db.conn.Query(t.Context(), sql, a.Values()...)
	if err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	found, err := pgx.CollectRows(rs, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return found
}
