package store

import (
	"slices"
	"time"

	"meridian/instance/crm"
)

// declared is the origin of what the configuration says.
const declared = "declared"

// span says what is recorded of one fact between two times.
type span struct {
	from, to time.Time
	content  string // the fact's values, as canonical JSON
	origin   string // declared, or the officer who said so
	act      act    // what wrote the row
	recorded time.Time
}

// act is why a row was written, and by whom.
type act struct{ by, reason string }

// timeline is what is recorded of one fact: spans in order that do not overlap.
// A gap is a time in which the fact does not hold.
type timeline []span

func (s span) empty() bool { return !s.from.Before(s.to) }

// overlapping are the spans that meet a time.
func (l timeline) overlapping(from, to time.Time) (out timeline) {
	for _, s := range l {
		if s.from.Before(to) && from.Before(s.to) {
			out = append(out, s)
		}
	}
	return out
}

// cut removes what which picks between two times. What was there before and
// after stays what it was, under the act that cut it. Where nothing is left
// before the cut an empty span stays, to say who made it.
func (l timeline) cut(from, to time.Time, by act, which func(span) bool) (out timeline) {
	for _, s := range l {
		if !s.from.Before(to) || !from.Before(s.to) || !which(s) {
			out = append(out, s)
			continue
		}
		left, right := s, s
		left.act, right.act = by, by
		left.to = latest(s.from, from)
		right.from = to
		out = append(out, left)
		if !right.empty() {
			out = append(out, right)
		}
	}
	return out
}

// say puts a span into the timeline, in place of what was there.
func (l timeline) say(s span) timeline {
	l = append(l.cut(s.from, s.to, s.act, all), s)
	l.sort()
	return l
}

// fill says s wherever the timeline says nothing between its times.
func (l timeline) fill(s span) timeline {
	at := s.from
	for _, there := range l.overlapping(s.from, s.to) {
		gap := s
		gap.from, gap.to = at, there.from
		if !gap.empty() {
			l = append(l, gap)
		}
		at = latest(at, there.to)
	}
	if s.from = at; !s.empty() {
		l = append(l, s)
	}
	l.sort()
	return l
}

// declare follows a configuration that changed: from now on what it declared is
// what it declares, but where an officer's word stands. content is nil for what
// it does not declare any more.
func (l timeline) declare(content *string, now time.Time) timeline {
	by := act{by: declared}
	l = l.cut(now, crm.Forever, by, func(s span) bool { return s.origin == declared })
	if content == nil {
		return l
	}
	return l.fill(span{from: now, to: crm.Forever, content: *content, origin: declared, act: by})
}

// undo takes officers' words back from now on: what is declared holds again.
func (l timeline) undo(content *string, now time.Time, by act) timeline {
	l = l.cut(now, crm.Forever, by, func(s span) bool { return s.origin != declared })
	if content == nil {
		return l
	}
	return l.fill(span{from: now, to: crm.Forever, content: *content, origin: declared, act: by})
}

// changes are the spans of l that after has not, and the other way round. Of
// empty ones those that another begins with are left out.
func (l timeline) changes(after timeline) (closed, opened timeline) {
	for _, s := range l {
		if !slices.Contains(after, s) {
			closed = append(closed, s)
		}
	}
	for _, s := range after {
		told := func(o span) bool { return !o.empty() && o.from.Equal(s.from) }
		if !slices.Contains(l, s) && (!s.empty() || !slices.ContainsFunc(after, told)) && !slices.ContainsFunc(opened, func(o span) bool { return o.from.Equal(s.from) }) {
			opened = append(opened, s)
		}
	}
	return closed, opened
}

func (l timeline) sort() {
	slices.SortStableFunc(l, func(a, b span) int { return a.from.Compare(b.from) })
}

func all(span) bool { return true }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
