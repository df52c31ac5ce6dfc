package store

import (
	"strconv"
	"strings"

	"meridian/instance/crm"
	"meridian/policy"
)

// How many characters of a group's texts are searched, and of all groups that a
// ranking puts together: what a tsvector holds, of four bytes each, with room to
// spare.
const (
	maxSearched    = 100_000
	maxSearchedAll = 200_000
)

// searchColumn names the generated column with the words of a group. No field
// can have the name.
func searchColumn(group string) string { return quoted("search:" + group) }

// searched is the SQL of that column, "" for a group without texts. It must
// stay as it is for as long as its columns: another text makes them anew.
func (t *table) searched(group string) string {
	var texts []string
	groups := map[string]bool{}
	for _, f := range t.def.Fields {
		if f.Type != crm.TypeString {
			continue
		}
		if groups[f.Group] = true; f.Group == group {
			texts = append(texts, "coalesce("+quoted(f.Name)+", '')")
		}
	}
	if len(texts) == 0 {
		return ""
	}
	all := "left(" + strings.Join(texts, " || ' ' || ") + ", " + strconv.Itoa(min(maxSearched, maxSearchedAll/len(groups))) + ")"
	for _, c := range crm.SearchBreaks { // ten times as fast as translate
		all = "replace(" + all + ", " + literal(string(c)) + ", ' ')"
	}
	return "to_tsvector('simple'::regconfig, " + all + ")"
}

// search makes the columns that are searched, one per group with texts, and
// their indexes. Have says, by name, which SQL those there were made from. All
// that is missing comes in one statement, so that the table is written anew at
// most once.
func (t *table) search(have map[string]string) []string {
	var alter, after []string
	for _, g := range t.groups {
		name, sql := "search:"+g, t.searched(g)
		made, there := have[name]
		if made == sql { // also without texts
			continue
		}
		if there {
			alter = append(alter, "drop column "+quoted(name))
		}
		if sql != "" {
			alter = append(alter, "add column "+quoted(name)+" tsvector generated always as ("+sql+") stored")
			after = append(after, "comment on column "+t.live+"."+quoted(name)+" is "+literal(sql),
				"create index if not exists "+quoted(ruleName(t.def.Entity, g, "searched"))+" on "+t.live+" using gin ("+quoted(name)+")")
		}
	}
	if len(alter) == 0 {
		return nil
	}
	return append([]string{"alter table " + t.live + " " + strings.Join(alter, ", ")}, after...)
}

// tsquery is terms that must all occur as PostgreSQL reads them: in a subquery,
// so that they are read once and not for every row.
func tsquery(args *policy.Args, terms ...crm.Term) string {
	parts := make([]string, len(terms))
	for i, t := range terms {
		words := make([]string, len(t.Words))
		for n, w := range t.Words {
			words[n] = "'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(w) + "'"
		}
		parts[i] = "(" + strings.Join(words, " <-> ")
		if t.Prefix {
			parts[i] += ":*"
		}
		parts[i] += ")"
	}
	return "(select to_tsquery('simple'::regconfig, " + args.Add(strings.Join(parts, " & "), "text") + "))"
}

// found is the SQL that is true where the revealed groups of a row have what is
// looked for, each term in whichever of them. A group that is withheld or
// masked has no words: it makes no row match or miss, and ranks none. Each test
// is of the bare column, which its index answers.
func (p *projection) found(s crm.Search) string {
	groups := p.searchable()
	if len(groups) == 0 {
		return "false"
	}
	in := func(terms ...crm.Term) string {
		each := make([]string, len(groups))
		for i, g := range groups {
			each[i] = "(r." + searchColumn(g) + " @@ " + tsquery(p.args, terms...)
			if reveal := p.reveal(g); reveal != "true" {
				each[i] += " and " + reveal
			}
			each[i] += ")"
		}
		return "(" + strings.Join(each, " or ") + ")"
	}
	var all []string
	if len(groups) == 1 {
		all = append(all, in(s.All...))
	} else {
		for _, t := range s.All {
			all = append(all, in(t))
		}
	}
	for _, t := range s.None {
		all = append(all, in(t)+" is not true")
	}
	return strings.Join(all, " and ")
}

// searchable are the groups with words that some rows may reveal.
func (p *projection) searchable() (groups []string) {
	for _, g := range p.t.groups {
		if p.t.searched(g) != "" && p.reveal(g) != "false" {
			groups = append(groups, g)
		}
	}
	return groups
}

// ranked is the order of a search: what matches best in the words that a row
// reveals, the shorter text first.
func (p *projection) ranked(s crm.Search) order {
	o := order{sign: p.t.def.Entity + ",search"}
	words := []string{"''::tsvector"}
	for _, g := range p.searchable() {
		column := "r." + searchColumn(g)
		if reveal := p.reveal(g); reveal != "true" {
			column = "(case when " + reveal + " then " + column + " else '' end)"
		}
		words = append(words, column)
	}
	for _, t := range s.All {
		o.sign += " " + strings.Join(t.Words, "+")
	}
	for _, t := range s.None {
		o.sign += " -" + strings.Join(t.Words, "+")
	}
	o.keys = []orderKey{{sql: "ts_rank(" + strings.Join(words, " || ") + ", " + tsquery(p.args, s.All...) + ", 1)", pg: "real", desc: true}}
	return o
}
