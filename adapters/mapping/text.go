package mapping

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
)

// locale is how the source writes numbers, dates, truth and nothing.
type locale struct {
	nulls           []string
	decimal, group  string
	date, timestamp string // layouts of package time
	zone            *time.Location
	yes, no         []string
}

func (s *source) locale(d sourceDoc) (locale, error) {
	l := locale{nulls: d.Nulls, decimal: d.Decimal, group: d.Group, date: time.DateOnly, timestamp: time.RFC3339Nano, zone: time.UTC, yes: d.Yes, no: d.No}
	if l.nulls == nil {
		l.nulls = []string{""}
	}
	if l.decimal == "" {
		l.decimal = "."
	}
	if l.decimal != "." && l.decimal != "," {
		return l, s.fault(`say "." or ","`, "source", "decimal")
	}
	if l.group == l.decimal || !slices.Contains([]string{"", ".", ",", " ", "'", "\u00a0", "\u202f"}, l.group) {
		return l, s.fault("name the mark between thousands, another one than the decimal mark", "source", "group")
	}
	if l.yes == nil && l.no == nil {
		l.yes, l.no = []string{"true"}, []string{"false"}
	}
	for key, p := range map[string]struct {
		pattern string
		to      *string
	}{"date": {d.Date, &l.date}, "timestamp": {d.Timestamp, &l.timestamp}} {
		if p.pattern == "" {
			continue
		}
		layout, ok := layout(p.pattern)
		if !ok {
			return l, s.fault("write yyyy MM dd HH mm ss and marks between them, such as dd.MM.yyyy", "source", key)
		}
		*p.to = layout
	}
	if d.Zone != "" {
		zone, err := time.LoadLocation(d.Zone)
		if err != nil {
			return l, s.fault("name a time zone such as Europe/Berlin", "source", "zone")
		}
		l.zone = zone
	}
	return l, nil
}

// layout turns a pattern into a layout of package time.
func layout(pattern string) (string, bool) {
	out := pattern
	for _, p := range [][2]string{{"yyyy", "2006"}, {"MM", "01"}, {"dd", "02"}, {"HH", "15"}, {"mm", "04"}, {"ss", "05"}} {
		out = strings.ReplaceAll(out, p[0], p[1])
	}
	left := strings.Trim(out, "0123456789.-/: T")
	return out, left == "" && strings.Contains(pattern, "yyyy") && strings.Contains(pattern, "MM") && strings.Contains(pattern, "dd")
}

// value reads text as a value of type t. The error says what was expected and
// never what was found: the original line is kept beside it.
func (l locale) value(t crm.Type, text string) (crm.Value, string, error) {
	switch t {
	case crm.TypeInteger, crm.TypeDecimal:
		plain, ok := l.number(text)
		if !ok {
			return crm.Value{}, CodeNumber, fmt.Errorf("not a number with decimal mark %q and thousands mark %q", l.decimal, l.group)
		}
		v, err := crm.ParseValue(t, plain)
		if err != nil {
			return crm.Value{}, CodeNumber, fmt.Errorf("not a number of type %s", t)
		}
		return v, "", nil
	case crm.TypeDate, crm.TypeTimestamp:
		form := l.date
		if t == crm.TypeTimestamp {
			form = l.timestamp
		}
		at, err := time.ParseInLocation(form, text, l.zone)
		if err != nil {
			return crm.Value{}, CodeDate, fmt.Errorf("not a %s written as %s", t, form)
		}
		if t == crm.TypeDate {
			return crm.Date(at.Format(time.DateOnly)), "", nil
		}
		return crm.Timestamp(at), "", nil
	case crm.TypeBoolean:
		switch {
		case slices.Contains(l.yes, text):
			return crm.Boolean(true), "", nil
		case slices.Contains(l.no, text):
			return crm.Boolean(false), "", nil
		}
		return crm.Value{}, CodeBoolean, errors.New("neither one of the words for true nor one for false")
	}
	return crm.String(text), "", nil
}

// number brings a number into plain form. Thousands marks must stand before
// every third digit: 1.23 is no number where "." marks thousands.
func (l locale) number(text string) (string, bool) {
	whole, fraction, dot := strings.Cut(text, l.decimal)
	if l.group != "" {
		parts := strings.Split(strings.TrimLeft(whole, "+-"), l.group)
		for i, p := range parts {
			if len(parts) > 1 && (i > 0 && len(p) != 3 || i == 0 && (p == "" || len(p) > 3)) {
				return "", false
			}
		}
		if strings.Contains(fraction, l.group) {
			return "", false
		}
		whole = strings.ReplaceAll(whole, l.group, "")
	}
	if strings.ContainsAny(whole+fraction, ".,") { // a mark that is not declared
		return "", false
	}
	if dot {
		return whole + "." + fraction, true
	}
	return whole, true
}

func transforms() map[string]func(string) string {
	return map[string]func(string) string{
		"trim":     strings.TrimSpace,
		"collapse": func(s string) string { return strings.Join(strings.Fields(s), " ") },
		"upper":    strings.ToUpper,
		"lower":    strings.ToLower,
		"digits": func(s string) string {
			return strings.Map(func(r rune) rune {
				if r < '0' || r > '9' {
					return -1
				}
				return r
			}, s)
		},
	}
}

func transform(name string) (func(string) string, bool) {
	f, ok := transforms()[name]
	return f, ok
}

func transformNames() []string { return slices.Sorted(maps.Keys(transforms())) }
