package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Problems is every problem that an Invalid error of a bundle tells of, each
// with its file and line.
func Problems(err error) []string {
	e := crm.Public(err)
	if len(e.Reasons) > 0 {
		return e.Reasons
	}
	return []string{e.Error()}
}

// unfit is the error of files that are no bundle: one problem for each.
func unfit(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	first := crm.Public(problems[0])
	if len(problems) == 1 {
		return first
	}
	all := *first
	for _, p := range problems {
		all.Reasons = append(all.Reasons, p.Error())
	}
	return &all
}

// atLine is an Invalid error about a line of a file.
func atLine(path string, line int, format string, args ...any) *crm.Error {
	return crm.FieldErrorf(fmt.Sprintf("%s:%d", path, max(line, 1)), format, args...)
}

// unread says why a file cannot be one of a bundle, before it is parsed.
func unread(path, text string) error {
	stem, isRego := strings.CutSuffix(path, ".rego")
	switch {
	case strings.ContainsRune(text, 0):
		return crm.FieldErrorf(path, "is not plain text; save it as text in UTF-8")
	case !utf8.ValidString(text):
		return atLine(path, 1+strings.Count(text[:broken(text)], "\n"), "this line holds a letter that is not in UTF-8; write it anew, or save the file as text in UTF-8")
	case path == personasFile || isRego && goodPath.MatchString(path):
		return nil
	case !isRego:
		return crm.FieldErrorf(path, "a bundle holds .rego files and %s; rename it, or take it out", personasFile)
	}
	return crm.FieldErrorf(path, "the name of a file is made of letters from a to z, digits, _ and -: as %s.rego", oddLetters.ReplaceAllString(stem, "_"))
}

var oddLetters = regexp.MustCompile(`[^A-Za-z0-9_/-]+`)

// broken is where a text stops being UTF-8.
func broken(text string) int {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return i
			}
		}
	}
	return len(text)
}

// unparsed is the parser's error in words for who writes rules. What it says
// after the first error follows from that.
func unparsed(path, text string, err error) error {
	all, ok := errors.AsType[ast.Errors](err)
	var one *ast.Error
	if ok && len(all) > 0 {
		one = all[0]
	} else if one, ok = errors.AsType[*ast.Error](err); !ok {
		return crm.FieldErrorf(path, "cannot be read: %v", err)
	}
	if one.Location == nil || one.Location.Row < 1 {
		return atLine(path, 1, "the file holds nothing; begin it with package meridian.rules, or take it out")
	}
	lines := strings.Split(text, "\n")
	row := min(one.Location.Row, len(lines))
	c := clause{message: one.Message, line: lines[row-1], row: row, lines: lines}
	c.col = min(max(one.Location.Col-1, 0), len(c.line))
	for _, s := range slips {
		if s.of(&c) {
			return atLine(path, c.row, "%s", s.says(&c))
		}
	}
	return atLine(path, row, "%s cannot be read here: %s. Look at the commas, quotes and brackets of this line and the one before", quote(c.line), c.message)
}

// clause is where the parser stopped, and what it says.
type clause struct {
	message, line string
	row, col      int // the column counts from 0
	lines         []string
	word          string // what a slip is about
}

func quote(line string) string {
	line = strings.TrimSpace(line)
	if r := []rune(line); len(r) > 80 {
		line = string(r[:79]) + "…"
	}
	return "`" + line + "`"
}

// before is the last line above that says something.
func (c *clause) before() (row int, line string) {
	for row := c.row - 1; row > 0; row-- {
		if line := strings.TrimSpace(c.lines[row-1]); line != "" && !strings.HasPrefix(line, "#") {
			return row, line
		}
	}
	return c.row, c.line
}

// slip is a mistake that is often made.
type slip struct {
	of   func(*clause) bool
	says func(*clause) string
}

func line(pattern string) func(*clause) bool {
	re := regexp.MustCompile(pattern)
	return func(c *clause) bool {
		m := re.FindStringSubmatch(strings.TrimSpace(bare(c.line)))
		if len(m) > 1 {
			c.word = m[1]
		}
		return m != nil
	}
}

func message(part string) func(*clause) bool {
	return func(c *clause) bool { return strings.Contains(c.message, part) }
}

func text(s string) func(*clause) string { return func(*clause) string { return s } }

// both holds if the parser and the line say so.
func both(a, b func(*clause) bool) func(*clause) bool {
	return func(c *clause) bool { return a(c) && b(c) }
}

