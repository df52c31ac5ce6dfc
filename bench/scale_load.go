package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
)

// The organisation that part scale is about.
const (
	scale            = "scale" // the instance's name
	scaleTerritories = 2000
	scaleDepartments = 120
)

// Its people. None but the partner belongs to a department, so that each shows
// what one way of seeing costs.
const (
	broad     = "broad"     // the world
	regional  = "regional"  // some 800 territories
	narrow    = "narrow"    // one leaf
	selective = "selective" // 300 shares
	partner   = "partner"   // a department with agreements and a relationship
)

// organisation is the world that the accounts of part scale lie in.
type organisation struct {
	territories []trees.Node
	roots       map[string][]string // persona -> assigned territories
}

// organise adds districts to the shipped countries until there are
// scaleTerritories nodes, none deeper than the shipped states.
func organise() organisation {
	o := organisation{territories: slices.Clone(trees.Territories())}
	var countries []string
	for _, t := range o.territories {
		if t.Level == "country" && t.ID != "US" { // it has states
			countries = append(countries, t.ID)
		}
	}
	for i := 0; len(o.territories) < scaleTerritories; i++ {
		country := countries[i%len(countries)]
		id := fmt.Sprintf("%s-D%d", country, i/len(countries))
		o.territories = append(o.territories, trees.Node{ID: id, Parent: country, Name: "District " + id, Level: "district"})
	}
	o.roots = map[string][]string{broad: {trees.World}, narrow: {"US-OR"}}
	seen := 0
	for _, t := range o.territories {
		if n := len(below(o.territories, t.ID)); t.Level == "subregion" && seen+n <= 800 {
			o.roots[regional], seen = append(o.roots[regional], t.ID), seen+n
		}
	}
	return o
}

