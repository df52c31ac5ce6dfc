package policy

import (
	"context"
	"slices"
	"strings"
)

// Compile makes an engine without the rehearsal; a generated bundle that does
// not translate for a subject is found when its filter is made.
func Compile(ctx context.Context, b *Bundle) (*Engine, []string) { return compile(ctx, b) }

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
		f.opens = slices.Clone(f.opens)
		for i, o := range f.opens {
			if x, ok := o.(exists); ok && x.facts == closes.facts {
				x.cond = and(x.cond, not(closes.cond))
				f.opens[i], f.closes = x, constant(false)
			}
		}
		return f
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
				all := *x.facts
				all.current = "true"
				x.facts = &all
				return x
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
		if len(f.opens) > 1 {
			f.opens = f.opens[:len(f.opens)-1]
		}
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
	"groups exchanged": func(f Filter) Filter {
		reveals := map[string]expr{}
		for g := range f.reveals {
			reveals[g] = f.reveals["core"]
		}
		f.reveals = reveals
		return f
	},
}

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

// each rewrites every expression of the filter, inner ones first.
func (f Filter) each(rewrite func(expr) expr) Filter {
	var walk func(expr) expr
	walk = func(e expr) expr {
		switch x := e.(type) {
		case junction:
			terms := make([]expr, len(x.terms))
			for i, t := range x.terms {
				terms[i] = walk(t)
			}
			return rewrite(junction{x.op, terms})
		case negation:
			return rewrite(negation{walk(x.term)})
		case exists:
			x.cond = walk(x.cond)
			return rewrite(x)
		}
		return rewrite(e)
	}
	opens := make([]expr, len(f.opens))
	for i, o := range f.opens {
		opens[i] = walk(o)
	}
	reveals := map[string]expr{}
	for g, e := range f.reveals {
		reveals[g] = walk(e)
	}
	f.opens, f.closes, f.reveals = opens, walk(f.closes), reveals
	return f
}
