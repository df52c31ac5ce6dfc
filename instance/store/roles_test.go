package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
)

// asApp is a connection of the role that the instance serves with.
func (w *world) asApp() *pgx.Conn {
	w.t.Helper()
	return w.connect(embeddedtest.App(w.url))
}

func (w *world) connect(url string) *pgx.Conn {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), url)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	return conn
}

// TestAppMayDoNoMore: the role that serves cannot change the schema, empty or
// rewrite what is proof, or look beyond its database.
func TestAppMayDoNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.create("thing", "US-CA", fields{"code": crm.String("a")})
	w.must("thing", w.change(everywhere, rec, fields{"name": crm.String("b")}))
	conn := w.asApp()
	for _, sql := range []string{
		"create table record.other ()", "create table public.other ()", "create schema other", "create temporary table other ()",
		"create function meridian.f() returns int language sql as 'select 1'", "alter table record.thing add column x int",
		"drop table record.thing", "alter table record.thing disable row level security", "create policy p on record.thing using (true)",
		"truncate record.thing", "truncate meridian.outbox", "truncate meridian.decision_log", "truncate fact.grant",
		"insert into record.thing (id) values (gen_random_uuid())", "update record.thing set name = 'x'", "delete from record.thing",
		"insert into history.thing (id) values (gen_random_uuid())", "update history.thing set name = 'x'", "delete from history.thing",
		"delete from fact.assignment", "update fact.assignment set node = 'DE'", "update fact.grant set kind = 'share'",
		"update fact.agreement set valid_to = 'infinity'", "update fact.subject set clearance = 9",
		"delete from meridian.decision_log", "update meridian.decision_log set subject = 'nobody'",
		"delete from meridian.decision_batch", "update meridian.decision_root set hash = ''", "delete from meridian.decision_seal",
		"delete from meridian.egress", "update meridian.egress set contract = ''", "delete from meridian.egress_holding",
		"delete from meridian.egress_receipt", "update meridian.egress_receipt set at = now()",
		"delete from meridian.tombstone", "update meridian.tombstone set version = 1", "insert into meridian.tombstone (id) values (gen_random_uuid())",
		"delete from meridian.holding", "update meridian.holding set held = true", "update meridian.definition set body = '{}'",
		"update meridian.secret set key = ''", "delete from meridian.access_stamp", "delete from meridian.exchange_relay",
		"update meridian.bundle set files = '{}'", "delete from meridian.activation", "select * from public.goose_db_version",
		"select pg_read_file('/etc/passwd')", "select pg_ls_dir('/')", "copy record.thing to program 'cat'", "copy (select 1) to '/tmp/x'",
		"select * from pg_authid", "alter role current_user createdb", "create role other", "set role postgres", "set session authorization postgres",
	} {
		_, err := conn.Exec(t.Context(), sql)
		pe, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || pe.Code != "42501" && !(strings.Contains(sql, "role postgres") || strings.Contains(sql, "authorization")) {
			t.Errorf("%s: %v, want that it is refused", sql, err)
		}
	}
	other := embeddedtest.Database(t)
	other = strings.Replace(embeddedtest.App(w.url), databaseOf(w.url), databaseOf(other), 1)
	if conn, err := pgx.Connect(t.Context(), other); err == nil {
		_ = conn.Close(context.Background())
		t.Error("the app role reaches another instance's database")
	}
}

func databaseOf(url string) string {
	path, _, _ := strings.Cut(url, "?")
	return path[strings.LastIndex(path, "/"):] + "?"
}

// TestOwnHistoryStands: behind the door of writers too, the history of a record
// of this instance is only added to.
func TestOwnHistoryStands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rec := w.create("thing", "US-CA", fields{"code": crm.String("a")})
	conn := w.asApp()
	if _, err := conn.Exec(t.Context(), "select set_config('role', current_user || '_write', false)"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"update history.thing set name = 'x' where id = $1", "delete from history.thing where id = $1"} {
		tag, err := conn.Exec(t.Context(), sql, string(rec.ID))
		if err != nil || tag.RowsAffected() != 0 {
			t.Errorf("%s: %d rows, %v; want none", sql, tag.RowsAffected(), err)
		}
	}
	if n := w.number("select count(*) from history.thing where id = $1", string(rec.ID)); n != 1 {
		t.Errorf("%d versions are left, want 1", n)
	}
}

