package pluginhost

import (
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/plugins"
)

// defaultDeadline bounds a step that names no deadline. It is generous, since
// laptops stall, and still leaves a write its answer within two seconds.
const defaultDeadline = 1900 * time.Millisecond

// plan says which steps run for a write, compiled from the manifests. It is
// immutable: a change of plugins is another plan.
type plan struct {
	listens map[string]ops // which operations of an entity have any step
	tracks  map[track]*course
	types   map[string]map[string]crm.Type // fields by entity
}

// ops is a set of operations, a bit each.
type ops uint8

func bit(op crm.Op) ops {
	switch op {
	case crm.OpCreate:
		return 1
	case crm.OpUpdate:
		return 2
	case crm.OpDelete:
		return 4
	}
	return 0
}

// track names what kind of write a course is for.
type track struct {
	entity string
	op     crm.Op
}

// course is what a write passes: the transforms round by round, then all
// validators at once, one round per plugin.
type course struct{ transforms, validators []*round }

// round is a call: neighbouring steps of one plugin.
type round struct {
	runner *runner
	stage  plugins.Stage
	steps  []*step
}

// step is a hook as the plan holds it.
type step struct {
	hook   plugins.Hook
	runner *runner
	at     int // position in the manifest
}

func (s *step) name() string { return s.runner.ref.Name + "/" + s.hook.Step }

func (s *step) deadline() time.Duration {
	if s.hook.Deadline > 0 {
		return s.hook.Deadline
	}
	return defaultDeadline
}

// compile makes the plan of what is installed, or says which plugins cannot
// be installed beside each other and why.
func compile(runners []*runner, bound map[string]string, defs []crm.Definition) (*plan, error) {
	p := &plan{listens: map[string]ops{}, tracks: map[track]*course{}, types: map[string]map[string]crm.Type{}}
	for _, d := range defs {
		p.types[d.Entity] = map[string]crm.Type{}
		for _, f := range d.Fields {
			p.types[d.Entity][f.Name] = f.Type
		}
	}
	if err := bindSlots(runners, bound); err != nil {
		return nil, err
	}
	byTrack := map[track][]*step{}
	for _, r := range runners {
		for i, hook := range r.manifest.Hooks {
			s := &step{hook: hook, runner: r, at: i}
			if err := p.check(s, runners); err != nil {
				return nil, err
			}
			if len(hook.Governs) > 0 && !slices.Contains(r.slots, plugins.SlotAssignment) {
				continue // another plugin has the slot: this one may not place records here
			}
			for _, op := range hook.Operations {
				byTrack[track{hook.Entity, op}] = append(byTrack[track{hook.Entity, op}], s)
				p.listens[hook.Entity] |= bit(op)
			}
		}
	}
	for t, steps := range byTrack {
		c, err := plot(steps)
		if err != nil {
			return nil, err
		}
		p.tracks[t] = c
	}
	return p, nil
}

// bindSlots gives each slot to one plugin.
func bindSlots(runners []*runner, bound map[string]string) error {
	offers := map[string][]*runner{}
	for _, r := range runners {
		for _, slot := range r.manifest.Slots {
			offers[slot] = append(offers[slot], r)
		}
	}
	for slot, name := range bound {
		i := slices.IndexFunc(offers[slot], func(r *runner) bool { return r.ref.Name == name })
		if i < 0 {
			return crm.Errorf(crm.Invalid, "slot %s is bound to %s, which is not installed or does not offer it", slot, name)
		}
		offers[slot] = offers[slot][i : i+1]
	}
	for slot, rs := range offers {
		if len(rs) > 1 {
			return crm.Errorf(crm.Invalid, "plugins %s and %s both offer the slot %s; bind it to one of them", rs[0].ref.Name, rs[1].ref.Name, slot)
		}
		rs[0].bind(slot)
	}
	return nil
}

