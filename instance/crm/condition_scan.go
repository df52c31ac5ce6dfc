package crm

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenNumber
	tokenText
	tokenOp
	tokenOpen
	tokenClose
	tokenComma
)

type token struct {
	kind tokenKind
	text string
}

// String names a token in an error message.
func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "its end"
	case tokenText:
		return "a text in quotes"
	case tokenOpen:
		return "("
	case tokenClose:
		return ")"
	case tokenComma:
		return "a comma"
	}
	return fmt.Sprintf("%q", t.text)
}

// scanCondition cuts the text of a filter into tokens, the last of them
// tokenEnd.
func scanCondition(s string) ([]token, error) {
	var ts []token
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '(':
			ts, i = append(ts, token{tokenOpen, "("}), i+1
		case c == ')':
			ts, i = append(ts, token{tokenClose, ")"}), i+1
		case c == ',':
			ts, i = append(ts, token{tokenComma, ","}), i+1
		case c == '\'' || c == '"':
			text, n, ok := scanQuoted(s[i:], c)
			if !ok {
				return nil, Errorf(Invalid, "a text in the filter begins with %c and never ends; close it, and double a %c that is part of it", c, c)
			}
			ts, i = append(ts, token{tokenText, text}), i+n
		case strings.IndexByte("=!<>", c) >= 0:
			op := s[i : i+1]
			if i+1 < len(s) && s[i+1] == '=' && c != '=' {
				op = s[i : i+2]
			}
			if op == "!" {
				return nil, Errorf(Invalid, "the filter has a lone !; write != or not")
			}
			ts, i = append(ts, token{tokenOp, op}), i+len(op)
		case isDigit(c) || c == '-' || c == '+':
			n := 1
			for i+n < len(s) && (isDigit(s[i+n]) || s[i+n] == '.') {
				n++
			}
			ts, i = append(ts, token{tokenNumber, s[i : i+n]}), i+n
		case isLetter(c):
			n := 1
			for i+n < len(s) && (isLetter(s[i+n]) || isDigit(s[i+n])) {
				n++
			}
			ts, i = append(ts, token{tokenWord, s[i : i+n]}), i+n
		default:
			r, _ := utf8.DecodeRuneInString(s[i:])
			return nil, Errorf(Invalid, "the filter has %q where none belongs; put text in quotes", r)
		}
	}
	return append(ts, token{kind: tokenEnd}), nil
}

// scanQuoted reads a quoted text at the start of s: what it says, and how many
// bytes it took.
func scanQuoted(s string, quote byte) (text string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != quote {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			b.WriteByte(quote)
			i++
			continue
		}
		return b.String(), i + 1, true
	}
	return "", 0, false
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
