package policy

// Two filters over the same rows in one statement. What both ask of a row is
// evaluated once.

// Once names the conditions that the Where of before and of after share. It
// returns them as SQL over the row; the statement selects condition i below the
// place where it uses the filters as column(i), and the filters rendered with
// its Args say the column's name from then on. Only what costs more than a
// comparison is shared.
func Once(before, after Filter, b, a *Args, column func(i int) string) (conditions []string) {
	asked := map[string]bool{}
	walk(before.where(), func(x expr) bool {
		asked[x.sql(b)] = true
		return true
	})
	named := map[string]string{}
	walk(after.where(), func(x expr) bool {
		sql := x.sql(a)
		if !asked[sql] {
			return true
		}
		if _, known := named[sql]; !known {
			named[sql] = column(len(conditions))
			conditions = append(conditions, sql)
		}
		return false // its parts are evaluated with it
	})
	b.statement().named = named
	return conditions
}

// walk visits an expression from the outside to the inside, where visit says
// so. Negations are passed through, plain comparisons passed over.
func walk(x expr, visit func(expr) bool) {
	switch x := x.(type) {
	case negation:
		walk(x.term, visit)
	case exists:
		visit(x)
	case junction:
		if visit(x) {
			for _, t := range x.terms {
				walk(t, visit)
			}
		}
	}
}

// once is the name of a condition that the statement evaluates elsewhere, if it
// does, or else what render makes of it.
func (a *Args) once(render func(*Args) string) string {
	named := a.statement().named
	if len(named) == 0 {
		return render(a)
	}
	a.statement().named = nil
	whole := render(a)
	a.statement().named = named
	if name, ok := named[whole]; ok {
		return name
	}
	return render(a)
}
