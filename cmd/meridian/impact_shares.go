package main

import (
	"fmt"
	"io"
	"strings"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// shares tells what would become of shares. What their receivers would see by
// it is among the records told before.
func (p policyImpactCmd) shares(w io.Writer, title string, shares []*policyv1.SharesImpact) {
	if len(shares) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, s := range shares {
		fmt.Fprintf(w, "  %s to %s: %d of %s\n", printable(s.GetGiver()), printable(s.GetReceiver()), s.GetShares(), printable(s.GetEntity()))
		if p.IDs {
			fmt.Fprintf(w, "    %-12s %s\n", "shares:", strings.Join(s.GetIds(), " "))
		}
	}
}
