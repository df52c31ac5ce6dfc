package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// OfficerKey is a key that may sign for an officer.
type OfficerKey struct {
	ID         string // digest of Public
	Subject    crm.SubjectID
	Department string // in which the officer answers for policy
	Public     []byte
	Proposal   string // whose signatures enrolled it; "" for the operator's
	From, To   time.Time
	RevokedAt  *time.Time // nil while it is not
	RevokedBy  crm.SubjectID
	Reason     string
}

const officerKeyColumns = "id, subject, department, public_key, proposal, valid_from, valid_to, revoked_at, revoked_by, reason"

func scanOfficerKey(row pgx.CollectableRow) (k OfficerKey, err error) {
	err = row.Scan(&k.ID, &k.Subject, &k.Department, &k.Public, &k.Proposal, &k.From, &k.To, &k.RevokedAt, &k.RevokedBy, &k.Reason)
	k.From, k.To = k.From.UTC(), k.To.UTC()
	return k, err
}

// OfficerKeys lists every key there ever was.
func (s *Store) OfficerKeys(ctx context.Context) ([]OfficerKey, error) {
	return officerKeys(ctx, s.pool)
}

func officerKeys(ctx context.Context, q queries) ([]OfficerKey, error) {
	rows, err := q.Query(ctx, "select "+officerKeyColumns+" from meridian.officer_key order by subject, valid_from, id")
	if err != nil {
		return nil, pgErr(err, "list officers' keys")
	}
	ks, err := pgx.CollectRows(rows, scanOfficerKey)
	return ks, pgErr(err, "list officers' keys")
}

// OfficerKey reads one key; false if there is none of the name.
func (s *Store) OfficerKey(ctx context.Context, id string) (OfficerKey, bool, error) {
	rows, err := s.pool.Query(ctx, "select "+officerKeyColumns+" from meridian.officer_key where id = $1", id)
	if err != nil {
		return OfficerKey{}, false, pgErr(err, "read an officer's key")
	}
	k, err := pgx.CollectExactlyOneRow(rows, scanOfficerKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return OfficerKey{}, false, nil
	}
	return k, err == nil, pgErr(err, "read an officer's key")
}

// AddOfficerKey enrols a key. One that is known, revoked or not, is a conflict.
func (t *Tx) AddOfficerKey(ctx context.Context, k OfficerKey) error {
	tag, err := t.tx.Exec(ctx, `insert into meridian.officer_key (id, subject, department, public_key, proposal, valid_to)
		values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing`, k.ID, string(k.Subject), k.Department, k.Public, k.Proposal, k.To)
	if err == nil && tag.RowsAffected() == 0 {
		return crm.Errorf(crm.Conflict, "key %.12s is enrolled, or was; make another", k.ID)
	}
	return pgErr(err, "enrol an officer's key")
}

// RevokeOfficerKey ends a key for good.
func (t *Tx) RevokeOfficerKey(ctx context.Context, id string, by crm.SubjectID, reason string) error {
	tag, err := t.tx.Exec(ctx, `update meridian.officer_key set revoked_at = clock_timestamp(), revoked_by = $2, reason = $3
		where id = $1 and revoked_at is null`, id, string(by), reason)
	if err == nil && tag.RowsAffected() == 0 {
		return crm.Errorf(crm.Conflict, "there is no such key, or it is revoked already")
	}
	return pgErr(err, "revoke an officer's key")
}

// Proposal is what one officer asks a second one to sign.
type Proposal struct {
	ID         string // of the author's statement
	Purpose    string // propose or enroll
	About      string // digest of the bundle, or of the key's document
	Base       string // bundle it was made from and checked against
	After      int64  // activation it may follow
	Content    []byte // JSON; of an enrolment: the key
	Note       string
	Report     []byte // JSON: what the checks found
	By         crm.SubjectID
	Expires    time.Time
	At         time.Time
	Signatures []Signature
	Done       bool // its bundle was activated, its key enrolled
}

// Signature is a statement that was accepted, by whom.
type Signature struct {
	ID         string // of the statement
	Purpose    string
	About      string
	Proposal   string
	Statement  string
	Signature  []byte
	Key        string
	Subject    crm.SubjectID
	Department string
	At         time.Time
}