// check reports what a hook names that is not there.
func (p *plan) check(s *step, runners []*runner) error {
	fields, ok := p.types[s.hook.Entity]
	if !ok {
		return crm.Errorf(crm.Invalid, "step %s: this instance has no entity %s", s.name(), s.hook.Entity)
	}
	for _, f := range slices.Concat(s.hook.Reads, s.hook.Sets) {
		if _, ok := fields[f]; !ok {
			return crm.Errorf(crm.Invalid, "step %s: entity %s has no field %s", s.name(), s.hook.Entity, f)
		}
	}
	for _, ref := range slices.Concat(s.hook.Before, s.hook.After) {
		name, other, _ := strings.Cut(ref, "/")
		for _, r := range runners {
			if _, ok := r.manifest.Hook(other); r.ref.Name == name && !ok {
				return crm.Errorf(crm.Invalid, "step %s is ordered by %s, but plugin %s has no such step", s.name(), ref, name)
			}
		}
	}
	return nil
}

// plot orders the steps of one track.
func plot(steps []*step) (*course, error) {
	var c course
	var transforms []*step
	for _, s := range steps { // by plugin's name, then as in its manifest
		if s.hook.Stage == plugins.Transform {
			transforms = append(transforms, s)
		} else {
			c.validators = join(c.validators, s)
		}
	}
	ordered, err := order(transforms)
	if err != nil {
		return nil, err
	}
	for _, s := range ordered {
		c.transforms = join(c.transforms, s)
	}
	return &c, nil
}

// join puts the step into the last round if that is of the same plugin.
func join(rounds []*round, s *step) []*round {
	if n := len(rounds); n > 0 && rounds[n-1].runner == s.runner {
		rounds[n-1].steps = append(rounds[n-1].steps, s)
		return rounds
	}
	return append(rounds, &round{runner: s.runner, stage: s.hook.Stage, steps: []*step{s}})
}

// order sorts transforms by their constraints; what these leave open goes by
// the plugin's name and its manifest, staying with one plugin while possible.
// The order is the same at every start and instance.
func order(steps []*step) ([]*step, error) {
	after := precedence(steps)
	if err := contested(steps, after); err != nil {
		return nil, err
	}
	var out []*step
	done := map[*step]bool{}
	for len(out) < len(steps) {
		var next *step
		for _, s := range steps {
			open := slices.ContainsFunc(after[s], func(b *step) bool { return !done[b] })
			if done[s] || open {
				continue
			}
			if next == nil || (len(out) > 0 && s.runner == out[len(out)-1].runner && next.runner != s.runner) {
				next = s
			}
		}
		if next == nil {
			return nil, cycle(steps, done)
		}
		done[next] = true
		out = append(out, next)
	}
	return out, nil
}

// precedence lists, for each step, those that run before it.
func precedence(steps []*step) map[*step][]*step {
	after := map[*step][]*step{}
	for _, s := range steps {
		for _, t := range steps {
			if slices.Contains(s.hook.After, t.name()) || slices.Contains(t.hook.Before, s.name()) {
				after[s] = append(after[s], t)
			}
		}
	}
	return after
}

func cycle(steps []*step, done map[*step]bool) error {
	var names []string
	for _, s := range steps {
		if !done[s] {
			names = append(names, s.name())
		}
	}
	return crm.Errorf(crm.Invalid, "steps %s each wait for another: take one of their before or after away", strings.Join(names, ", "))
}

// contested reports two plugins that may set the same field in no agreed
// order: who wins would be an accident of names.
func contested(steps []*step, after map[*step][]*step) error {
	for i, s := range steps {
		for _, t := range steps[i+1:] {
			if s.runner == t.runner || follows(s, t, after) || follows(t, s, after) {
				continue
			}
			for _, f := range s.hook.Sets {
				if slices.Contains(t.hook.Sets, f) {
					return crm.Errorf(crm.Invalid, "steps %s and %s both set %s of %s; one must name the other in before or after",
						s.name(), t.name(), f, s.hook.Entity)
				}
			}
		}
	}
	return nil
}

// follows reports whether s runs after t, directly or through others.
func follows(s, t *step, after map[*step][]*step) bool {
	seen := map[*step]bool{}
	var walk func(*step) bool
	walk = func(x *step) bool {
		if seen[x] {
			return false
		}
		seen[x] = true
		return slices.ContainsFunc(after[x], func(y *step) bool { return y == t || walk(y) })
	}
	return walk(s)
}
