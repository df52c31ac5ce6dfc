package pluginhost

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/plugins"
)

// Run runs the plan on drafts and edits them in place: fields and governance
// that steps set, the steps that ran, and the error of those refused. Drafts
// that carry an error already are left alone.
func (h *Host) Run(ctx context.Context, execution string, drafts []*access.Draft) {
	if p := h.plan.Load(); p != nil && !p.concerns(drafts) {
		return
	}
	h.gate.RLock()
	defer h.gate.RUnlock()
	p := h.plan.Load()
	if p == nil {
		for _, d := range drafts {
			refuse(d, &crm.Error{Kind: crm.Unavailable, Msg: "the plugins of this instance are not running; try again", RetryAfter: retryAfter})
		}
		return
	}
	for t, group := range groups(drafts) {
		c := p.tracks[t]
		if c == nil {
			continue
		}
		x := &run{plan: p, execution: execution, drafts: group}
		for _, r := range c.transforms {
			x.settle(x.ask(ctx, r))
		}
		answers := make([][]answer, len(c.validators))
		var wg sync.WaitGroup
		for i, r := range c.validators {
			wg.Go(func() { answers[i] = x.ask(ctx, r) })
		}
		wg.Wait()
		for _, a := range answers { // in the order of the plan, whoever was first
			x.settle(a)
		}
	}
}

// concerns is all that a write costs when no plugin listens.
func (p *plan) concerns(drafts []*access.Draft) bool {
	for _, d := range drafts {
		if p.listens[d.Entity]&bit(d.Op) != 0 {
			return true
		}
	}
	return false
}

func groups(drafts []*access.Draft) map[track][]*access.Draft {
	out := map[track][]*access.Draft{}
	for _, d := range drafts {
		if d.Err == nil {
			t := track{d.Entity, d.Op}
			out[t] = append(out[t], d)
		}
	}
	return out
}

// run is the passage of drafts of one track.
type run struct {
	plan      *plan
	execution string
	drafts    []*access.Draft
}

// answer is what a round said about one draft.
type answer struct {
	draft    *access.Draft
	steps    []*step
	verdicts []plugins.StepVerdict
	err      error // the call failed: no verdict at all
}

// ask calls the round's plugin for the drafts not yet refused: one call for
// all drafts that the same steps want to see. It changes no draft. Text that
// is no UTF-8 is answered for here: on the wire it would fail the whole batch,
// and with it the writes of others.
func (x *run) ask(ctx context.Context, r *round) []answer {
	type call struct {
		steps  []*step
		drafts []*access.Draft
	}
	var calls []*call
	var out []answer
	for _, d := range x.drafts {
		steps := r.active(d)
		if d.Err != nil || len(steps) == 0 {
			continue
		}
		if f := garbled(d, steps); f != "" {
			out = append(out, answer{draft: d, steps: steps, err: crm.FieldErrorf(f, "this is not UTF-8 text; send it in UTF-8")})
			continue
		}
		i := slices.IndexFunc(calls, func(c *call) bool { return slices.Equal(c.steps, steps) })
		if i < 0 {
			i = len(calls)
			calls = append(calls, &call{steps: steps})
		}
		calls[i].drafts = append(calls[i].drafts, d)
	}
	for _, c := range calls {
		b := plugins.Batch{Entity: c.drafts[0].Entity, Op: c.drafts[0].Op, Stage: r.stage}
		reads := map[string]bool{}
		var deadline time.Duration
		for _, s := range c.steps {
			b.Steps = append(b.Steps, s.hook.Step)
			deadline += s.deadline()
			for _, f := range s.hook.Reads {
				reads[f] = true
			}
		}
		for _, d := range c.drafts {
			b.Records = append(b.Records, project(d, reads, x.execution))
		}
		results, err := r.runner.invoke(ctx, b, deadline)
		for i, d := range c.drafts {
			a := answer{draft: d, steps: c.steps, err: err}
			if err == nil {
				a.verdicts = results[i].Verdicts
			}
			out = append(out, a)
		}
	}
	return out
}

// active lists the steps that want to see the draft: on update those of which
// a declared field changes, or may be set by a step just before.
func (r *round) active(d *access.Draft) []*step {
	if d.Op != crm.OpUpdate {
		return r.steps
	}
	changed := d.Changed
	var out []*step
	for _, s := range r.steps {
		wanted := slices.ContainsFunc(s.hook.Reads, func(f string) bool { return slices.Contains(changed, f) })
		if wanted || (d.Reassign && len(s.hook.Governs) > 0) {
			out = append(out, s)
			changed = append(slices.Clip(changed), s.hook.Sets...)
		}
	}
	return out
}

// project is what a plugin is shown of a draft: declared fields only.
func project(d *access.Draft, reads map[string]bool, execution string) plugins.Record {
	fields := d.Fields
	if d.Op == crm.OpDelete {
		fields = d.Before
	}
	r := plugins.Record{Execution: execution, Fields: make(map[string]crm.Value, len(reads))}
	for f := range reads {
		if v := fields[f]; !v.IsNull() {
			r.Fields[f] = v
		}
	}
	for _, f := range d.Changed {
		if reads[f] {
			r.Changed = append(r.Changed, f)
		}
	}
	return r
}

// garbled is the first declared field whose text is no UTF-8, "" if none is.
func garbled(d *access.Draft, steps []*step) string {
	for _, s := range steps {
		for _, f := range s.hook.Reads {
			if !utf8.ValidString(d.Fields[f].Text()) {
				return f
			}
		}
	}
	return ""
}

