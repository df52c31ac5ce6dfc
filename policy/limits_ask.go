package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// LimitCase is one question about limits, asked for several values of one
// number: how long a share with a manager may be, how often a day the glass may
// be broken.
type LimitCase struct {
	Name        string
	Permissions []string   // without one of them the question does not arise; nil for none
	Action      crm.Action // likewise, if nothing may be done so; "" for none
	Unit        string     // of the number; "" if there is none, and one value then
	At          []float64  // ascending
	Of          int        // the case of which it is a special one; its own place for none
	limit       func(limits) *limit
	declares    func(*Engine, context.Context) error // also needed: who says it without an end is told of one
	what        func(by crm.Subject, at float64) *ast.Term
}

const (
	mostNumbers  = 60 // of those that limits speak of
	longestWord  = 30 // of those that may be a role or a group
	longestAsked = 36500
)

// LimitCases are the questions that tell two policies' limits apart: each about
// everything alone that a limit may read, for each role, group and number that
// either policy's limits speak of and the numbers beside it.
func LimitCases(a, b *Engine, groups, roles []string) (cases []LimitCase) {
	numbers, words := spokenOf(a, b)
	roles = distinct(roles, words)
	asked := func(usual ...float64) []float64 { return around(numbers, usual) }
	add := func(c LimitCase) int {
		if c.Of < 0 {
			c.Of = len(cases)
		}
		cases = append(cases, c)
		return c.Of
	}
	judgement := func(name string, of int, j Judgement, at []float64) int {
		return add(LimitCase{
			Name: name, Action: crm.Action(j.Kind), Unit: "days", At: at, Of: of,
			limit: func(l limits) *limit { return l.judgement },
			declares: func(e *Engine, ctx context.Context) error {
				_, _, err := e.Judgements(ctx)
				return err
			},
			what: func(_ crm.Subject, days float64) *ast.Term { return j.term(days) },
		})
	}
	days := asked(1, 2, 7, 30, 90, 365, 3650, longestAsked)
	share := judgement("share", -1, Judgement{Kind: crm.GrantShare, Groups: []string{"core"}}, days)
	for _, g := range distinct(groups, words) {
		judgement("share of group "+g, share, Judgement{Kind: crm.GrantShare, Groups: []string{g}}, days)
	}
	withhold := judgement("withhold", -1, Judgement{Kind: crm.GrantWithhold}, days)
	for _, role := range roles {
		judgement("share with role "+role, share, Judgement{Kind: crm.GrantShare, Groups: []string{"core"}, Roles: []string{role}}, days)
		judgement("withhold from role "+role, withhold, Judgement{Kind: crm.GrantWithhold, Roles: []string{role}}, days)
	}
	judgement("share with oneself", share, Judgement{Kind: crm.GrantShare, Groups: []string{"core"}, Own: true}, days)
	judgement("withhold from oneself", withhold, Judgement{Kind: crm.GrantWithhold, Own: true}, days)

	for _, kind := range []string{"subject", "territory", "segment", "department"} {
		for _, about := range distinct([]string{"", "somebody@else"}, slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.Contains(w, "@") })) {
			name := "edit facts of kind " + kind + map[bool]string{true: " about " + about}[about != ""]
			if about == "somebody@else" {
				name = "edit facts of kind " + kind + " about somebody else"
			}
			add(edit(name, kind, func(crm.Subject) crm.SubjectID { return crm.SubjectID(about) }))
		}
		add(edit("edit facts of kind "+kind+" about oneself", kind, func(by crm.Subject) crm.SubjectID { return by.ID }))
	}

	emergency := func(name, unit string, at []float64, what func(float64) glass) {
		add(LimitCase{
			Name: name, Permissions: []string{"breakglass"}, Unit: unit, At: at, Of: -1,
			limit:    func(l limits) *limit { return l.emergency },
			declares: func(e *Engine, ctx context.Context) error { _, err := e.LongestEmergency(ctx); return err },
			what:     func(_ crm.Subject, at float64) *ast.Term { return what(at).term() },
		})
	}
	const wordy = 2000
	emergency("broken glass", "minutes", asked(1, 5, 15, 30, 60, 120, 480, 1440, 10080), func(at float64) glass { return glass{at, wordy, 0, 0} })
	emergency("reason of a broken glass", "characters", asked(0, 1, 5, 10, 20, 50, 100, 500, wordy), func(at float64) glass { return glass{1, at, 0, 0} })
	emergency("another broken glass", "held open already", asked(0, 1, 2, 3, 5, 10, 20, 100, 1000), func(at float64) glass { return glass{1, wordy, at, 0} })
	emergency("another broken glass", "opened that day already", asked(0, 1, 2, 3, 5, 10, 20, 100, 1000), func(at float64) glass { return glass{1, wordy, 0, at} })
	return cases
}

