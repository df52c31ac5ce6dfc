package policy

import (
	"strconv"
	"time"
)

// Moment is a past instant that a statement looks back to: what was in force
// at Valid, by the facts as they were recorded at Recorded.
type Moment struct{ Valid, Recorded time.Time }

// Args collects the bind parameters of one statement. The zero value is for a
// statement about now: the database's time, and facts as recorded last.
type Args struct {
	values          []any
	bound           map[*param]string // a filter's parameter is bound once, however often it is used
	valid, recorded *param            // nil: now
	column          string            // of each row's own moment; "" for none
	many            bool              // it meets many rows: see ForMany
	named           map[string]string // conditions that are evaluated elsewhere: see Once
	of              *Args             // the statement this is a moment of; nil for itself
	flips           *Flips            // judgements supposed the other way round; nil for none
}

// NewArgs is for a statement about the moment at, nil for now. The filter is
// the same whatever the moment; the subject it was made for has to be loaded as
// of Recorded too.
func NewArgs(at *Moment) *Args {
	if at == nil {
		return &Args{}
	}
	return &Args{valid: &param{at.Valid, string(kindTime)}, recorded: &param{at.Recorded, string(kindTime)}}
}

// ArgsOf is for a statement about rows each of which has a moment of its own,
// in a column of it: SQL of the program, never a value.
func ArgsOf(column string) *Args { return &Args{column: column} }

// At is the same statement at another moment, nil for now.
func (a *Args) At(at *Moment) *Args {
	n := NewArgs(at)
	n.of = a.statement()
	return n
}

// Supposing is the same statement at the same moment, with judgements supposed
// the other way round; nil for none.
func (a *Args) Supposing(flips *Flips) *Args {
	n := a.afresh()
	n.of, n.flips = a.statement(), flips
	return n
}

func (a *Args) statement() *Args {
	if a.of != nil {
		return a.of
	}
	return a
}

// afresh is an empty statement at the same moment, supposing nothing.
func (a *Args) afresh() *Args {
	return &Args{valid: a.valid, recorded: a.recorded, column: a.column, many: a.statement().many}
}

// Add binds v and returns its placeholder with a cast: "$3::text[]".
func (a *Args) Add(v any, cast string) string {
	a = a.statement()
	a.values = append(a.values, v)
	return "$" + strconv.Itoa(len(a.values)) + "::" + cast
}

// Values are the bound values in order.
func (a *Args) Values() []any { return a.statement().values }

func (a *Args) param(p *param) string {
	a = a.statement()
	if s, ok := a.bound[p]; ok {
		return s
	}
	if a.many { // two filters have the same lists, and a list is hashed once
		for old, s := range a.bound {
			if old.cast == p.cast && sameValue(old.value, p.value) {
				return s
			}
		}
	}
	if a.bound == nil {
		a.bound = map[*param]string{}
	}
	s := a.Add(p.value, p.cast)
	a.bound[p] = s
	return s
}

// now is the time that rules see.
func (a *Args) now() string {
	switch {
	case a.column != "":
		return a.column
	case a.valid == nil:
		return "statement_timestamp()"
	}
	return a.param(a.valid)
}

// recording says of a fact row that it is, or was, what the database believed.
func (a *Args) recording() string {
	p := a.column
	switch {
	case p != "":
	case a.recorded == nil:
		return "f.recorded_to = 'infinity'"
	default:
		p = a.param(a.recorded)
	}
	return "f.recorded_from <= " + p + " and " + p + " < f.recorded_to"
}
