package identity

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// jwk is one public key of a key set (RFC 8037).
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	KeyID     string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
	X         string `json:"x"`
}

type jwks struct {
	Keys []jwk `json:"keys"`
}

// readJWKS reads the Ed25519 keys of a key set by kid. Keys of other types are
// left alone: a set may serve other software too.
func readJWKS(path string) (map[string]ed25519.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	var set jwks
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("key set %s: %w", path, err)
	}
	keys := map[string]ed25519.PublicKey{}
	for _, k := range set.Keys {
		if k.Type != "OKP" || k.Curve != "Ed25519" || k.KeyID == "" || (k.Algorithm != "" && k.Algorithm != "EdDSA") {
			continue
		}
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("key set %s: key %s is not an Ed25519 key", path, k.KeyID)
		}
		keys[k.KeyID] = x
	}
	return keys, nil
}

// writeJWKS replaces a key set in one step, so that no reader sees half of it.
func writeJWKS(path string, keys map[string]ed25519.PublicKey) error {
	set := jwks{Keys: []jwk{}}
	for kid, pub := range keys {
		set.Keys = append(set.Keys, jwk{
			Type: "OKP", Curve: "Ed25519", KeyID: kid, Algorithm: "EdDSA", Use: "sig",
			X: base64.RawURLEncoding.EncodeToString(pub),
		})
	}
	slices.SortFunc(set.Keys, func(a, b jwk) int {
		if a.KeyID < b.KeyID {
			return -1
		}
		return 1
	})
	text, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".jwks-*")
	if err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	return nil
}
