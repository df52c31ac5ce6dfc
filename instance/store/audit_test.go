package store_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
)

// Two records that decisions are about.
const (
	acme  = crm.RecordID("0193e0a0-0000-7000-8000-00000000000a")
	other = crm.RecordID("0193e0a0-0000-7000-8000-00000000000b")
)

// decide logs n decisions through s and seals all there are in one root.
func (w *world) decide(s *store.Store, n int) {
	w.t.Helper()
	ds := make([]store.Decision, n)
	for i := range ds {
		found := int64(i)
		ds[i] = store.Decision{Subject: crm.SubjectID(fmt.Sprintf("rep%d@amer", i)), Action: "read", Entity: "account", Allowed: true,
			Records: []crm.RecordID{acme, other}, Versions: []int64{1, 2}, Found: &found, Facts: []string{"f"}, Bundle: "b", Execution: "e"}
	}
	if err := s.LogDecisions(w.t.Context(), ds); err != nil {
		w.t.Fatal(err)
	}
	w.sealAll(s)
}

// sealAll seals once nothing on this server, which tests share, is older than
// the newest decision.
func (w *world) sealAll(s *store.Store) int {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for w.number("select count(*) from meridian.decision_log where xid >= pg_snapshot_xmin(pg_current_snapshot())") > 0 {
		if time.Now().After(deadline) {
			w.t.Fatal("a transaction stays open")
		}
	}
	return w.seal(s)
}

func (w *world) seal(s *store.Store) (sealed int) {
	w.t.Helper()
	for {
		n, err := s.SealDecisions(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if n == 0 {
			return sealed
		}
		sealed += n
	}
}

func audit(t *testing.T, s *store.Store, anchor string) store.Audit {
	t.Helper()
	a, err := s.VerifyDecisions(t.Context(), anchor)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// as opens the world's database as another replica, with a key or without.
func (w *world) as(replica string, key ed25519.PrivateKey) *store.Store {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), store.Config{URL: embeddedtest.App(w.url), OwnerURL: w.url, Instance: "amer", MaxConns: 4, Replica: replica, AuditKey: key})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

// tamper changes the log as somebody with the database in their hands would.
func (w *world) tamper(statements ...string) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(w.t.Context()) }() // of a test
	if _, err := conn.Exec(w.t.Context(), "set meridian.retention = 'on'; alter table meridian.decision_batch drop constraint if exists decision_batch_is_sealed;"+strings.Join(statements, ";")); err != nil {
		w.t.Fatal(err)
	}
}

