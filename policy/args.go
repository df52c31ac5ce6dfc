package policy

import "strconv"

// Args collects the bind parameters of one statement.
type Args struct {
	values []any
	bound  map[*param]string // a filter's parameter is bound once, however often it is used
}

// Add binds v and returns its placeholder with a cast: "$3::text[]".
func (a *Args) Add(v any, cast string) string {
	a.values = append(a.values, v)
	return "$" + strconv.Itoa(len(a.values)) + "::" + cast
}

// Values are the bound values in order.
func (a *Args) Values() []any { return a.values }

func (a *Args) param(p *param) string {
	if s, ok := a.bound[p]; ok {
		return s
	}
	if a.bound == nil {
		a.bound = map[*param]string{}
	}
	s := a.Add(p.value, p.cast)
	a.bound[p] = s
	return s
}
