package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// Bundle is a policy bundle as it is kept: its files by path, named by digest.
// The store does not know what is in them.
type Bundle struct {
	Digest  string
	Files   map[string]string
	Version string        // of the product that ships it; "" for an officer's
	By      crm.SubjectID // "" for the product
	At      time.Time     // when it was stored
}

// ActivationKind says why a bundle came into force.
type ActivationKind string

// Kinds of activation. What the product did itself, an officer may not have
// seen: initial and upgrade.
const (
	ActivationInitial  ActivationKind = "initial"
	ActivationUpgrade  ActivationKind = "upgrade"
	ActivationOfficers ActivationKind = "activate"
	ActivationRollback ActivationKind = "rollback"
)

// Activation is the moment from which a bundle was in force.
type Activation struct {
	Seq       int64 // counted from one, without a hole
	Digest    string
	Kind      ActivationKind
	Proposal  string // whose signatures allowed it
	Reason    string
	By        crm.SubjectID
	Execution string
	At        time.Time
}

// AddBundle keeps a bundle. One that is kept already stays as it is.
func (t *Tx) AddBundle(ctx context.Context, b Bundle) error {
	files, err := json.Marshal(b.Files)
	if err != nil {
		return err
	}
	_, err = t.tx.Exec(ctx, `insert into meridian.bundle (digest, files, version, stored_by) values ($1, $2, $3, $4) on conflict (digest) do nothing`,
		b.Digest, files, b.Version, string(b.By))
	return pgErr(err, "keep bundle %s", b.Digest)
}

const bundleColumns = "digest, files, version, stored_by, stored_at"

func scanBundle(row pgx.CollectableRow) (b Bundle, err error) {
	var files []byte
	if err = row.Scan(&b.Digest, &files, &b.Version, &b.By, &b.At); err != nil {
		return b, err
	}
	b.At = b.At.UTC()
	return b, json.Unmarshal(files, &b.Files)
}

// Bundle reads a bundle by its digest; false if none is kept. Files that were
// changed have another digest: they are not handed out as what they were.
func (s *Store) Bundle(ctx context.Context, digest string) (Bundle, bool, error) {
	b, known, err := s.keptBundle(ctx, digest)
	if err != nil || !known {
		return b, known, err
	}
	if is := policy.DigestOf(b.Files); is != digest {
		return Bundle{}, true, crm.Errorf(crm.Conflict, "the kept bundle %.12s does not fit its digest: its files, changed in the database, are of digest %.12s. "+
			"Nothing is made of them; its operator restores them from a backup, or propose the bundle that you have as files", digest, is)
	}
	return b, true, nil
}

func (s *Store) keptBundle(ctx context.Context, digest string) (Bundle, bool, error) {
	rows, err := s.pool.Query(ctx, "select "+bundleColumns+" from meridian.bundle where digest = $1", digest)
	if err != nil {
		return Bundle{}, false, pgErr(err, "read bundle %s", digest)
	}
	b, err := pgx.CollectExactlyOneRow(rows, scanBundle)
	if errors.Is(err, pgx.ErrNoRows) {
		return Bundle{}, false, nil
	}
	return b, err == nil, pgErr(err, "read bundle %s", digest)
}

// BundlesNamed are the digests that begin with a prefix, the newest first: a
// few, enough to know whether the prefix names one, and which else it may mean.
func (s *Store) BundlesNamed(ctx context.Context, prefix string) ([]string, error) {
	rows, err := s.pool.Query(ctx, "select digest from meridian.bundle where starts_with(digest, $1) order by stored_at desc, digest limit 5", prefix)
	if err != nil {
		return nil, pgErr(err, "find bundles")
	}
	digests, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return digests, pgErr(err, "find bundles")
}

// Shipped are the product's bundles that were never in force: this product
// version brought them, and the officers' stayed.
func (s *Store) Shipped(ctx context.Context) ([]Bundle, error) {
	rows, err := s.pool.Query(ctx, "select "+bundleColumns+` from meridian.bundle b
		where version <> '' and not exists (select from meridian.activation a where a.digest = b.digest) order by stored_at desc`)
	if err != nil {
		return nil, pgErr(err, "list shipped bundles")
	}
	bundles, err := pgx.CollectRows(rows, scanBundle)
	return bundles, pgErr(err, "list shipped bundles")
}

const activationColumns = "seq, digest, kind, proposal, reason, by, execution, at"

func scanActivation(row pgx.CollectableRow) (a Activation, err error) {
	err = row.Scan(&a.Seq, &a.Digest, &a.Kind, &a.Proposal, &a.Reason, &a.By, &a.Execution, &a.At)
	a.At = a.At.UTC()
	return a, err
}

// Active is the activation in force; the zero one if nothing was activated.
func (s *Store) Active(ctx context.Context) (Activation, error) { return active(ctx, s.pool) }

// Active is the activation in force as this transaction sees it.
func (t *Tx) Active(ctx context.Context) (Activation, error) { return active(ctx, t.tx) }

