package identity_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"meridian/instance/crm"
	"meridian/instance/identity"
)

func issuer(t *testing.T, dir string) *identity.Issuer {
	t.Helper()
	i, err := identity.NewIssuer(dir)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func verifier(t *testing.T, dir, audience string) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(filepath.Join(dir, identity.JWKSFile), audience)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func issue(t *testing.T, i *identity.Issuer) string {
	t.Helper()
	token, err := i.Issue("rep.west@amer", "amer", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	token := issue(t, issuer(t, dir))
	got, err := verifier(t, dir, "amer").Verify(token)
	if err != nil || got != "rep.west@amer" {
		t.Fatalf("Verify = %q, %v", got, err)
	}
	again := issue(t, issuer(t, dir)) // the key survives a restart
	if _, err := verifier(t, dir, "amer").Verify(again); err != nil {
		t.Fatal(err)
	}
}

func TestKeyIsPrivate(t *testing.T) {
	dir := t.TempDir()
	issuer(t, dir)
	info, err := os.Stat(filepath.Join(dir, "signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("signing key has mode %o", mode)
	}
	set, err := os.ReadFile(filepath.Join(dir, identity.JWKSFile))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(set), `"d"`) {
		t.Error("key set holds a private key")
	}
}

func TestConcurrentFirstStartsShareOneKey(t *testing.T) {
	dir := t.TempDir()
	tokens := make([]string, 8)
	var wg sync.WaitGroup
	for n := range tokens {
		wg.Go(func() {
			i, err := identity.NewIssuer(dir)
			if err != nil {
				t.Error(err)
				return
			}
			tokens[n], err = i.Issue("ops@amer", "amer", time.Minute)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	v := verifier(t, dir, "amer")
	for _, token := range tokens {
		if _, err := v.Verify(token); err != nil {
			t.Error(err)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	i := issuer(t, t.TempDir())
	for name, tc := range map[string]struct {
		subject  crm.SubjectID
		audience string
		ttl      time.Duration
	}{
		"no subject":  {"", "amer", time.Hour},
		"no audience": {"a@amer", "", time.Hour},
		"no life":     {"a@amer", "amer", 0},
		"too long":    {"a@amer", "amer", identity.MaxLife + time.Second},
	} {
		if _, err := i.Issue(tc.subject, tc.audience, tc.ttl); crm.KindOf(err) != crm.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAttacks forges tokens in the ways that have worked elsewhere. Each must
// answer unauthenticated, and none may tell more than the next.
func TestAttacks(t *testing.T) {
	dir := t.TempDir()
	good := issue(t, issuer(t, dir))
	v := verifier(t, dir, "amer")
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	var header, claims map[string]any
	decode(t, parts[0], &header)
	decode(t, parts[1], &claims)
	own := signingKey(t, dir)
	set, err := os.ReadFile(filepath.Join(dir, identity.JWKSFile))
	if err != nil {
		t.Fatal(err)
	}
	var jwks struct{ Keys []struct{ X string } }
	if err := json.Unmarshal(set, &jwks); err != nil {
		t.Fatal(err)
	}
	public, err := base64.RawURLEncoding.DecodeString(jwks.Keys[0].X)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()

	attacks := map[string]string{
		"empty":             "",
		"not a token":       "hello",
		"no signature":      parts[0] + "." + parts[1] + ".",
		"tampered claims":   parts[0] + "." + encode(t, with(claims, "sub", "officer.a@amer")) + "." + parts[2],
		"tampered header":   encode(t, with(header, "typ", "jwt+x")) + "." + parts[1] + "." + parts[2],
		"trailing garbage":  good + "A",
		"alg none":          encode(t, with(header, "alg", "none")) + "." + parts[1] + ".",
		"alg none, signed":  encode(t, with(header, "alg", "None")) + "." + parts[1] + "." + parts[2],
		"public key as mac": hmacToken(t, with(header, "alg", "HS256"), claims, public),
		"other key":         signed(t, other, header, claims),
		"missing kid":       signed(t, own, with(header, "kid", nil), claims),
		"empty kid":         signed(t, own, with(header, "kid", ""), claims),
		"numeric kid":       signed(t, own, with(header, "kid", 1), claims),
		"unknown kid":       signed(t, own, with(header, "kid", "../../etc/passwd"), claims),
		"key in the header": signed(t, other, with(header, "jwk", map[string]any{"kty": "OKP"}), claims),
		"critical header":   signed(t, own, with(header, "crit", []string{"b64"}), claims),
		"other audience":    signed(t, own, header, with(claims, "aud", "emea")),
		"no audience":       signed(t, own, header, with(claims, "aud", nil)),
		"other issuer":      signed(t, own, header, with(claims, "iss", "evil")),
		"no issuer":         signed(t, own, header, with(claims, "iss", nil)),
		"expired":           signed(t, own, header, with(claims, "exp", now-1)),
		"no expiry":         signed(t, own, header, with(claims, "exp", nil)),
		"endless":           signed(t, own, header, with(claims, "exp", now+10*365*86400)),
		"not yet":           signed(t, own, header, with(claims, "nbf", now+3600)),
		"from the future":   signed(t, own, header, with(claims, "iat", now+3600)),
		"no iat":            signed(t, own, header, with(claims, "iat", nil)),
		"no subject":        signed(t, own, header, with(claims, "sub", nil)),
		"subject is a list": signed(t, own, header, with(claims, "sub", []string{"a", "b"})),
		"huge":              parts[0] + "." + strings.Repeat("A", 1<<20) + "." + parts[2],
	}
	if _, err := v.Verify(signed(t, own, header, claims)); err != nil {
		t.Fatalf("the forge itself is broken, attacks prove nothing: %v", err)
	}
	for name, token := range attacks {
		t.Run(name, func(t *testing.T) {
			subject, err := v.Verify(token)
			if crm.KindOf(err) != crm.Unauthenticated || subject != "" {
				t.Errorf("Verify = %q, %v", subject, err)
			}
		})
	}
}

func TestExpiresByTimeAlone(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		token := issue(t, issuer(t, dir))
		v := verifier(t, dir, "amer")
		time.Sleep(time.Hour - time.Second)
		if _, err := v.Verify(token); err != nil {
			t.Fatalf("a second before its end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := v.Verify(token); crm.KindOf(err) != crm.Unauthenticated {
			t.Fatalf("at its end: %v", err)
		}
	})
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		i := issuer(t, dir)
		before := issue(t, i)
		v := verifier(t, dir, "amer")
		if err := i.Rotate(); err != nil {
			t.Fatal(err)
		}
		after := issue(t, i)
		if _, err := v.Verify(after); crm.KindOf(err) != crm.Unauthenticated {
			t.Fatalf("the key set was read again at once: %v", err)
		}
		time.Sleep(5 * time.Second)
		if _, err := v.Verify(after); err != nil {
			t.Fatalf("new key: %v", err)
		}
		if _, err := v.Verify(before); err != nil {
			t.Fatalf("old key: %v", err)
		}
		if _, err := verifier(t, dir, "amer").Verify(issue(t, issuer(t, dir))); err != nil {
			t.Fatalf("after a restart: %v", err)
		}
	})
}

// A token that was verified before is refused once its key is withdrawn.
func TestWithdrawnKey(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		old := issue(t, issuer(t, dir))
		v := verifier(t, dir, "amer")
		for range 2 {
			if subject, err := v.Verify(old); err != nil || subject == "" {
				t.Fatalf("in force: %q, %v", subject, err)
			}
		}
		renewed := issue(t, issuer(t, other))
		keys, err := os.ReadFile(filepath.Join(other, identity.JWKSFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, identity.JWKSFile), keys, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if _, err := v.Verify(renewed); err != nil { // makes the verifier read the key set again
			t.Fatal(err)
		}
		if _, err := v.Verify(old); crm.KindOf(err) != crm.Unauthenticated {
			t.Fatalf("withdrawn: %v", err)
		}
	})
}

func TestBrokenKeySetLeavesKnownKeysInForce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		i := issuer(t, dir)
		v := verifier(t, dir, "amer")
		token := issue(t, i)
		if err := os.WriteFile(filepath.Join(dir, identity.JWKSFile), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		parts := strings.Split(token, ".")
		var header map[string]any
		decode(t, parts[0], &header)
		forged := encode(t, with(header, "kid", "unknown")) + "." + parts[1] + "." + parts[2]
		if _, err := v.Verify(forged); crm.KindOf(err) != crm.Unauthenticated {
			t.Fatal(err)
		}
		if _, err := v.Verify(token); err != nil {
			t.Fatal(err)
		}
	})
}

func signingKey(t *testing.T, dir string) ed25519.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwt.ParseEdPrivateKeyFromPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	return key.(ed25519.PrivateKey)
}

func with(m map[string]any, key string, value any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		out[k] = v
	}
	if out[key] = value; value == nil {
		delete(out, key)
	}
	return out
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func decode(t *testing.T, part string, into any) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func signed(t *testing.T, key ed25519.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	text := encode(t, header) + "." + encode(t, claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
}

func hmacToken(t *testing.T, header, claims map[string]any, secret []byte) string {
	t.Helper()
	text := encode(t, header) + "." + encode(t, claims)
	sum, err := jwt.SigningMethodHS256.Sign(text, secret)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sum)
}
