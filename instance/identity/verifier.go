package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
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

	mu    sync.RWMutex
	keys  map[string]ed25519.PublicKey
	read  time.Time
	valid map[[sha256.Size]byte]verified // tokens by their digest
}

// verified is a token whose signature and claims were found good. Until it
// ends, only its time and its key have to be looked at again.
type verified struct {
	subject crm.SubjectID
	until   time.Time
	kid     string
	key     ed25519.PublicKey
}

// maxVerified bounds how many tokens are remembered; when full, all are
// forgotten.
const maxVerified = 10_000

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
	digest := sha256.Sum256([]byte(token))
	if subject, ok := v.known(digest); ok {
		return subject, nil
	}
	var claims jwt.RegisteredClaims
	seen := verified{}
	_, err := v.parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		var err error
		seen.kid, seen.key, err = v.key(t)
		return seen.key, err
	})
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
	seen.subject, seen.until = crm.SubjectID(claims.Subject), claims.ExpiresAt.Time
	v.remember(digest, seen)
	return seen.subject, nil
}

// known answers for a token that was verified before, if it is still in its
// time and signed with a key that is still in force.
func (v *Verifier) known(digest [sha256.Size]byte) (crm.SubjectID, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	k, ok := v.valid[digest]
	return k.subject, ok && time.Now().Before(k.until) && k.key.Equal(v.keys[k.kid])
}

func (v *Verifier) remember(digest [sha256.Size]byte, k verified) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.valid == nil || len(v.valid) >= maxVerified {
		v.valid = map[[sha256.Size]byte]verified{}
	}
	v.valid[digest] = k
}

// key finds the key a token says it is signed with. A kid is mandatory; a
// header this code does not understand (crit) is refused, as RFC 7515 says.
func (v *Verifier) key(t *jwt.Token) (kid string, key ed25519.PublicKey, err error) {
	kid, ok := t.Header["kid"].(string)
	if !ok || kid == "" {
		return "", nil, errors.New("no kid")
	}
	if _, ok := t.Header["crit"]; ok {
		return "", nil, errors.New("unknown critical header")
	}
	v.mu.RLock()
	key, ok = v.keys[kid]
	v.mu.RUnlock()
	if !ok {
		key, err = v.rotated(kid)
	}
	return kid, key, err
}

// rotated looks for kid in the key set on disk, at most once per reread. A
// key set that cannot be read leaves the known keys in force.
func (v *Verifier) rotated(kid string) (ed25519.PublicKey, error) {
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