// TestTamperingIsFound: three roots of two replicas, decisions 1 to 12, and one
// thing that somebody did to them.
func TestTamperingIsFound(t *testing.T) {
	t.Parallel()
	const log, batch, root = "meridian.decision_log", "meridian.decision_batch", "meridian.decision_root"
	cases := []struct {
		name string
		sql  string
		want store.AuditBreak // its text aside
	}{
		{"another subject", `update ` + log + ` set subject = 'nobody' where id = 6`,
			store.AuditBreak{Kind: store.Changed, Root: 2, Writer: "a", Batch: 2, Decision: 6}},
		{"one record less", `update ` + log + ` set records = records[2:], versions = versions[2:] where id = 2`,
			store.AuditBreak{Kind: store.Changed, Root: 1, Writer: "a", Batch: 1, Decision: 2}},
		{"refused instead of answered", `update ` + log + ` set refused = records, records = '{}', versions = '{}' where id = 2`,
			store.AuditBreak{Kind: store.Changed, Root: 1, Writer: "a", Batch: 1, Decision: 2}},
		{"no count for a count of none", `update ` + log + ` set found = null where id = 1`,
			store.AuditBreak{Kind: store.Changed, Root: 1, Writer: "a", Batch: 1, Decision: 1}},
		{"a microsecond later", `update ` + log + ` set at = at + interval '1 microsecond' where id = 9`,
			store.AuditBreak{Kind: store.Changed, Root: 2, Writer: "b", Batch: 1, Decision: 9}},
		{"another writer", `update ` + log + ` set writer = 'b' where id = 1`,
			store.AuditBreak{Kind: store.Changed, Root: 1, Writer: "a", Batch: 1, Decision: 1}},
		{"a decision dropped", `delete from ` + log + ` where id = 3`,
			store.AuditBreak{Kind: store.Dropped, Root: 1, Writer: "a", Batch: 1, Decision: 3}},
		{"all decisions dropped", `truncate ` + log,
			store.AuditBreak{Kind: store.Dropped, Root: 1, Writer: "a", Batch: 1, Decision: 1}},
		{"two exchanged", `update ` + log + ` x set subject = y.subject, at = y.at from ` + log + ` y where (x.id, y.id) in ((5, 6), (6, 5))`,
			store.AuditBreak{Kind: store.Reordered, Root: 2, Writer: "a", Batch: 2, Decision: 5}},
		{"a list turned round", `update ` + batch + ` set ids = array[ids[2], ids[1]] || ids[3:],
				leaves = substring(leaves from 33 for 32) || substring(leaves from 1 for 32) || substring(leaves from 65) where writer = 'a' and sequence = 1`,
			store.AuditBreak{Kind: store.Reordered, Root: 1, Writer: "a", Batch: 1}},
		{"one put in behind the seal", `insert into ` + log + ` (id, xid, subject, action, entity, allowed, records, versions, refused, facts, reasons, bundle, stamp, execution)
				overriding system value select 50, xid, 'rep', 'read', 'account', true, '{}', '{}', '{}', '{}', '{}', '', 0, '' from ` + log + ` where id = 2`,
			store.AuditBreak{Kind: store.Inserted, Decision: 50}},
		{"one put in that is never to be sealed", `insert into ` + log + ` (id, xid, subject, action, entity, allowed, records, versions, refused, facts, reasons, bundle, stamp, execution)
				overriding system value select 50, '99999999999', 'rep', 'read', 'account', true, '{}', '{}', '{}', '{}', '{}', '', 0, ''`,
			store.AuditBreak{Kind: store.Inserted, Decision: 50}},
		{"a decision and its hash changed", `update ` + log + ` set subject = 'nobody' where id = 1; update ` + batch + ` set leaves = sha256('x') || substring(leaves from 33) where writer = 'a' and sequence = 1`,
			store.AuditBreak{Kind: store.Changed, Root: 1, Writer: "a", Batch: 1, Decision: 1}},
		{"a decision taken out of its batch", `delete from ` + log + ` where id = 4; update ` + batch + ` set ids = ids[:3], leaves = substring(leaves from 1 for 96), decisions = 3 where writer = 'a' and sequence = 1`,
			store.AuditBreak{Kind: store.Changed, Root: 1, Writer: "a", Batch: 1}},
		{"the index of a batch emptied", `update ` + batch + ` set records = '{}' where writer = 'b' and sequence = 1`,
			store.AuditBreak{Kind: store.Changed, Root: 2, Writer: "b", Batch: 1}},
		{"a batch dropped with its decisions", `delete from ` + log + ` where id in (5, 6); delete from ` + batch + ` where writer = 'a' and sequence = 2`,
			store.AuditBreak{Kind: store.Dropped, Root: 2}},
		{"the newest batch dropped with its decisions", `delete from ` + log + ` where id in (11, 12); delete from ` + batch + ` where writer = 'a' and sequence = 3`,
			store.AuditBreak{Kind: store.Dropped, Root: 3}},
		{"two batches exchanged", `update ` + batch + ` set sequence = case sequence when 1 then 12 else 11 end where writer = 'a' and sequence in (1, 2); update ` + batch + ` set sequence = sequence - 10 where sequence > 10`,
			store.AuditBreak{Kind: store.Dropped, Root: 1, Writer: "a", Batch: 1}},
		{"a batch without a root", `insert into ` + batch + ` select 'c', 1, 9, decisions, ids, leaves, records, content, previous, hash from ` + batch + ` where writer = 'b'`,
			store.AuditBreak{Kind: store.Inserted}},
		{"a batch in a root of others", `insert into ` + batch + ` select 'c', 1, root, 0, '{}', '', '{}', content, '', hash from ` + batch + ` where writer = 'b'`,
			store.AuditBreak{Kind: store.Changed, Root: 2, Writer: "c", Batch: 1}},
		{"a root dropped", `delete from ` + root + ` where sequence = 2`, store.AuditBreak{Kind: store.Dropped, Root: 2}},
		{"a root dated back", `update ` + root + ` set at = at - interval '1 day' where sequence = 2`, store.AuditBreak{Kind: store.Changed, Root: 2}},
		{"the newest root dropped", `delete from ` + log + ` where id in (11, 12); delete from ` + batch + ` where root = 3; delete from ` + root + ` where sequence = 3`,
			store.AuditBreak{Kind: store.Truncated, Root: 3}},
		{"the whole chain dropped", `truncate ` + log + `, ` + batch + `, ` + root, store.AuditBreak{Kind: store.Truncated, Root: 1}},
		{"a removal that never was", `delete from ` + log + ` where id < 5; update ` + batch + ` set ids = '{}', leaves = '', records = '{}' where root = 1; update ` + root + ` set removed_through = 1 where sequence = 3`,
			store.AuditBreak{Kind: store.Changed, Root: 3}},
	}
	w := newWorld(t)
	a, b := w.as("a", nil), w.as("b", nil)
	w.decide(a, 4)
	if err := a.LogDecisions(t.Context(), []store.Decision{{Subject: "a5"}, {Subject: "a6"}}); err != nil {
		t.Fatal(err)
	}
	w.decide(b, 4)
	w.decide(a, 2)
	for _, table := range []string{log, batch, root} {
		w.exec("create table " + strings.Replace(table, "meridian.", "record.", 1) + "_kept as table " + table)
	}
	for _, c := range cases {
		w.tamper(`truncate `+log+`, `+batch+`, `+root,
			`insert into `+root+` table record.decision_root_kept`,
			`insert into `+batch+` table record.decision_batch_kept`,
			`insert into `+log+` overriding system value table record.decision_log_kept`)
		got := audit(t, w.Store, "")
		if got.Break != nil || got.Roots != 3 || got.Batches != 4 || got.Decisions != 12 || got.Pending != 0 {
			t.Fatalf("untouched: %+v %+v", got, got.Break)
		}
		w.tamper(c.sql)
		if got = audit(t, w.Store, ""); got.Break == nil {
			t.Errorf("%s: was not found", c.name)
			continue
		}
		if c.want.Text = got.Break.Text; *got.Break != c.want || got.Break.Text == "" {
			t.Errorf("%s: found %+v, want %+v", c.name, *got.Break, c.want)
		}
	}
}

