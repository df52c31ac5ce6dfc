package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"meridian/instance/crm"
)

// order is the order of a list: by its keys, absent values last in both
// directions, then by id, so that it is total.
type order struct {
	keys []orderKey
	sign string // names entity and keys; a cursor of another order is refused
}

type orderKey struct {
	sql  string // projected value over r
	pg   string
	desc bool
}

func newOrder(p *projection, keys []crm.SortKey) (order, error) {
	o := order{sign: p.t.def.Entity}
	for _, k := range keys {
		of, err := p.field(k.Field)
		if err != nil {
			return order{}, err
		}
		if of.col.field.Type == crm.TypeList {
			return order{}, crm.FieldErrorf(k.Field, "a list has no order; sort by another field")
		}
		o.keys = append(o.keys, orderKey{sql: of.sql(), pg: of.col.pg, desc: k.Desc})
		o.sign += fmt.Sprintf(",%s %t", k.Field, k.Desc)
	}
	return o, nil
}

// by is the order by list. Names gives the keys other names than their SQL.
func (o order) by(name func(i int) string, id string) string {
	var b strings.Builder
	for i, k := range o.keys {
		b.WriteString(name(i))
		if k.desc {
			b.WriteString(" desc nulls last, ")
		} else {
			b.WriteString(" asc nulls last, ")
		}
	}
	return b.String() + id
}

func (o order) sql(i int) string { return o.keys[i].sql }

// position is the last row of a page.
type position struct {
	Sign   string       `json:"s"` // hash of the order it belongs to
	Values []*string    `json:"v"` // of the keys, as text; null for absent ones
	ID     crm.RecordID `json:"i"`
}

// after is the SQL that is true for rows behind position.
func (o order) after(p *projection, at position) string {
	id := "r.id > " + p.args.Add(string(at.ID), "uuid")
	var ors []string
	var same strings.Builder // the keys before this one are equal
	for i, k := range o.keys {
		if at.Values[i] == nil { // absent values come last: nothing is behind them but other ids
			same.WriteString(k.sql + " is null and ")
			continue
		}
		v, cmp := p.args.Add(*at.Values[i], k.pg), ">"
		if k.desc {
			cmp = "<"
		}
		ors = append(ors, "("+same.String()+"("+k.sql+" "+cmp+" "+v+" or "+k.sql+" is null))")
		same.WriteString(k.sql + " = " + v + " and ")
	}
	return "(" + strings.Join(append(ors, "("+same.String()+id+")"), " or ") + ")"
}

// cursorVersion is the first byte of every cursor.
const cursorVersion = 1

// cursor seals a position: it holds values of the last row, which must not be
// read in a log or a browser's history.
func (s *Store) cursor(o order, p position) (string, error) {
	p.Sign = signature(o.sign)
	body, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("cursor: %w", err)
	}
	nonce := make([]byte, s.seal.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("cursor: %w", err)
	}
	head := []byte{cursorVersion}
	return base64.RawURLEncoding.EncodeToString(s.seal.Seal(append(head, nonce...), nonce, body, head)), nil
}

// position opens a cursor that this database made for the same order.
func (s *Store) position(o order, cursor string) (position, error) {
	bad := crm.FieldErrorf("cursor", "is not a cursor of this list; ask for the first page without one")
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	n := s.seal.NonceSize()
	if err != nil || len(raw) < 1+n || raw[0] != cursorVersion {
		return position{}, bad
	}
	body, err := s.seal.Open(nil, raw[1:1+n], raw[1+n:], raw[:1])
	if err != nil {
		return position{}, bad
	}
	var p position
	if err := json.Unmarshal(body, &p); err != nil || p.Sign != signature(o.sign) || len(p.Values) != len(o.keys) {
		return position{}, bad
	}
	return p, nil
}

func signature(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// openSeal loads this database's cursor key, making it the first time. All
// replicas share it.
func openSeal(ctx context.Context, pool *pgxpool.Pool) (cipher.AEAD, error) {
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return nil, fmt.Errorf("cursor key: %w", err)
	}
	if _, err := pool.Exec(ctx, "insert into meridian.secret (name, key) values ('cursor', $1) on conflict do nothing", fresh); err != nil {
		return nil, pgErr(err, "make cursor key")
	}
	var key []byte
	if err := pool.QueryRow(ctx, "select key from meridian.secret where name = 'cursor'").Scan(&key); err != nil {
		return nil, pgErr(err, "read cursor key")
	}
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		return nil, fmt.Errorf("cursor key: %w", err)
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("cursor key: %w", err)
	}
	return seal, nil
}
