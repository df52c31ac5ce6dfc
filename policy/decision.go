package policy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// Facts are the facts about one record that are recorded now (not superseded),
// as known values. Whether one is in force rules read from its dates; those
// about other records are ignored.
type Facts struct {
	Agreements []crm.Agreement
	Grants     []crm.Grant
}

// Reason is one ground that applied, with the fact behind it.
type Reason struct{ Ground, Fact, Text string }

// Decision is the answer about one known record.
type Decision struct {
	Allowed            bool
	Opens, Closes      []Reason
	Revealed, Withheld []string // field groups; none is revealed unless Allowed
	Digest             string   // of the bundle that decided
}

// fact is one fact row as rules see it.
type fact struct {
	id  string
	row *ast.Term
}

// Explain decides about one known record, with reasons, by the same functions
// that filters are made of.
func (e *Engine) Explain(ctx context.Context, s crm.Subject, a crm.Action, entity string, g crm.Governed, id crm.RecordID, f Facts, now time.Time, groups []string) (d Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			d, err = Decision{}, crm.Errorf(crm.Internal, "policy %.12s: panic: %v", e.Digest(), p)
		}
	}()
	d = Decision{Digest: e.Digest()}
	ask, record, at := askTerm(s, a, entity), recordTerm(id, g), instant(now)
	known := f.about(entity, id, g.Account)
	for _, gr := range e.grounds {
		rows := []fact{{}}
		if gr.facts != nil {
			rows = known[gr.facts]
		}
		for _, row := range rows {
			in := []any{"ask", ask, "record", record, "now", at}
			if row.row != nil {
				in = append(in, "fact", row.row)
			}
			applies, err := gr.says.holds(ctx, in)
			if err != nil {
				return Decision{}, crm.Errorf(crm.Internal, "policy %.12s, ground %s: %w", e.Digest(), gr.name, err)
			}
			if !applies {
				continue
			}
			reason := Reason{Ground: gr.name, Fact: row.id, Text: gr.text}
			if !gr.opens {
				d.Closes = append(d.Closes, reason)
				continue
			}
			d.Opens = append(d.Opens, reason)
			for _, group := range groups {
				if slices.Contains(d.Revealed, group) || slices.Contains(g.Withheld, group) {
					continue
				}
				shown, err := gr.reveals.holds(ctx, append(in, "group", ast.StringTerm(group)))
				if err != nil {
					return Decision{}, crm.Errorf(crm.Internal, "policy %.12s, ground %s: %w", e.Digest(), gr.name, err)
				}
				if shown {
					d.Revealed = append(d.Revealed, group)
				}
			}
		}
	}
	if d.Allowed = len(d.Opens) > 0 && len(d.Closes) == 0; !d.Allowed {
		d.Revealed = nil
	}
	shown := d.Revealed
	d.Revealed = nil
	for _, group := range groups { // in the entity's order
		if slices.Contains(shown, group) {
			d.Revealed = append(d.Revealed, group)
		} else {
			d.Withheld = append(d.Withheld, group)
		}
	}
	return d, nil
}

// Permit says whether s holds a service-level permission, one that is not about
// a record.
func (e *Engine) Permit(ctx context.Context, s crm.Subject, permission string) (ok bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			ok, err = false, crm.Errorf(crm.Internal, "policy %.12s: panic: %v", e.Digest(), p)
		}
	}()
	in := object("subject", subjectTerm(s), "permission", ast.StringTerm(permission))
	rs, err := e.permit.Eval(ctx, rego.EvalParsedInput(in.Value))
	if err = interrupted(ctx, err); err != nil {
		return false, crm.Errorf(crm.Internal, "policy %.12s, permit: %w", e.Digest(), err)
	}
	return yes(rs), nil
}

// holds evaluates the function on known rows.
func (f function) holds(ctx context.Context, in []any) (bool, error) {
	rs, err := f.eval.Eval(ctx, rego.EvalParsedInput(object(in...).Value))
	if err = interrupted(ctx, err); err != nil {
		return false, fmt.Errorf("evaluate: %w", err)
	}
	return yes(rs), nil
}

func yes(rs rego.ResultSet) bool {
	return len(rs) == 1 && len(rs[0].Expressions) == 1 && rs[0].Expressions[0].Value == true
}

// about selects the facts about one record, as factTables correlates them.
func (f Facts) about(entity string, id, account crm.RecordID) map[*facts][]fact {
	out := map[*facts][]fact{}
	for _, a := range f.Agreements {
		if a.Account == account {
			t := factTables["agreement"]
			out[t] = append(out[t], fact{a.ID, object(
				"account", ast.StringTerm(string(a.Account)),
				"department", ast.StringTerm(a.Department),
				"effect", ast.StringTerm(string(a.Effect)),
				"actions", texts(a.Actions),
				"groups", texts(a.Groups),
				"valid_from", instant(a.From),
				"valid_to", instant(a.To),
			)})
		}
	}
	for _, g := range f.Grants {
		if g.Record == id || entity != "account" && g.Record == account {
			t := factTables["grant"]
			out[t] = append(out[t], fact{g.ID, object(
				"record", ast.StringTerm(string(g.Record)),
				"kind", ast.StringTerm(string(g.Kind)),
				"key", ast.StringTerm(g.Key),
				"groups", texts(g.Groups),
				"valid_from", instant(g.From),
				"valid_to", instant(g.To),
				"suspended", ast.BooleanTerm(g.Suspended),
			)})
		}
	}
	return out
}

// recordTerm is a record's governance as rules see it.
func recordTerm(id crm.RecordID, g crm.Governed) *ast.Term {
	return object(
		"id", ast.StringTerm(string(id)),
		"home", ast.StringTerm(g.Home),
		"territory", ast.StringTerm(g.Territory),
		"segment", ast.StringTerm(g.Segment),
		"department", ast.StringTerm(g.Department),
		"owner", ast.StringTerm(g.Owner),
		"account", ast.StringTerm(string(g.Account)),
		"sensitivity", number(g.Sensitivity),
		"jurisdiction", ast.StringTerm(g.Jurisdiction),
		"pinned", ast.BooleanTerm(g.Pinned),
		"withheld", texts(g.Withheld),
		"created", instant(g.Created),
		"updated", instant(g.Updated),
	)
}

// instant is a time as rules see it. What lies after year 9999 is the
// database's infinity, which sorts after every year as text too.
func instant(t time.Time) *ast.Term {
	t = t.UTC().Truncate(time.Microsecond)
	switch {
	case t.Year() > 9999:
		return ast.StringTerm("infinity")
	case t.Year() < 0:
		return ast.StringTerm("-infinity")
	}
	return ast.StringTerm(t.Format(timeLayout))
}
