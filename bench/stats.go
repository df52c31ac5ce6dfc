package main

import (
	"fmt"
	"slices"
	"time"
)

// sample is a set of durations.
type sample []time.Duration

func (s sample) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	t := slices.Clone(s)
	slices.Sort(t)
	return t[min(len(t)-1, int(q*float64(len(t))))]
}

func (s sample) String() string {
	return fmt.Sprintf("p50 %s, p99 %s", round(s.at(0.50)), round(s.at(0.99)))
}

func round(d time.Duration) time.Duration {
	switch {
	case d > 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	case d > 100*time.Microsecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}

// interleave runs a and b in turns, so that noise of the machine hits both,
// and times each call. The first tenth warms up and does not count.
func interleave(n int, a, b func(i int) error) (as, bs sample, err error) {
	for i := range n {
		for _, side := range []struct {
			call func(int) error
			into *sample
		}{{a, &as}, {b, &bs}} {
			start := time.Now()
			if err := side.call(i); err != nil {
				return nil, nil, err
			}
			if i >= n/10 {
				*side.into = append(*side.into, time.Since(start))
			}
		}
	}
	return as, bs, nil
}

// interleaveFor is interleave for as long as told, at least five turns of which
// the first does not count.
func interleaveFor(long time.Duration, a, b func() error) (as, bs sample, err error) {
	for start, turn := time.Now(), 0; turn < 5 || time.Since(start) < long; turn++ {
		x, y, err := interleave(1, func(int) error { return a() }, func(int) error { return b() })
		if err != nil {
			return nil, nil, err
		}
		if turn > 0 {
			as, bs = append(as, x...), append(bs, y...)
		}
	}
	return as, bs, nil
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, 1)) }