func edit(name, kind string, about func(crm.Subject) crm.SubjectID) LimitCase {
	return LimitCase{
		Name: name, Permissions: []string{"fact.write", "agreement.write"}, At: []float64{0}, Of: -1,
		limit: func(l limits) *limit { return l.edit },
		what:  func(by crm.Subject, _ float64) *ast.Term { return editTerm(kind, about(by)) },
	}
}

// spokenOf are the numbers and the words in the limits of two policies.
func spokenOf(engines ...*Engine) (numbers []float64, words []string) {
	for _, e := range engines {
		for _, m := range e.bundle.rules() {
			if m.Package.Path.String() != limitsPackage {
				continue
			}
			ast.WalkTerms(m, func(t *ast.Term) bool {
				switch v := t.Value.(type) {
				case ast.Number:
					if n, ok := v.Float64(); ok && n >= 0 && n <= longestAsked {
						numbers = append(numbers, n)
					}
				case ast.String:
					if w := string(v); w != "" && len(w) <= longestWord && !strings.ContainsAny(w, " \t\n") {
						words = append(words, w)
					}
				}
				return false
			})
		}
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	return numbers[:min(len(numbers), mostNumbers)], distinct(words)
}

// around are values with those below and above them.
func around(spoken, usual []float64) (at []float64) {
	at = slices.Clone(usual)
	for _, n := range spoken {
		at = append(at, n, n+1)
		if n >= 1 {
			at = append(at, n-1)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

func distinct(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// MayWithin answers, case by case and value by value, what s may. An answer that
// cannot be had is no.
func (e *Engine) MayWithin(ctx context.Context, s crm.Subject, cases []LimitCase) ([][]bool, error) {
	type batch struct {
		whats []*ast.Term
		to    []*bool
	}
	batches := map[*limit]*batch{}
	out := make([][]bool, len(cases))
	for i, c := range cases {
		out[i] = make([]bool, len(c.At))
		if c.declares != nil && c.declares(e, ctx) != nil {
			continue
		}
		l := c.limit(e.limits)
		b := batches[l]
		if b == nil {
			b = &batch{}
			batches[l] = b
		}
		for j, at := range c.At {
			b.whats, b.to = append(b.whats, c.what(s, at)), append(b.to, &out[i][j])
		}
	}
	for l, b := range batches {
		beyond, err := e.overstepped(ctx, l, s, b.whats)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for i := range b.to {
			*b.to[i] = err == nil && !beyond[i]
		}
	}
	return out, nil
}

// overstepped says of each thing that somebody may want to say whether it
// oversteps a limit: what within says of each, at once.
func (e *Engine) overstepped(ctx context.Context, l *limit, by crm.Subject, whats []*ast.Term) (beyond []bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = crm.Errorf(crm.Internal, "policy %.12s, limits: panic: %v", e.Digest(), p)
		}
	}()
	var declared map[string]struct{ Field, Text string }
	if err := e.declared(ctx, l.declared, &declared); err != nil {
		return nil, err
	}
	if len(declared) == 0 || l.overstepped == nil {
		return nil, e.silent()
	}
	ctx, done := context.WithTimeout(ctx, evaluateAtMost)
	defer done()
	in := object("limits", texts(slices.Sorted(maps.Keys(declared))), "by", subjectTerm(by), "what", ast.ArrayTerm(whats...))
	rs, err := l.overstepped.Eval(ctx, rego.EvalParsedInput(in.Value))
	if err = interrupted(ctx, err); err != nil {
		return nil, crm.Errorf(crm.Internal, "policy %.12s, limits: %w", e.Digest(), err)
	}
	beyond = make([]bool, len(whats))
	for _, r := range rs {
		n, err := strconv.Atoi(fmt.Sprint(r.Bindings["i"]))
		if err != nil {
			return nil, err
		}
		beyond[n] = true
	}
	return beyond, nil
}

// Say puts answers to a case in words.
func (c LimitCase) Say(may []bool) string {
	if !slices.Contains(may, true) {
		return "refused"
	}
	if !slices.Contains(may, false) {
		return map[bool]string{true: "allowed", false: "allowed, however many " + c.Unit}[c.Unit == ""]
	}
	var runs []string
	number := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	for i := 0; i < len(may); i++ {
		if !may[i] {
			continue
		}
		last := i
		for last+1 < len(may) && may[last+1] {
			last++
		}
		switch low, high := number(c.At[i]), number(c.At[last]); {
		case i == 0:
			runs = append(runs, "up to "+high)
		case last == len(may)-1:
			runs = append(runs, "from "+low)
		case i == last:
			runs = append(runs, low)
		default:
			runs = append(runs, low+" to "+high)
		}
		i = last
	}
	return strings.Join(runs, ", ") + " " + c.Unit
}

// Unended is how long what is said without an end holds, by what it is.
func (e *Engine) Unended(ctx context.Context) map[string]time.Duration {
	out := map[string]time.Duration{}
	if usual, _, err := e.Judgements(ctx); err == nil {
		out["judgement"] = usual
	}
	if longest, err := e.LongestEmergency(ctx); err == nil {
		out["broken glass"] = longest
	}
	return out
}
