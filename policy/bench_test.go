package policy_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/policy"

	"github.com/jackc/pgx/v5"
)

// wide is a subject of two thousand territories, the largest there is.
func wide() crm.Subject {
	s := rep
	s.Territories = nil
	for i := range 2000 {
		s.Territories = append(s.Territories, fmt.Sprintf("T-%04d", i))
	}
	s.Relationships = []crm.Relationship{{Department: "legal", Actions: []string{"read"}}}
	return s
}

func BenchmarkCachedFilter(b *testing.B) {
	e := embedded(b)
	for name, s := range map[string]crm.Subject{"rep": rep, "wide": wide()} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				filter(b, e, s)
			}
		})
	}
}

func BenchmarkColdFilter(b *testing.B) {
	e := embedded(b)
	for name, s := range map[string]crm.Subject{"rep": rep, "wide": wide()} {
		b.Run(name, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				s.Purpose = fmt.Sprint(n) // another subject
				filter(b, e, s)
			}
		})
	}
}

func filter(b *testing.B, e *policy.Engine, s crm.Subject) policy.Filter {
	f, err := e.Filter(b.Context(), s, crm.ActionRead, "account", groupNames)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func BenchmarkWhere(b *testing.B) {
	f := filter(b, embedded(b), wide())
	for b.Loop() {
		var a policy.Args
		f.Where(&a)
		f.Reveals("commercial", &a)
	}
}

func BenchmarkExplain(b *testing.B) {
	e, rec, facts := known(b)
	for b.Loop() {
		if _, err := e.Explain(b.Context(), rep, crm.ActionRead, rec, facts, noon, groupNames); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAllows(b *testing.B) {
	e, rec, facts := known(b)
	for b.Loop() {
		if ok, err := e.Allows(b.Context(), rep, crm.ActionRead, rec, facts, noon); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

// known is a record that the rep reads by territory, with a fact about it.
func known(b *testing.B) (*policy.Engine, crm.Record, policy.Facts) {
	g := crm.Governed{Home: "amer", Territory: "US-CA", Segment: "Financials", Account: uuids[0], Jurisdiction: "US"}
	share := crm.Grant{ID: "g", Record: uuids[0], Kind: crm.GrantShare, Key: "s:rep.west@amer", From: noon, To: crm.Forever}
	return embedded(b), crm.Record{Entity: "account", ID: uuids[0], Governed: g}, policy.Facts{Grants: []crm.Grant{share}}
}

func BenchmarkActivate(b *testing.B) {
	bundle := policy.Embedded()
	for b.Loop() {
		if _, err := policy.New(b.Context(), bundle); err != nil {
			b.Fatal(err)
		}
	}
}

// byHand is the best SQL a person writes for the same rule, for the rep and the
// broad subject of BenchmarkPage.
const byHand = `select r.id, r.home, r.territory from record.account r
	where (r.territory = any($1) and (r.segment = any($2) or r.segment = 'unassigned') and r.sensitivity <= $3
		or r.id in (select account from fact.agreement where department = any($4) and effect = 'open' and (actions = '{}' or 'read' = any(actions))
			and recorded_to = 'infinity' and valid_from <= now() and now() < valid_to)
		or r.id in (select record from fact."grant" where key = any($5) and kind = 'share' and not suspended
			and recorded_to = 'infinity' and valid_from <= now() and now() < valid_to))
	and not exists (select from fact.agreement f where f.account = r.id and department = any($4) and effect = 'wall'
		and recorded_to = 'infinity' and valid_from <= now() and now() < valid_to)
	and not exists (select from fact."grant" f where f.record = r.id and key = any($5) and kind = 'withhold' and not suspended
		and recorded_to = 'infinity' and valid_from <= now() and now() < valid_to)`

// BenchmarkPage reads a page of 50 of 100 k accounts (30 k grants, 5 k
// agreements, 2000 territories) by the filter and by hand-written SQL.
func BenchmarkPage(b *testing.B) {
	db := openRows(b)
	fill(b, db)
	e := embedded(b)
	broad, selective, nowhere := wide(), rep, rep
	selective.Territories = []string{"T-0007"}
	nowhere.Territories = nil
	for _, c := range []struct {
		name  string
		s     crm.Subject
		order string
	}{
		{"broad/by-id", broad, "r.id"}, {"broad/by-owner", broad, "r.owner, r.id"},
		{"selective/by-id", selective, "r.id"}, {"selective/by-owner", selective, "r.owner, r.id"}, {"facts-only/by-id", nowhere, "r.id"},
	} {
		f := filter(b, e, c.s)
		var a, u policy.Args
		where := f.Where(&a)
		include, unclosed := f.Branches(&u)
		union := ""
		for i, x := range include {
			if i > 0 {
				union += " union "
			}
			union += "select r.id from record.account r where " + x
		}
		for _, q := range []struct {
			name, sql string
			args      []any
		}{
			{"hand", byHand, []any{c.s.Territories, c.s.Segments, c.s.Clearance, c.s.Departments, c.s.Keys}},
			{"filter", "select r.id, r.home, r.territory from record.account r where " + where, a.Values()},
			{"branches", "select r.id, r.home, r.territory from record.account r where r.id in (" + union + ") and " + unclosed, u.Values()},
		} {
			b.Run(c.name+"/"+q.name, func(b *testing.B) {
				for b.Loop() {
					rs, err := db.conn.Query(b.Context(), q.sql+" order by "+c.order+" limit 50", q.args...)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := pgx.CollectRows(rs, pgx.RowToMap); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func fill(b *testing.B, db rows) {
	start := time.Now()
	for _, sql := range []string{
		`insert into record.account select id, 'amer', 'T-' || lpad((i * 7919 % 2000)::text, 4, '0'),
			(array['Financials', 'Energy', 'all', 'unassigned'])[1 + i % 4], 'unassigned', 'owner-' || i % 500, id, i % 4, 'US', false, '{}', now(), now()
			from (select i, gen_random_uuid() as id from generate_series(1, 100000) i) s`,
		`insert into fact."grant" select i::text, id, case when i % 10 = 0 then 'withhold' else 'share' end, case when i % 100 = 0 then 's:rep.west@amer' else 's:u' || i % 3000 end,
			'{core}', now() - interval '1 day', now() + interval '1 day', false, 'infinity' from (select row_number() over () as i, id from record.account limit 30000) s`,
		`insert into fact.agreement select i::text, id, case when i % 50 = 0 then 'us-sales' else 'd' || i % 200 end, case when i % 7 = 0 then 'wall' else 'open' end,
			'{}', '{}', now() - interval '1 day', now() + interval '1 day', 'infinity' from (select row_number() over () as i, id from record.account order by id desc limit 5000) s`,
		`create index on record.account (territory, segment)`, `create index on record.account (owner, id)`,
		`create index on fact."grant" (key)`, `create index on fact.agreement (department)`,
		`vacuum analyze`,
	} {
		if _, err := db.conn.Exec(context.Background(), sql); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("filled in %v", time.Since(start).Round(time.Millisecond))
}
