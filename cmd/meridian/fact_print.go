package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// drawTree draws the nodes of a tree; under, if not empty, is where it begins.
// What an officer said instead of the configuration is marked.
func drawTree(w io.Writer, nodes []*policyv1.Fact, under string) error {
	children := map[string][]*policyv1.Fact{}
	there := map[string]*policyv1.Fact{}
	for _, n := range nodes {
		there[n.GetId()] = n
	}
	for _, n := range nodes {
		parent := n.GetUnder()
		if there[parent] == nil {
			parent = "" // a root, or one that lost its parent
		}
		children[parent] = append(children[parent], n)
	}
	for _, list := range children {
		slices.SortFunc(list, func(a, b *policyv1.Fact) int { return strings.Compare(a.GetId(), b.GetId()) })
	}
	roots := children[""]
	if under != "" {
		if there[under] == nil {
			return crm.Errorf(crm.NotFound, "there is no %q in this tree", under)
		}
		roots = []*policyv1.Fact{there[under]}
	}
	if len(roots) == 0 {
		fmt.Fprintln(w, "nothing")
		return nil
	}
	var draw func(n *policyv1.Fact, first, rest string)
	draw = func(n *policyv1.Fact, first, rest string) {
		fmt.Fprintf(w, "%s%s%s\n", first, printable(label(n)), byOfficer(n))
		below := children[n.GetId()]
		for i, c := range below {
			if i == len(below)-1 {
				draw(c, rest+"└── ", rest+"    ")
			} else {
				draw(c, rest+"├── ", rest+"│   ")
			}
		}
	}
	for _, r := range roots {
		draw(r, "", "")
	}
	return nil
}

// label is a node's id with its name, if that says more.
func label(n *policyv1.Fact) string {
	if n.GetName() == "" || n.GetName() == n.GetId() {
		return n.GetId()
	}
	return n.GetId() + "  " + n.GetName()
}

func byOfficer(f *policyv1.Fact) string {
	if f.GetOrigin() == "declared" {
		return ""
	}
	return "  (" + printable(f.GetOrigin()) + ")"
}

// factTable prints facts of one kind.
func factTable(out output, kind string, facts []*policyv1.Fact) {
	var t table
	switch kind {
	case "subject":
		t.headings = []string{"SUBJECT", "TYPE", "ROLES", "CLEARANCE", "FROM", "TO", "SAID BY"}
		for _, f := range facts {
			t.add(f.GetId(), f.GetType(), strings.Join(f.GetRoles(), ","), strconv.Itoa(int(f.GetClearance())), day(f.GetFrom()), day(f.GetTo()), f.GetOrigin())
		}
	case "assignment":
		t.headings = []string{"SUBJECT", "TREE", "NODE", "FROM", "TO", "SAID BY"}
		for _, f := range facts {
			t.add(f.GetSubject(), f.GetTree(), f.GetId(), day(f.GetFrom()), day(f.GetTo()), f.GetOrigin())
		}
	default:
		t.headings = []string{"DEPARTMENT", "ON", "ACTIONS", "FROM", "TO", "SAID BY"}
		for _, f := range facts {
			t.add(f.GetId(), f.GetOn(), strings.Join(f.GetActions(), ","), day(f.GetFrom()), day(f.GetTo()), f.GetOrigin())
		}
	}
	t.print(out.Stdout, "nothing")
}

// printFacts prints facts of several kinds as they are recorded now.
func printFacts(out output, facts []*policyv1.Fact) {
	t := table{headings: []string{"KIND", "FACT", "SAYS", "FROM", "TO", "SAID BY"}}
	for _, f := range facts {
		if !f.GetFrom().AsTime().Before(f.GetTo().AsTime()) {
			continue // it says only who ended it
		}
		t.add(f.GetKind(), f.GetId(), says(f), day(f.GetFrom()), day(f.GetTo()), f.GetOrigin())
	}
	t.print(out.Stdout, "it holds no more")
}

// says is what a fact says, in a few words.
func says(f *policyv1.Fact) string {
	switch f.GetKind() {
	case "subject":
		return fmt.Sprintf("%s, roles %s, clearance %d", f.GetType(), orNone(f.GetRoles()), f.GetClearance())
	case "assignment":
		return f.GetSubject() + " in " + f.GetTree() + " " + f.GetId()
	case "relationship":
		return "may " + strings.Join(f.GetActions(), ", ") + " records of " + f.GetOn()
	}
	if f.GetUnder() == "" {
		return f.GetName()
	}
	return f.GetName() + " under " + f.GetUnder()
}
