package policy

import "strconv"

// Args collects bind parameters of one statement.
type Args struct{ values []any }

// Add binds v and returns its placeholder with a cast: "$3::text[]".
func (a *Args) Add(v any, cast string) string {
	a.values = append(a.values, v)
	return "$" + strconv.Itoa(len(a.values)) + "::" + cast
}

// Values are the bound values in order.
func (a *Args) Values() []any { return a.values }