// TestAnchorTellsACutChain: who drops the newest root with all that belongs to
// it, and sets the sealer back, leaves a chain that fits. A head that was noted
// elsewhere tells, whether the chain is shorter or was made anew.
func TestAnchorTellsACutChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide(w.Store, 3)
	early := audit(t, w.Store, "").Head
	w.decide(w.Store, 3)
	head := audit(t, w.Store, early).Head
	if got := audit(t, w.Store, head); got.Break != nil {
		t.Fatalf("%+v", got.Break)
	}
	w.tamper(`delete from meridian.decision_log where id > 3; delete from meridian.decision_batch where root = 2; delete from meridian.decision_root where sequence = 2`,
		`update meridian.decision_seal set root = 1`)
	if got := audit(t, w.Store, early); got.Break != nil {
		t.Errorf("the rest does not fit: %+v", got.Break)
	}
	if got := audit(t, w.Store, head); got.Break == nil || got.Break.Kind != store.Truncated || got.Break.Root != 2 {
		t.Errorf("a cut chain: %+v", got.Break)
	}
	w.decide(w.Store, 1)
	if got := audit(t, w.Store, head); got.Break == nil || got.Break.Kind != store.Changed || got.Break.Root != 2 {
		t.Errorf("a chain made anew: %+v", got.Break)
	}
	_, err := w.VerifyDecisions(t.Context(), "2:abc")
	wantError(t, err, crm.Invalid, "anchor")
}

