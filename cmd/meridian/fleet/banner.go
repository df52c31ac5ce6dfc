package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// banner says where to go, whom to be and what to try.
func (r *run) banner(s ready, x examples) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe fleet %s is ready. Ctrl-C stops all of it.\n\nInstances\n", r.file.Name)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, n := range r.nodes {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", n.Name, n.url, n.Title)
	}
	_ = w.Flush() // a strings.Builder takes everything
	fmt.Fprintf(&b, "\nPersonas, each with a token for a day (later ones: %s token --as NAME%s)\n", r.command(), r.dataFlag())
	for _, n := range r.nodes {
		for _, p := range n.Subjects {
			id := fullName(string(p.ID), n.Name)
			fmt.Fprintf(&b, "  %s %s\n    %s\n", id, p.About, s.Personas[id])
		}
	}
	b.WriteString("  At every instance:")
	for i, p := range r.file.Everywhere.Subjects {
		fmt.Fprintf(&b, "%s %s", map[bool]string{true: ",", false: ""}[i > 0], p.ID)
	}
	b.WriteString("\n\nFive things to try\n")
	for i, t := range r.tries(x) {
		fmt.Fprintf(&b, "  %d. %s\n", i+1, t.what)
		for _, line := range t.lines {
			fmt.Fprintf(&b, "       %s\n", line)
		}
	}
	r.say("%s", b.String())
}

type try struct {
	what  string
	lines []string
}

// tries are the suggestions that this fleet can follow: those whose persona
// and instance it has.
func (r *run) tries(x examples) []try {
	m, data := r.command(), r.dataFlag()
	as := func(persona, instance string) string {
		return fmt.Sprintf(`-H "Authorization: Bearer $(%s token --as %s@%s%s)" %s`, m, persona, instance, data, r.urlOf(instance))
	}
	all := []struct {
		needs [][2]string
		try
	}{
		{[][2]string{{"rep.west", "amer"}, {"rep.east", "amer"}}, try{"What does not lie in your territory does not exist for you", []string{
			fmt.Sprintf(`curl -s -G %s/api/v1/account --data-urlencode "filter=state = 'CA'" -d limit=3`, as("rep.west", "amer")),
			fmt.Sprintf(`curl -s -G %s/api/v1/account:count --data-urlencode "filter=state = 'CA'"`, as("rep.east", "amer")),
		}}},
		{[][2]string{{"banker", "finserv"}}, try{"The financial companies of all regions, without what their contracts keep back", []string{
			fmt.Sprintf("%s record list account --as banker@finserv%s --limit 5", m, data),
			fmt.Sprintf("curl -s %s/api/v1/account:count", as("banker", "finserv")),
		}}},
		{[][2]string{{"rep.west", "amer"}}, try{"A plugin checks every write: this one is refused, naming the field", []string{
			fmt.Sprintf(`curl -s -X POST -H "Content-Type: application/json" %s/api/v1/account -d '{"fields":{"source_id":"TRY-1","name":"Try Inc.","country":"US","state":"California","email":"nobody at nowhere"}}'`, as("rep.west", "amer")),
		}}},
		{[][2]string{{"rep.dach", "emea"}, {"officer.a", "amer"}}, try{"American customers, open to Germany by agreement: end one, and it is gone within two seconds", []string{
			fmt.Sprintf(`%s record list account --as rep.dach@emea%s --filter "country = 'US'"`, m, data),
			fmt.Sprintf(`%s agreement end %s --as officer.a@amer%s --reason "trying it out"`, m, x.agreement, data),
		}}},
		{[][2]string{{"banker", "finserv"}, {"manager.us", "amer"}}, try{"Watch a change arrive from another instance (run the first line in a second terminal)", []string{
			fmt.Sprintf("%s watch account --as banker@finserv%s", m, data),
			fmt.Sprintf(`%s record update account %s city=Springfield --version %d --as manager.us@amer%s`, m, x.record, x.version, data),
		}}},
	}
	var can []try
	for _, t := range all {
		ok := true
		for _, need := range t.needs {
			ok = ok && r.has(need[0], need[1])
		}
		if ok {
			can = append(can, t.try)
		}
	}
	return can
}

// examples are what the suggestions are about in this fleet as it stands.
type examples struct {
	agreement string // one in force
	record    string // an account that another instance holds too
	version   int64
}

// none stands for an example that is no longer there.
const none = "ID"

func (r *run) examples(ctx context.Context) (examples, error) {
	x := examples{agreement: none, record: none, version: 1}
	if r.has("officer.a", "amer") {
		n := r.node("amer")
		resp, err := n.policy("officer.a").ListAgreements(ctx, &policyv1.ListAgreementsRequest{})
		if err != nil {
			return x, at(n, "list agreements", err)
		}
		for _, a := range resp.Agreements {
			if !a.Ended {
				x.agreement = a.Id
				break
			}
		}
	}
	if r.has("manager.us", "amer") {
		n := r.node("amer")
		resp, err := n.records("manager.us").List(ctx, &recordv1.ListRequest{Entity: "account", Filter: "sector = 'Financials'", Sort: "name", Limit: 1})
		if err != nil {
			return x, at(n, "list accounts", err)
		}
		for _, record := range resp.Records {
			x.record, x.version = record.Id, record.Version
		}
	}
	return x, nil
}

func (r *run) has(persona, instance string) bool {
	for _, n := range r.nodes {
		for _, p := range r.file.personas(n.Instance) {
			if p.ID == fullName(persona, instance) {
				return true
			}
		}
	}
	return false
}

func (r *run) urlOf(instance string) string { return r.node(instance).url }

// command is how to call this program from here.
func (r *run) command() string { return relative(r.binary("meridian")) }

// dataFlag is needed where the data folder is not the default one.
func (r *run) dataFlag() string {
	if d := relative(string(r.folder)); d != ".meridian" {
		return " --data " + d
	}
	return ""
}

// relative shortens a path below the working folder.
func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	short, err := filepath.Rel(here, path)
	if err != nil || strings.HasPrefix(short, "..") {
		return path
	}
	return short
}
