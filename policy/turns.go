package policy

import (
	"strings"
	"time"
)

// Turns says when the filter changes what it shows with nothing but time
// passing: at these times, when a fact begins or ends, and, if rows is true, at
// any time, as it compares the time with what a row says.
func (f Filter) Turns() (times []time.Time, rows bool) {
	look := func(t test) {
		passing := false
		for _, part := range t {
			_, is := part.(clock)
			passing = passing || is
		}
		for _, part := range t {
			switch p := part.(type) {
			case string:
				rows = rows || passing && strings.Contains(p, "r.")
			case *param:
				at, ok := p.value.(time.Time)
				if passing && ok {
					times = append(times, at)
				}
				rows = rows || passing && !ok
			}
		}
	}
	tests(f.where(), look)
	for _, shown := range []map[string]expr{f.reveals, f.masks} {
		for _, x := range shown {
			tests(x, look)
		}
	}
	return times, rows
}

// tests visits every comparison of an expression.
func tests(x expr, visit func(test)) {
	switch x := x.(type) {
	case test:
		visit(x)
	case negation:
		tests(x.term, visit)
	case junction:
		for _, t := range x.terms {
			tests(t, visit)
		}
	case exists:
		tests(x.cond, visit)
	}
}
