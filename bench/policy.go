package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"meridian/instance/access"
	"meridian/instance/access/accesstest"
	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// comparedWithin is how long an officer waits for one persona among a million
// accounts.
const comparedWithin = 2 * time.Second

// tried are bundles to compare with the shipped one: one rule changed, and
// everybody sees everything.
func tried() (map[string]*policy.Bundle, error) {
	out := map[string]*policy.Bundle{}
	for name, change := range map[string][3]string{
		"walls do not hold":         {"agreement.rego", `fact.effect == "wall"`, "fact.effect == \"wall\"\n\task.subject.clearance > 8"},
		"everybody sees everything": {"territory.rego", "territory_reveals(", "territory(_, record, _) if record.sensitivity >= 0\n\nterritory_reveals("},
	} {
		files := maps.Clone(policy.Embedded().Modules())
		files[change[0]] = strings.Replace(files[change[0]], change[1], change[2], 1)
		b, err := policy.NewBundle(files)
		if err != nil {
			return nil, err
		}
		if b.Digest() == policy.Embedded().Digest() {
			return nil, fmt.Errorf("%s does not say %q any more", change[0], change[1])
		}
		out[name] = b
	}
	return out, nil
}

// compares measures what a candidate would change for one persona, against the
// persona's rule and the candidate's by hand in one scan, counted by place.
func (s *scaled) compares(ctx context.Context) error {
	bundles, err := tried()
	if err != nil {
		return err
	}
	for _, name := range []string{"walls do not hold", "everybody sees everything"} {
		for _, who := range []string{broad, narrow, partner} {
			rule := handWritten(s.o, who)
			sees := "((" + strings.Join(rule.grounds, " or ") + ")" + rule.tail("") + ")"
			then := "((" + strings.Join(rule.grounds, " or ") + ") and not (" + strings.Join(rule.closes[:1], " or ") + "))" // its one withhold
			if name == "everybody sees everything" {
				then = "(not (" + strings.Join(rule.closes, " or ") + "))"
			}
			byHand := "select r.territory, r.segment, count(*) filter (where a and not b), count(*) filter (where b and not a) from (select r.territory, r.segment, " +
				sees + " as b, " + then + " as a from record.account r offset 0) r where a <> b group by r.territory, r.segment"
			var got int64
			ours, theirs, err := interleaveFor(time.Second, func() error {
				sum, err := s.door.Impact(ctx, s.caller(officer), access.ImpactRequest{
					Candidate: access.Candidate{Files: bundles[name].Modules()}, Subjects: []crm.SubjectID{crm.SubjectID(who + "@" + scale)},
				}, func(access.ImpactStep) error { return nil })
				got = sum.Gained + sum.Lost
				return err
			}, func() error {
				places, err := answers(ctx, s.pools[0], byHand, rule.args)
				var n int64
				for _, p := range places {
					n += p[2].(int64) + p[3].(int64)
				}
				if err == nil && n != got {
					err = fmt.Errorf("the comparison says %d records, by hand %d", got, n)
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("%s, %s: %w", name, who, err)
			}
			s.table = append(s.table, measure{
				name:     fmt.Sprintf("impact on one persona among %d accounts: %s, %s, %d records", s.rows, name, s.wide(who), got),
				measured: ours.String(), baseline: fmt.Sprintf("%s; by hand in SQL %s", comparedWithin, theirs.String()),
				ratio: ratio(ours.at(0.5), comparedWithin), limit: 1, unit: "of two seconds",
			})
		}
	}
	return nil
}

// benchPolicy measures what officers wait for.
func benchPolicy(ctx context.Context, w *world) ([]measure, error) {
	activation, err := benchActivation(ctx, w)
	if err != nil {
		return nil, err
	}
	replay, err := benchReplay(ctx, w)
	return append(activation, replay...), err
}

// benchActivation measures from the order to put a bundle in force that no
// replica has seen, until another replica has answered under it, against
// compiling the bundle and reading: what the first answer cannot do without.
func benchActivation(ctx context.Context, w *world) (out []measure, err error) {
	n := w.nodes["amer"]
	replica, _, stop, err := openDoor(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	st, err := store.Open(ctx, store.Config{URL: n.app, OwnerURL: n.dsn, Instance: n.name, MaxConns: 2})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	reader := crm.Caller{Subject: rep + "@amer", Execution: strings.Repeat("0", 31) + "3"}
	read := func() error {
		_, _, err := replica.List(ctx, reader, access.ListRequest{Entity: "account", Limit: 50})
		return err
	}
	version := func(i int) (*policy.Bundle, error) {
		files := maps.Clone(policy.Embedded().Modules())
		files["residency.rego"] += fmt.Sprintf("\n# %d\n", i)
		return policy.NewBundle(files)
	}
	ours, theirs, err := interleave(20, func(i int) error {
		b, err := version(i)
		if err != nil {
			return err
		}
		if err := accesstest.Activate(ctx, st, n.name, b, crm.Caller{Subject: "bench"}); err != nil {
			return err
		}
		if err := read(); err != nil {
			return err
		}
		if in, err := replica.InForce(ctx); err != nil || in.Digest() != b.Digest() {
			return errors.Join(err, errors.New("the replica answers under another bundle"))
		}
		return nil
	}, func(i int) error {
		b, err := version(-i)
		if err != nil {
			return err
		}
		if _, err := policy.New(ctx, b, st.Definitions()...); err != nil {
			return err
		}
		return read()
	})
	if err != nil {
		return nil, err
	}
	return []measure{{
		name: "activation of a bundle, until another replica answers under it", measured: ours.String(), baseline: "compile it and read " + theirs.String(),
		ratio: ratio(ours.at(0.5), theirs.at(0.5)), limit: 2,
	}}, accesstest.Activate(ctx, st, n.name, policy.Embedded(), crm.Caller{Subject: "bench"})
}

// replayed is how many reads the replay is measured on.
const replayed = 2000

// benchReplay measures a day of decisions under another bundle, against the
// same reads again: what is decided again is read again, and twice.
func benchReplay(ctx context.Context, w *world) (out []measure, err error) {
	n := w.nodes["amer"]
	door, _, stop, err := openDoor(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	reader := crm.Caller{Subject: rep + "@amer", Execution: strings.Repeat("0", 31) + "2"}
	page, _, err := door.List(ctx, reader, access.ListRequest{Entity: "account", Limit: 1000})
	if err != nil || len(page) == 0 {
		return nil, errors.Join(err, errors.New("there is nothing to read"))
	}
	since := time.Now()
	for i := range replayed {
		if _, err := door.Get(ctx, reader, "account", []crm.RecordID{page[i%len(page)].ID}); err != nil {
			return nil, err
		}
	}
	read := time.Since(since)
	bundles, err := tried()
	if err != nil {
		return nil, err
	}
	sum, err := door.Replay(ctx, crm.Caller{Subject: officer + "@amer"}, access.ReplayRequest{
		Candidate: access.Candidate{Files: bundles["everybody sees everything"].Modules()}, Since: since, Until: time.Now().Add(time.Second),
	}, func(access.ReplayStep) error { return nil })
	if err != nil {
		return nil, err
	}
	if sum.Records < replayed {
		return nil, fmt.Errorf("only %d of %d records were judged: %+v", sum.Records, replayed, sum)
	}
	rate := func(d time.Duration, n int64) string { return fmt.Sprintf("%.0f decisions/s", float64(n)/d.Seconds()) }
	return []measure{{
		name: fmt.Sprintf("replay of %d reads under another bundle", sum.Decisions), measured: rate(sum.Took, sum.Decisions), baseline: "the reads themselves " + rate(read, replayed),
		ratio: float64(sum.Took) / float64(sum.Decisions) / (float64(read) / replayed), limit: 2,
	}}, nil
}
