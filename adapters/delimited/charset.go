package delimited

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// Charset is a declared character set. Its zero value is UTF-8. Only sets in
// which ASCII bytes stand for themselves are taken, so that records can be
// split before they are decoded.
type Charset struct {
	name  string
	ascii bool
	table *charmap.Charmap // nil for utf-8 and us-ascii
}

func charsets() map[string]Charset {
	return map[string]Charset{
		"utf-8":        {name: "utf-8"},
		"us-ascii":     {name: "us-ascii", ascii: true},
		"iso-8859-1":   {name: "iso-8859-1", table: charmap.ISO8859_1},
		"iso-8859-2":   {name: "iso-8859-2", table: charmap.ISO8859_2},
		"iso-8859-15":  {name: "iso-8859-15", table: charmap.ISO8859_15},
		"windows-1250": {name: "windows-1250", table: charmap.Windows1250},
		"windows-1251": {name: "windows-1251", table: charmap.Windows1251},
		"windows-1252": {name: "windows-1252", table: charmap.Windows1252},
	}
}

// CharsetNamed finds a character set by its IANA name in any case.
func CharsetNamed(name string) (Charset, error) {
	known := charsets()
	c, ok := known[strings.ToLower(name)]
	if !ok {
		return Charset{}, fmt.Errorf("no character set %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	return c, nil
}

// Name is the character set's name.
func (c Charset) Name() string {
	if c.name == "" {
		return "utf-8"
	}
	return c.name
}

// decode gives the text of raw, or the place of the first byte that is none:
// undecodable bytes are never replaced. NUL is no text in any set.
func (c Charset) decode(raw []byte) (text string, bad int) {
	plain := true
	for i, b := range raw {
		if b == 0 {
			return "", i
		}
		if b >= utf8.RuneSelf {
			plain = false
		}
	}
	switch {
	case plain:
		return string(raw), -1
	case c.table != nil:
		return c.decodeBytes(raw)
	case c.ascii:
		return "", slices.IndexFunc(raw, func(b byte) bool { return b >= utf8.RuneSelf })
	}
	for i := 0; i < len(raw); {
		r, n := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && n == 1 {
			return "", i
		}
		i += n
	}
	return string(raw), -1
}

// decodeBytes decodes a set of one byte per character. A C1 control character
// is taken for damage: legacy systems write windows-1252 and declare
// iso-8859-1, and its quotation marks would arrive as controls.
func (c Charset) decodeBytes(raw []byte) (string, int) {
	var s strings.Builder
	s.Grow(len(raw) + len(raw)/4)
	for i, b := range raw {
		r := rune(b)
		if b >= utf8.RuneSelf {
			r = c.table.DecodeByte(b)
			if r == utf8.RuneError || (r >= 0x80 && r <= 0x9f) {
				return "", i
			}
		}
		s.WriteRune(r)
	}
	return s.String(), -1
}
