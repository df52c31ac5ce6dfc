package identity

import (
	"crypto/ed25519"
	"errors"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"meridian/instance/crm"
)

// reread is how often an unknown kid may make a verifier read its key set
// again: rotation is picked up, a flood of forged kids costs nothing.
const reread = 5 * time.Second

// maxToken bounds what is parsed at all.
const maxToken = 8 << 10

// Verifier verifies tokens for one audience, offline.
type Verifier struct {
	path   string
	parser *jwt.Parser

	mu   sync.RWMutex
	keys map[string]ed25519.PublicKey
	read time.Time
}

// NewVerifier reads the key set at jwksPath. Only tokens made for audience
// (the instance's name) will pass.
func NewVerifier(jwksPath, audience string) (*Verifier, error) {
	if audience == "" {
		return nil, crm.FieldErrorf("audience", "name the instance whose tokens are verified")
	}
	keys, err := readJWKS(jwksPath)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		path: jwksPath,
		keys: keys,
		read: time.Now(),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), // pinned: a token does not choose how it is checked
			jwt.WithAudience(audience),
			jwt.WithIssuer(IssuerName),
			jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(),
			jwt.WithStrictDecoding(),
		),
	}, nil
}

// Verify says who bears the token, or why not in words that help an honest
// caller and tell a forger nothing new. Every failure is Unauthenticated.
func (v *Verifier) Verify(token string) (crm.SubjectID, error) {
	if len(token) > maxToken {
		return "", refused("the token is too long", nil)
	}
	var claims jwt.RegisteredClaims
	_, err := v.parser.ParseWithClaims(token, &claims, v.key)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "", refused("the token has expired; get a new one", err)
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return "", refused("the token is for another instance", err)
	case err != nil:
		return "", refused("the token is not valid", err)
	case claims.Subject == "":
		return "", refused("the token names no subject", nil)
	case claims.IssuedAt == nil || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > MaxLife:
		return "", refused("the token lives too long; get one of at most "+MaxLife.String(), nil)
	}
	return crm.SubjectID(claims.Subject), nil
}

// key finds the key a token says it is signed with. A kid is mandatory; a
// header this code does not understand (crit) is refused, as RFC 7515 says.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	kid, ok := t.Header["kid"].(string)
	if !ok || kid == "" {
		return nil, errors.New("no kid")
	}
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("unknown critical header")
	}
	v.mu.RLock()
	key, ok := v.keys[kid]
	v.mu.RUnlock()
	if ok {
		return key, nil
	}
	return v.rotated(kid)
}

// rotated looks for kid in the key set on disk, at most once per reread. A
// key set that cannot be read leaves the known keys in force.
func (v *Verifier) rotated(kid string) (any, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.read) >= reread {
		v.read = time.Now()
		keys, err := readJWKS(v.path)
		if err != nil {
			return nil, err
		}
		v.keys = keys
	}
	if key, ok := v.keys[kid]; ok {
		return key, nil
	}
	return nil, errors.New("unknown kid")
}

func refused(msg string, cause error) error {
	return &crm.Error{Kind: crm.Unauthenticated, Msg: msg, Err: cause}
}