// AddProposal records a proposal with its author's signature.
func (t *Tx) AddProposal(ctx context.Context, p Proposal) error {
	_, err := t.tx.Exec(ctx, `insert into meridian.proposal (id, purpose, about, base, after, content, note, report, proposed_by, expires)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		p.ID, p.Purpose, p.About, p.Base, p.After, p.Content, p.Note, p.Report, string(p.By), p.Expires)
	return pgErr(err, "record a proposal")
}

// AddSignature records a statement that was accepted. One that was accepted
// before is a conflict: it is replayed.
func (t *Tx) AddSignature(ctx context.Context, s Signature) error {
	tag, err := t.tx.Exec(ctx, `insert into meridian.signature (id, purpose, about, proposal, statement, signature, key, subject, department)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (id) do nothing`,
		s.ID, s.Purpose, s.About, s.Proposal, s.Statement, s.Signature, s.Key, string(s.Subject), s.Department)
	if err == nil && tag.RowsAffected() == 0 {
		return crm.Errorf(crm.Conflict, "this signature was used before; sign again")
	}
	return pgErr(err, "record a signature")
}

const proposalSQL = `select id, purpose, about, base, after, content, note, report, proposed_by, expires, at,
	exists (select from meridian.activation a where a.proposal = p.id) or exists (select from meridian.officer_key k where k.proposal = p.id)
	from meridian.proposal p`

func scanProposal(row pgx.CollectableRow) (p Proposal, err error) {
	err = row.Scan(&p.ID, &p.Purpose, &p.About, &p.Base, &p.After, &p.Content, &p.Note, &p.Report, &p.By, &p.Expires, &p.At, &p.Done)
	p.Expires, p.At = p.Expires.UTC(), p.At.UTC()
	return p, err
}

// Proposals lists the newest proposals.
func (s *Store) Proposals(ctx context.Context, limit int) ([]Proposal, error) {
	return proposals(ctx, s.pool, "true order by at desc, id limit $1", limit)
}

// ProposalsNamed are the proposals whose id begins with a prefix, at most two:
// enough to know whether it names one.
func (s *Store) ProposalsNamed(ctx context.Context, prefix string) ([]Proposal, error) {
	return proposals(ctx, s.pool, "starts_with(id, $1) order by at desc limit 2", prefix)
}

// ProposalsNamed reads as Store.ProposalsNamed does, inside the transaction.
func (t *Tx) ProposalsNamed(ctx context.Context, prefix string) ([]Proposal, error) {
	return proposals(ctx, t.tx, "starts_with(id, $1) order by at desc limit 2", prefix)
}

func proposals(ctx context.Context, q queries, where string, arg any) ([]Proposal, error) {
	rows, err := q.Query(ctx, proposalSQL+" where "+where, arg)
	if err != nil {
		return nil, pgErr(err, "list proposals")
	}
	ps, err := pgx.CollectRows(rows, scanProposal)
	if err != nil {
		return nil, pgErr(err, "list proposals")
	}
	ids := make([]string, len(ps))
	for i, p := range ps {
		ids[i] = p.ID
	}
	signatures, err := signaturesOf(ctx, q, "proposal = any ($1)", ids)
	for _, s := range signatures {
		for i := range ps {
			if ps[i].ID == s.Proposal {
				ps[i].Signatures = append(ps[i].Signatures, s)
			}
		}
	}
	return ps, err
}

func signaturesOf(ctx context.Context, q queries, where string, args ...any) ([]Signature, error) {
	rows, err := q.Query(ctx, `select id, purpose, about, proposal, statement, signature, key, subject, department, at
		from meridian.signature where `+where+" order by at, id", args...)
	if err != nil {
		return nil, pgErr(err, "list signatures")
	}
	signatures, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Signature, err error) {
		err = row.Scan(&s.ID, &s.Purpose, &s.About, &s.Proposal, &s.Statement, &s.Signature, &s.Key, &s.Subject, &s.Department, &s.At)
		s.At = s.At.UTC()
		return s, err
	})
	return signatures, pgErr(err, "list signatures")
}
