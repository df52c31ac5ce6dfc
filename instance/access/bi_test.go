package access_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
)

// tool is a BI tool that is logged in.
type tool struct {
	w    *world
	role string
	conn *pgx.Conn
}

// biTools makes a login for each subject and keeps their views.
func (w *world) biTools(ids ...crm.SubjectID) (tools []*tool, readers []store.BIReader) {
	w.t.Helper()
	for i, id := range ids {
		role := fmt.Sprintf("tool_%s_%d", strings.Split(strings.TrimPrefix(embeddedtest.Name(w.url), "test_"), "_")[0], i)
		url := embeddedtest.Reader(w.t, w.url, role)
		conn, err := pgx.Connect(w.t.Context(), url)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = conn.Close(context.Background()) })
		tools = append(tools, &tool{w, role, conn})
		readers = append(readers, store.BIReader{Role: role, Subject: id})
	}
	if err := w.store.PrepareBI(w.t.Context(), readers); err != nil {
		w.t.Fatal(err)
	}
	return tools, readers
}

// keepBI keeps the views until the test ends.
func (w *world) keepBI(readers []store.BIReader) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.door.KeepBI(ctx, readers) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		ended <- nil
	}
	w.t.Cleanup(stop)
	return stop
}

// freshBI waits until all views are of the facts in force.
func (w *world) freshBI(n int) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		views, err := w.store.BIViews(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(views) == n && !slices.ContainsFunc(views, func(v store.BIView) bool { return !v.Fresh }) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("views are stale: %+v", views)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// rows are what the tool's view of an entity shows, by id.
func (b *tool) rows(entity string) map[crm.RecordID]map[string]any {
	b.w.t.Helper()
	rows, err := b.conn.Query(b.w.t.Context(), "select to_jsonb(v) from bi_"+b.role+"."+entity+" v")
	if err != nil {
		b.w.t.Fatal(err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		b.w.t.Fatal(err)
	}
	out := map[crm.RecordID]map[string]any{}
	for _, text := range texts {
		var row map[string]any
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.UseNumber()
		if err := d.Decode(&row); err != nil {
			b.w.t.Fatal(err)
		}
		out[crm.RecordID(row["id"].(string))] = row
	}
	return out
}

// sameAs compares a tool's view of accounts with what the API lists for its
// subject: rows, values, withheld and masked groups.
func (b *tool) sameAs(id crm.SubjectID) (shown int) {
	b.w.t.Helper()
	records, _, err := b.w.door.List(b.w.t.Context(), caller(id), access.ListRequest{Entity: "account", Limit: 1000})
	if err != nil {
		b.w.t.Fatal(err)
	}
	rows := b.rows("account")
	if len(rows) != len(records) {
		b.w.t.Errorf("%s: the view shows %d accounts, the API %d", id, len(rows), len(records))
	}
	def, _ := b.w.store.Definition("account")
	for _, rec := range records {
		row, ok := rows[rec.ID]
		if !ok {
			b.w.t.Errorf("%s: the view does not show %s", id, rec.ID)
			continue
		}
		for _, f := range def.Fields {
			if want, got := rec.Fields[f.Name], b.value(f.Type, row[f.Name]); !got.Equal(want) {
				b.w.t.Errorf("%s: %s of %s is %q in the view, %q in the API", id, f.Name, rec.ID, got.Text(), want.Text())
			}
		}
		for column, want := range map[string][]string{"withheld_groups": rec.Withheld, "masked_groups": rec.Masked} {
			if got := fmt.Sprint(row[column]); got != fmt.Sprint(want) {
				b.w.t.Errorf("%s: %s of %s are %s in the view, %v in the API", id, column, rec.ID, got, want)
			}
		}
	}
	return len(records)
}

func (b *tool) value(t crm.Type, v any) crm.Value {
	switch v := v.(type) {
	case nil:
		return crm.Value{}
	case []any:
		var list []string
		for _, x := range v {
			list = append(list, fmt.Sprint(x))
		}
		return crm.List(list...)
	default:
		value, err := crm.ParseValue(t, fmt.Sprint(v))
		if err != nil {
			b.w.t.Fatal(err)
		}
		return value
	}
}

// TestBISeesWhatItsSubjectSees: under changing facts the views of a login show
// what the API lists for its subject, values and groups included.
func TestBISeesWhatItsSubjectSees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	states, sectors := []string{"CA", "NY", "TX", "ZZ"}, []string{"Energy", "Financials", ""}
	var records []crm.Record
	for i := range 24 {
		rec := w.ok(w.door.Create(t.Context(), caller("loader@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{{
			Fields:      w.accountFields(states[i%4], sectors[i%3], "name", fmt.Sprintf(`O'Neil \ "%d" $1 {a,b}`, i)),
			Sensitivity: i % 5, Department: []string{"", "sales", "legal", "west-sales"}[i%4]}}}))
		rec.Entity = "account"
		records = append(records, rec)
	}
	ids := []crm.SubjectID{"rep.west@amer", "analyst@amer", "lawyer@amer"}
	tools, readers := w.biTools(ids...)
	w.keepBI(readers)
	shown := 0
	look := func() {
		t.Helper()
		w.freshBI(len(ids))
		for i, b := range tools {
			shown += b.sameAs(ids[i])
		}
	}
	look()
	for i, facts := range []func(s *store.SubjectFact){
		func(s *store.SubjectFact) { s.Territories, s.Segments = []string{trees.World}, []string{"Financials"} },
		func(s *store.SubjectFact) { s.Territories, s.Departments = nil, []string{"legal", "credit"} },
		func(s *store.SubjectFact) {
			s.Roles, s.Clearance, s.Territories = []string{"manager"}, 9, []string{"US"}
		},
	} {
		w.alter("rep.west@amer", facts)
		w.agree(crm.Agreement{Account: records[i].ID, Department: "legal", Effect: crm.EffectOpen, Groups: []string{"core", "commercial"}})
		w.agree(crm.Agreement{Account: records[i+8].ID, Department: "credit", Effect: crm.EffectWall})
		w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: records[[]int{12, 13, 16}[i]].ID, Kind: crm.GrantShare, Key: "s:lawyer@amer"})
		look()
	}
	if shown < 20 {
		t.Errorf("only %d accounts were compared", shown)
	}
}