// TestKeysAreNotTheAppsToVouchFor: whose key it is, which one and who enrolled it
// is not changed by the role that serves, nor is a revocation taken back; and it
// adds no key that no officers signed for.
func TestKeysAreNotTheAppsToVouchFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	operators, officers := strings.Repeat("a", 64), strings.Repeat("b", 64)
	if err := w.TrustKeys(t.Context(), []store.TrustedKey{
		{ID: operators, Subject: "a@amer", Department: "policy", Public: make([]byte, 32), Until: time.Now().Add(time.Hour)},
	}); err != nil {
		t.Fatal(err)
	}
	conn := w.asApp()
	add := "insert into meridian.officer_key (id, subject, department, public_key, proposal, valid_to) values ($1, 'b@amer', 'policy', $2, $3, 'infinity')"
	if _, err := conn.Exec(t.Context(), add, officers, make([]byte, 32), "a proposal"); err != nil {
		t.Fatal("officers enrol a key:", err)
	}
	revoke := "update meridian.officer_key set revoked_at = clock_timestamp(), revoked_by = 'c@amer', reason = 'lost' where id = $1"
	for _, id := range []string{operators, officers} {
		for _, set := range []string{
			"id = repeat('c', 64)", "subject = 'c@amer'", "department = 'sales'", "public_key = '\\x00'", "proposal = 'another'", "proposal = ''",
			"valid_from = '-infinity'", "valid_to = 'infinity'",
		} {
			w.forbidden(conn, "42501", "update meridian.officer_key set "+set+" where id = $1", id)
		}
		if _, err := conn.Exec(t.Context(), revoke, id); err != nil {
			t.Error("revoke a key:", err)
		}
		w.forbidden(conn, "23514", "update meridian.officer_key set revoked_at = null where id = $1", id)
		w.forbidden(conn, "23514", "update meridian.officer_key set reason = 'a mistake' where id = $1", id)
		w.forbidden(conn, "42501", "delete from meridian.officer_key where id = $1", id)
	}
	w.forbidden(conn, "42501", add, strings.Repeat("d", 64), make([]byte, 32), "")
	w.forbidden(conn, "42501", "insert into meridian.officer_key (id, subject, department, public_key, proposal, valid_from, valid_to) "+
		"values ($1, 'b@amer', 'policy', $2, 'p', '-infinity', 'infinity')", strings.Repeat("e", 64), make([]byte, 32))
	owner := w.connect(w.url)
	w.forbidden(owner, "23514", "update meridian.officer_key set subject = 'c@amer' where id = $1", officers)
}

// forbidden checks that a connection may not run a statement.
func (w *world) forbidden(conn *pgx.Conn, code, sql string, args ...any) {
	w.t.Helper()
	_, err := conn.Exec(w.t.Context(), sql, args...)
	if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != code {
		w.t.Errorf("%s: %v, want %s", sql, err, code)
	}
}

// TestRemovalOfDecisionsIsNoted: the function that retention uses removes
// nothing that the chain does not note as removed.
func TestRemovalOfDecisionsIsNoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.LogDecisions(t.Context(), []store.Decision{{Subject: "a@amer", Action: "read", Entity: "thing"}}); err != nil {
		t.Fatal(err)
	}
	w.sealAll(w.Store)
	conn := w.asApp()
	if _, err := conn.Exec(t.Context(), "select meridian.remove_decisions(0, 1)"); err == nil {
		t.Error("decisions went without a word in the chain")
	}
	if _, err := conn.Exec(t.Context(), "select meridian.requeue_decisions()"); err == nil {
		t.Error("the log is sealed anew although nobody restored it")
	}
	if n := w.number("select count(*) from meridian.decision_log"); n != 1 {
		t.Errorf("%d decisions are left, want 1", n)
	}
}

// TestRolesAreToldApart: what is missing or too much is named, and set right
// when the store opens.
func TestRolesAreToldApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.roles(t, "", "")
	app := databaseOf(w.url)
	app = strings.Trim(app, "/?") + "_app"
	w.exec("revoke insert on meridian.outbox from " + app)
	w.exec("grant delete on meridian.decision_log to " + app)
	w.exec("grant select on record.thing to public")
	w.exec("create policy all_may on record.thing using (true)")
	w.roles(t, "insert on table meridian.outbox for "+app, "delete on table meridian.decision_log for "+app)
	w.roles(t, "", "select on table record.thing for public")
	w.roles(t, "", "all_may on policy record.thing for public")
	w.open("amer")
	w.exec("revoke select on record.thing from public")
	w.exec("drop policy all_may on record.thing")
	w.roles(t, "", "")
}

// roles checks what is said of the roles: everything, if both are empty.
func (w *world) roles(t *testing.T, missing, extra string) {
	t.Helper()
	r, err := w.DatabaseRoles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case missing == "" && extra == "" && (len(r.Missing) > 0 || len(r.Extra) > 0 || !r.Apart):
		t.Errorf("roles: %+v, want nothing amiss", r)
	case missing != "" && !strings.Contains(strings.Join(r.Missing, "\n"), missing):
		t.Errorf("missing %q, want %q", r.Missing, missing)
	case extra != "" && !strings.Contains(strings.Join(r.Extra, "\n"), extra):
		t.Errorf("too much %q, want %q", r.Extra, extra)
	}
}

// TestOpenWithoutDoors: a role that cannot step into the others, or has their
// rights all the time, serves nobody.
func TestOpenWithoutDoors(t *testing.T) {
	t.Parallel()
	url := embeddedtest.Database(t)
	_, err := store.Open(t.Context(), store.Config{URL: url, OwnerURL: url, Instance: "amer"})
	wantError(t, err, crm.Invalid, "database")
	other := embeddedtest.Database(t)
	_, err = store.Open(t.Context(), store.Config{URL: embeddedtest.App(other), OwnerURL: url, Instance: "amer"})
	wantError(t, err, crm.Invalid, "database")
}
