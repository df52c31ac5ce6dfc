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
)

// TestOnceChangesNoAnswer asks every row whether two filters show it, with what
// they share evaluated once and with each evaluated by itself.
func TestOnceChangesNoAnswer(t *testing.T) {
	db := openRows(t)
	shared, shown := 0, 0
	for n := range 60 {
		g := &generator{Rand: rand.New(rand.NewPCG(78, uint64(n)))}
		source, _ := g.bundle()
		w := g.world(40, 40)
		if err := db.load(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		engine, problems := compileRules(t, source)
		if len(problems) > 0 {
			t.Fatalf("bundle %d is refused: %q\n%s", n, problems, source)
		}
		before := g.subject()
		after := before
		after.Keys = append(slices.Clone(after.Keys), g.word())
		f, err := engine.Filter(t.Context(), before, crm.ActionRead, w.entity, groupNames)
		h, otherErr := engine.Filter(t.Context(), after, crm.ActionRead, w.entity, groupNames)
		if err != nil || otherErr != nil {
			continue // refused is denied
		}
		moment := &policy.Moment{Valid: noon, Recorded: noon}
		args := policy.NewArgs(moment).ForMany()
		var asked []string
		ask := func() {
			asked = append(asked, f.Where(args), h.Where(args))
			for _, group := range groupNames {
				asked = append(asked, f.Reveals(group, args), h.Masks(group, args))
			}
		}
		ask()
		conditions := policy.Once(f, h, args, args, func(i int) string { return fmt.Sprintf("r.c%d", i) })
		half := len(asked)
		ask()
		var once strings.Builder
		for i, c := range conditions {
			fmt.Fprintf(&once, ", %s as c%d", c, i)
		}
		shared += len(conditions)
		differ := make([]string, half)
		for i := range half {
			differ[i] = fmt.Sprintf("(%s) is distinct from (%s)", asked[i], asked[half+i])
		}
		sql := fmt.Sprintf("select (%s), (%s) is true from (select r.*%s from record.%s r) r", strings.Join(differ, " or "), asked[0], once.String(), w.entity)
		rows, err := db.conn.Query(t.Context(), sql, args.Values()...)
		if err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
		var apart, visible bool
		if _, err := pgx.ForEachRow(rows, []any{&apart, &visible}, func() error {
			if apart {
				t.Errorf("bundle %d: another answer\n%s", n, sql)
			}
			if visible {
				shown++
			}
			return nil
		}); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
	if shared < 30 || shown < 100 {
		t.Errorf("%d conditions shared, %d rows shown: it proves little", shared, shown)
	}
}
