package main

import (
	"fmt"
	"io"
	"strings"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// touchesRecords says whether an impact is about records too, and not about
// permissions and limits alone.
func touchesRecords(x *policyv1.PersonaImpact) bool {
	return len(x.GetEntities())+len(x.GetOtherActions()) > 0 || x.GetRefused() != ""
}

// alike are the subjects for whom the same lines hold, in the order in which the
// lines first came.
type alike struct {
	order []string
	of    map[string][]string
}

func (a *alike) add(subject string, lines ...string) {
	if a.of == nil {
		a.of = map[string][]string{}
	}
	said := strings.Join(lines, "\n")
	if _, known := a.of[said]; !known && said != "" {
		a.order = append(a.order, said)
	}
	a.of[said] = append(a.of[said], printable(subject))
}

// printPermissions calls out who would newly hold which permissions, before all
// else: they are about everybody's records.
func printPermissions(w io.Writer, personas []*policyv1.PersonaImpact) {
	var all alike
	for _, x := range personas {
		var lines []string
		for _, p := range x.GetPermissionsGained() {
			lines = append(lines, fmt.Sprintf("     %-17s %s", printable(p.GetPermission()), printable(p.GetText())))
		}
		all.add(x.GetSubject(), lines...)
	}
	for _, said := range all.order {
		fmt.Fprintf(w, "!! %s would newly be PERMITTED to\n%s\n", strings.Join(all.of[said], ", "), said)
	}
}

// printPowers lists what else changes beside records: permissions lost, and
// limits, looser ones first.
func printPowers(w io.Writer, personas []*policyv1.PersonaImpact) {
	var all alike
	for _, x := range personas {
		var lines []string
		for _, l := range x.GetLimits() {
			loud := map[bool]string{true: "!! ", false: "   "}[l.GetLooser()]
			lines = append(lines, fmt.Sprintf("    %s%s: %s -> %s", loud, printable(l.GetLimit()), printable(l.GetBefore()), printable(l.GetAfter())))
		}
		for _, p := range x.GetPermissionsLost() {
			lines = append(lines, fmt.Sprintf("       no more: %s (%s)", printable(p.GetPermission()), printable(p.GetText())))
		}
		all.add(x.GetSubject(), lines...)
	}
	for i, said := range all.order {
		if i == 0 {
			fmt.Fprintln(w, "\nLIMITS AND PERMISSIONS")
		}
		fmt.Fprintf(w, "  %s\n%s\n", strings.Join(all.of[said], ", "), said)
	}
}
