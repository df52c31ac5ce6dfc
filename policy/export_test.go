package policy

import (
	"context"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Compile makes an engine without the rehearsal; a generated bundle that does
// not translate for a subject is found when its filter is made.
func Compile(ctx context.Context, b *Bundle, defs ...crm.Definition) (*Engine, []string) {
	return compile(ctx, b, defs)
}

// Smuggle has a ground ask another function, of a module that the gate never
// saw, about facts of a kind.
func (e *Engine) Smuggle(ctx context.Context, name, fact, rules string) error {
	c, err := ast.CompileModulesWithOpt(map[string]string{"smuggled.rego": "package meridian.rules\n\n" + rules}, ast.CompileOpts{ParserOptions: ast.ParserOptions{RegoVersion: ast.RegoV1}})
	if err != nil {
		return err
	}
	d := declaration{name: name, fact: fact, opens: true}
	for i, g := range e.grounds {
		if g.name == name {
			e.grounds[i].areas = fact == areaFact
			e.grounds[i].says, err = d.prepare(ctx, c, name, d.args())
		}
	}
	return err
}

// Lifted take away one of the bounds that a contract sets, as an engine would
// that forgot it. Rules see the contract as it is. The oracle has to catch each.
var Lifted = map[string]func(*crm.Subject){
	"contract's groups dropped":        func(s *crm.Subject) { s.Groups = []string{"core", "commercial", "personal"} },
	"contract's jurisdictions dropped": func(s *crm.Subject) { s.Jurisdictions = []string{"*"} },
	"contract's begin dropped":         func(s *crm.Subject) { s.From = time.Time{} },
	"contract's end dropped":           func(s *crm.Subject) { s.To = crm.Forever },
}

// Unbounded is the filter without one of the bounds.
func (e *Engine) Unbounded(ctx context.Context, s crm.Subject, a crm.Action, entity string, groups []string, lift func(*crm.Subject)) (Filter, error) {
	q := e.asked(s, a, entity)
	lift(&q.who)
	return q.filter(ctx, groups)
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
