package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
)

// moment is a time on the command line: a length of time alone is from now.
type moment struct{ time.Time }

// past is a time that the question is about: a length of time alone is ago.
type past struct{ moment }

// lastDay is a day that belongs to a time whole: it ends at the next midnight,
// UTC.
type lastDay struct{ end time.Time }

// span is a length of time.
type span time.Duration

// layouts of a time; without a zone it is UTC.
var layouts = []string{
	time.DateOnly, time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04Z07:00",
	time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04",
}

// UnmarshalText reads 2027-01-01, 2027-01-01T09:00:00Z, 2027-01-01 09:00, 90m or
// 90m ago.
func (m *moment) UnmarshalText(text []byte) error {
	next := time.Now().UTC().AddDate(0, 1, 0).Format(time.DateOnly)
	return m.read(string(text), 1, fmt.Sprintf("a day (%s), a time (%sT09:00:00Z, or '%s 09:00' in UTC) or a time from now (90m)", next, next, next))
}

// UnmarshalText reads what a moment is read from, and 90m as 90m ago.
func (p *past) UnmarshalText(text []byte) error {
	last := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	return p.read(string(text), -1, fmt.Sprintf("a past day (%s), a past time (%sT09:00:00Z, or '%s 09:00' in UTC) or how long ago (90m)", last, last, last))
}

func (m *moment) read(text string, sign time.Duration, wanted string) error {
	s := strings.TrimSpace(text)
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			m.Time = t
			return nil
		}
	}
	length, ago := strings.CutSuffix(s, "ago")
	d, err := time.ParseDuration(strings.TrimSpace(length))
	if err != nil || ago && d < 0 {
		return crm.Errorf(crm.Invalid, "%q is not %s", text, wanted)
	}
	if ago || d < 0 { // said in so many words
		sign, d = -1, d.Abs()
	}
	m.Time = time.Now().Add(sign * d)
	return nil
}

// proto is absent for a moment that was not given.
func (m moment) proto() *timestamppb.Timestamp {
	if m.IsZero() {
		return nil
	}
	return timestamppb.New(m.Time)
}

// UnmarshalText reads a day.
func (d *lastDay) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.DateOnly, strings.TrimSpace(string(text)))
	if err != nil {
		return crm.Errorf(crm.Invalid, "%q is not a day, as %s", text, time.Now().UTC().AddDate(1, 0, 0).Format(time.DateOnly))
	}
	d.end = t.AddDate(0, 0, 1)
	return nil
}

// UnmarshalText reads a length of time, as 30m.
func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil || d < 0 {
		return crm.Errorf(crm.Invalid, "%q is not a length of time, as 30m or 24h", text)
	}
	*s = span(d)
	return nil
}

var negative = regexp.MustCompile(`^-[0-9.]`)

// withNegatives makes a negative number the value of the flag before it: the
// parser would take it for a flag, and say so.
func withNegatives(args []string) []string {
	var out []string
	for i, a := range args {
		before := ""
		if i > 0 {
			before = args[i-1]
		}
		if negative.MatchString(a) && strings.HasPrefix(before, "--") && !strings.Contains(before, "=") && before != "--" {
			out[len(out)-1] += "=" + a
			continue
		}
		out = append(out, a)
	}
	return out
}
