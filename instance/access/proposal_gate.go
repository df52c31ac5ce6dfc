package access

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// Bounds of an examination: it is made while an officer waits.
const (
	sampledRecords  = 40 // of each entity
	sampledSubjects = 60 // whose filters are compared with the rules; all are compiled
	maxProblems     = 50 // of one check
)

// Check is one thing a bundle is examined for.
type Check struct {
	Name     string   `json:"name"`
	Detail   string   `json:"detail"` // what was looked at
	Problems []string `json:"problems,omitempty"`
}

// Report is what an examination found. Warnings do not stop a proposal: the
// second officer reads them.
type Report struct {
	Bundle   string    `json:"bundle"`
	Base     string    `json:"base"`
	Stamp    int64     `json:"stamp"`
	At       time.Time `json:"at"`
	Checks   []Check   `json:"checks"`
	Warnings []string  `json:"warnings,omitempty"`
}

// Passed says whether nothing was found.
func (r Report) Passed() bool {
	return !slices.ContainsFunc(r.Checks, func(c Check) bool { return len(c.Problems) > 0 })
}

// refusal lists every problem of a bundle that may not be proposed.
func (r Report) refusal() error {
	if r.Passed() {
		return nil
	}
	err := crm.Errorf(crm.Invalid, "the bundle may not be proposed")
	for _, c := range r.Checks {
		for _, p := range c.Problems {
			err.Reasons = append(err.Reasons, c.Name+": "+p)
		}
	}
	return err
}

