package signed_test

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"meridian/instance/crm/signed"
)

func example() signed.Statement {
	return signed.Statement{
		Purpose: signed.Approve, About: strings.Repeat("a", 64), Proposal: strings.Repeat("b", 64),
		Places:  []signed.Place{{Instance: "amer", After: 3, Base: strings.Repeat("c", 64)}, {Instance: "emea", After: 0}},
		Expires: time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC),
	}
}

// TestOneText: what is parsed says what was signed, and no other text of it is
// taken: none with a byte, a line or a place changed, added, dropped or moved.
func TestOneText(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text, signature := example().Sign(key)
	s, err := signed.Parse(text)
	if err != nil || s.Text() != text || s.Purpose != signed.Approve || len(s.Places) != 2 || s.Places[0].After != 3 || s.Places[1].Base != "" ||
		!s.Expires.Equal(example().Expires) || s.Key != signed.KeyID(key.Public().(ed25519.PublicKey)) {
		t.Fatalf("%+v, %v", s, err)
	}
	if !ed25519.Verify(key.Public().(ed25519.PublicKey), []byte(text), signature) {
		t.Error("the signature does not fit")
	}
	lines := strings.SplitAfter(text, "\n")
	others := []string{"", "\n", text + "\n", text + "x", strings.TrimSuffix(text, "\n"), strings.ReplaceAll(text, "\n", "\r\n"), strings.ToUpper(text), " " + text}
	for i := range lines {
		others = append(others, strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), ""))
		others = append(others, strings.Join(append(append(append([]string{}, lines[:i]...), lines[i], lines[i]), lines[i+1:]...), ""))
	}
	others = append(others, strings.Replace(text, "place amer 3 ", "place amer 03 ", 1), strings.Replace(text, "Z\n", "+00:00\n", 1))
	for _, other := range others {
		if s, err := signed.Parse(other); err == nil && other != text && s.Text() == text {
			t.Errorf("also taken: %q", other)
		}
	}
}

func TestKeysAsFiles(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := signed.EncodePrivate(private)
	if err != nil {
		t.Fatal(err)
	}
	b, err := signed.EncodePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := signed.ParsePrivate(a); err != nil || !bytes.Equal(key, private) {
		t.Errorf("%v", err)
	}
	if key, err := signed.ParsePublic(b); err != nil || !bytes.Equal(key, public) {
		t.Errorf("%v", err)
	}
	if _, err := signed.ParsePrivate(b); err == nil {
		t.Error("a public key is no private one")
	}
	if _, err := signed.ParsePublic(a); err == nil {
		t.Error("a private key must not be taken for a public one")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example().Text())
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := signed.Parse(text); err == nil && s.Text() != text {
			t.Errorf("taken although its text is %q", s.Text())
		}
	})
}
