package access

import (
	"context"
	"hash/fnv"
	"maps"
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

// ReplayStep is one step of a replay: how far it is, and a decision that would,
// or could, fall out otherwise, or nil.
type ReplayStep struct {
	Done, Total int64
	Decision    *ReplayedDecision
}

// ReplayedDecision is one that would fall out otherwise or, if it is open,
// could.
type ReplayedDecision struct {
	store.Decision
	Differing []ReplayedRecord
	Open      string       // why it cannot be said, if nothing is known to differ
	Bound     *ReplayBound // of an answer about all records of a kind: what else could be in it, or missing
}

// ReplayedRecord is a record that the candidate decides otherwise about, as it
// was at that moment: what opens and closes it under the candidate only, and
// what did so under the old bundle only.
type ReplayedRecord struct {
	ID                  crm.RecordID
	Version             int64
	Action              crm.Action // that is decided otherwise
	Was, Is             bool
	Opens, Closes       []Reason
	Opened, Closed      []Reason
	Shows, Masks, Hides []string // field groups
}

// ReplaySummary sums a replay up. Every decision is the same, differing, open or
// skipped.
type ReplaySummary struct {
	After string
	ReplayTally
	Records, Gone  int64 // judged; not there any more, or not yet
	Opened, Closed int64
	Actions        []ReplayTally // each action by itself
	Took           time.Duration
}

// ReplayTally counts what became of decisions.
type ReplayTally struct {
	Action                     string
	Decisions, Same, Differing int64
	Open                       int64            // rules differ, and the log does not say enough
	Skipped                    int64            // by why they are not decided again:
	Why                        map[string]int64 // also of those that are open
}

const (
	replayPage = 2000 // decisions read at once
	tellEvery  = 200  // decisions between two steps of progress
	tellWithin = time.Second
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
	x := &replay{d: d, after: candidate, subjects: map[trialKey]*crm.Subject{}, tallies: map[string]*ReplayTally{}, sum: &sum, total: total}
	x.tell = func(step ReplayStep) error {
		if err := tell(step); err != nil || step.Decision != nil {
			return err
		}
		_, err := d.permit(ctx, c, policyImpact) // not any more
		return err
	}
	for before := int64(0); ; {
		page, err := d.store.FindDecisions(ctx, store.DecisionQuery{Since: r.Since, Until: r.Until, Before: before, Limit: replayPage})
		if err != nil {
			return sum, err
		}
		if err := x.page(ctx, page, func(id int64) bool { return sampled(id, r.Sample) }); err != nil {
			return sum, err
		}
		if len(page) < replayPage {
			break
		}
		before = page[len(page)-1].ID
	}
	for _, action := range slices.Sorted(maps.Keys(x.tallies)) {
		sum.Actions = append(sum.Actions, *x.tallies[action])
	}
	sum.Took = time.Since(began)
	return sum, nil
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

// trialKey is what decisions of one trial share: nothing that a subject is made
// of moved while a stamp held. A decision without one has its own trial.
type trialKey struct {
	subject crm.SubjectID
	stamp   int64
	bundle  string
	alone   int64
}

func trialOf(one store.Decision) trialKey {
	k := trialKey{subject: one.Subject, stamp: one.Stamp, bundle: one.Bundle}
	if one.Stamp == 0 {
		k.alone = one.ID
	}
	return k
}

// maxThen bounds the subjects that a replay keeps; full, it starts over.
const maxThen = 1000

type replay struct {
	d           *Door
	after       *policy.Engine
	subjects    map[trialKey]*crm.Subject // nil: not known then
	tallies     map[string]*ReplayTally
	sum         *ReplaySummary
	done, total int64
	told        int64     // decisions done when progress was told last
	toldAt      time.Time // and when that was
	tell        func(ReplayStep) error
}

// pulse tells how far the replay is, when it is time.
func (x *replay) pulse() error {
	if x.done-x.told < tellEvery && time.Since(x.toldAt) < tellWithin {
		return nil
	}
	x.told, x.toldAt = x.done, time.Now()
	return x.tell(ReplayStep{Done: x.done, Total: x.total})
}

// page decides a page of the log again: trial by trial, and tells of what
// differs in the order of the log.
func (x *replay) page(ctx context.Context, page []store.Decision, taken func(id int64) bool) error {
	if err := x.pulse(); err != nil {
		return err
	}
	out := make([]*retrial, len(page))
	skipped := make([]string, len(page))
	trials := map[trialKey][]int{}
	var order []trialKey
	for i, one := range page {
		if !taken(one.ID) {
			x.done++
			continue
		}
		if _, known := x.d.store.Definition(one.Entity); !known || !tryable(one.Action) {
			skipped[i] = "no rule about records decides it"
			x.done++
			continue
		}
		k := trialOf(one)
		if trials[k] == nil {
			order = append(order, k)
		}
		trials[k] = append(trials[k], i)
	}
	for _, k := range order {
		if err := x.trial(ctx, k, page, trials[k], out, skipped); err != nil {
			return err
		}
	}
	for i, one := range page {
		if err := x.conclude(one, out[i], skipped[i]); err != nil {
			return err
		}
	}
	return nil
}

// trial decides again what one subject was answered under one stamp.
func (x *replay) trial(ctx context.Context, k trialKey, page []store.Decision, which []int, out []*retrial, skipped []string) error {
	skip := func(why string) {
		for _, i := range which {
			skipped[i] = why
		}
		x.done += int64(len(which))
	}
	subject, err := x.subject(ctx, k, page[which[0]])
	if err != nil {
		return err
	}
	if subject == nil {
		skip("nobody knew the subject then")
		return x.pulse()
	}
	before, err := x.d.EngineOf(ctx, k.bundle)
	if err != nil && crm.KindOf(err) == crm.Unavailable {
		skip("its bundle cannot be had any more")
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	t := &trial{d: x.d, subject: *subject, before: before, after: x.after, pulse: x.pulse, since: page[which[0]].At, until: page[which[0]].At}
	entities := map[string][]int{}
	for _, i := range which {
		if t.since.After(page[i].At) {
			t.since = page[i].At
		}
		if t.until.Before(page[i].At) {
			t.until = page[i].At
		}
		entities[page[i].Entity] = append(entities[page[i].Entity], i)
	}
	for _, entity := range slices.Sorted(maps.Keys(entities)) {
		def, _ := x.d.store.Definition(entity)
		ds := make([]store.Decision, len(entities[entity]))
		for n, i := range entities[entity] {
			ds[n] = page[i]
		}
		again, err := t.judge(ctx, def, ds)
		if err != nil {
			return err
		}
		for n, i := range entities[entity] {
			out[i] = &again[n]
		}
		x.done += int64(len(ds))
		if err := x.pulse(); err != nil {
			return err
		}
	}
	return nil
}

// subject is who asked, as of then; nil if this instance did not know them.
func (x *replay) subject(ctx context.Context, k trialKey, one store.Decision) (*crm.Subject, error) {
	if s, ok := x.subjects[k]; ok {
		return s, nil
	}
	s, known, err := x.d.store.SubjectAt(ctx, k.subject, &policy.Moment{Valid: one.At, Recorded: one.At})
	if err != nil {
		return nil, err
	}
	if len(x.subjects) >= maxThen {
		clear(x.subjects)
	}
	x.subjects[k] = nil
	if known {
		x.subjects[k] = &s
	}
	return x.subjects[k], nil
}

// conclude counts what became of a decision, and tells of one that differs or
// is open.
func (x *replay) conclude(one store.Decision, again *retrial, skipped string) error {
	if again == nil && skipped == "" { // not in the sample
		return nil
	}
	of := x.tallies[one.Action]
	if of == nil {
		of = &ReplayTally{Action: one.Action}
		x.tallies[one.Action] = of
	}
	x.sum.count(again, skipped)
	of.count(again, skipped)
	if again == nil {
		return nil
	}
	x.sum.Records, x.sum.Gone = x.sum.Records+again.records, x.sum.Gone+again.gone
	for _, r := range again.differing {
		switch {
		case r.Is && !r.Was:
			x.sum.Opened++
		case r.Was && !r.Is:
			x.sum.Closed++
		}
	}
	if again.verdict == same {
		return nil
	}
	return x.tell(ReplayStep{Done: x.done, Total: x.total, Decision: &ReplayedDecision{Decision: one, Differing: again.differing, Open: again.why, Bound: again.bound}})
}

func (t *ReplayTally) count(again *retrial, skipped string) {
	t.Decisions++
	why := skipped
	switch {
	case again == nil:
		t.Skipped++
	case again.verdict == differs:
		t.Differing++
	case again.verdict == open:
		t.Open++
		why = again.why
	default:
		t.Same++
	}
	if why == "" {
		return
	}
	if t.Why == nil {
		t.Why = map[string]int64{}
	}
	t.Why[why]++
}