// slips are looked for in their order.
var slips = []slip{
	{message("package expected"), text("a file begins with its package: package meridian.rules, or for a test package meridian.<name>_test")},
	{message("non-terminated string"), text(`the text that begins in this line has no closing "`)},
	{both(message("illegal token"), line(`['‘’“”„«»]`)), text(`texts stand between straight double quotes: "x"`)},
	{line(`(?:=!|<>|===|!==|=<|=>)`), text("this is no comparison; there are ==, !=, <, <=, > and >=")},
	{line(`^not\s+\w+\(.*\)\s+if\b`), text("a rule cannot begin with not: it says yes or nothing. To forbid, write a ground that closes")},
	{line(`\bnot\s+in\b`), text("`a not in b` is written `not a in b`")},
	{message("illegal negation of 'some'"), text("`not` cannot stand before `some`: write `not \"x\" in list`, or put the `some` into a rule of its own and `not` before that rule")},
	{line(`(?i)\sand\s|&&`), text("write every condition in a line of its own, without `and`: all lines of a rule have to hold")},
	{line(`(?i)\sor\s|\|\|`), text("there is no `or` in a line: write the rule twice, once for each case, or compare with several values: in {\"a\", \"b\"}")},
	{line(`\d[,']\d{3}\b`), text("write numbers without separators: 1000000")},
	{both(message("unexpected , token"), line(`,$`)), text("no comma at the end of a condition: every condition stands in a line of its own")},
	{message("unexpected eof"), unclosed},
	{message("non-terminated"), uncommaed},
	{func(c *clause) bool { return strings.Contains(c.message, `expected "," or`) }, text("a bracket that is opened in this line is not closed, or a comma is missing")},
	{both(message("unexpected"), extra), func(c *clause) string { return "this " + c.word + " closes nothing: there is one too many" }},
	{message("`if` keyword is required"), text("`if` (in small letters) is missing: a rule is written name(ask, record, _) if { ... }")},
	{message("`contains` keyword is required"), text("a rule is written name(ask, record, _) if { ... }")},
	{message("cannot be used for rule name"), func(c *clause) string {
		return quote(c.line) + " is not a rule. A rule is written name(ask, record, _) if { ... }; before a comment stands #"
	}},
}

// unclosed finds the bracket that is never closed, and goes to its line.
func unclosed(c *clause) string {
	open, _ := brackets(c.lines)
	if open.row == 0 {
		return "the file ends in the middle of something: is the last line whole?"
	}
	c.row = open.row
	return "the " + string(open.r) + " of this line is never closed"
}

// uncommaed is about a list or a table that goes wrong after a line.
func uncommaed(c *clause) string {
	row, line := c.before()
	if !strings.ContainsAny(line[len(line)-1:], ",{[(") && row != c.row {
		c.row = row
		return "a comma is missing at the end of this line, or a bracket"
	}
	return "a list or a table that is opened here or above is not closed, or a comma is missing"
}

// extra reports whether a bracket in the line closes nothing.
func extra(c *clause) bool {
	_, more := brackets(c.lines)
	c.word = string(more.r)
	if more.row != 0 {
		c.row = more.row
	}
	return more.row != 0
}

type bracket struct {
	r   rune
	row int
}

// brackets finds the innermost bracket that is left open at the end, and the
// first that closes nothing.
func brackets(lines []string) (open, more bracket) {
	var stack []bracket
	closes := map[rune]rune{'}': '{', ']': '[', ')': '('}
	for i, l := range lines {
		for _, r := range bare(l) {
			switch r {
			case '{', '[', '(':
				stack = append(stack, bracket{r, i + 1})
			case '}', ']', ')':
				if len(stack) == 0 || stack[len(stack)-1].r != closes[r] {
					if more.row == 0 {
						more = bracket{r, i + 1}
					}
					continue
				}
				stack = stack[:len(stack)-1]
			}
		}
	}
	if len(stack) > 0 {
		open = stack[len(stack)-1]
	}
	return open, more
}

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// bare is a line without what stands in its texts, and without its comment.
func bare(l string) string {
	l = quoted.ReplaceAllStringFunc(l, func(s string) string { return `"` + strings.Repeat("x", max(0, utf8.RuneCountInString(s)-2)) + `"` })
	if i := strings.IndexByte(l, '#'); i >= 0 {
		l = l[:i]
	}
	return l
}