// settle writes a round's answers into the drafts.
func (x *run) settle(answers []answer) {
	for _, a := range answers {
		for i, s := range a.steps {
			v := plugins.StepVerdict{Verdict: plugins.Failed}
			fault := ""
			switch {
			case a.err != nil:
			case len(a.verdicts) != len(a.steps) || a.verdicts[i].Step != s.hook.Step:
				fault = "it answered for other steps"
			default:
				v = a.verdicts[i]
				if fault = x.fault(a.draft, s, v); fault != "" {
					v = plugins.StepVerdict{Verdict: plugins.Failed}
				}
			}
			var set []string
			switch v.Verdict {
			case plugins.Allow:
				set = apply(a.draft, v)
			case plugins.Veto:
				refuse(a.draft, vetoed(s, v.Findings))
			case plugins.Failed:
				if !s.hook.FailureOpen {
					refuse(a.draft, broken(s, a.err, fault, v.Findings))
				}
			}
			a.draft.Steps = append(a.draft.Steps, crm.Step{
				Step: s.hook.Step, Plugin: s.runner.ref.Name, Version: s.runner.manifest.Version, Digest: s.runner.digest,
				Verdict: v.Verdict.String(), Set: set,
			})
		}
	}
}

// fault says how a verdict breaks what the plugin declared, "" if it keeps to
// it. Such a step has failed: to drop what it set would store a record that
// nobody meant.
func (x *run) fault(d *access.Draft, s *step, v plugins.StepVerdict) string {
	if v.Verdict <= plugins.Unset || v.Verdict > plugins.Failed {
		return "it gave no verdict"
	}
	if v.Verdict != plugins.Allow && len(v.Set)+len(v.Govern) > 0 {
		return "it set something without allowing the write"
	}
	for f, val := range v.Set {
		if !slices.Contains(s.hook.Sets, f) {
			return "it set " + f + ", which it does not declare"
		}
		if t := x.plan.types[d.Entity][f]; !val.IsNull() && val.Type() != t {
			return "it set " + f + " to a " + string(val.Type()) + "; the field is a " + string(t)
		}
	}
	for column, val := range v.Govern {
		if !slices.Contains(s.hook.Governs, column) {
			return "it set " + column + ", which it does not declare"
		}
		if !governable(column, val) {
			return "it set " + column + " to something that is none"
		}
	}
	return ""
}

// apply sets what the step set and names what really changed by it.
func apply(d *access.Draft, v plugins.StepVerdict) []string {
	var set []string
	for _, f := range slices.Sorted(maps.Keys(v.Set)) {
		if v.Set[f].Equal(d.Fields[f]) {
			continue
		}
		if d.Fields == nil {
			d.Fields = map[string]crm.Value{}
		}
		d.Fields[f] = v.Set[f]
		set = append(set, f)
		i := slices.Index(d.Changed, f)
		differs := d.Op == crm.OpCreate || !d.Before[f].Equal(d.Fields[f])
		switch {
		case differs && i < 0:
			d.Changed = append(slices.Clip(d.Changed), f)
		case !differs && i >= 0: // normalised back to what is stored
			d.Changed = slices.Concat(d.Changed[:i], d.Changed[i+1:])
		}
	}
	for _, column := range slices.Sorted(maps.Keys(v.Govern)) {
		if govern(d, column, v.Govern[column]) {
			set = append(set, column)
		}
	}
	return set
}

// refuse keeps the first error and adds the reasons of the others. A veto
// comes before a failure: the caller can do something about it.
func refuse(d *access.Draft, err *crm.Error) {
	first, _ := errors.AsType[*crm.Error](d.Err)
	switch {
	case first == nil:
		d.Err = err
	case first.Kind == crm.Unavailable && err.Kind != crm.Unavailable:
		d.Err = err
	case err.Kind != crm.Unavailable:
		first.Reasons = append(first.Reasons, err.Reasons...)
	}
}

// vetoed is the error of a write that a step refuses.
func vetoed(s *step, findings []plugins.Finding) *crm.Error {
	if len(findings) == 0 {
		findings = []plugins.Finding{{Message: "refused by " + s.name() + ", which gave no reason; ask the owner of the plugin"}}
	}
	err := &crm.Error{Kind: crm.Invalid, Field: findings[0].Field, Msg: findings[0].Message}
	for _, f := range findings {
		reason := s.runner.ref.Name + ": " + f.Message
		if f.Field != "" {
			reason = s.runner.ref.Name + ": " + f.Field + ": " + f.Message
		}
		err.Reasons = append(err.Reasons, reason)
	}
	return err
}

// broken is the error of a write that needs a step which failed.
func broken(s *step, call error, fault string, findings []plugins.Finding) *crm.Error {
	if err, ok := errors.AsType[*crm.Error](call); ok {
		return &crm.Error{Kind: err.Kind, Field: err.Field, Msg: err.Msg, RetryAfter: err.RetryAfter, Err: err} // one per draft: refuse adds to it
	}
	for _, f := range findings {
		fault = strings.TrimSpace(fault + " " + f.Message)
	}
	s.runner.note("step " + s.hook.Step + " failed: " + fault)
	return &crm.Error{
		Kind: crm.Unavailable, RetryAfter: retryAfter,
		Msg: "step " + s.name() + " failed on this record; nothing was written, try again or tell the operator",
		Err: errors.New(fault),
	}
}
