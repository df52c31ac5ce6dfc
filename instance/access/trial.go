package access

import (
	"context"
	"slices"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// trial decides again what one subject was answered, by the records and facts
// of each moment: under the bundle that decided and under another. All of its
// moments lie under one access stamp. What its decisions share is worked out
// once; no answer depends on which of them are tried together.
type trial struct {
	d             *Door
	subject       crm.Subject
	before, after *policy.Engine
	since, until  time.Time    // the first and the last moment
	pulse         func() error // called between statements; nil calls nothing
	turns         []time.Time  // when facts about records moved between them
	turned        bool         // turns is known
	pairs         map[question2]*pair
	explained     map[explained]*ReplayedRecord
}

// question2 is what two filters of a trial answer.
type question2 struct {
	action crm.Action
	entity string
}

// pair is what a subject may do under either bundle.
type pair struct {
	was, is policy.Filter
	same    bool
	turns   []time.Time // when one of them, or a fact, changes what they show
	each    bool        // that may be at any time
}

// span is a part of a trial in which neither facts nor time change what a pair
// of filters shows.
type span struct {
	n  int
	at time.Time // of its own, if every moment has one
}

// check is one thing a decision depends on: an action on a record as it was.
type check struct {
	action crm.Action
	row    store.PastRow
}

// retrial is how a decision falls out again.
type retrial struct {
	verdict       verdict
	why           string // it is open
	records, gone int64
	differing     []ReplayedRecord
	bound         *ReplayBound
}

type verdict int

const (
	same verdict = iota
	differs
	open
)

// ReplayBound is how the sight of an entity differed from what it was, at the
// moment of a decision about an unknown part of it: no more than these records
// can be in its answer, or missing from it.
type ReplayBound struct {
	store.Shift
	Sample store.DifferenceSample
}

// Which decisions name records that were answered, which answer of all records
// of a kind, and which are about what was to be written.
var (
	namesRecords = []string{"get", "history", "list", "search", "export"}
	asksForAll   = []string{"list", "search", "export", "count", "watch", "aggregate"}
	changes      = map[string][]crm.Action{
		"create": {crm.ActionCreate}, "update": {crm.ActionRead, crm.ActionUpdate, crm.ActionCreate}, "delete": {crm.ActionRead, crm.ActionDelete},
		"upsert": {crm.ActionUpdate, crm.ActionCreate}, "share": {crm.ActionRead, crm.ActionShare}, "withhold": {crm.ActionRead, crm.ActionWithhold},
	}
)

func isRead(action string) bool {
	return slices.Contains(namesRecords, action) || slices.Contains(asksForAll, action)
}

// tryable reports whether a decision depends on a rule about records.
func tryable(action string) bool { return isRead(action) || changes[action] != nil }

// judge decides again about decisions on one entity.
func (t *trial) judge(ctx context.Context, def crm.Definition, ds []store.Decision) ([]retrial, error) {
	out := make([]retrial, len(ds))
	var reads, writes []int
	for i, one := range ds {
		if isRead(one.Action) {
			reads = append(reads, i)
		} else {
			writes = append(writes, i)
		}
	}
	if err := t.reads(ctx, def, ds, reads, out); err != nil {
		return nil, err
	}
	return out, t.writes(ctx, def, ds, writes, out)
}

// pair is what the subject may do an action to. A filter that the other bundle
// cannot make shows nothing, as it would in force.
func (t *trial) pair(ctx context.Context, action crm.Action, def crm.Definition) (*pair, error) {
	q := question2{action, def.Entity}
	if p, ok := t.pairs[q]; ok {
		return p, nil
	}
	was, err := t.before.Filter(ctx, t.subject, action, def.Entity, def.Groups())
	if err != nil {
		return nil, err
	}
	is, err := t.after.Filter(ctx, t.subject, action, def.Entity, def.Groups())
	if err != nil {
		if is = (policy.Filter{}); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	p := &pair{was: was, is: is, same: was.Same(is)}
	if t.pairs == nil {
		t.pairs = map[question2]*pair{}
	}
	t.pairs[q] = p
	if p.same {
		return p, nil
	}
	if !t.turned {
		if t.turns, err = t.d.store.PastTurns(ctx, t.since, t.until); err != nil {
			return nil, err
		}
		t.turned = true
	}
	p.turns = slices.Clone(t.turns)
	for _, f := range []policy.Filter{was, is} {
		times, rows := f.Turns()
		p.turns, p.each = append(p.turns, times...), p.each || rows
	}
	slices.SortFunc(p.turns, time.Time.Compare)
	return p, nil
}

// span is the part of the trial that a moment lies in.
func (p *pair) span(at time.Time) span {
	if p.each {
		return span{at: at}
	}
	n, there := slices.BinarySearchFunc(p.turns, at, time.Time.Compare)
	for there && n < len(p.turns) && p.turns[n].Equal(at) { // what begins at a moment holds at it
		n++
	}
	return span{n: n}
}

// rowsAtOnce bounds the records of one statement.
const rowsAtOnce = 5000

// shown puts a pair of filters to records as they were.
func (t *trial) shown(ctx context.Context, def crm.Definition, p *pair, rows []store.PastRow) ([]store.PastShown, error) {
	out := make([]store.PastShown, 0, len(rows))
	for part := range slices.Chunk(rows, rowsAtOnce) {
		shown, err := t.d.store.PastShown(ctx, def.Entity, p.was, p.is, part)
		if err != nil {
			return nil, err
		}
		out = append(out, shown...)
		if err := t.beat(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *trial) beat() error {
	if t.pulse == nil {
		return nil
	}
	return t.pulse()
}

// reads decides again which records were shown, and how much else an answer
// could have shown.
func (t *trial) reads(ctx context.Context, def crm.Definition, ds []store.Decision, which []int, out []retrial) error {
	if len(which) == 0 {
		return nil
	}
	p, err := t.pair(ctx, crm.ActionRead, def)
	if err != nil || p.same {
		return err
	}
	var rows []store.PastRow
	var of []int
	var given []bool
	for _, i := range which {
		asked := map[crm.RecordID]bool{}
		for n, id := range slices.Concat(ds[i].Records, ds[i].Refused) {
			if _, twice := asked[id]; !twice {
				asked[id] = n < len(ds[i].Records)
				rows = append(rows, store.PastRow{ID: id, At: ds[i].At, Buried: ds[i].Action == "history"})
				of, given = append(of, i), append(given, asked[id])
			}
		}
	}
	shown, err := t.shown(ctx, def, p, rows)
	if err != nil {
		return err
	}
	var differing []telling
	for n, s := range shown {
		o := &out[of[n]]
		o.records++
		switch {
		case !s.There || s.Before != given[n]: // its past is not what it was
			o.gone++
		case s.Before != s.After || s.Before && s.Groups:
			differing = append(differing, telling{of[n], ReplayedRecord{ID: rows[n].ID, Action: crm.ActionRead, Was: s.Before, Is: s.After}, check{crm.ActionRead, rows[n]}})
		}
	}
	if err := t.explain(ctx, def, differing, out); err != nil {
		return err
	}
	return t.bounds(ctx, def, p, ds, which, out)
}

// bounds says of answers about all records of a kind how much else they could
// have had: exactly, of all that the subject would newly have seen at that
// moment. Where that is nothing, the answer would have been the same.
func (t *trial) bounds(ctx context.Context, def crm.Definition, p *pair, ds []store.Decision, which []int, out []retrial) error {
	spans := map[span][]int{}
	var order []span
	for _, i := range which {
		if !slices.Contains(asksForAll, ds[i].Action) {
			continue
		}
		s := p.span(ds[i].At)
		if spans[s] == nil {
			order = append(order, s)
		}
		spans[s] = append(spans[s], i)
	}
	for _, s := range order {
		first, last := ds[spans[s][0]].At, ds[spans[s][0]].At
		for _, i := range spans[s] {
			if first.After(ds[i].At) {
				first = ds[i].At
			}
			if last.Before(ds[i].At) {
				last = ds[i].At
			}
		}
		diff, err := t.d.store.PastDiff(ctx, def.Entity, p.was, p.is, first, last)
		if err != nil {
			return err
		}
		for _, i := range spans[s] {
			n, sample := diff.At(ds[i].At)
			out[i].bounded(ds[i], &ReplayBound{n, sample})
		}
		if err := t.beat(); err != nil {
			return err
		}
	}
	return nil
}

// bounded settles an answer about all records of a kind.
func (o *retrial) bounded(one store.Decision, b *ReplayBound) {
	more := b.Gained + b.Changed
	if !slices.Contains(namesRecords, one.Action) && (one.Found == nil || *one.Found > 0) {
		more += b.Lost // what is lost is not known by its id
	}
	if more == 0 {
		return
	}
	o.bound = b
	if o.verdict == same {
		o.verdict, o.why = open, "what it was asked for is not in the log"
	}
}