// TestSignaturesTellAChainMadeAnew: without the key nobody makes a root.
func TestSignaturesTellAChainMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.decide(w.Store, 2)
	signing := w.as("s", key)
	if got := audit(t, signing, ""); got.Break == nil || got.Break.Kind != store.Unsigned {
		t.Errorf("a head without a signature: %+v", got.Break)
	}
	w.sealAll(signing) // a new key says its first word at once
	if got := audit(t, signing, ""); got.Break != nil || got.SignedFrom != 2 || got.Roots != 2 {
		t.Errorf("%+v %+v", got, got.Break)
	}
	w.decide(signing, 2)
	if got := audit(t, signing, ""); got.Break != nil || got.Roots != 3 {
		t.Errorf("%+v %+v", got, got.Break)
	}
	if got := audit(t, w.as("x", foreign), ""); got.Break == nil || got.Break.Kind != store.Unsigned || got.Break.Root != 2 {
		t.Errorf("another's key: %+v", got.Break)
	}
	w.decide(w.Store, 1) // sealed by somebody without the key
	if got := audit(t, signing, ""); got.Break == nil || got.Break.Kind != store.Unsigned || got.Break.Root != 4 {
		t.Errorf("a root without a signature: %+v", got.Break)
	}
}

// TestSealWaitsForOpenTransactions: a decision of a record's transaction that
// commits late has a smaller number than others that are sealed before it.
func TestSealWaitsForOpenTransactions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	undone := errors.New("undone")
	inside := func(result error) {
		t.Helper()
		err := w.Tx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := tx.LogDecisions(ctx, []store.Decision{{Subject: "writer", Action: "update"}}); err != nil {
				return err
			}
			if err := w.LogDecisions(ctx, []store.Decision{{Subject: "reader", Action: "read"}}); err != nil {
				return err
			}
			if n := w.seal(w.Store); n != 0 {
				t.Errorf("%d sealed in front of an open transaction", n)
			}
			return result
		})
		if !errors.Is(err, result) {
			t.Error(err)
		}
	}
	inside(nil)
	if n := w.sealAll(w.Store); n != 2 {
		t.Errorf("%d sealed, want both", n)
	}
	inside(undone)
	if n := w.sealAll(w.Store); n != 1 {
		t.Errorf("%d sealed, want the reader's", n)
	}
	if got := audit(t, w.Store, ""); got.Break != nil || got.Decisions != 3 || got.Pending != 0 {
		t.Errorf("%+v %+v", got, got.Break)
	}
}

// TestReplicasSealTogether: two sealers at once make one chain.
func TestReplicasSealTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const each = 40
	done := make(chan error, 3)
	for _, name := range []string{"a", "b", "c"} {
		s := w.as(name, nil)
		go func() {
			for i := range each {
				if err := s.LogDecisions(t.Context(), []store.Decision{{Subject: "x", Stamp: int64(i)}}); err != nil {
					done <- err
					return
				}
				if _, err := s.SealDecisions(t.Context()); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	w.sealAll(w.Store)
	if got := audit(t, w.Store, ""); got.Break != nil || got.Decisions != 3*each {
		t.Errorf("%+v %+v", got, got.Break)
	}
}

// TestRetentionKeepsTheChain: what is old goes in whole roots, the chain stays.
func TestRetentionKeepsTheChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide(w.Store, 3)
	w.decide(w.Store, 3)
	anchor := audit(t, w.Store, "").Head
	remove := func(kept time.Duration) int64 {
		t.Helper()
		n, err := w.RemoveDecisions(t.Context(), kept)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := remove(time.Hour); n != 0 {
		t.Errorf("%d roots removed that are young", n)
	}
	if n := remove(0); n != 2 {
		t.Errorf("%d roots removed, want 2", n)
	}
	w.decide(w.Store, 4)
	if left := w.number("select count(*) from meridian.decision_log"); left != 4 {
		t.Errorf("%d decisions left", left)
	}
	got := audit(t, w.Store, anchor)
	if got.Break != nil || got.Removed != 6 || got.Decisions != 4 || got.Roots != 4 {
		t.Errorf("%+v %+v", got, got.Break)
	}
	if n := remove(0); n != 2 { // the note of the first removal, and the last seal
		t.Errorf("%d roots removed, want 2", n)
	}
	if n := remove(0); n != 0 {
		t.Errorf("%d roots removed where only notes of removals are left", n)
	}
	if got := audit(t, w.Store, anchor); got.Break != nil || got.Removed != 10 || got.Decisions != 0 {
		t.Errorf("%+v %+v", got, got.Break)
	}
	w.decide(w.Store, 1)
	w.tamper(`update meridian.decision_batch set decisions = 2 where root = 1`)
	if got := audit(t, w.Store, ""); got.Break == nil || got.Break.Root != 1 {
		t.Errorf("a removed batch was changed: %+v", got.Break)
	}
}

// TestDecisionLogIsAppendOnly: a slip does not rewrite it.
func TestDecisionLogIsAppendOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide(w.Store, 1)
	conn, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }() // of a test
	for _, table := range []string{"decision_log", "decision_batch", "decision_root"} {
		for _, sql := range []string{"update meridian.%s set hash = hash", "delete from meridian.%s", "truncate meridian.%s cascade"} {
			if table == "decision_log" {
				sql = strings.Replace(sql, "hash = hash", "subject = subject", 1)
			}
			if _, err := conn.Exec(t.Context(), fmt.Sprintf(sql, table)); err == nil || !strings.Contains(err.Error(), "only added to") {
				t.Errorf("%s: %v", fmt.Sprintf(sql, table), err)
			}
		}
	}
}

