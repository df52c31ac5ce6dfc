package access

import (
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// ReplayRequest asks how the decisions of a time would fall out under a
// candidate.
type ReplayRequest struct {
	Candidate    Candidate
	Since, Until time.Time // half-open
	Sample       float64   // the part of the decisions to take, of 1; all if 0
}

// ReplayStep is one step of a replay: how far it is, and a decision that would
// fall out otherwise, or nil.
type ReplayStep struct {
	Done, Total int64
	Decision    *ReplayedDecision
}

// ReplayedDecision is one that would fall out otherwise.
type ReplayedDecision struct {
	store.Decision
	Differing []ReplayedRecord
}

// ReplayedRecord is a record that the candidate decides otherwise about, as it
// was at that moment: what opens and closes it under the candidate only, and
// what did so under the old bundle only.
type ReplayedRecord struct {
	ID                  crm.RecordID
	Version             int64
	Was, Is             bool
	Opens, Closes       []Reason
	Opened, Closed      []Reason
	Shows, Masks, Hides []string // field groups
}

// ReplaySummary sums a replay up. Every decision is the same, differing, open or
// skipped.
type ReplaySummary struct {
	After                      string
	Decisions, Same, Differing int64
	Open                       int64 // rules differ, and what was asked for is not in the log
	Skipped                    int64 // not about reading, or subject, entity or bundle are not to be had
	Records, Gone              int64 // judged; not there any more, or not yet
	Opened, Closed             int64
	Took                       time.Duration
}

// replayed are the actions whose answers name records; counted are those that
// answer numbers.
var (
	replayed = []string{"get", "list", "history", "search", "export"}
	counted  = []string{"count", "watch", "aggregate"}
)

const (
	replayPage = 1000 // decisions read at once
	tellEvery  = 200  // decisions between two steps of progress
)

// Replay decides the decisions of a time again, newest first, by the records
// and facts of their moment: under the bundle that decided and under the
// candidate. What differs comes of the bundles alone.
func (d *Door) Replay(ctx context.Context, c crm.Caller, r ReplayRequest, tell func(ReplayStep) error) (ReplaySummary, error) {
	began := time.Now()
	a, err := d.permit(ctx, c, policyImpact)
	if err != nil {
		return ReplaySummary{}, err
	}
	switch {
	case r.Since.IsZero() || !r.Since.Before(r.Until):
		return ReplaySummary{}, crm.FieldErrorf("since", "give a time from since to until, as one day")
	case r.Sample < 0 || r.Sample > 1:
		return ReplaySummary{}, crm.FieldErrorf("sample", "is a part of 1, as 0.1")
	}
	candidate, err := d.candidate(ctx, r.Candidate)
	if err != nil {
		return ReplaySummary{}, err
	}
	sum := ReplaySummary{After: candidate.Digest()}
	if err := d.journal.flush(ctx); err != nil {
		return sum, err
	}
	total, err := d.store.CountDecisions(ctx, r.Since, r.Until)
	if err != nil {
		return sum, err
	}
	decision := a.decision("policy.replay", "")
	decision.Reasons = []string{candidate.Digest(), r.Since.UTC().Format(time.RFC3339Nano), r.Until.UTC().Format(time.RFC3339Nano)}
	if err := d.store.LogDecisions(ctx, []store.Decision{decision}); err != nil {
		return sum, err
	}
	x := &replay{d: d, after: candidate, subjects: map[subjectThen]*crm.Subject{}, sum: &sum}
	read := int64(0)
	for before := int64(0); ; {
		page, err := d.store.FindDecisions(ctx, store.DecisionQuery{Since: r.Since, Until: r.Until, Before: before, Limit: replayPage})
		if err != nil {
			return sum, err
		}
		for _, one := range page {
			if read++; read%tellEvery == 1 {
				if err := tell(ReplayStep{Done: read - 1, Total: total}); err != nil {
					return sum, err
				}
				if _, err := d.permit(ctx, c, policyImpact); err != nil { // not any more
					return sum, err
				}
			}
			if !sampled(one.ID, r.Sample) {
				continue
			}
			differing, err := x.one(ctx, one)
			if err != nil {
				return sum, err
			}
			if len(differing) > 0 {
				if err := tell(ReplayStep{Done: read, Total: total, Decision: &ReplayedDecision{Decision: one, Differing: differing}}); err != nil {
					return sum, err
				}
			}
		}
		if len(page) < replayPage {
			sum.Took = time.Since(began)
			return sum, nil
		}
		before = page[len(page)-1].ID
	}
}

// sampled picks the same decisions whoever asks.
func sampled(id int64, part float64) bool {
	if part == 0 {
		return true
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(strconv.FormatInt(id, 10))) // a hash never fails
	return float64(h.Sum32()) < part*(1<<32)
}

// subjectThen names a subject under an access stamp: no fact moved while it
// held.
type subjectThen struct {
	id    crm.SubjectID
	stamp int64
}

// maxThen bounds the subjects that a replay keeps; full, it starts over.
const maxThen = 1000

type replay struct {
	d        *Door
	after    *policy.Engine
	subjects map[subjectThen]*crm.Subject // nil: not known then
	sum      *ReplaySummary
}

// one decides a decision again, and answers the records that differ.
func (x *replay) one(ctx context.Context, one store.Decision) ([]ReplayedRecord, error) {
	x.sum.Decisions++
	names := slices.Contains(replayed, one.Action)
	def, known := x.d.store.Definition(one.Entity)
	if !known || !names && !slices.Contains(counted, one.Action) {
		x.sum.Skipped++
		return nil, nil
	}
	at := policy.Moment{Valid: one.At, Recorded: one.At}
	subject, err := x.subject(ctx, one, at)
	if err != nil {
		return nil, err
	}
	before, err := x.d.EngineOf(ctx, one.Bundle)
	if subject == nil || crm.KindOf(err) == crm.Unavailable && err != nil {
		x.sum.Skipped++
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	was, err := before.Filter(ctx, *subject, crm.ActionRead, def.Entity, def.Groups())
	if err != nil {
		return nil, err
	}
	is, err := x.after.Filter(ctx, *subject, crm.ActionRead, def.Entity, def.Groups())
	if err != nil { // it shows nothing, as it would in force
		if is = (policy.Filter{}); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	if was.Same(is) {
		x.sum.Same++
		return nil, nil
	}
	ids := slices.Concat(one.Records, one.Refused)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	shown, err := x.d.store.PastShown(ctx, def.Entity, was, is, at, ids)
	if err != nil {
		return nil, err
	}
	var out []ReplayedRecord
	for _, id := range ids {
		x.sum.Records++
		s, there := shown[id]
		switch {
		case !there:
			x.sum.Gone++
			continue
		case s.Before == s.After && (!s.Before || !s.Groups):
			continue
		case s.After && !s.Before:
			x.sum.Opened++
		case s.Before && !s.After:
			x.sum.Closed++
		}
		r := ReplayedRecord{ID: id, Was: s.Before, Is: s.After}
		if err := x.explain(ctx, &r, question{engine: before, subject: *subject, action: crm.ActionRead, def: def, now: at.Valid}, at); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	switch {
	case len(out) > 0:
		x.sum.Differing++
	case one.Action == "get" || one.Action == "history": // they asked for nothing else
		x.sum.Same++
	default:
		x.sum.Open++
	}
	return out, nil
}

// subject is who asked, as of then; nil if this instance did not know them.
func (x *replay) subject(ctx context.Context, one store.Decision, at policy.Moment) (*crm.Subject, error) {
	key := subjectThen{one.Subject, one.Stamp}
	if s, ok := x.subjects[key]; ok {
		return s, nil
	}
	s, known, err := x.d.store.SubjectAt(ctx, one.Subject, &at)
	if err != nil {
		return nil, err
	}
	if len(x.subjects) >= maxThen {
		clear(x.subjects)
	}
	x.subjects[key] = nil
	if known {
		x.subjects[key] = &s
	}
	return x.subjects[key], nil
}

// explain says which reasons and field groups are the one bundle's alone.
func (x *replay) explain(ctx context.Context, r *ReplayedRecord, q question, at policy.Moment) error {
	rec, there, err := x.d.store.PastVersion(ctx, q.def.Entity, r.ID, at)
	if err != nil || !there {
		return err
	}
	q.rec, r.Version = rec, rec.Version
	if q.facts, err = x.d.store.FactsAboutAt(ctx, r.ID, rec.Account, &at); err != nil {
		return err
	}
	was, err := q.decide(ctx)
	if err != nil {
		return err
	}
	q.engine = x.after
	is, err := q.decide(ctx)
	if err != nil { // a candidate that cannot decide opens nothing
		is = policy.Decision{}
	}
	r.Opens, r.Opened = apart(is.Opens, was.Opens), apart(was.Opens, is.Opens)
	r.Closes, r.Closed = apart(is.Closes, was.Closes), apart(was.Closes, is.Closes)
	if r.Was && r.Is {
		r.Shows, r.Masks, r.Hides = missing(is.Revealed, was.Revealed), missing(is.Masked, was.Masked), missing(is.Withheld, was.Withheld)
	}
	return context.Cause(ctx)
}

// apart are the reasons among rs that are not among others.
func apart(rs, others []policy.Reason) []Reason {
	var out []Reason
	for _, r := range rs {
		if !slices.ContainsFunc(others, func(o policy.Reason) bool { return o.Ground == r.Ground && o.Fact == r.Fact }) {
			out = append(out, Reason(r))
		}
	}
	return out
}

// missing are the names that others lack.
func missing(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(others, n) })
}
