package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"

	"github.com/google/go-cmp/cmp"
)

// TestApartFindsEveryRowTreatedDifferently puts the filters of two readers, or
// of two bundles, side by side: a row on which the oracle's answers differ
// satisfies one of the conditions that Apart names.
func TestApartFindsEveryRowTreatedDifferently(t *testing.T) {
	db := openRows(t)
	differing, spared := 0, 0
	for n := range knob(t, "MERIDIAN_APART_BUNDLES", 60) {
		g := &generator{Rand: rand.New(rand.NewPCG(77, uint64(n)))}
		source, grounds := g.bundle()
		w := g.world(40, 40)
		if err := db.load(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		before, after := g.subject(), g.subject()
		changed, changedGrounds := source, grounds
		switch g.IntN(4) {
		case 0: // another reader under the same bundle
		case 1: // the same reader, who gets one thing more
			after = before
			after.Keys = append(slices.Clone(after.Keys), g.word())
			after.Clearance = min(9, after.Clearance+1)
		case 2: // another rule for the same reader
			after = before
			changed, changedGrounds = g.with(source, grounds)
		case 3: // nothing changes
			after = before
		}
		answers := func(source string, grounds []made, s crm.Subject) (policy.Filter, map[crm.RecordID]answer) {
			engine, problems := compileRules(t, source)
			if len(problems) > 0 {
				t.Fatalf("bundle %d is refused: %q\n%s", n, problems, source)
			}
			f, err := engine.Filter(t.Context(), s, crm.ActionRead, w.entity, groupNames)
			if err != nil { // refused is denied
				return policy.Filter{}, nil
			}
			judge, err := newOracle(t.Context(), source, grounds)
			if err != nil {
				t.Fatal(err)
			}
			answers, err := judge.answers(t.Context(), s, crm.ActionRead, w, &policy.Moment{Valid: noon, Recorded: noon})
			if err != nil {
				t.Fatal(err)
			}
			return f, answers
		}
		f, was := answers(source, grounds, before)
		h, is := answers(changed, changedGrounds, after)
		if g.IntN(2) == 0 {
			f, was, h, is = h, is, f, was
		}
		named := db.apart(t, w.entity, f, h)
		for _, id := range w.ids {
			switch {
			case was[id].Allowed != is[id].Allowed || was[id].Allowed && !cmp.Equal(was[id].Revealed, is[id].Revealed):
				differing++
				if !slices.Contains(named, string(id)) {
					t.Fatalf("bundle %d: %s was %+v and is %+v, and no condition names it\n%s", n, id, was[id], is[id], source)
				}
			case !slices.Contains(named, string(id)):
				spared++
			}
		}
		if len(db.apart(t, w.entity, f, f)) > 0 {
			t.Fatalf("bundle %d: a filter is apart from itself", n)
		}
	}
	if differing < 100 || spared < 100 {
		t.Errorf("%d rows differ and %d were spared: it proves little", differing, spared)
	}
}

// with is the bundle with one ground more.
func (g *generator) with(source string, grounds []made) (string, []made) {
	extra := made{"extra", pick(g, "agreement", "grant", ""), g.IntN(2) == 0}
	g.ground, g.fact = extra.name, extra.fact
	g.helpers.Reset()
	effect, factOf := "closes", ""
	rules := define(extra.name, g.args(), g.body(1, 2, 1))
	if extra.opens {
		effect = "opens"
		rules += define(extra.name+"_reveals", append(g.args(), "group"), "\tgroup == \"core\"")
	}
	if extra.fact != "" {
		factOf = `"fact": "` + extra.fact + `", `
	}
	declared := fmt.Sprintf("grounds := {\n\t%q: {\"effect\": %q, %s\"text\": \"t\"},\n", extra.name, effect, factOf)
	return strings.Replace(source, "grounds := {\n", declared, 1) + rules + g.helpers.String(), append(slices.Clone(grounds), extra)
}

// apart are the ids of the rows that Apart names.
func (db rows) apart(t *testing.T, entity string, before, after policy.Filter) (ids []string) {
	t.Helper()
	args := policy.NewArgs(&policy.Moment{Valid: noon, Recorded: noon})
	conditions := policy.Apart(before, after, args, args)
	if len(conditions) == 0 {
		return nil
	}
	rows, err := db.conn.Query(t.Context(), "select r.id::text from record."+entity+" r where "+strings.Join(conditions, " or "), args.Values()...)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	return ids
}
