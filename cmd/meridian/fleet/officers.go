package fleet

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"meridian/instance"
	"meridian/instance/crm/signed"
)

// OfficerKey is where a fleet on this machine keeps the key pair of one of its
// officers. Elsewhere, officers keep theirs.
func OfficerKey(data, short string) string { return filepath.Join(data, "officers", short+".pem") }

// NewKeyPair writes a private key, and the public one beside it as FILE.pub. It
// overwrites no file. It answers the key's name.
func NewKeyPair(file string) (string, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	ours, err := signed.EncodePrivate(private)
	if err != nil {
		return "", err
	}
	theirs, err := signed.EncodePublic(public)
	if err != nil {
		return "", err
	}
	for path, text := range map[string][]byte{file: ours, file + ".pub": theirs} {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return "", fmt.Errorf("write a key: %w", err)
		}
		_, err = f.Write(text)
		if err = errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("write a key: %w", err)
		}
	}
	return signed.KeyID(public), nil
}

// officers are those of an instance, with keys that are made once: the
// demonstration's operator trusts them.
func (r *run) officers(i Instance) (out []instance.Officer, err error) {
	for _, p := range r.file.personas(i) {
		if !slices.Contains(p.Roles, "officer") || len(p.Departments) == 0 {
			continue
		}
		short, _, _ := strings.Cut(string(p.ID), "@")
		file := OfficerKey(string(r.folder), short)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				return nil, err
			}
			if _, err := NewKeyPair(file); err != nil {
				return nil, err
			}
		}
		out = append(out, instance.Officer{Subject: p.ID, KeyFile: file + ".pub"})
	}
	return out, nil
}
