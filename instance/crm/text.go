package crm

import (
	"unicode"
	"unicode/utf8"
)

// What people write beside data is kept for ever, and printed in lists and logs
// beside what others wrote: it is one line, and no longer than this.
const (
	LongestText  = 2000 // a reason, a note; in characters
	LongestTitle = 200  // a ticket, a document's number, a name
)

// CheckLine refuses a text that is longer than a bound, or not one line: nothing
// is cut off, and nothing forges the next line of a terminal or a log.
func CheckLine(field, text string, longest int) error {
	if n := utf8.RuneCountInString(text); n > longest {
		return FieldErrorf(field, "these are %d characters; write at most %d, and refer to a document for more", n, longest)
	}
	if !utf8.ValidString(text) {
		return FieldErrorf(field, "it is not UTF-8; write plain text")
	}
	for _, r := range text {
		if unprintable(r) {
			return FieldErrorf(field, "it has the control character %U; write one line of plain text", r)
		}
	}
	return nil
}

// Printable is a text on one line, without escape sequences and without what
// turns the direction of the text around it.
func Printable(text string) string {
	out := []rune(text)
	for i, r := range out {
		if unprintable(r) {
			out[i] = ' '
		}
	}
	return string(out)
}

// unprintable are control characters, line separators and directional overrides. Marks that say
// which way a single place reads are ordinary in Arabic and Hebrew.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) && r != '\u200e' && r != '\u200f' && r != '\u061c'
}
