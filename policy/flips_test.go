package policy_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"meridian/instance/crm"
	"meridian/policy"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// withJudgements is a bundle in which judgements also open and close, unless
// they are suspended.
func withJudgements(source string, grounds []made) (string, []made) {
	declared := "grounds := {\n" + `	"lent": {"effect": "opens", "fact": "grant", "text": "t"},
	"kept": {"effect": "closes", "fact": "grant", "text": "t"},
`
	rules := `
lent(ask, _, fact, _) if {
	fact.suspended == false
	fact.key != "b"
	ask.action == "read"
}

lent_reveals(_, _, fact, _, group) if group in fact.groups

kept(_, record, fact, _) if {
	fact.suspended == false
	fact.key < "b"
	record.sensitivity > 1
}
`
	source = strings.Replace(source, "grounds := {\n", declared, 1) + rules
	return source, append(slices.Clone(grounds), made{"lent", "grant", true}, made{"kept", "grant", false})
}

// TestFlipsAnswerAsIfTheyWereRecorded: a filter that supposes judgements the
// other way round shows what the oracle says of a world in which they are, and
// every row that this treats otherwise satisfies one of Apart's conditions.
func TestFlipsAnswerAsIfTheyWereRecorded(t *testing.T) {
	db := openRows(t)
	noonMoment := &policy.Moment{Valid: noon, Recorded: noon}
	differing, spared := 0, 0
	for n := range knob(t, "MERIDIAN_FLIP_BUNDLES", 60) {
		g := &generator{Rand: rand.New(rand.NewPCG(91, uint64(n)))}
		source, grounds := withJudgements(g.bundle())
		w := g.world(40, 40)
		if err := db.load(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		s := g.subject()
		engine, problems := compileRules(t, source)
		if len(problems) > 0 {
			t.Fatalf("bundle %d is refused: %q\n%s", n, problems, source)
		}
		f, err := engine.Filter(t.Context(), s, crm.ActionRead, w.entity, groupNames)
		if err != nil { // refused is denied, on both sides
			continue
		}
		flipped := w
		flipped.grants = slices.Clone(w.grants)
		var flips []crm.Grant
		for i := range flipped.grants {
			if g.IntN(3) == 0 {
				flips = append(flips, flipped.grants[i])
				flipped.grants[i].Suspended = !flipped.grants[i].Suspended
			}
		}
		judge, err := newOracle(t.Context(), source, grounds)
		if err != nil {
			t.Fatal(err)
		}
		answers := func(w world) map[crm.RecordID]answer {
			out, err := judge.answers(t.Context(), s, crm.ActionRead, w, noonMoment)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		was, is := answers(w), answers(flipped)
		supposed := policy.NewArgs(noonMoment).Supposing(policy.Flip(flips))
		got, err := db.answered(t.Context(), w.entity, f, supposed)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(is, got); diff != "" {
			t.Fatalf("bundle %d: oracle (-) and filter (+):\n%s\n%s", n, diff, source)
		}
		args := policy.NewArgs(noonMoment)
		conditions := policy.Apart(f, f, args, args.Supposing(policy.Flip(flips)))
		var named []string
		if len(conditions) > 0 {
			rows, err := db.conn.Query(t.Context(), "select r.id::text from record."+w.entity+" r where "+strings.Join(conditions, " or "), args.Values()...)
			if err != nil {
				t.Fatal(err)
			}
			if named, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
				t.Fatal(err)
			}
		}
		for id := range is {
			switch {
			case !cmp.Equal(was[id], is[id]):
				differing++
				if !slices.Contains(named, string(id)) {
					t.Fatalf("bundle %d: %s was %+v and is %+v, and no condition names it\n%s", n, id, was[id], is[id], source)
				}
			case !slices.Contains(named, string(id)):
				spared++
			}
		}
	}
	if differing < 20 || spared < 100 {
		t.Errorf("%d rows differ and %d were spared: it proves little", differing, spared)
	}
}
