package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"meridian/instance/access"
	"meridian/instance/access/accesstest"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/store"
	"meridian/policy"
)

// benchPage compares an authorised page of 50 through the door with the best
// SQL we could write by hand for the same subject and the same rule: broad (a
// country), narrow (a state), and selective (nothing but colleagues' shares).
func benchPage(ctx context.Context, w *world, rows int) (out []measure, err error) {
	n := w.nodes["amer"]
	if err := addFacts(ctx, n); err != nil {
		return nil, err
	}
	door, _, stop, err := openDoor(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()

	for _, c := range []struct {
		who, what string
		territory string // "" for a subject of shares alone
	}{{rep, "broad", "US"}, {west, "narrow", "US-OR"}, {guest, "selective", ""}} {
		caller := crm.Caller{Subject: crm.SubjectID(c.who + "@" + n.name), Execution: strings.Repeat("0", 31) + "1"}
		seen, want := 0, 0
		list := func(int) error {
			records, _, err := door.List(ctx, caller, access.ListRequest{Entity: "account", Limit: 50})
			seen = len(records)
			return err
		}
		sql, args := byHand(string(caller.Subject), c.territory)
		hand := func(int) error {
			rows, err := n.pool.Query(ctx, sql, args...)
			if err != nil {
				return err
			}
			for want = 0; rows.Next(); want++ {
				if _, err := rows.Values(); err != nil {
					return err
				}
			}
			return rows.Err()
		}
		ours, theirs, err := interleave(200, list, hand)
		if err != nil {
			return nil, err
		}
		if seen != min(want, 50) || seen == 0 {
			return nil, fmt.Errorf("%s: the door shows %d rows, the hand-written SQL %d", c.what, seen, want)
		}
		out = append(out, measure{
			name: fmt.Sprintf("authorised page of 50 of %d accounts, %s subject", rows, c.what), measured: ours.String(),
			baseline: "hand-written SQL " + theirs.String(), ratio: ratio(ours.at(0.5), theirs.at(0.5)), limit: 2,
		})
	}
	return out, nil
}

// openDoor opens a door of the bench's own to a node's records.
func openDoor(ctx context.Context, n *node) (*access.Door, *policy.Engine, func() error, error) {
	st, err := store.Open(ctx, store.Config{URL: n.app, OwnerURL: n.dsn, Instance: n.name, MaxConns: 16})
	if err != nil {
		return nil, nil, nil, err
	}
	engine, err := policy.New(ctx, policy.Embedded())
	if err != nil {
		st.Close()
		return nil, nil, nil, err
	}
	if err := accesstest.Enrol(ctx, st); err != nil { // some benchmarks put policies in force
		st.Close()
		return nil, nil, nil, err
	}
	door := access.New(access.Config{Instance: n.name, Store: st, Engine: engine, Log: slog.New(slog.DiscardHandler), Officers: accesstest.Trusted()})
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- door.Run(running) }()
	return door, engine, func() error {
		cancel()
		err := <-ended
		st.Close()
		return err
	}, nil
}

// addFacts gives policy something to look at: 3,000 shares, 300 withheld
// records, 500 agreements.
func addFacts(ctx context.Context, n *node) error {
	for _, sql := range []string{
		`insert into fact."grant" (id, entity, record, kind, key, groups, reason, given_by, recorded_by, valid_from, valid_to)
		select gen_random_uuid(), 'account', id, case when i % 11 = 0 then 'withhold' else 'share' end,
			case when i % 10 = 0 then 's:guest@amer' else 's:colleague' || i % 50 || '@amer' end, '{core}', 'benchmark', 's', 's', now() - interval '1 day', now() + interval '30 days'
		from (select id, row_number() over (order by md5(id::text)) i from record.account limit 3300) r`,
		`insert into fact.agreement (id, account, department, effect, actions, groups, document, reason, given_by, recorded_by, valid_from, valid_to)
		select gen_random_uuid(), id, 'department' || i % 20, case when i % 10 = 0 then 'wall' else 'open' end, '{}', '{core}', '', 'benchmark', 's', 's', now() - interval '1 day', now() + interval '30 days'
		from (select id, row_number() over (order by md5(id::text || 'a')) i from record.account limit 500) r`,
		"analyze",
	} {
		if _, err := n.pool.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// byHand is the rule of the bundle for one subject, as SQL: the grounds that
// can apply to it and the walls and withholds that win over them.
func byHand(subject, territory string) (string, []any) {
	const share = `f.kind = 'share' and f.key = $1 and not f.suspended and f.recorded_to = 'infinity'
		and f.valid_from <= statement_timestamp() and statement_timestamp() < f.valid_to`
	const tail = ` and not exists (select from fact."grant" f where f.record in (r.id, r.account) and f.kind = 'withhold' and f.key = $1
			and not f.suspended and f.recorded_to = 'infinity' and f.valid_from <= statement_timestamp() and statement_timestamp() < f.valid_to)
		order by r.id limit 51`
	key := "s:" + subject
	if territory == "" {
		return `select r.* from record.account r where r.id in (select f.record from fact."grant" f where ` + share + `)` + tail, []any{key}
	}
	return `select r.* from record.account r where
		((r.territory = any($2) and (r.segment = any($3) or r.segment = 'unassigned') and r.sensitivity <= 3)
			or exists (select from fact."grant" f where f.record in (r.id, r.account) and ` + share + `))` + tail,
		[]any{key, below(trees.Territories(), territory), below(trees.Segments(), trees.AllSegments)}
}

// below lists a node and everything under it.
func below(nodes []trees.Node, root string) []string {
	in := map[string]bool{root: true}
	out := []string{root}
	for _, n := range nodes { // parents come before children
		if in[n.Parent] && !in[n.ID] {
			in[n.ID] = true
			out = append(out, n.ID)
		}
	}
	return out
}
