// Package signed is what officers sign: statements about the policy of named
// instances, with ed25519 keys that never leave the officer's machine.
//
// Invariants. A statement has one text, so that what was verified is what was
// read. It names everything a signature could be replayed against: the purpose,
// the content by digest, each instance with the activation it may follow, and
// when it ends. The package knows no key's owner; the instance that verifies
// does.
package signed

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"regexp"
	"strconv"
	"strings"
	"time"

	"meridian/instance/crm"
)

// Purpose is what a statement is for. A signature for one serves no other.
type Purpose string

// Purposes.
const (
	Propose  Purpose = "propose"  // a bundle, as its author
	Enroll   Purpose = "enroll"   // an officer's key, as the first of two
	Approve  Purpose = "approve"  // a proposal, as the second of two
	Rollback Purpose = "rollback" // to a bundle that was in force before
	Revoke   Purpose = "revoke"   // an officer's key
	Deny     Purpose = "deny"     // an emergency overlay
	EndDeny  Purpose = "end-deny"
)

// Place is an instance that a statement is made to, and the activation that it
// may follow there. The base is the digest of that activation's bundle.
type Place struct {
	Instance string
	After    int64
	Base     string
}

// Statement is what is signed.
type Statement struct {
	Purpose  Purpose
	About    string // digest of the content: of the bundle, the key, the denial
	Proposal string // what is approved; "" for other purposes
	Places   []Place
	Key      string // whose key signs
	Expires  time.Time
	Nonce    string // makes it another statement than the last of the same words
}

const heading = "meridian policy statement 1"

// Text is the one text of the statement.
func (s Statement) Text() string {
	lines := []string{heading, "purpose " + string(s.Purpose), "about " + s.About, "proposal " + orNone(s.Proposal)}
	for _, p := range s.Places {
		lines = append(lines, "place "+p.Instance+" "+strconv.FormatInt(p.After, 10)+" "+orNone(p.Base))
	}
	lines = append(lines, "key "+s.Key, "expires "+s.Expires.UTC().Format(time.RFC3339), "nonce "+s.Nonce, "")
	return strings.Join(lines, "\n")
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

var line = regexp.MustCompile(`^(purpose|about|proposal|place|key|expires|nonce) ([!-~]+(?: [!-~]+){0,2})$`)

// Parse reads the text of a statement. A text that is not the one the
// statement has is refused.
func Parse(text string) (Statement, error) {
	var s Statement
	for _, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n")[1:] {
		m := line.FindStringSubmatch(l)
		if m == nil {
			break // the texts will differ
		}
		value, words := strings.TrimPrefix(m[2], "-"), strings.Fields(m[2])
		switch m[1] {
		case "purpose":
			s.Purpose = Purpose(value)
		case "about":
			s.About = value
		case "proposal":
			s.Proposal = value
		case "key":
			s.Key = value
		case "nonce":
			s.Nonce = value
		case "expires":
			s.Expires, _ = time.Parse(time.RFC3339, value) // the zero time has another text
		case "place":
			if len(words) == 3 {
				after, _ := strconv.ParseInt(words[1], 10, 64) // and so has 0
				s.Places = append(s.Places, Place{words[0], after, strings.TrimPrefix(words[2], "-")})
			}
		}
	}
	if s.Text() != text {
		return Statement{}, crm.FieldErrorf("statement", "is not a statement as officers sign it; make it with meridian policy")
	}
	return s, nil
}

// ID names a statement: the digest of its text.
func (s Statement) ID() string { return Digest(s.Text()) }

// Place is what the statement says to an instance.
func (s Statement) Place(instance string) (Place, bool) {
	for _, p := range s.Places {
		if p.Instance == instance {
			return p, true
		}
	}
	return Place{}, false
}

// Sign completes the statement with the key's name and signs it.
func (s Statement) Sign(key ed25519.PrivateKey) (text string, signature []byte) {
	public, _ := key.Public().(ed25519.PublicKey)
	s.Key, s.Nonce = KeyID(public), rand.Text()
	text = s.Text()
	return text, ed25519.Sign(key, []byte(text))
}

// Digest is the SHA-256 of a text, in hex.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// KeyID names a public key: its digest.
func KeyID(key ed25519.PublicKey) string { return Digest(string(key)) }

// EncodePrivate and EncodePublic are a key as PEM.
func EncodePrivate(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// EncodePublic is the public half.
func EncodePublic(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// ParsePrivate reads an ed25519 key, PKCS #8 in PEM.
func ParsePrivate(text []byte) (ed25519.PrivateKey, error) {
	if block, _ := pem.Decode(text); block != nil {
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := parsed.(ed25519.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, crm.FieldErrorf("key", "is not an ed25519 private key, PKCS #8 in PEM; make one with meridian policy keys new")
}

// ParsePublic reads an ed25519 public key, PKIX in PEM.
func ParsePublic(text []byte) (ed25519.PublicKey, error) {
	if block, _ := pem.Decode(text); block != nil {
		if parsed, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if key, ok := parsed.(ed25519.PublicKey); ok {
				return key, nil
			}
		}
	}
	return nil, crm.FieldErrorf("key", "is not an ed25519 public key in PEM; meridian policy keys new writes one beside the private key")
}

// Key is an officer's key as two others let it in.
type Key struct {
	Subject    crm.SubjectID
	Department string // in which the officer answers for policy
	Public     []byte
	Until      time.Time
}

// Digest is what a statement about the key names.
func (k Key) Digest() string {
	return Digest(strings.Join([]string{"meridian officer key 1", string(k.Subject), k.Department, hex.EncodeToString(k.Public),
		k.Until.UTC().Format(time.RFC3339), ""}, "\n"))
}

// Denial is an emergency overlay as an officer signs it: what is closed, to
// whom, why and for how long.
type Denial struct {
	Account   crm.RecordID // "" for any
	Territory string       // "" for any
	Subject   crm.SubjectID
	Reason    string
	For       time.Duration
}

// Digest is what a statement about the denial names.
func (d Denial) Digest() string {
	return Digest(strings.Join([]string{"meridian denial 1", string(d.Account), d.Territory, string(d.Subject),
		strconv.Quote(d.Reason), d.For.String(), ""}, "\n"))
}