func active(ctx context.Context, q queries) (Activation, error) {
	rows, err := q.Query(ctx, "select "+activationColumns+" from meridian.activation order by seq desc limit 1")
	if err != nil {
		return Activation{}, pgErr(err, "read the active bundle")
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanActivation)
	if errors.Is(err, pgx.ErrNoRows) {
		return Activation{}, nil
	}
	return a, pgErr(err, "read the active bundle")
}

func activations(ctx context.Context, q queries, which string, args ...any) ([]Activation, error) {
	rows, err := q.Query(ctx, "select "+activationColumns+" from meridian.activation "+which, args...)
	if err != nil {
		return nil, pgErr(err, "list activations")
	}
	as, err := pgx.CollectRows(rows, scanActivation)
	return as, pgErr(err, "list activations")
}

// LockPolicy makes changes of policy take turns: until the transaction ends,
// nobody else activates, proposes or approves.
func (t *Tx) LockPolicy(ctx context.Context) error {
	_, err := t.tx.Exec(ctx, "select pg_advisory_xact_lock(hashtext('meridian.policy'))")
	return pgErr(err, "wait for changes of policy")
}

// Activate puts a kept bundle in force for the next statement of everybody on
// every replica. It follows activation `after` or is stale: somebody was
// faster.
func (t *Tx) Activate(ctx context.Context, a Activation, after int64) (Activation, error) {
	if err := t.LockPolicy(ctx); err != nil {
		return a, err
	}
	current, err := t.Active(ctx)
	if err != nil {
		return a, err
	}
	if current.Seq != after {
		return a, crm.Errorf(crm.Stale, "the policy in force is activation %d, not %d: look at it and begin again", current.Seq, after)
	}
	rows, err := t.tx.Query(ctx, `insert into meridian.activation (seq, digest, kind, proposal, reason, by, execution)
		values ($1, $2, $3, $4, $5, $6, $7) returning `+activationColumns,
		after+1, a.Digest, string(a.Kind), a.Proposal, a.Reason, string(a.By), a.Execution)
	if err != nil {
		return a, pgErr(err, "activate bundle %s", a.Digest)
	}
	if a, err = pgx.CollectExactlyOneRow(rows, scanActivation); err != nil {
		return a, pgErr(err, "activate bundle %s", a.Digest)
	}
	t.changed = true
	return a, nil
}

// Adopted says what became of the bundle that a build brought.
type Adopted string

// What becomes of a shipped bundle.
const (
	AdoptedAlready Adopted = "in force"    // it was, or it was once and another followed
	AdoptedFirst   Adopted = "first"       // nothing was in force before
	AdoptedUpgrade Adopted = "upgraded"    // the product's own, which nobody had touched, made place
	AdoptedOffered Adopted = "not adopted" // officers chose another; it is kept for them to propose
)

// Adopt keeps the bundle that this build ships. It takes force when nothing is,
// or when what is in force is the product's too and no officer ever chose
// otherwise; an officer's choice is never replaced by starting a build. A
// bundle that was in force before does not come back by itself: a replica of
// the old build may start after one of the new.
func (s *Store) Adopt(ctx context.Context, b Bundle) (became Adopted, err error) {
	err = s.Tx(ctx, func(ctx context.Context, t *Tx) error {
		if err := t.LockPolicy(ctx); err != nil {
			return err
		}
		if err := t.AddBundle(ctx, b); err != nil {
			return err
		}
		current, err := t.Active(ctx)
		if err != nil {
			return err
		}
		var before, chosen bool
		err = t.tx.QueryRow(ctx, `select coalesce(bool_or(digest = $1), false), coalesce(bool_or(kind in ('activate', 'rollback')), false)
			from meridian.activation`, b.Digest).Scan(&before, &chosen)
		if err != nil {
			return pgErr(err, "read activations")
		}
		kind := ActivationUpgrade
		switch {
		case before:
			became = AdoptedAlready
			return nil
		case current.Seq == 0:
			became, kind = AdoptedFirst, ActivationInitial
		case chosen:
			became = AdoptedOffered
			return nil
		default:
			became = AdoptedUpgrade
		}
		_, err = t.Activate(ctx, Activation{Digest: b.Digest, Kind: kind, Reason: "shipped with version " + b.Version}, current.Seq)
		return err
	})
	return became, err
}

// NotAfter refuses what comes after a time by the database's clock, and has the
// database end the transaction when nothing comes of it for as long as there
// was left: a process that stands still in the middle does not go on with it
// later. A zero time is none.
func (t *Tx) NotAfter(ctx context.Context, at time.Time) error {
	if at.IsZero() {
		return nil
	}
	var left int64
	if err := t.tx.QueryRow(ctx, "select (extract(epoch from $1::timestamptz - clock_timestamp()) * 1000)::bigint", at).Scan(&left); err != nil {
		return pgErr(err, "look how long is left")
	}
	if left <= 0 {
		return crm.Errorf(crm.Stale, "it came too late: it was to be carried out until %s, and is not any more", at.UTC().Format(time.RFC3339))
	}
	_, err := t.tx.Exec(ctx, "select set_config('idle_in_transaction_session_timeout', $1, true)", fmt.Sprint(left))
	return pgErr(err, "bound the transaction")
}
