package exchange

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/values"
)

// deterministic makes equal projections equal bytes, so that digests compare.
var deterministic = proto.MarshalOptions{Deterministic: true}

// kafkaMessage is the message of a stored envelope. Headers repeat what the
// body says, so the message is the same however often it is made.
func kafkaMessage(e store.Envelope) (Message, error) {
	var env exchangev1.Envelope
	if err := proto.Unmarshal(e.Body, &env); err != nil {
		return Message{}, fmt.Errorf("stored envelope %d: %w", e.Sequence, err)
	}
	m := Message{Key: e.Key, Value: e.Body, Headers: map[string]string{
		headerOperation: env.Operation,
		headerSequence:  strconv.FormatInt(env.Sequence, 10),
		headerEpoch:     strconv.FormatInt(env.OriginEpoch, 10),
	}}
	if env.Contract != "" {
		m.Headers[headerContract] = env.Contract
	}
	if env.ExecutionId != "" {
		m.Headers[headerTraceparent] = traceparent(env.ExecutionId, env.EventId)
	}
	return m, nil
}

// traceparent carries the execution on; the span is taken from the event id,
// so that it is the same when the message is sent again.
func traceparent(execution, event string) string {
	span := sha256.Sum256([]byte(event))
	return fmt.Sprintf("00-%s-%x-01", execution, span[:8])
}

// payloadOf is what leaves of a projection, with its digest.
func payloadOf(p access.Projection, terms crm.Contract) (*exchangev1.Payload, []byte, error) {
	r := p.Record
	payload := &exchangev1.Payload{
		Fields: make(map[string]*recordv1.Value, len(r.Fields)),
		Governance: &recordv1.Governance{
			Home: r.Home, Territory: r.Territory, Segment: r.Segment, Department: r.Department, Owner: r.Owner, Account: string(r.Account),
			Sensitivity: int32(r.Sensitivity), Jurisdiction: r.Jurisdiction, Pinned: r.Pinned,
			Created: timestamppb.New(r.Created), Updated: timestamppb.New(r.Updated),
		},
		Withheld:           r.Withheld,
		ArrivesDepartment:  terms.Arrives.Department,
		ArrivesSensitivity: int32(terms.Arrives.Sensitivity),
	}
	for name, v := range r.Fields {
		payload.Fields[name] = values.ToProto(v)
	}
	body, err := deterministic.Marshal(payload)
	if err != nil {
		return nil, nil, fmt.Errorf("encode projection: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", r.Version)
	h.Write(body)
	return payload, h.Sum(nil), nil
}

// governedOf is the governance that came with a record.
func governedOf(origin string, p *exchangev1.Payload) crm.Governed {
	g := p.GetGovernance()
	return crm.Governed{
		Home: origin, Territory: g.GetTerritory(), Segment: g.GetSegment(), Department: g.GetDepartment(), Owner: g.GetOwner(),
		Account: crm.RecordID(g.GetAccount()), Sensitivity: int(g.GetSensitivity()), Jurisdiction: g.GetJurisdiction(), Pinned: g.GetPinned(),
		Withheld: p.GetWithheld(), Created: g.GetCreated().AsTime(), Updated: g.GetUpdated().AsTime(),
	}
}

// rowOf is the record row that an envelope asks to apply. Its error never
// quotes a value.
func rowOf(env *exchangev1.Envelope) (access.ImportRow, error) {
	id, err := crm.ParseRecordID(env.RecordId)
	if err != nil {
		return access.ImportRow{}, fmt.Errorf("the envelope names no record")
	}
	row := access.ImportRow{
		Op: crm.Op(env.Operation), Entity: env.Entity, ID: id, Version: env.RecordVersion, Contract: env.Contract,
		Epoch: env.OriginEpoch, Exposure: env.Exposure, Governed: crm.Governed{Home: env.Origin}, Exec: env.ExecutionId,
	}
	switch row.Op {
	case crm.OpDelete, crm.OpRetract, crm.OpErase:
		return row, nil
	case crm.OpUpsert, crm.OpSnapshot:
	default:
		return access.ImportRow{}, fmt.Errorf("unknown operation %q", env.Operation)
	}
	if env.Payload == nil {
		return access.ImportRow{}, fmt.Errorf("an %s without a payload", env.Operation)
	}
	row.Governed = governedOf(env.Origin, env.Payload)
	row.Fields = make(map[string]crm.Value, len(env.Payload.Fields))
	for name, v := range env.Payload.Fields {
		if row.Fields[name], err = values.FromProto(v); err != nil {
			return access.ImportRow{}, fmt.Errorf("the value of field %q is malformed", name)
		}
	}
	return row, nil
}

// termsDigest tells contracts with other terms apart.
func termsDigest(c crm.Contract) (string, error) { return digestOf(c) }

func digestOf(v any) (string, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(body)), nil
}
