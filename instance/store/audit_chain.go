package store

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"

	"meridian/instance/crm"
)

// The hashes of the decision log. Every value goes in with its length, every
// list with its count and every kind of thing under its own name, so no two
// different logs have one encoding. What is here never changes: another form
// of a decision gets another name.

// auditRoot is one link of the root chain.
type auditRoot struct {
	Sequence       int64
	At             time.Time
	RemovedThrough int64 // the rows of roots up to here were removed; 0 for a seal
	Batches        int   // that it seals
	Previous       []byte
	Hash           []byte
	Signature      []byte
}

// auditBatch is the decisions of one writer that were sealed together.
type auditBatch struct {
	Writer    string
	Sequence  int64
	Root      int64
	Decisions int
	IDs       []int64
	Leaves    []byte
	Records   []crm.RecordID // sorted, each once
	Content   []byte
	Previous  []byte
	Hash      []byte
}

// encoder hashes values so that their borders count.
type encoder struct{ h hash.Hash }

func encode(name string) encoder {
	e := encoder{sha256.New()}
	e.text(name)
	return e
}

func (e encoder) number(n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	e.h.Write(b[:]) // a hash never fails
}

func (e encoder) bytes(b []byte) {
	e.number(int64(len(b)))
	e.h.Write(b)
}

func (e encoder) text(s string) { e.bytes([]byte(s)) }

// moment is what PostgreSQL keeps of a time.
func (e encoder) moment(t time.Time) { e.number(t.UnixMicro()) }

func (e encoder) texts(list []string) {
	e.number(int64(len(list)))
	for _, s := range list {
		e.text(s)
	}
}

func (e encoder) numbers(list []int64) {
	e.number(int64(len(list)))
	for _, n := range list {
		e.number(n)
	}
}

func (e encoder) sum() []byte { return e.h.Sum(nil) }

// leaf is the hash of a decision without its place in the log, which its batch
// holds: a decision found at another's place is then told from a changed one.
func leaf(d Decision) []byte {
	e := encode("meridian/decision/1")
	e.text(d.Writer)
	e.moment(d.At)
	e.text(string(d.Subject))
	e.text(d.Action)
	e.text(d.Entity)
	e.text(strconv.FormatBool(d.Allowed))
	e.texts(idTexts(d.Records))
	e.numbers(d.Versions)
	e.texts(idTexts(d.Refused))
	if d.Found == nil {
		e.numbers(nil)
	} else {
		e.numbers([]int64{*d.Found})
	}
	e.texts(d.Facts)
	e.texts(d.Reasons)
	e.text(d.Bundle)
	e.number(d.Stamp)
	e.text(d.Execution)
	return e.sum()
}

// add puts a decision at the end of a batch that is not sealed yet.
func (b *auditBatch) add(d Decision) {
	b.Decisions++
	b.IDs = append(b.IDs, d.ID)
	b.Leaves = append(b.Leaves, leaf(d)...)
	b.Records = append(append(b.Records, d.Records...), d.Refused...)
}

// leafAt is the hash that the batch holds of its n-th decision.
func (b *auditBatch) leafAt(n int) []byte { return b.Leaves[n*sha256.Size : (n+1)*sha256.Size] }

// close links a batch to the writer's batch before.
func (b *auditBatch) close(root, sequence int64, previous []byte) {
	slices.Sort(b.Records)
	b.Records = slices.Compact(b.Records)
	b.Root, b.Sequence, b.Previous = root, sequence, previous
	b.Content = b.content()
	b.Hash = b.hash()
}

func (b *auditBatch) content() []byte {
	e := encode("meridian/decisions/1")
	e.numbers(b.IDs)
	e.bytes(b.Leaves)
	return e.sum()
}

func (b *auditBatch) hash() []byte {
	e := encode("meridian/decision_batch/1")
	e.text(b.Writer)
	e.number(b.Sequence)
	e.number(b.Root)
	e.number(int64(b.Decisions))
	e.bytes(b.Content)
	e.bytes(b.Previous)
	return e.sum()
}

// close links a root to the one before, over its batches in the order of their
// writers, and signs it when there is a key.
func (r *auditRoot) close(batches []*auditBatch, key ed25519.PrivateKey) {
	r.Batches = len(batches)
	r.Hash = r.hash(batches)
	r.Signature = []byte{}
	if key != nil {
		r.Signature = ed25519.Sign(key, r.Hash)
	}
}

func (r *auditRoot) hash(batches []*auditBatch) []byte {
	e := encode("meridian/decision_root/1")
	e.number(r.Sequence)
	e.moment(r.At)
	e.number(r.RemovedThrough)
	e.bytes(r.Previous)
	e.number(int64(len(batches)))
	for _, b := range batches {
		e.bytes(b.Hash)
	}
	return e.sum()
}

// anchor is a root to be noted outside the database: "<sequence>:<hash>".
func (r *auditRoot) anchor() string {
	if r.Sequence == 0 {
		return ""
	}
	return strconv.FormatInt(r.Sequence, 10) + ":" + hex.EncodeToString(r.Hash)
}

// parseAnchor reads what anchor wrote.
func parseAnchor(s string) (sequence int64, hash []byte, err error) {
	if s == "" {
		return 0, nil, nil
	}
	number, rest, _ := strings.Cut(s, ":")
	sequence, err = strconv.ParseInt(number, 10, 64)
	if err == nil {
		hash, err = hex.DecodeString(rest)
	}
	if err != nil || sequence < 1 || len(hash) != sha256.Size {
		return 0, nil, crm.FieldErrorf("anchor", "give a head as audit verify printed it: <sequence>:<hash>")
	}
	return sequence, hash, nil
}

// signed tells whether the root bears a signature of key's owner.
func (r *auditRoot) signed(key ed25519.PrivateKey) bool {
	public, ok := key.Public().(ed25519.PublicKey)
	return ok && ed25519.Verify(public, r.Hash, r.Signature)
}
