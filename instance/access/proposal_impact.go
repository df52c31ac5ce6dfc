package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/policy"
)

const (
	comparedAtMost = time.Minute // an officer waits
	maxImpactLines = 50
)

// impacted tells the second officer what a bundle would change for everybody
// here, exactly. What takes too long is said to be unknown, never left out.
func (d *Door) impacted(ctx context.Context, b *policy.Bundle, r *Report) error {
	before, inForce, err := d.comparedWith(ctx)
	if err != nil {
		return err
	}
	after, err := d.candidate(ctx, Candidate{Files: b.Modules()})
	if err != nil {
		return err
	}
	all, untried, err := d.compared(ctx, before, after, nil)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, comparedAtMost)
	defer cancel()
	x := &comparison{d: d, inForce: inForce, before: before, after: after, action: crm.ActionRead, sizes: map[string]int64{}}
	var lines []string
	differing, powers := 0, map[string][]crm.SubjectID{}
	for i, s := range all {
		persona, err := x.persona(within, s)
		if errors.Is(within.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
			r.Warnings = append(r.Warnings, fmt.Sprintf("what it changes is known for %d of %d subjects and contracts only; run meridian policy impact", i, len(all)))
			break
		}
		if err != nil {
			return err
		}
		if persona == nil {
			continue
		}
		differing++
		if said := strings.Join(persona.Powers.line(), "; "); said != "" {
			powers[said] = append(powers[said], persona.Subject)
		}
		if said := persona.line(); said != "" {
			lines = append(lines, said)
		}
	}
	said := fmt.Sprintf("%d of %d subjects and contracts would see or may do something else", differing, len(all))
	if more := len(lines) - maxImpactLines; more > 0 {
		lines = append(lines[:maxImpactLines], fmt.Sprintf("and %d more", more))
	}
	lines = slices.Concat(powersLines(powers), lines, x.ahead.lines())
	locked, err := x.locked(ctx)
	if err != nil {
		return err
	}
	r.Warnings = slices.Concat(r.Warnings, locked, x.unfelt(int64(differing)), untried)
	r.add("impact", strings.Join(append([]string{said}, lines...), "\n"), nil)
	return nil
}

// line is what changes of records for one subject, in a line without values or
// ids; "" if nothing does.
func (p PersonaImpact) line() string {
	var parts []string
	for _, e := range p.Entities {
		var said []string
		for _, n := range []struct {
			of   int64
			what string
		}{{e.Gained, "gains"}, {e.Later, "gains, once the denials, walls and withholdings of today have ended,"}, {e.Lost, "loses"}, {e.GiveBack, "gives back"}} {
			if n.of > 0 {
				said = append(said, fmt.Sprintf("%s %d", n.what, n.of))
			}
		}
		if len(said) == 0 {
			said = []string{"sees other field groups"}
		}
		parts = append(parts, fmt.Sprintf("%s %s of %d", e.Entity, strings.Join(said, ", "), e.Records))
	}
	for _, a := range p.OtherActions {
		parts = append(parts, "could "+string(a)+" others")
	}
	if p.Refused != "" {
		parts = append(parts, "sees nothing: "+p.Refused)
	}
	if len(parts) == 0 {
		return ""
	}
	return string(p.Subject) + ": " + strings.Join(parts, "; ")
}
