// Package identity says who a caller is: it signs and verifies EdDSA JSON web
// tokens and nothing else.
//
// A token carries identity only; rights come from the instance's facts. It is
// verified offline against a key set on disk, is good for one audience (one
// instance) and lives at most MaxLife. The package must not know of records,
// policy or the database.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"meridian/instance/crm"
)

// IssuerName is the iss claim of the embedded issuer.
const IssuerName = "meridian"

// MaxLife is the longest life a token may have. Verifiers refuse longer ones,
// so that a stolen signing step cannot mint a token for years.
const MaxLife = 24 * time.Hour

// Names of the files in an issuer's folder. The private key never leaves it.
const (
	keyFile  = "signing.key"
	JWKSFile = "jwks.json"
)

// Issuer signs tokens with a key kept in a folder. It is the embedded issuer
// of laptops and tests; production verifies tokens of the company's own.
type Issuer struct {
	dir string
	key ed25519.PrivateKey
	kid string
}

// NewIssuer loads the key pair in dir, or creates it together with jwks.json.
// Processes that create it at the same time end up with the same key.
func NewIssuer(dir string) (*Issuer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("identity folder: %w", err)
	}
	key, err := readKey(dir)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createKey(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("signing key in %s: %w", dir, err)
	}
	i := &Issuer{dir: dir, key: key, kid: keyID(key.Public().(ed25519.PublicKey))}
	return i, i.publish(key)
}

// Issue signs a token that says its bearer is subject, for one audience.
func (i *Issuer) Issue(subject crm.SubjectID, audience string, ttl time.Duration) (string, error) {
	switch {
	case subject == "":
		return "", crm.FieldErrorf("subject", "name the subject of the token")
	case audience == "":
		return "", crm.FieldErrorf("audience", "name the instance the token is for")
	case ttl <= 0 || ttl > MaxLife:
		return "", crm.FieldErrorf("ttl", "a token lives longer than zero and at most %s", MaxLife)
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer:    IssuerName,
		Subject:   string(subject),
		Audience:  jwt.ClaimStrings{audience},
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
	})
	token.Header["kid"] = i.kid
	signed, err := token.SignedString(i.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}

// Rotate starts signing with a new key. The old public key stays in
// jwks.json, so that tokens already out live their life; the new one is
// published before it signs, so that no verifier meets a key it cannot find.
func (i *Issuer) Rotate() error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("new signing key: %w", err)
	}
	if err := i.publish(key); err != nil {
		return err
	}
	tmp, err := writeKey(i.dir, key)
	if err != nil {
		return fmt.Errorf("new signing key: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(i.dir, keyFile)); err != nil {
		return fmt.Errorf("new signing key: %w", err)
	}
	i.key, i.kid = key, keyID(key.Public().(ed25519.PublicKey))
	return nil
}

// publish adds the public half of key to jwks.json.
func (i *Issuer) publish(key ed25519.PrivateKey) error {
	path := filepath.Join(i.dir, JWKSFile)
	known, err := readJWKS(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	pub := key.Public().(ed25519.PublicKey)
	if _, ok := known[keyID(pub)]; ok {
		return nil
	}
	if known == nil {
		known = map[string]ed25519.PublicKey{}
	}
	known[keyID(pub)] = pub
	return writeJWKS(path, known)
}

// keyID is the thumbprint of a public key: the same key has the same kid
// everywhere.
func keyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

func readKey(dir string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not a PEM file")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("not an Ed25519 key")
	}
	return key, nil
}

// createKey writes a new key unless another process was faster, in which case
// it takes that one: a link, unlike a rename, never replaces.
func createKey(dir string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	tmp, err := writeKey(dir, key)
	if err != nil {
		return nil, err
	}
	err = os.Link(tmp, filepath.Join(dir, keyFile))
	if rmErr := os.Remove(tmp); rmErr != nil {
		return nil, rmErr
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return readKey(dir)
}

// writeKey writes key to a new file that only its owner can read.
func writeKey(dir string, key ed25519.PrivateKey) (path string, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, ".signing-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return f.Name(), errors.Join(err, f.Sync(), f.Close())
}
