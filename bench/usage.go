package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit in which Linux counts the CPU time of processes.
const clockTick = time.Second / 100

// usage is CPU time of this process (the instances and the client), of
// PostgreSQL and of the plugins. On a machine that others use too it says more
// than the clock on the wall.
type usage struct{ instances, postgres, plugins time.Duration }

// used reads what the kernel counted so far, the ended children of each
// process included. Off Linux it is zero.
func used() (u usage) {
	type process struct {
		parent int
		name   string
		spent  time.Duration
	}
	all := map[int]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // its only error is a bad pattern
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it ended just now
		}
		_, after, _ := strings.Cut(string(text), "(")
		name, after, _ := strings.Cut(after, ") ")
		f := strings.Fields(after)
		if len(f) < 15 {
			continue
		}
		p := process{parent: number(f[1]), name: name}
		for _, ticks := range f[11:15] { // user and system, of the process and of its ended children
			p.spent += time.Duration(number(ticks)) * clockTick
		}
		all[number(filepath.Base(filepath.Dir(file)))] = p
	}
	self := os.Getpid()
	for pid, p := range all {
		above := pid
		for above > 1 && above != self {
			above = all[above].parent
		}
		switch {
		case pid == self:
			u.instances += p.spent
		case above != self:
		case p.name == "postgres":
			u.postgres += p.spent
		default:
			u.plugins += p.spent
		}
	}
	return u
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0 // the kernel writes numbers
	}
	return n
}

func (u usage) since(before usage) usage {
	return usage{u.instances - before.instances, u.postgres - before.postgres, u.plugins - before.plugins}
}

func (u usage) plus(v usage) usage {
	return usage{u.instances + v.instances, u.postgres + v.postgres, u.plugins + v.plugins}
}

func (u usage) total() time.Duration { return u.instances + u.postgres + u.plugins }

func (u usage) String() string {
	return fmt.Sprintf("CPU %.1f s: instances and client %.1f, PostgreSQL %.1f, plugins %.1f",
		u.total().Seconds(), u.instances.Seconds(), u.postgres.Seconds(), u.plugins.Seconds())
}

// benchIdle measures what two instances at rest cost.
func benchIdle(ctx context.Context, w *world) ([]measure, error) {
	const rest = 20 * time.Second
	before := used()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(rest):
	}
	u := used().since(before)
	perMinute := u.total() * time.Duration(time.Minute/rest)
	return []measure{{
		name: fmt.Sprintf("CPU of %d instances at rest, per minute", len(w.nodes)), measured: round(perMinute).String(),
		baseline: "1 min of one core", ratio: perMinute.Minutes(), limit: 0.1,
	}}, nil
}
