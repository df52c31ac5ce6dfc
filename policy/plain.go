package policy

import (
	"fmt"
	"regexp"

	"github.com/open-policy-agent/opa/v1/ast"
)

// sayings are what the compiler says, and what it means to whoever writes rules.
var sayings = []struct {
	says  *regexp.Regexp
	means string
}{
	{regexp.MustCompile(`^undefined function (time\..+)$`), "undefined function $1: rules have no clock; the time is the argument `now`"},
	{regexp.MustCompile(`^undefined function ((?:http|net|opa|rand|uuid)\..+)$`), "undefined function $1: rules look at nothing but their arguments, so that the same question has the same answer"},
	{regexp.MustCompile(`^undefined function (.+)$`), "undefined function $1: misspelt, or one that rules may not call; they compare, and use `in`, `not`, startswith and functions of their own"},
	{regexp.MustCompile(`^unused argument (\S+)\..*$`), "the argument $1 is not used: write _ for it, or is it misspelt below?"},
	{regexp.MustCompile(`^var (\S+) is unsafe$`), "$1 is not defined here: is it misspelt?"},
	{regexp.MustCompile(`^rule data\.meridian\.(\S+) is recursive: (.+)$`), "$1 is recursive, it asks itself and has no answer: $2"},
	{regexp.MustCompile(`^assigned var (\S+) unused$`), "$1 is set and not used: take it out, or is it misspelt below?"},
	{regexp.MustCompile(`^import (\S+) unused$`), "the import of $1 is not used: take it out"},
}

// plainly is a compiler's error in words for who writes rules.
func plainly(err *ast.Error) string {
	text := err.Message
	for _, s := range sayings {
		if s.says.MatchString(text) {
			text = s.says.ReplaceAllString(text, s.means)
			break
		}
	}
	if err.Location == nil {
		return text
	}
	return fmt.Sprintf("%s:%d: %s", err.Location.File, err.Location.Row, text)
}

// made are names of the compiler's own.
var made = regexp.MustCompile(`__local\d+__`)