// leaves are the territories that accounts lie in.
func (o organisation) leaves() (ids []string) {
	parent := map[string]bool{}
	for _, t := range o.territories {
		parent[t.Parent] = true
	}
	for _, t := range o.territories {
		if !parent[t.ID] {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// config says who is known to the instance.
func (o organisation) config(c *instance.Config) {
	for i := range scaleDepartments {
		c.Departments = append(c.Departments, instance.Department{ID: fmt.Sprintf("department%d", i), Name: fmt.Sprintf("Department %d", i)})
	}
	c.Relationships = []instance.Relationship{{Department: "department7", On: "department77", Actions: []crm.Action{crm.ActionRead}}}
	for _, who := range []string{broad, regional, narrow, selective, partner} {
		s := instance.Subject{ID: crm.SubjectID(who + "@" + scale), Kind: crm.KindPerson, Roles: []string{"rep"}, Clearance: 3,
			Territories: o.roots[who], Segments: []string{trees.AllSegments}}
		if who == partner {
			s.Departments = []string{"department7"}
		}
		c.Subjects = append(c.Subjects, s)
	}
	c.Subjects = append(c.Subjects, instance.Subject{ID: crm.SubjectID(officer + "@" + scale), Kind: crm.KindPerson, Roles: []string{"officer"}})
}

// loadScale fills the instance: rows accounts, and for every hundred of them
// thirty grants and five agreements. It writes straight into the tables that
// the product made and makes their indexes again as the product made them.
// There are no versions and no changes of these rows: reads do not look there.
func loadScale(ctx context.Context, n *node, o organisation, rows int) (time.Duration, error) {
	start := time.Now()
	districts := o.territories[len(trees.Territories()):]
	ids, parents, names := make([]string, len(districts)), make([]string, len(districts)), make([]string, len(districts))
	for i, d := range districts {
		ids[i], parents[i], names[i] = d.ID, d.Parent, d.Name
	}
	var segments []string
	for _, s := range trees.Segments() {
		segments = append(segments, s.ID)
	}
	_, err := n.pool.Exec(ctx, `insert into fact.territory (id, parent, name, level, valid_from, valid_to)
		select id, parent, name, 'district', now() - interval '1 day', 'infinity' from unnest($1::text[], $2::text[], $3::text[]) d (id, parent, name)`, ids, parents, names)
	if err != nil {
		return 0, err
	}
	if _, err := n.pool.Exec(ctx, colleaguesSQL, trees.World, trees.AllSegments); err != nil {
		return 0, err
	}
	for _, t := range []struct {
		table, sql string
		args       []any
	}{
		{"record.account", accountsSQL, []any{rows, o.leaves(), segments}},
		{`fact."grant"`, grantsSQL, []any{rows * 3 / 10}},
		{"fact.agreement", agreementsSQL, []any{rows / 20, scaleDepartments}},
	} {
		if err := bulk(ctx, n, t.table, t.sql, t.args...); err != nil {
			return 0, fmt.Errorf("fill %s: %w", t.table, err)
		}
		if _, err := n.pool.Exec(ctx, "vacuum (analyze) "+t.table); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// bulk runs an insert without the table's indexes and triggers, and puts them
// back.
func bulk(ctx context.Context, n *node, table, insert string, args ...any) error {
	return pgx.BeginFunc(ctx, n.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) from pg_index i
			where i.indrelid = $1::text::regclass and not exists (select from pg_constraint c where c.conindid = i.indexrelid)`, table)
		if err != nil {
			return err
		}
		var index, definition string
		var drop, create []string
		if _, err := pgx.ForEachRow(rows, []any{&index, &definition}, func() error {
			drop, create = append(drop, "drop index "+index), append(create, definition)
			return nil
		}); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, strings.Join(append(drop, "alter table "+table+" disable trigger user", "set local maintenance_work_mem = '256MB'"), ";")); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insert, args...); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, strings.Join(append(create, "alter table "+table+" enable trigger user"), ";"))
		return err
	})
}

// colleaguesSQL makes the five thousand who own accounts and give judgements,
// all over the world.
const colleaguesSQL = `
with who as (
	insert into fact.subject (id, kind, roles, clearance, valid_from, valid_to)
	select 'colleague' || g || '@scale', 'person', '{rep}', 9, now() - interval '1 year', 'infinity' from generate_series(0, 4999) g returning id)
insert into fact.assignment (subject, tree, node, valid_from, valid_to)
select id, tree, node, now() - interval '1 year', 'infinity' from who cross join (values ('territory', $1::text), ('segment', $2::text)) a (tree, node)`

// accountsSQL makes $1 accounts. Some territories have many, most have few. The
// first half came in one migration, country by country; the others one by one,
// as business goes. One in twenty has no segment yet, most are not sensitive.
const accountsSQL = `
insert into record.account (id, home, territory, segment, department, owner, account, sensitivity, jurisdiction, version, pinned, created, updated,
	source_id, name, sector, industry_group, industry, country, state, city, postal_code, website, size_band, sample, annual_revenue, email, phone, tax_id)
select id, case when g % 10 = 0 then 'emea' else 'scale' end, territory, segment,
	case when g % 5 = 0 then 'department' || g / 5 % 120 else 'unassigned' end, 'colleague' || g % 5000 || '@scale', id,
	case when g % 10 < 7 then 0 when g % 10 < 9 then 2 else g / 10 % 10 end, left(territory, 2), 1, false, created, created,
	'S-' || g, 'Company ' || substr(md5(g::text), 1, 12), split_part(segment, '/', 1), nullif(split_part(segment, '/', 2), ''), nullif(split_part(segment, '/', 3), ''),
	left(territory, 2), substr(territory, 4), 'City ' || g % 5000, '12345', 'https://company' || g || '.example.com',
	(array['Mega Cap', 'Large Cap', 'Mid Cap', 'Small Cap', 'Micro Cap'])[1 + g / 7 % 5], true, (g::bigint * 7919 % 10000000)::numeric / 10,
	'office@company' || g || '.example.com', '+14155550100', lpad(g::text, 9, '0')
from (
	select g, ('0193e0a0-' || lpad(to_hex(i / 65536), 4, '0') || '-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid id, ($2::text[])[leaf] territory,
		case when g % 20 = 0 then 'unassigned' else ($3::text[])[1 + g::bigint * 7919 % cardinality($3::text[])] end segment,
		now() - interval '2 years' + i * interval '60 s' created
	from (
		select g, leaf, row_number() over (order by case when g <= $1 / 2 then leaf end nulls last, g) i
		from (select g, 1 + floor(power(('x' || substr(md5('t' || g), 1, 8))::bit(32)::bigint / 4294967296.0, 2) * cardinality($2::text[]))::int leaf
			from generate_series(1, $1) g) placed
	) ordered order by i
) account`

// grantsSQL makes $1 judgements by and about many: one in eleven withholds, one
// in ten is over, one in fifty suspended, one in ten names a department. About
// 300 are for the selective subject, a hundred for each of those who see a
// territory.
const grantsSQL = `
insert into fact."grant" (id, entity, record, kind, key, groups, reason, given_by, suspended, recorded_by, valid_from, valid_to)
select gen_random_uuid(), 'account', id, case when i % 11 = 0 then 'withhold' else 'share' end,
	case when i % ($1 / 300) = 1 then 's:selective@scale' when i % ($1 / 100) = 2 then 's:broad@scale' when i % ($1 / 100) = 3 then 's:regional@scale'
		when i % ($1 / 100) = 4 then 's:narrow@scale' when i % 10 = 0 then 'd:department' || i / 10 % 120 else 's:colleague' || i % 5000 || '@scale' end,
	case when i % 3 = 0 then '{core,commercial}'::text[] else '{core}' end, 'invented', 'colleague' || i % 4999 || '@scale', i % 50 = 25, 'invented',
	now() - interval '20 days', now() + case when i % 10 = 5 then interval '-1 day' else interval '30 days' end
from (select id, row_number() over (order by md5(id::text)) i from record.account) r where i <= $1`

// agreementsSQL makes $1 agreements between accounts and $2 departments: one in
// ten is a wall, one in ten is over, one in twenty has not begun.
const agreementsSQL = `
insert into fact.agreement (id, account, department, effect, actions, groups, document, reason, given_by, recorded_by, valid_from, valid_to)
select gen_random_uuid(), id, 'department' || i % $2, case when i / $2 % 10 = 0 then 'wall' else 'open' end, '{}',
	case when i / $2 % 3 = 0 then '{core,commercial}'::text[] else '{core}' end, 'paper ' || i, 'invented', 'officer@scale', 'invented',
	now() + case when i / $2 % 20 = 7 then interval '10 days' else interval '-100 days' end, now() + case when i / $2 % 10 = 5 then interval '-1 day' else interval '1 year' end
from (select id, row_number() over (order by md5(id::text || 'a')) i from record.account) r where i <= $1`