// TestChainGoesOnAfterARestore: a dump read into a new server counts its
// transactions from the start again.
func TestChainGoesOnAfterARestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide(w.Store, 3)
	if err := w.LogDecisions(t.Context(), []store.Decision{{Subject: "unsealed"}}); err != nil {
		t.Fatal(err)
	}
	// As if the dumped server had counted much further.
	const far = `(xid::text::bigint + 1000000000)::text::xid8`
	w.tamper(`update meridian.decision_log set xid = `+far, `update meridian.decision_seal set xid = `+far)
	if err := w.LogDecisions(t.Context(), []store.Decision{{Subject: "after"}}); err != nil {
		t.Fatal(err)
	}
	w.seal(w.Store) // finds out
	if n := w.sealAll(w.Store); n != 2 {
		t.Errorf("%d sealed, want what was not sealed before and what came after", n)
	}
	w.decide(w.Store, 1)
	if got := audit(t, w.Store, ""); got.Break != nil || got.Decisions != 6 || got.Pending != 0 {
		t.Errorf("%+v %+v", got, got.Break)
	}
}

// TestFindDecisions: who looked at what.
func TestFindDecisions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide(w.Store, 3) // 1 to 3, of acme and other
	noon := time.Now()
	err := w.LogDecisions(t.Context(), []store.Decision{ // 4 to 6, not sealed
		{Subject: "spy@amer", Action: "read", Entity: "account", Refused: []crm.RecordID{acme}, Execution: "x1"},
		{Subject: "spy@amer", Action: "read", Entity: "account", Allowed: true, Records: []crm.RecordID{other}},
		{Subject: "rep0@amer", Action: "update", Entity: "account", Allowed: true, At: noon.Add(-time.Hour), Records: []crm.RecordID{acme}, Versions: []int64{3}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		q    store.DecisionQuery
		want string
	}{
		"everything":          {store.DecisionQuery{}, "[6 5 4 3 2 1]"},
		"a page":              {store.DecisionQuery{Limit: 2}, "[6 5]"},
		"the next page":       {store.DecisionQuery{Limit: 2, Before: 5}, "[4 3]"},
		"a record":            {store.DecisionQuery{Record: acme}, "[6 4 3 2 1]"},
		"an unknown record":   {store.DecisionQuery{Record: crm.NoAccount}, "[]"},
		"a subject":           {store.DecisionQuery{Subject: "spy@amer"}, "[5 4]"},
		"a record, a subject": {store.DecisionQuery{Record: acme, Subject: "rep0@amer"}, "[6 1]"},
		"an action":           {store.DecisionQuery{Action: "update"}, "[6]"},
		"an execution":        {store.DecisionQuery{Execution: "x1"}, "[4]"},
		"since":               {store.DecisionQuery{Since: noon, Subject: "spy@amer"}, "[5 4]"},
		"until":               {store.DecisionQuery{Until: noon.Add(-time.Minute)}, "[6]"},
	} {
		if c.q.Limit == 0 {
			c.q.Limit = 50
		}
		ds, err := w.FindDecisions(t.Context(), c.q)
		if err != nil {
			t.Fatal(name, err)
		}
		ids := []int64{}
		for _, d := range ds {
			ids = append(ids, d.ID)
		}
		if fmt.Sprint(ids) != c.want {
			t.Errorf("%s: %v, want %s", name, ids, c.want)
		}
	}
}
