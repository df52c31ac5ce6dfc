package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"meridian/instance/crm/trees"
	"meridian/instance/store/schema"
)

// ruleByHand is the rule of the bundle for one kind of subject, as somebody
// writes it in SQL who knows which grounds can apply to them: the same records,
// the same field groups, the same walls and withholds, the same times.
type ruleByHand struct {
	grounds []string            // any of them opens a row r
	drives  []string            // each ground from its own side: from ... where ...
	reveals map[string][]string // group -> what shows it, beyond placed
	closes  []string
	placed  string // the ground that shows everything; empty if there is none
	args    []any
}

const inForce = "f.recorded_to = 'infinity' and f.valid_from <= statement_timestamp() and statement_timestamp() < f.valid_to"

func handWritten(o organisation, who string) ruleByHand {
	r := ruleByHand{args: []any{[]string{"s:" + who + "@" + scale}}, reveals: map[string][]string{}}
	if who == partner {
		r.args[0] = []string{"s:" + who + "@" + scale, "d:department7"}
	}
	if roots := o.roots[who]; len(roots) > 0 {
		var territories []string
		for _, root := range roots {
			territories = append(territories, below(o.territories, root)...)
		}
		r.placed = "(r.territory = any($2) and (r.segment = any($3) or r.segment = 'unassigned') and r.sensitivity <= 3)"
		r.args = append(r.args, territories, below(trees.Segments(), trees.AllSegments))
		r.grounds = append(r.grounds, r.placed)
		r.drives = append(r.drives, "record.account r where "+r.placed)
	}
	fact := func(table, key, condition string) {
		one := key + " = r.id and " + inForce + " and " + condition
		r.grounds = append(r.grounds, "exists (select from "+table+" f where "+one+")")
		r.drives = append(r.drives, "record.account r where r.id in (select "+key+" from "+table+" f where "+inForce+" and "+condition+")")
		for _, group := range []string{"core", "commercial", "personal"} {
			r.reveals[group] = append(r.reveals[group], "exists (select from "+table+" f where "+one+" and '"+group+"' = any(f.groups))")
		}
	}
	fact(`fact."grant"`, "f.record", "f.kind = 'share' and not f.suspended and f.key = any($1)")
	r.closes = append(r.closes, `exists (select from fact."grant" f where f.record = r.id and f.kind = 'withhold' and not f.suspended and f.key = any($1) and `+inForce+")")
	if who == partner {
		fact("fact.agreement", "f.account", "f.effect = 'open' and f.department = 'department7' and (f.actions = '{}' or 'read' = any(f.actions))")
		r.closes = append(r.closes, "exists (select from fact.agreement f where f.account = r.id and f.effect = 'wall' and f.department = 'department7' and "+inForce+")")
		r.grounds = append(r.grounds, "r.department = 'department77'")
		r.drives = append(r.drives, "record.account r where r.department = 'department77'")
		r.reveals["core"] = append(r.reveals["core"], "r.department = 'department77'")
	}
	return r
}

// accountColumns are the governance columns and the fields of an account.
func accountColumns() []string {
	names := []string{"id", "home", "territory", "segment", "department", "owner", "account", "sensitivity", "jurisdiction", "version", "pinned", "withheld", "created", "updated"}
	for _, d := range schema.Common() {
		if d.Entity == "account" {
			for _, f := range d.Fields {
				names = append(names, f.Name)
			}
		}
	}
	return names
}

// shows is whether a visible row shows a group.
func (r ruleByHand) shows(group string) string {
	terms := r.reveals[group]
	if r.placed != "" {
		terms = append([]string{r.placed}, terms...)
	}
	return "((" + strings.Join(terms, " or ") + ") and not '" + group + "' = any(r.withheld))"
}

func (r ruleByHand) columns() string {
	var names []string
	for _, f := range accountColumns() {
		names = append(names, "r."+f)
	}
	return strings.Join(append(names, r.shows("core"), r.shows("commercial"), r.shows("personal")), ", ")
}

func (r ruleByHand) tail(also string) string {
	return " and not (" + strings.Join(r.closes, " or ") + ")" + also
}

// page writes a page of 50 in each form that is worth trying: one scan; the ids
// that each ground finds, in order, and then their rows.
func (r ruleByHand) page(also string) []string {
	parts := make([]string, len(r.drives))
	for i, d := range r.drives {
		parts[i] = "select r.id from " + d + r.tail(also)
	}
	union := strings.Join(parts, " union ")
	return []string{
		"select " + r.columns() + " from record.account r where (" + strings.Join(r.grounds, " or ") + ")" + r.tail(also) + " order by r.id limit 51",
		"select " + r.columns() + " from record.account r where r.id in (" + union + ") order by r.id limit 51",
		"select " + r.columns() + " from (" + union + " order by id limit 51) u join record.account r on r.id = u.id order by r.id",
	}
}

func (r ruleByHand) count() []string {
	parts := make([]string, len(r.drives))
	for i, d := range r.drives {
		parts[i] = "select r.id from " + d + r.tail("")
	}
	return []string{
		"select count(*) from record.account r where (" + strings.Join(r.grounds, " or ") + ")" + r.tail(""),
		"select count(*) from (" + strings.Join(parts, " union ") + ") u",
	}
}

// one writes the read of one record, by the id that is the last argument.
func (r ruleByHand) one() string {
	return fmt.Sprintf("select %s from record.account r where r.id = $%d and (%s)%s", r.columns(), len(r.args)+1, strings.Join(r.grounds, " or "), r.tail(""))
}

// rival is the fastest hand-written statement of a question.
type rival struct {
	pool *pgxpool.Pool
	sql  string
}

// fastest tries every form planned for the values at hand and planned once for
// all, and takes the one that was fastest at its best.
func fastest(ctx context.Context, pools []*pgxpool.Pool, forms []string, args []any) (best rival, err error) {
	least := time.Hour
	for _, sql := range slices.Clone(forms) { // the same with lists that a kept plan can hash
		forms = append(forms, strings.NewReplacer("= any($2)", "in (select unnest($2::text[]))", "= any($3)", "in (select unnest($3::text[]))").Replace(sql))
	}
	for _, pool := range pools {
		for _, sql := range forms {
			for try := range 4 {
				start := time.Now()
				if _, err := answers(ctx, pool, sql, args); err != nil {
					return best, fmt.Errorf("%w in %s", err, sql)
				}
				took := time.Since(start)
				if took > 3*least+50*time.Millisecond {
					break // it cannot win any more
				}
				if try > 0 && took < least { // the first one prepares
					least, best = took, rival{pool, sql}
				}
			}
		}
	}
	return best, nil
}

// answers runs a statement and decodes what comes.
func answers(ctx context.Context, pool *pgxpool.Pool, sql string, args []any) ([][]any, error) {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
}
