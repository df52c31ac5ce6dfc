package plugins

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"

	"meridian/instance/crm"
)

// Func is one step's work on one record. It must depend on the record alone,
// so that any split of a batch gives the same results.
type Func func(ctx context.Context, r Record, op crm.Op) Opinion

// Opinion is a step's answer for one record. The zero Opinion is a failure.
type Opinion struct {
	Verdict  Verdict
	Set      map[string]crm.Value
	Govern   map[string]string
	Findings []Finding
}

// Text is the text of a field, "" if it is null.
func (r Record) Text(field string) string { return r.Fields[field].Text() }

// Changes reports whether the write changes one of the fields.
func (r Record) Changes(fields ...string) bool {
	return slices.ContainsFunc(fields, func(f string) bool { return slices.Contains(r.Changed, f) })
}

// Refuse is the opinion that the record must not be written as it is.
func Refuse(f ...Finding) Opinion { return Opinion{Verdict: Veto, Findings: f} }

// New makes a plugin of a manifest and one function per step. It takes no
// configuration; a plugin that does embeds it and has its own Configure.
// A manifest without a function for each step panics: that is the author's
// mistake, at start-up.
func New(m Manifest, steps map[string]Func) Plugin {
	for _, h := range m.Hooks {
		if steps[h.Step] == nil {
			panic("plugin " + m.Name + ": no function for step " + h.Step)
		}
	}
	return &plugin{manifest: m, steps: steps}
}

type plugin struct {
	manifest Manifest
	steps    map[string]Func
}

func (p *plugin) Manifest() Manifest { return p.manifest }

func (p *plugin) Configure(_ context.Context, _ string, config []byte) error {
	if c := bytes.TrimSpace(config); len(c) > 0 && !bytes.Equal(c, []byte("{}")) && !bytes.Equal(c, []byte("null")) {
		return crm.Errorf(crm.Invalid, "plugin %s takes no configuration; remove it", p.manifest.Name)
	}
	return nil
}

func (p *plugin) Invoke(ctx context.Context, b Batch) ([]Result, error) {
	hooks := make([]Hook, len(b.Steps))
	for i, step := range b.Steps {
		h, ok := p.manifest.Hook(step)
		if !ok || h.Entity != b.Entity || h.Stage != b.Stage || !slices.Contains(h.Operations, b.Op) {
			return nil, crm.Errorf(crm.Invalid, "plugin %s has no step %s for %s of %s at stage %s", p.manifest.Name, step, b.Op, b.Entity, b.Stage)
		}
		hooks[i] = h
	}
	results := make([]Result, len(b.Records))
	for i, r := range b.Records {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", i, len(b.Records), err)
		}
		results[i] = p.record(ctx, hooks, r, b.Op)
	}
	return results, nil
}

// record runs the steps on one record; a later step sees what an earlier one
// set. After a veto or failure the rest have no opinion.
func (p *plugin) record(ctx context.Context, hooks []Hook, r Record, op crm.Op) Result {
	res := Result{Verdicts: make([]StepVerdict, 0, len(hooks))}
	fields, changed, refused := maps.Clone(r.Fields), slices.Clone(r.Changed), false
	for _, h := range hooks {
		v := StepVerdict{Step: h.Step, Verdict: NoOpinion}
		if !refused {
			o := p.step(ctx, h, narrow(h, Record{r.Execution, fields, changed}), op)
			v.Verdict, v.Set, v.Govern, v.Findings = o.Verdict, o.Set, o.Govern, o.Findings
			refused = o.Verdict == Veto || o.Verdict == Failed
		}
		for f, val := range v.Set {
			if fields == nil {
				fields = map[string]crm.Value{}
			}
			fields[f] = val
			if !slices.Contains(changed, f) {
				changed = append(changed, f)
			}
		}
		res.Verdicts = append(res.Verdicts, v)
	}
	return res
}

// step calls one function. A panic or a forgotten verdict fails this record
// only, so that one record cannot take a batch down with it.
func (p *plugin) step(ctx context.Context, h Hook, r Record, op crm.Op) (o Opinion) {
	defer func() {
		if cause := recover(); cause != nil { // the stack is for the author; the cause may hold a value
			slog.ErrorContext(ctx, "step broke down", "step", h.Step, "execution_id", r.Execution, "stack", string(debug.Stack()))
			o = Opinion{Verdict: Failed, Findings: []Finding{{Code: "panic", Message: fmt.Sprintf("step %s broke down (%T)", h.Step, cause)}}}
		}
	}()
	o = p.steps[h.Step](ctx, r, op)
	if o.Verdict <= Unset || o.Verdict > Failed {
		o = Opinion{Verdict: Failed, Findings: []Finding{{Code: "unset", Message: "step " + h.Step + " gave no verdict"}}}
	}
	return o
}

// narrow shows a step its own declared fields: the batch carries those of all
// its steps.
func narrow(h Hook, r Record) Record {
	out := Record{Execution: r.Execution, Fields: make(map[string]crm.Value, len(h.Reads))}
	for _, f := range h.Reads {
		if v, ok := r.Fields[f]; ok && !v.IsNull() {
			out.Fields[f] = v
		}
		if slices.Contains(r.Changed, f) {
			out.Changed = append(out.Changed, f)
		}
	}
	return out
}