// TestBIObeysAtOnce: after a share is withdrawn, the very next statement of the
// tool does not show the record, although nobody has made the view anew; and
// when somebody has, it shows the rest again.
func TestBIObeysAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kept, shared := w.account("CA", "Energy"), w.account("CA", "Financials")
	w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: kept.ID, Kind: crm.GrantShare, Key: "s:lawyer@amer"})
	g := w.judge("manager.us@amer", crm.Grant{Entity: "account", Record: shared.ID, Kind: crm.GrantShare, Key: "s:lawyer@amer"})
	tools, readers := w.biTools("lawyer@amer")
	stop := w.keepBI(readers)
	w.freshBI(1)
	if n := len(tools[0].rows("account")); n != 2 {
		t.Fatalf("the view shows %d accounts, want 2", n)
	}
	stop() // nobody makes views anew
	if _, err := w.door.EndGrant(t.Context(), caller("manager.us@amer"), g.ID, "over"); err != nil {
		t.Fatal(err)
	}
	if n := len(tools[0].rows("account")); n != 0 {
		t.Errorf("a stale view shows %d accounts, want none", n)
	}
	w.keepBI(readers)
	w.freshBI(1)
	if rows := tools[0].rows("account"); len(rows) != 1 || rows[kept.ID] == nil {
		t.Errorf("the view shows %v, want what is still shared", rows)
	}
	// An older state of the database is not shown either.
	tx, err := tools[0].conn.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow(t.Context(), "select count(*) from bi_"+tools[0].role+".account").Scan(&n); err != nil || n != 0 {
		t.Errorf("a transaction that keeps its state sees %d accounts, %v; want none", n, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if views, err := w.store.FindDecisions(t.Context(), store.DecisionQuery{Subject: "lawyer@amer", Action: "bi.view", Limit: 10}); err != nil || len(views) != 1 {
		t.Errorf("the decision log holds %d lines about the views, %v; want the one that made them", len(views), err)
	}
	// A subject that is gone has no views.
	w.facts.Subjects = slices.DeleteFunc(slices.Clone(w.facts.Subjects), func(s store.SubjectFact) bool { return s.ID == "lawyer@amer" })
	w.reconcile()
	w.freshBI(1)
	if _, err := tools[0].conn.Exec(t.Context(), "select from bi_"+tools[0].role+".account"); err == nil {
		t.Error("a subject that is gone still has a view")
	}
}

// TestBIReachesNothingElse: the login of a tool can read its own views and
// nothing else, and change nothing.
func TestBIReachesNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account("CA", "Energy")
	tools, readers := w.biTools("rep.west@amer", "manager.us@amer")
	stop := w.keepBI(readers)
	w.freshBI(2)
	mine, other := "bi_"+tools[0].role, "bi_"+tools[1].role
	if _, err := tools[0].conn.Exec(t.Context(), "set default_transaction_read_only = off"); err != nil { // a default is no bar
		t.Fatal(err)
	}
	for _, sql := range []string{
		"select from record.account", "select from history.account", "select from fact.grant", "select from fact.subject_now", "select from meridian.decision_log",
		"select from meridian.secret", "select from meridian.access_stamp", "select from " + other + ".account", "select from public.goose_db_version",
		"delete from " + mine + ".account", "update " + mine + ".account set name = ''", "insert into " + mine + ".account (id) values (gen_random_uuid())",
		"create table " + mine + ".t ()", "create table public.t ()", "create temporary table t ()", "create schema s", "drop view " + mine + ".account",
		"create or replace view " + mine + ".account as select 1", "select fact.move_stamp()", "select meridian.analyze('account')",
		"select pg_read_file('/etc/passwd')", "copy " + mine + ".account to '/tmp/x'", "set role " + strings.TrimPrefix(mine, "bi_") + "_app", "set role postgres",
	} {
		_, err := tools[0].conn.Exec(t.Context(), sql)
		pe, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || !slices.Contains([]string{"42501", "22023", "55000", "0A000"}, pe.Code) { // no right, no such role, not updatable
			t.Errorf("%s: %v, want that it is refused", sql, err)
		}
	}
	if n := len(tools[0].rows("account")); n != 1 {
		t.Errorf("the view shows %d accounts, want 1", n)
	}
	stop()
	// A login that is no longer configured loses its views, one that may do more is refused.
	if err := w.store.PrepareBI(t.Context(), readers[:1]); err != nil {
		t.Fatal(err)
	}
	if _, err := tools[1].conn.Exec(t.Context(), "select from "+other+".account"); err == nil {
		t.Error("a login that is not configured any more still has its views")
	}
	wantKind(t, w.store.PrepareBI(t.Context(), []store.BIReader{{Role: embeddedtest.Name(w.url), Subject: "rep.west@amer"}}), crm.Invalid, "bi")
	wantKind(t, w.store.PrepareBI(t.Context(), []store.BIReader{{Role: "nobody_there", Subject: "rep.west@amer"}}), crm.Invalid, "bi")
}
