package crm

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a search: it is typed by a person.
const (
	maxSearchText  = 1 << 10
	maxSearchTerms = 16
)

// SearchBreaks are the characters beside blanks that part words, in records as
// in searches, so that "apple" finds https://apple.example and info@apple.example.
const SearchBreaks = `@._/:-+<>&\~`

// Search is what a caller looks for: terms that must all occur, and terms that
// must not.
type Search struct{ All, None []Term }

// Term is words that stand together; the last may be the beginning of one.
type Term struct {
	Words  []string
	Prefix bool
}

// ParseSearch reads a search: words that must all occur, the last one also as
// the beginning of a word; "words in quotes" stand together, -word must not
// occur.
func ParseSearch(text string) (Search, error) {
	var s Search
	fail := func(format string, args ...any) (Search, error) {
		return Search{}, FieldErrorf("query", format, args...)
	}
	switch {
	case len(text) > maxSearchText:
		return fail("has %d bytes; at most %d are read", len(text), maxSearchText)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return fail("is not valid UTF-8 text")
	}
	last := false // the last term was a plain word that must occur
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimSpace(rest) {
		last = false
		without, word := false, ""
		if after, ok := strings.CutPrefix(rest, "-"); ok {
			rest, without = after, true
		}
		if after, ok := strings.CutPrefix(rest, `"`); ok {
			if word, rest, ok = strings.Cut(after, `"`); !ok {
				return fail(`has a " that is never closed`)
			}
		} else {
			end := strings.IndexFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || r == '"' })
			if end < 0 {
				end = len(rest)
			}
			word, rest, last = rest[:end], rest[end:], !without
		}
		t := Term{Words: searchWords(word)}
		switch {
		case len(t.Words) == 0: // a lone dash or other signs: nothing to look for
			last = false
		case len(s.All)+len(s.None) == maxSearchTerms:
			return fail("has more than %d words; leave some out", maxSearchTerms)
		case without:
			s.None = append(s.None, t)
		default:
			s.All = append(s.All, t)
		}
	}
	if len(s.All) == 0 {
		return fail(`names nothing to look for; give a word, as in "apple inc"`)
	}
	s.All[len(s.All)-1].Prefix = last
	return s, nil
}

// searchWords are the words of a text: what has a letter or a digit.
func searchWords(text string) []string {
	parts := strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(SearchBreaks, r) })
	words := parts[:0]
	for _, w := range parts {
		if strings.ContainsFunc(w, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			words = append(words, w)
		}
	}
	return words
}
