package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTimes reads every way to write a time, as what was asked: a length of
// time is from now, and ago where the past is meant.
func TestTimes(t *testing.T) {
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-11-23": day, "2026-11-23 12:40": day.Add(12*time.Hour + 40*time.Minute), "2026-11-23T12:40": day.Add(12*time.Hour + 40*time.Minute),
		"2026-11-23 12:40:05": day.Add(12*time.Hour + 40*time.Minute + 5*time.Second), "2026-11-23T12:40:05+02:00": day.Add(10*time.Hour + 40*time.Minute + 5*time.Second),
	} {
		var m moment
		var p past
		if err := m.UnmarshalText([]byte(text)); err != nil || !m.Equal(want) {
			t.Errorf("moment %q is %v, %v", text, m, err)
		}
		if err := p.UnmarshalText([]byte(text)); err != nil || !p.Equal(want) {
			t.Errorf("past %q is %v, %v", text, p, err)
		}
	}
	for _, c := range []struct {
		text     string
		to, from time.Duration // of a moment and of a past, from now
	}{{"90m", 90 * time.Minute, -90 * time.Minute}, {"90m ago", -90 * time.Minute, -90 * time.Minute}, {"-5h", -5 * time.Hour, -5 * time.Hour}} {
		var m moment
		var p past
		now := time.Now()
		if err := m.UnmarshalText([]byte(c.text)); err != nil || m.Sub(now)-c.to > time.Minute || m.Sub(now) < c.to {
			t.Errorf("moment %q is %v, %v", c.text, m, err)
		}
		if err := p.UnmarshalText([]byte(c.text)); err != nil || p.Sub(now)-c.from > time.Minute || p.Sub(now) < c.from {
			t.Errorf("past %q is %v, %v", c.text, p, err)
		}
	}
	var p past
	if err := p.UnmarshalText([]byte("yesterday")); err == nil || !strings.Contains(err.Error(), "is not a past day ("+time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)) {
		t.Errorf("past says %v", err)
	}
	for _, text := range []string{"soon", "-5m ago", "2026-02-30"} {
		if err := new(moment).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a moment", text)
		}
	}
	var d lastDay
	if err := d.UnmarshalText([]byte("2026-11-23")); err != nil || !d.end.Equal(day.AddDate(0, 0, 1)) {
		t.Errorf("the last day ends %v, %v", d.end, err)
	}
}

// TestNegatives joins a negative number to its flag, and nothing else.
func TestNegatives(t *testing.T) {
	got := withNegatives([]string{"x", "--at", "-5h", "-n", "3", "--json", "--days=1", "-2", "--for", "-5m", "--", "-3"})
	want := []string{"x", "--at=-5h", "-n", "3", "--json", "--days=1", "-2", "--for=-5m", "--", "-3"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
