// Package store keeps records in PostgreSQL: real typed tables made from
// entity definitions, their history, tombstones and the outbox.
//
// Invariants. I-store-1: a row is read only through a policy.Filter; the two
// exceptions, Load and FindByKey, serve access alone. I-store-2: row, history,
// tombstone and outbox change in one transaction or not at all. I-store-3: the
// recorded times of a record's history strictly increase. I-store-4: a change
// is handed out behind the oldest open transaction, so none is ever skipped.
// I-store-5: a filter or a sort sees the projected value; what is withheld is
// absent. The package must not know of policy rules, plugins or wire formats;
// it is the only importer of pgx.
package store

import (
	"context"
	"crypto/cipher"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"meridian/instance/crm"
)

// Config says where the database is and whose it is.
type Config struct {
	URL string // postgres://..., of the role that the running instance is
	// OwnerURL is of the role that owns the tables. It is used while the store
	// opens and definitions are installed, never to serve. Without it the role of
	// URL is both, and the second belt is off.
	OwnerURL string
	MaxConns int    // 16 if zero
	Instance string // home of the records written here
	Replica  string // this process among those of the instance; the host's name if empty
	// AuditKey signs the roots of the decision log, so that who rewrites the
	// database cannot make the chain anew. Without it roots are only hashed.
	AuditKey ed25519.PrivateKey
	Log      *slog.Logger
	// Trace, if set, is told of every statement that is sent, in the context it
	// is sent under. Tests compare what denied and absent run.
	Trace func(ctx context.Context, sql string)
}

// Store is one instance's database. It is safe for concurrent use.
type Store struct {
	pool     *pgxpool.Pool
	owner    *pgx.ConnConfig // of the role that owns the tables; nil if the pool's does
	app      string          // the pool's role; empty if it owns the tables
	instance string
	replica  string
	auditKey ed25519.PrivateKey
	log      *slog.Logger
	seal     cipher.AEAD // of cursors

	installing sync.Mutex             // one Install at a time in this process
	entities   atomic.Pointer[tables] // what Install made; never nil
	estimates  estimates
	analyzing  sync.Mutex // one ANALYZE at a time

	mu       sync.Mutex
	onCommit []func()
}

// Open connects, brings the schema up to date under a lock that replicas
// share, and reads what is installed.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Instance == "" {
		return nil, crm.FieldErrorf("instance", "name the instance; it is the home of what it writes")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Replica == "" {
		if name, err := os.Hostname(); err == nil {
			c.Replica = name
		}
	}
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	pc.MaxConns = int32(c.MaxConns)
	if c.MaxConns <= 0 {
		pc.MaxConns = 16
	}
	pc.MaxConnIdleTime = 5 * time.Minute
	for k, v := range sessionSettings {
		pc.ConnConfig.RuntimeParams[k] = v
	}
	pc.ConnConfig.RuntimeParams["application_name"] = "meridian/" + c.Instance
	s := &Store{instance: c.Instance, replica: c.Replica, auditKey: c.AuditKey, log: c.Log}
	if err := s.useOwner(c, pc.ConnConfig); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, pc.ConnConfig); err != nil {
		return nil, err
	}
	if c.Trace != nil {
		pc.ConnConfig.Tracer = tracer{c.Trace}
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, pgErr(err, "connect")
	}
	s.pool = pool
	s.entities.Store(&tables{})
	if s.seal, err = openSeal(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	if err := s.restore(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// sessionSettings make text forms the same whatever the server's defaults.
var sessionSettings = map[string]string{"timezone": "UTC", "datestyle": "ISO", "intervalstyle": "iso_8601", "jit": "off"}

// Close waits for running statements and closes the connections.
func (s *Store) Close() { s.pool.Close() }

// Ping asks the database whether it answers.
func (s *Store) Ping(ctx context.Context) error { return pgErr(s.pool.Ping(ctx), "ping") }

// OnCommit registers a function to be called after every transaction of this
// process that put something into the outbox. It must not block.
func (s *Store) OnCommit(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCommit = append(s.onCommit, f)
}

func (s *Store) committed() {
	s.mu.Lock()
	fs := s.onCommit
	s.mu.Unlock()
	for _, f := range fs {
		f()
	}
}

// Stamp is the access stamp in force and the database's time.
func (s *Store) Stamp(ctx context.Context) (stamp int64, now time.Time, err error) {
	return readStamp(ctx, s.pool)
}

// HoldStamp keeps the access stamp from moving until release is called, at
// most for a time: who changes a fact meanwhile waits. It takes a lock on the
// table because one on the row would make the transaction a writer, and the
// feed waits for writers.
func (s *Store) HoldStamp(ctx context.Context, atMost time.Duration) (stamp int64, release func(), err error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return 0, nil, pgErr(err, "hold the access stamp")
	}
	end := sync.OnceFunc(func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }) // it changed nothing
	if _, err = tx.Exec(ctx, "lock table meridian.access_stamp in exclusive mode"); err == nil {
		stamp, _, err = readStamp(ctx, tx)
	}
	if err != nil {
		end()
		return 0, nil, pgErr(err, "hold the access stamp")
	}
	timer := time.AfterFunc(atMost, end)
	return stamp, func() { timer.Stop(); end() }, nil
}