func (r *Report) add(name, detail string, problems []string) bool {
	if len(problems) > maxProblems {
		problems = append(problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", len(problems)-maxProblems))
	}
	r.Checks = append(r.Checks, Check{name, detail, problems})
	return len(problems) == 0
}

// Examine holds a bundle to everything a proposal is held to, without
// proposing it.
func (d *Door) Examine(ctx context.Context, c crm.Caller, files map[string]string) (Report, error) {
	a, err := d.permit(ctx, c, "policy.propose")
	if err != nil {
		return Report{}, err
	}
	b, err := policy.NewBundle(files)
	if err != nil {
		return Report{}, err
	}
	r, err := d.examine(ctx, b)
	if err != nil {
		return r, err
	}
	decision := a.decision("policy.examine", "")
	decision.Facts = []string{r.Bundle}
	return r, d.journal.add(ctx, decision)
}

// examine looks at a bundle: its form, rules, tests and coverage, the filters
// of everybody, and whether lists agree with the rules on live records.
func (d *Door) examine(ctx context.Context, b *policy.Bundle) (Report, error) {
	r := Report{Bundle: b.Digest()}
	base, inForce, err := d.comparedWith(ctx)
	if err != nil {
		return r, err
	}
	if r.Stamp, r.At, err = d.store.Stamp(ctx); err != nil {
		return r, err
	}
	r.Base, r.At = inForce, r.At.UTC()
	r.Warnings = promises(base.Bundle(), b)
	if base.Digest() != inForce {
		r.Warnings = append(r.Warnings, fmt.Sprintf("what is in force, bundle %.12s, decides nothing (meridian policy history says why): compared with bundle %.12s, the last that did", inForce, base.Digest()))
	}
	if r.Bundle == base.Digest() && r.Bundle == r.Base {
		r.add("change", "against the bundle in force", []string{"the bundle is the one in force; there is nothing to propose"})
		return r, nil
	}
	unset, err := policy.Unformatted(b)
	if err != nil {
		return r, err
	}
	for i, path := range unset {
		unset[i] = path + " is not formatted: run meridian policy fmt"
	}
	r.add("format", "every file in its one form", unset)
	engine, err := d.candidate(ctx, Candidate{Files: b.Modules()})
	if err != nil {
		if e := crm.Public(err); e.Kind == crm.Invalid {
			r.add("rules", "compiled strictly, and filters made for every word they use", e.Reasons)
			return r, nil // nothing else could be said of rules that are not ones
		}
		return r, err
	}
	r.add("rules", "compiled strictly, and filters made for every word they use", nil)
	if err := d.tested(ctx, b, &r); err != nil {
		return r, err
	}
	return r, d.rehearsed(ctx, engine, &r)
}

// promises are the invariants of base that b drops or words otherwise, and the
// personas that it does not try any more as they were.
func promises(base, b *policy.Bundle) (warnings []string) {
	kept := b.Invariants()
	for name, text := range base.Invariants() {
		switch now, ok := kept[name]; {
		case !ok:
			warnings = append(warnings, "the invariant "+name+" is dropped")
		case now != text:
			warnings = append(warnings, "the invariant "+name+" is worded otherwise")
		}
	}
	tried := map[string]crm.Subject{}
	for _, p := range b.Personas() {
		tried[p.Name] = p.Subject
	}
	for _, p := range base.Personas() {
		switch now, ok := tried[p.Name]; {
		case !ok:
			warnings = append(warnings, "the persona "+p.Name+" is gone: the bundle is not tried with it any more")
		case !reflect.DeepEqual(now, p.Subject):
			warnings = append(warnings, "the persona "+p.Name+" is another one")
		}
	}
	slices.Sort(warnings)
	return warnings
}

// tested runs the bundle's own tests, invariants among them.
func (d *Door) tested(ctx context.Context, b *policy.Bundle, r *Report) error {
	results, unseen, err := policy.Cover(ctx, b)
	if e := crm.Public(err); err != nil && e.Kind == crm.Invalid {
		r.add("tests", "run as they are in the bundle", []string{e.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	var failed []string
	promised := 0
	for _, t := range results {
		if _, ok := b.Invariants()[t.Name[strings.LastIndexByte(t.Name, '.')+1:]]; ok {
			promised++
		}
		if !t.Passed {
			failed = append(failed, t.Name+": "+t.Message)
		}
	}
	if len(results) == 0 {
		failed = []string{"the bundle has no tests"}
	}
	r.add("tests", fmt.Sprintf("%d tests, %d of them invariants", len(results), promised), failed)
	for i, rule := range unseen {
		unseen[i] = rule + " holds in no test: write one that needs it"
	}
	r.add("coverage", "every rule holds in a test", unseen)
	return nil
}

// rehearsed makes the filters of the bundle's personas and of everybody here,
// and compares lists with rules on live records.
func (d *Door) rehearsed(ctx context.Context, engine *policy.Engine, r *Report) error {
	people, err := d.cast(ctx, engine.Bundle())
	if err != nil {
		return err
	}
	filters := 0
	var broken []string
	for _, s := range people {
		for _, def := range d.store.Definitions() {
			for _, action := range actionsOf(s) {
				filters++
				if _, err := engine.Filter(ctx, s, action, def.Entity, def.Groups()); err != nil {
					broken = append(broken, fmt.Sprintf("%s, %s %s: %v", s.ID, action, def.Entity, err))
				}
			}
		}
	}
	if !r.add("filters", fmt.Sprintf("%d filters of %d personas, people and instances", filters, len(people)), broken) {
		return nil
	}
	exceeded, err := d.exceeding(ctx, engine, people)
	if err != nil {
		return err
	}
	r.Warnings = append(r.Warnings, exceeded...)
	o := oracle{Door: d, engine: engine}
	for _, def := range d.store.Definitions() {
		if err := o.compare(ctx, def, spread(people, sampledSubjects)); err != nil {
			return err
		}
	}
	r.add("oracle", fmt.Sprintf("%d decisions on %d live records", o.decisions, o.records), o.problems)
	return nil
}

// exceeding says to which other instances the rules would show more than their
// contracts grant. The contracts hold (I16), but the rule is hardly meant so.
func (d *Door) exceeding(ctx context.Context, engine *policy.Engine, people []crm.Subject) (warnings []string, err error) {
	for _, s := range people {
		var groups []string
		for _, def := range d.store.Definitions() {
			more, err := engine.Exceeds(ctx, s, def.Entity, def.Groups())
			if err != nil {
				return nil, err
			}
			groups = append(groups, more...)
		}
		if len(groups) > 0 {
			slices.Sort(groups)
			warnings = append(warnings, fmt.Sprintf("the rules would show %s the groups %s, which its contract does not grant: they do not leave; "+
				"say within_contract(ask, group) if that is what the rule means", s.ID, strings.Join(slices.Compact(groups), ", ")))
		}
	}
	return warnings, nil
}

func actionsOf(s crm.Subject) []crm.Action {
	if s.Kind == crm.KindInstance {
		return []crm.Action{crm.ActionPublish}
	}
	return []crm.Action{crm.ActionRead, crm.ActionCreate, crm.ActionUpdate, crm.ActionDelete, crm.ActionShare, crm.ActionWithhold}
}

// cast is everybody a bundle is tried with: its personas, then who is here.
func (d *Door) cast(ctx context.Context, b *policy.Bundle) (people []crm.Subject, err error) {
	for _, p := range b.Personas() {
		s := p.Subject
		s.ID = crm.SubjectID("persona " + p.Name)
		people = append(people, s)
	}
	ids, err := d.store.SubjectIDs(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		s, known, err := d.store.Subject(ctx, id)
		if err != nil {
			return nil, err
		}
		if known {
			people = append(people, s)
		}
	}
	contracts, err := d.store.Contracts(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range contracts {
		if c.Source != d.instance {
			continue
		}
		s, inForce, err := d.store.ReceiverAt(ctx, c.ID, nil)
		if err != nil {
			return nil, err
		}
		if inForce {
			people = append(people, s)
		}
	}
	return people, nil
}

// spread takes at most n of a list, evenly.
func spread[T any](list []T, n int) []T {
	if len(list) <= n {
		return list
	}
	out := make([]T, n)
	for i := range out {
		out[i] = list[i*len(list)/n]
	}
	return out
}

// oracle compares what lists show with what the rules say of known records.
type oracle struct {
	*Door
	engine             *policy.Engine
	records, decisions int
	problems           []string
}

// known is what the rules are asked about.
type known struct {
	records map[crm.RecordID]crm.Record
	facts   map[crm.RecordID]policy.Facts
	now     time.Time
}

func (o *oracle) compare(ctx context.Context, def crm.Definition, people []crm.Subject) error {
	ids, err := o.store.Sample(ctx, def.Entity, sampledRecords)
	if err != nil || len(ids) == 0 {
		return err
	}
	o.records += len(ids)
	look, err := o.look(ctx, def, ids)
	if err != nil {
		return err
	}
	for _, s := range people {
		differ, err := o.differ(ctx, def, s, look)
		// Records and facts live: what differs is looked at again.
		for tries := 0; err == nil && len(differ) > 0 && tries < 3; tries++ {
			var again known
			if again, err = o.look(ctx, def, slices.Sorted(maps.Keys(differ))); err == nil {
				differ, err = o.differ(ctx, def, s, again)
			}
		}
		if err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(differ)) {
			o.problems = append(o.problems, fmt.Sprintf("%s %s, %s: %s", def.Entity, id, s.ID, differ[id]))
		}
	}
	return nil
}

func (o *oracle) look(ctx context.Context, def crm.Definition, ids []crm.RecordID) (k known, err error) {
	if k.records, err = o.store.Load(ctx, def.Entity, ids); err != nil {
		return k, err
	}
	k.facts = map[crm.RecordID]policy.Facts{}
	for id, rec := range k.records {
		if k.facts[id], err = o.store.FactsAbout(ctx, id, rec.Account); err != nil {
			return k, err
		}
	}
	_, k.now, err = o.store.Stamp(ctx)
	return k, err
}

// differ are the records on which the list and the rules do not agree, and how.
func (o *oracle) differ(ctx context.Context, def crm.Definition, s crm.Subject, k known) (map[crm.RecordID]string, error) {
	action := crm.ActionRead
	if s.Kind == crm.KindInstance {
		action = crm.ActionPublish
	}
	f, err := o.engine.Filter(ctx, s, action, def.Entity, def.Groups())
	if err != nil {
		return nil, err
	}
	page, err := o.store.Get(ctx, store.Read{Entity: def.Entity, Filter: f, IDs: slices.Collect(maps.Keys(k.records))})
	if err != nil {
		return nil, err
	}
	shown := byID(page.Records)
	out := map[crm.RecordID]string{}
	for id, rec := range k.records {
		o.decisions++
		rules, err := o.engine.Explain(ctx, s, action, rec, k.facts[id], k.now, def.Groups())
		if err != nil {
			return nil, err
		}
		got, seen := shown[id]
		revealed := slices.DeleteFunc(def.Groups(), func(g string) bool {
			return slices.Contains(got.Withheld, g) || slices.Contains(got.Masked, g)
		})
		switch {
		case seen != rules.Allowed:
			out[id] = fmt.Sprintf("shown by the list: %v, by the rules: %v", seen, rules.Allowed)
		case seen && !slices.Equal(revealed, rules.Revealed):
			out[id] = fmt.Sprintf("the list reveals %s, the rules %s", strings.Join(revealed, " "), strings.Join(rules.Revealed, " "))
		}
	}
	return out, nil
}
