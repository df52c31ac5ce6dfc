package policy

import (
	"context"
	"slices"
	"strings"

	"meridian/instance/crm"
)

// Compile makes an engine without the rehearsal; a generated bundle that does
// not translate for a subject is found when its filter is made.
func Compile(ctx context.Context, b *Bundle, defs ...crm.Definition) (*Engine, []string) {
	return compile(ctx, b, defs)
}

// Mutants break a filter as a faulty translator would. The oracle has to catch
// every one.
var Mutants = map[string]func(Filter) Filter{
	"dropped not": func(f Filter) Filter {
		return f.each(func(e expr) expr {
			if n, ok := e.(negation); ok {
				return n.term
			}
			return e
		})
	},
	"dropped exclude": func(f Filter) Filter {
		f.closes = constant(false)
		return f
	},
	"merged exists": func(f Filter) Filter { // one row has to open and not to close
		closes, ok := f.closes.(exists)
		if !ok {
			return f
		}
		merged := f
		merged.opens = each(f.opens, func(e expr) expr {
			if x, ok := e.(exists); ok && x.facts == closes.facts {
				x.cond, merged.closes = and(x.cond, not(closes.cond)), constant(false)
				return x
			}
			return e
		})
		return merged
	},
	"split exists": func(f Filter) Filter { // two rows may share the conditions
		return f.each(func(e expr) expr {
			x, ok := e.(exists)
			if !ok {
				return e
			}
			j, ok := x.cond.(junction)
			if !ok || j.op != "and" {
				return e
			}
			a, b := x, x
			a.cond, b.cond = and(j.terms[:1]...), and(j.terms[1:]...)
			return and(a, b)
		})
	},
	"lost correlation": func(f Filter) Filter {
		return f.each(func(e expr) expr {
			if x, ok := e.(exists); ok {
				x.on = "true"
				return x
			}
			return e
		})
	},
	"ended facts": func(f Filter) Filter {
		return f.each(func(e expr) expr {
			if x, ok := e.(exists); ok {
				return everRecorded{x}
			}
			return e
		})
	},
	"flipped comparison": replacing(" < ", " > "),
	"mirrored wrongly":   replacing(" <= ", " >= "),
	"closed interval":    replacing(" < ", " <= "),
	"equal for unequal":  replacing(" <> ", " = "),
	"database collation": replacing(` collate "C"`, ""),
	"substring":          replacing("starts_with(", "0 < strpos("),
	"lost branch": func(f Filter) Filter {
		f.opens = shortened("or")(f.opens)
		return f
	},
	"lost alternative": func(f Filter) Filter { return f.each(shortened("or")) },
	"lost condition":   func(f Filter) Filter { return f.each(shortened("and")) },
	"or for and": func(f Filter) Filter {
		return f.each(func(e expr) expr {
			if j, ok := e.(junction); ok && j.op == "and" {
				return junction{"or", j.terms}
			}
			return e
		})
	},
	"everything revealed": func(f Filter) Filter {
		reveals := map[string]expr{}
		for g := range f.reveals {
			reveals[g] = constant(true)
		}
		f.reveals = reveals
		return f
	},
	"everything masked": func(f Filter) Filter {
		masks := map[string]expr{}
		for g := range f.reveals { // other instances and writers too
			masks[g] = constant(true)
		}
		f.masks = masks
		return f
	},
	"masked unless withheld": func(f Filter) Filter {
		masks := map[string]expr{}
		for g, e := range f.masks {
			masks[g] = each(e, func(e expr) expr {
				if _, ok := e.(negation); ok {
					return constant(true)
				}
				return e
			})
		}
		f.masks = masks
		return f
	},
	"null is neither": func(f Filter) Filter { // not (null) is null
		return f.each(func(e expr) expr {
			if n, ok := e.(negation); ok {
				return bareNegation(n)
			}
			return e
		})
	},
	"null is not another":  replacing(" is distinct from ", " <> "),
	"absence for presence": replacing(" is not null", " is null"),
	"groups exchanged": func(f Filter) Filter {
		reveals := map[string]expr{}
		for g := range f.reveals {
			reveals[g] = f.reveals["core"]
		}
		f.reveals = reveals
		return f
	},
}

// everRecorded is an exists over facts that were superseded too.
type everRecorded struct{ exists }

func (e everRecorded) sql(a *Args) string {
	return strings.ReplaceAll(e.exists.sql(a), a.recording(), "true")
}

// bareNegation is a negation by SQL's not.
type bareNegation struct{ term expr }

func (n bareNegation) sql(a *Args) string { return "(not (" + n.term.sql(a) + "))" }

func shortened(op string) func(expr) expr {
	return func(e expr) expr {
		if j, ok := e.(junction); ok && j.op == op {
			return junction{op, j.terms[:len(j.terms)-1]}
		}
		return e
	}
}

func replacing(old, by string) func(Filter) Filter {
	return func(f Filter) Filter {
		return f.each(func(e expr) expr {
			x, ok := e.(test)
			if !ok {
				return e
			}
			x = slices.Clone(x)
			for i, p := range x {
				if s, ok := p.(string); ok {
					x[i] = strings.ReplaceAll(s, old, by)
				}
			}
			return x
		})
	}
}

// each rewrites every expression of the filter.
func (f Filter) each(rewrite func(expr) expr) Filter {
	reveals := map[string]expr{}
	for g, e := range f.reveals {
		reveals[g] = each(e, rewrite)
	}
	masks := map[string]expr{}
	for g, e := range f.masks {
		masks[g] = each(e, rewrite)
	}
	f.opens, f.closes, f.reveals, f.masks = each(f.opens, rewrite), each(f.closes, rewrite), reveals, masks
	return f
}

// each rewrites an expression, inner ones first.
func each(e expr, rewrite func(expr) expr) expr {
	switch x := e.(type) {
	case junction:
		terms := make([]expr, len(x.terms))
		for i, t := range x.terms {
			terms[i] = each(t, rewrite)
		}
		return rewrite(junction{x.op, terms})
	case negation:
		return rewrite(negation{each(x.term, rewrite)})
	case exists:
		x.cond = each(x.cond, rewrite)
		return rewrite(x)
	}
	return rewrite(e)
}
