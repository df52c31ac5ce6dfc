package crm

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// RecordID is a lower-case UUID; new ones are UUIDv7. It is the same wherever
// the record is held and is never reused.
type RecordID string

// NewRecordID makes a UUIDv7.
func NewRecordID() RecordID {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand does not fail on supported systems
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Now().UnixMilli())<<16)
	copy(b[:6], ms[:6])
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	return RecordID(formatUUID(b))
}

func formatUUID(b [16]byte) string {
	var s [36]byte
	hex.Encode(s[0:8], b[0:4])
	s[8] = '-'
	hex.Encode(s[9:13], b[4:6])
	s[13] = '-'
	hex.Encode(s[14:18], b[6:8])
	s[18] = '-'
	hex.Encode(s[19:23], b[8:10])
	s[23] = '-'
	hex.Encode(s[24:36], b[10:16])
	return string(s[:])
}

// ParseRecordID accepts the canonical form in any case.
func ParseRecordID(s string) (RecordID, error) {
	b, err := hex.DecodeString(hexOf(s))
	if err != nil || len(b) != 16 {
		return "", fmt.Errorf("%q is not a record id (a UUID)", s)
	}
	return RecordID(formatUUID([16]byte(b))), nil
}

// hexOf strips the hyphens of a well-placed UUID and spoils anything else.
func hexOf(s string) string {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return "-"
	}
	return s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
}

// Unassigned is the reserved id of an absent territory, segment, department or
// owner. No ground of the policy matches it.
const Unassigned = "unassigned"

// NoAccount is the account of a record that has none (catalogue records).
const NoAccount RecordID = "00000000-0000-0000-0000-000000000000"

// Governed is the governance of one record: what policy reads beside facts.
type Governed struct {
	Home         string    // instance that may write it
	Territory    string    //
	Segment      string    //
	Department   string    //
	Owner        string    // subject id
	Account      RecordID  // root customer; an account's own id for an account
	Sensitivity  int       // 0 open .. 9 secret, compared with the subject's clearance
	Jurisdiction string    // ISO country whose law protects it
	Pinned       bool      // a person fixed territory and segment
	Withheld     []string  // groups that the origin did not send (foreign records)
	Created      time.Time //
	Updated      time.Time //
}

// Record is a record as one subject may see it: hidden groups are named in
// Withheld and their fields are absent from Fields. Fields of a group in Masked
// stand in the form that their Mask says; those that have none are absent.
type Record struct {
	Entity  string
	ID      RecordID
	Version int64
	Governed
	Fields   map[string]Value
	Withheld []string
	Masked   []string
}

// Shows tells whether a group is shown as it is: neither withheld nor masked.
func (r Record) Shows(group string) bool {
	return !slices.Contains(r.Withheld, group) && !slices.Contains(r.Masked, group)
}

// Op is what happened to a record. It is always explicit: an empty value
// never means a delete.
type Op string

// The operations of changes and envelopes.
const (
	OpCreate    Op = "create"
	OpUpdate    Op = "update"
	OpDelete    Op = "delete"
	OpUpsert    Op = "upsert"    // envelope: the record as the destination may hold it
	OpRetract   Op = "retract"   // envelope: give it back; out of scope now
	OpErase     Op = "erase"     // envelope: destroy it, prove it
	OpSnapshot  Op = "snapshot"  // envelope: a row of a snapshot
	OpWatermark Op = "watermark" // envelope: start or end of a snapshot
	OpGap       Op = "gap"       // envelope: sequence numbers that will never come
	OpReceipt   Op = "receipt"   // envelope: what of a stream its destination applied
)

// Change is one entry of the local ordered feed. It carries no values: who
// reads it asks for the record under its own rights.
type Change struct {
	Cursor    string // opaque, ordered within the instance
	Kind      ChangeKind
	Entity    string
	ID        RecordID
	Version   int64
	Op        Op
	At        time.Time
	Actor     string
	Execution string
}

// ChangeKind says what changed.
type ChangeKind string

// Kinds of change. Facts, contracts and bundles enter the feed like records,
// because a change of them can un-share a record.
const (
	ChangeRecord   ChangeKind = "record"
	ChangeFact     ChangeKind = "fact"
	ChangeContract ChangeKind = "contract"
	ChangeBundle   ChangeKind = "bundle"
	ChangeBoundary ChangeKind = "boundary" // a valid_from or valid_to passed
)

// Version of a past state of a record.
type Version struct {
	Record
	Op        Op
	At        time.Time // recorded; strictly increasing per record
	Actor     string
	Execution string
	Steps     []Step
}

// Step says which plugin build did what to a write.
type Step struct {
	Step    string   `json:"step"`
	Plugin  string   `json:"plugin"`
	Version string   `json:"version"`
	Digest  string   `json:"digest"`
	Verdict string   `json:"verdict"`
	Set     []string `json:"set,omitempty"`
}
