package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func wayBack(life []Activation) WayBack {
	var p Pile
	for _, a := range life {
		p.Add(a, !strings.HasPrefix(a.Digest, "?"))
	}
	return p.WayBack()
}

// TestRollbacksNeverGoForward: over random lives, with rollbacks to whatever is
// a target, no target was ever left by a rollback since it was last put in
// force otherwise, and each lies before the one in force.
func TestRollbacksNeverGoForward(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	backs := 0
	for range 300 {
		var life []Activation
		given := map[string]int64{} // when somebody but a rollback last put it in force
		left := map[string]int64{}  // when a rollback last took it out of force
		add := func(kind ActivationKind, digest string) {
			seq := int64(len(life) + 1)
			if kind != ActivationRollback {
				given[digest] = seq
			} else {
				left[life[len(life)-1].Digest] = seq
			}
			life = append(life, Activation{Seq: seq, Digest: digest, Kind: kind})
		}
		add(ActivationInitial, "a")
		for range 25 {
			w := wayBack(life)
			current := life[len(life)-1].Digest
			for _, target := range w.Targets {
				if target == current || left[target] > given[target] || slices.Contains(w.Withdrawn, target) {
					t.Fatalf("%v: %s is a target of %+v", life, target, w)
				}
			}
			for digest, at := range left {
				if at > given[digest] && digest != current && !slices.Contains(w.Withdrawn, digest) {
					t.Fatalf("%v: %s was rolled back and is not withdrawn: %+v", life, digest, w)
				}
			}
			if len(w.Targets) > 0 && r.IntN(2) == 0 {
				target := w.Targets[r.IntN(len(w.Targets))]
				before := w
				add(ActivationRollback, target)
				backs++
				if after := wayBack(life); len(after.Targets) >= len(before.Targets) {
					t.Fatalf("%v: a rollback leaves as many targets: %v, then %v", life, before.Targets, after.Targets)
				}
				continue
			}
			if next := fmt.Sprintf("%c", 'a'+r.IntN(5)); next != current {
				add(ActivationOfficers, next)
			}
		}
	}
	if backs < 500 {
		t.Errorf("only %d rollbacks were tried", backs)
	}
}

// TestWayBack names where a rollback goes in lives that are told.
func TestWayBack(t *testing.T) {
	t.Parallel()
	for life, want := range map[string]WayBack{
		"":            {},
		"a":           {},
		"a b":         {Targets: []string{"a"}},
		"a b c":       {Targets: []string{"b", "a"}},
		"a b c <b":    {Targets: []string{"a"}, Withdrawn: []string{"c"}},
		"a b c <b <a": {Withdrawn: []string{"c", "b"}},
		"a b c <a":    {Withdrawn: []string{"b", "c"}}, // jumped over is withdrawn too
		"a b <a b":    {Targets: []string{"a"}},        // two officers brought it back
		"a b a":       {Withdrawn: []string{"b"}},      // two officers took b out: one does not bring it back
		"a b a <b":    {Targets: []string{"a"}, Withdrawn: []string{"b"}},
		"a b a c":     {Targets: []string{"a"}, Withdrawn: []string{"b"}},
		"a b a c <a":  {Withdrawn: []string{"b", "c"}},
		"a b c b":     {Targets: []string{"a"}, Withdrawn: []string{"c"}},
		"a b <a <b":   {Targets: []string{"a"}, Withdrawn: []string{"b"}}, // forward, as earlier versions let it
		"a b <a <b c": {Targets: []string{"a"}, Withdrawn: []string{"b"}},
		"a b ?x":      {Targets: []string{"b", "a"}}, // what has no proof is no target,
		"a b ?x c":    {Targets: []string{"b", "a"}},
		"a b ?x <b":   {Targets: []string{"a"}, Withdrawn: []string{"?x"}},
		"a b <?a":     {Targets: []string{"b", "a"}}, // and takes nothing off
	} {
		var history []Activation
		for i, name := range strings.Fields(life) {
			a := Activation{Seq: int64(i + 1), Digest: name, Kind: ActivationOfficers}
			if name[0] == '<' {
				a.Digest, a.Kind = name[1:], ActivationRollback
			}
			history = append(history, a)
		}
		if got := wayBack(history); !slices.Equal(got.Targets, want.Targets) || !slices.Equal(got.Withdrawn, want.Withdrawn) {
			t.Errorf("%s: %+v, want %+v", life, got, want)
		}
	}
}
