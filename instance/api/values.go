package api

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/access"
	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/values"
)

func protoRecord(r crm.Record) *recordv1.Record {
	fields := make(map[string]*recordv1.Value, len(r.Fields))
	for name, v := range r.Fields {
		fields[name] = values.ToProto(v)
	}
	return &recordv1.Record{
		Entity: r.Entity, Id: string(r.ID), Version: r.Version, Fields: fields, Withheld: r.Withheld, Masked: r.Masked,
		Governance: &recordv1.Governance{
			Home: r.Home, Territory: r.Territory, Segment: r.Segment, Department: r.Department, Owner: r.Owner,
			Account: string(r.Account), Sensitivity: int32(r.Sensitivity), Jurisdiction: r.Jurisdiction, Pinned: r.Pinned,
			Created: protoTime(r.Created), Updated: protoTime(r.Updated),
		},
	}
}

// protoTime leaves a zero time absent.
func protoTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// timeOf reads an optional time.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func protoSteps(steps []crm.Step) []*recordv1.Step {
	out := make([]*recordv1.Step, len(steps))
	for i, s := range steps {
		out[i] = &recordv1.Step{Step: s.Step, Plugin: s.Plugin, Version: s.Version, Digest: s.Digest, Verdict: s.Verdict, Set: s.Set}
	}
	return out
}

func protoVersion(v crm.Version) *recordv1.PastVersion {
	return &recordv1.PastVersion{
		Record: protoRecord(v.Record), Op: string(v.Op), At: protoTime(v.At), Actor: v.Actor,
		ExecutionId: v.Execution, Steps: protoSteps(v.Steps),
	}
}

// row is the outcome of one row of a batch that got as far as the door.
type row = access.Result