// Tx is one transaction. Only this package knows the driver behind it.
type Tx struct {
	tx      pgx.Tx
	s       *Store
	changed bool // something entered the outbox
}

// Tx runs f in a transaction: committed when f returns nil, undone otherwise.
func (s *Store) Tx(ctx context.Context, f func(context.Context, *Tx) error) error {
	t := &Tx{s: s}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		t.tx = tx
		return f(ctx, t)
	})
	if err != nil {
		return pgErr(err, "transaction")
	}
	if t.changed {
		s.committed()
	}
	return nil
}

// Stamp is the access stamp as this transaction sees it.
func (t *Tx) Stamp(ctx context.Context) (stamp int64, now time.Time, err error) {
	return readStamp(ctx, t.tx)
}

// AwaitStamp waits until nobody holds the access stamp: who is going to change
// a fact waits here, before the transaction becomes one that the feed waits for.
func (t *Tx) AwaitStamp(ctx context.Context) error {
	_, err := t.tx.Exec(ctx, "lock table meridian.access_stamp in row share mode")
	return pgErr(err, "wait for the access stamp")
}

// takeTurn takes the access stamp as a change of facts does, before the fact's
// row is locked: who has the one waits for nobody who has the other.
func (t *Tx) takeTurn(ctx context.Context) error {
	_, err := t.tx.Exec(ctx, "select from meridian.access_stamp for update")
	return pgErr(err, "wait for the access stamp")
}

// Wake says that this transaction put something into the outbox, so that
// readers in this process need not wait for their next poll.
func (t *Tx) Wake() { t.changed = true }

// queries is what a pool and a transaction have in common.
type queries interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// samePlanSQL lets the statements behind it in a batch keep one plan for all
// values: planning a policy's dozen subqueries anew would cost more than running
// them. The store has chosen a shape that is right for the subject. ownPlanSQL
// has them planned for the values at hand.
const (
	samePlanSQL = "select set_config('plan_cache_mode', 'force_generic_plan', true)"
	ownPlanSQL  = "select set_config('plan_cache_mode', 'force_custom_plan', true)"
)

// stampSQL reads the stamp, which also moves by itself when the boundary of a
// fact that subjects are made of passes (migration 00002).
const stampSQL = "select stamp * 2 + (boundary <= statement_timestamp())::int, statement_timestamp() from meridian.access_stamp"

func readStamp(ctx context.Context, q queries) (stamp int64, now time.Time, err error) {
	err = q.QueryRow(ctx, stampSQL).Scan(&stamp, &now)
	return stamp, now, pgErr(err, "read access stamp")
}
