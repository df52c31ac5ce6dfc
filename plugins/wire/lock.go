package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"meridian/instance/crm"
)

// BinaryPrefix begins the file name of every plugin's binary; the plugin's
// name follows. LockName is the lock's name beside the binaries.
const (
	BinaryPrefix = "meridian-plugin-"
	LockName     = "plugins.lock.json"
)

// Lock holds the digest (SHA-256 in hex) of each plugin's binary by the
// plugin's name, as the build made it.
type Lock map[string]string

// ReadLock reads a lock; a missing one is Invalid, since no plugin may start
// without.
func ReadLock(path string) (Lock, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, crm.Errorf(crm.Invalid, "no plugin starts without the lock that the build writes; run make build: %w", err)
	}
	lock := Lock{}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, crm.Errorf(crm.Invalid, "plugin lock %s: %w", path, err)
	}
	return lock, nil
}

// WriteLock writes the lock of the plugin binaries in dir beside them.
func WriteLock(dir string) (Lock, error) {
	paths, err := filepath.Glob(filepath.Join(dir, BinaryPrefix+"*"))
	if err != nil {
		return nil, err
	}
	lock := Lock{}
	for _, path := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), BinaryPrefix), ".exe")
		if lock[name], err = Digest(path); err != nil {
			return nil, fmt.Errorf("digest of %s: %w", path, err)
		}
	}
	text, err := json.MarshalIndent(lock, "", "  ")
	if err != nil {
		return nil, err
	}
	// Renamed into place: a host that starts meanwhile reads the old or the new one.
	tmp := filepath.Join(dir, "."+LockName)
	if err := os.WriteFile(tmp, append(text, '\n'), 0o644); err != nil {
		return nil, err
	}
	return lock, os.Rename(tmp, filepath.Join(dir, LockName))
}

// Digest is the SHA-256 of a file in hex, as locks hold it.
func Digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
