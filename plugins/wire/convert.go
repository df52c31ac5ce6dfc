package wire

import (
	"time"

	pluginv1 "meridian/proto/gen/meridian/plugin/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/values"

	"meridian/instance/crm"
	"meridian/plugins"
)

// failOpen is the wire's word for an observer; anything else fails closed.
const failOpen = "open"

func fromManifest(m plugins.Manifest) *pluginv1.Manifest {
	out := &pluginv1.Manifest{Name: m.Name, Version: m.Version, Description: m.Description, Slots: m.Slots, ConfigSchema: m.ConfigSchema}
	for _, h := range m.Hooks {
		hook := &pluginv1.Hook{
			Step: h.Step, Entity: h.Entity, Stage: string(h.Stage), Reads: h.Reads, Sets: h.Sets, Governs: h.Governs,
			Before: h.Before, After: h.After, DeadlineMs: int32(h.Deadline.Milliseconds()),
		}
		for _, op := range h.Operations {
			hook.Operations = append(hook.Operations, string(op))
		}
		if h.FailureOpen {
			hook.FailurePolicy = failOpen
		}
		out.Hooks = append(out.Hooks, hook)
	}
	return out
}

func toManifest(m *pluginv1.Manifest) plugins.Manifest {
	out := plugins.Manifest{
		Name: m.GetName(), Version: m.GetVersion(), Description: m.GetDescription(), Slots: m.GetSlots(), ConfigSchema: m.GetConfigSchema(),
	}
	for _, h := range m.GetHooks() {
		hook := plugins.Hook{
			Step: h.GetStep(), Entity: h.GetEntity(), Stage: plugins.Stage(h.GetStage()), Reads: h.GetReads(), Sets: h.GetSets(), Governs: h.GetGoverns(),
			Before: h.GetBefore(), After: h.GetAfter(), Deadline: time.Duration(h.GetDeadlineMs()) * time.Millisecond,
			FailureOpen: h.GetFailurePolicy() == failOpen,
		}
		for _, op := range h.GetOperations() {
			hook.Operations = append(hook.Operations, crm.Op(op))
		}
		out.Hooks = append(out.Hooks, hook)
	}
	return out
}

func fromBatch(b plugins.Batch) *pluginv1.InvokeRequest {
	out := &pluginv1.InvokeRequest{
		Entity: b.Entity, Operation: string(b.Op), Stage: string(b.Stage), Steps: b.Steps,
		Records: make([]*pluginv1.HookRecord, len(b.Records)),
	}
	for i, r := range b.Records {
		out.Records[i] = &pluginv1.HookRecord{Fields: fromFields(r.Fields), Changed: r.Changed, ExecutionId: r.Execution}
	}
	return out
}

func toBatch(r *pluginv1.InvokeRequest) (plugins.Batch, error) {
	out := plugins.Batch{
		Entity: r.GetEntity(), Op: crm.Op(r.GetOperation()), Stage: plugins.Stage(r.GetStage()), Steps: r.GetSteps(),
		Records: make([]plugins.Record, len(r.GetRecords())),
	}
	for i, rec := range r.GetRecords() {
		execution := rec.GetExecutionId()
		if execution == "" {
			execution = r.GetExecutionId()
		}
		fields, err := toFields(rec.GetFields())
		if err != nil {
			return plugins.Batch{}, err
		}
		out.Records[i] = plugins.Record{Execution: execution, Fields: fields, Changed: rec.GetChanged()}
	}
	return out, nil
}

// verdicts is the one table of both sides' words. What is not in it is unset,
// and so a failure.
var verdicts = map[plugins.Verdict]pluginv1.Verdict{
	plugins.Unset:     pluginv1.Verdict_VERDICT_UNSPECIFIED,
	plugins.Allow:     pluginv1.Verdict_VERDICT_ALLOW,
	plugins.Veto:      pluginv1.Verdict_VERDICT_VETO,
	plugins.NoOpinion: pluginv1.Verdict_VERDICT_NO_OPINION,
	plugins.Failed:    pluginv1.Verdict_VERDICT_FAILED,
}

func toVerdict(v pluginv1.Verdict) plugins.Verdict {
	for ours, theirs := range verdicts {
		if theirs == v {
			return ours
		}
	}
	return plugins.Unset
}

func fromResults(results []plugins.Result) *pluginv1.InvokeResponse {
	out := &pluginv1.InvokeResponse{Results: make([]*pluginv1.HookResult, len(results))}
	for i, r := range results {
		hr := &pluginv1.HookResult{Verdicts: make([]*pluginv1.StepVerdict, len(r.Verdicts))}
		for j, v := range r.Verdicts {
			sv := &pluginv1.StepVerdict{Step: v.Step, Verdict: verdicts[v.Verdict], Set: fromFields(v.Set), Govern: v.Govern}
			for _, f := range v.Findings {
				sv.Findings = append(sv.Findings, &pluginv1.Finding{Field: f.Field, Code: f.Code, Message: f.Message})
			}
			hr.Verdicts[j] = sv
		}
		out.Results[i] = hr
	}
	return out
}

func toResults(r *pluginv1.InvokeResponse) ([]plugins.Result, error) {
	out := make([]plugins.Result, len(r.GetResults()))
	for i, hr := range r.GetResults() {
		vs := make([]plugins.StepVerdict, len(hr.GetVerdicts()))
		for j, v := range hr.GetVerdicts() {
			set, err := toFields(v.GetSet())
			if err != nil {
				return nil, err
			}
			vs[j] = plugins.StepVerdict{Step: v.GetStep(), Verdict: toVerdict(v.GetVerdict()), Set: set, Govern: v.GetGovern()}
			for _, f := range v.GetFindings() {
				vs[j].Findings = append(vs[j].Findings, plugins.Finding{Field: f.GetField(), Code: f.GetCode(), Message: f.GetMessage()})
			}
		}
		out[i].Verdicts = vs
	}
	return out, nil
}

func fromFields(fields map[string]crm.Value) map[string]*recordv1.Value {
	if len(fields) == 0 {
		return nil
	}
	out := make(map[string]*recordv1.Value, len(fields))
	for name, v := range fields {
		out[name] = values.ToProto(v)
	}
	return out
}

func toFields(fields map[string]*recordv1.Value) (map[string]crm.Value, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	return values.Fields(fields)
}
