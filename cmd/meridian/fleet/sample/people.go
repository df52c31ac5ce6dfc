package sample

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// about begins every row that belongs to a company: its own key, the company's
// key, and the company's country, by which an instance keeps its own.
var about = []string{"source_id", "company", "country"}

func aboutRow(prefix string, c company, n int, rest ...string) []string {
	return append([]string{fmt.Sprintf("%s-%s-%d", prefix, c.id, n), c.id, c.country}, rest...)
}

func with(columns ...string) []string { return append(slices.Clone(about), columns...) }

var (
	contactColumns     = with("first_name", "last_name", "job_title", "email", "phone", "sample")
	leadColumns        = with("state", "first_name", "last_name", "company_name", "job_title", "email", "phone", "origin", "status", "sample")
	opportunityColumns = with("name", "stage", "amount", "currency", "probability", "close_date", "sample")
	engagementColumns  = with("name", "process", "stage", "started_on", "sample")
	activityColumns    = with("kind", "topic", "due_at", "done", "sample")
)

// The first day of the sample's world: dates follow from the seed, not from
// the day somebody runs it.
func day(n int) time.Time { return time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

type person struct{ first, last string }

func somebody(r *rand.Rand) person {
	return person{
		pick(r, "Ada", "Amal", "Bruno", "Chidi", "Daniela", "Elif", "Farah", "Grace", "Hiroshi", "Ines", "Jonas", "Kofi", "Lin", "Maya", "Nadia", "Omar", "Priya", "Rosa", "Sven", "Yuki"),
		pick(r, "Abe", "Baumann", "Costa", "Diallo", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito", "Jansen", "Kaya", "Lopez", "Moreau", "Nakamura", "Okafor", "Patel", "Rossi", "Silva", "Tan", "Weber"),
	}
}

func title(r *rand.Rand) string {
	return pick(r, "Chief Financial Officer", "Treasurer", "Head of Procurement", "Chief Information Officer", "Operations Director", "General Counsel")
}

func (p person) local() string { return p.first + "." + p.last }

func contactRows(c company, r *rand.Rand) [][]string {
	p := somebody(r)
	return [][]string{aboutRow("CT", c, 1, p.first, p.last, title(r), email(p.local(), c, r), phone(c.country, r), "true")}
}

// one in so many companies has a row of the kind.
func oneIn(n int, r *rand.Rand) bool { return r.IntN(n) == 0 }

func leadRows(c company, r *rand.Rand) [][]string {
	if !oneIn(8, r) {
		return nil
	}
	p := somebody(r)
	state := c.row[slices.Index(given, "state")]
	return [][]string{aboutRow("LD", c, 1, state, p.first, p.last, c.name, title(r), email(p.local(), c, r), phone(c.country, r),
		pick(r, "web", "event", "referral", "partner"), pick(r, "new", "working", "qualified", "unqualified"), "true")}
}

func opportunityRows(c company, r *rand.Rand) [][]string {
	var rows [][]string
	for n := range r.IntN(3) {
		stage := r.IntN(6)
		rows = append(rows, aboutRow("OP", c, n+1,
			pick(r, "Renewal", "Expansion", "New plant", "Framework agreement", "Pilot")+" "+c.name,
			[]string{"prospecting", "qualification", "proposal", "negotiation", "won", "lost"}[stage],
			fmt.Sprintf("%d.00", (1+r.IntN(400))*5000), "USD",
			[]string{"10", "25", "50", "75", "100", "0"}[stage],
			day(r.IntN(540)).Format(time.DateOnly), "true"))
	}
	return rows
}

func engagementRows(c company, r *rand.Rand) [][]string {
	if !oneIn(5, r) {
		return nil
	}
	process := pick(r, "coverage", "onboarding", "service")
	return [][]string{aboutRow("EN", c, 1, c.name+", "+process, process, pick(r, "identified", "active", "closed"), day(r.IntN(300)).Format(time.DateOnly), "true")}
}

func activityRows(c company, r *rand.Rand) [][]string {
	var rows [][]string
	for n := range r.IntN(2) {
		due := day(r.IntN(365))
		rows = append(rows, aboutRow("AC", c, n+1, pick(r, "call", "meeting", "email", "task"),
			pick(r, "Quarterly review", "Pricing", "Contract terms", "Introduction", "Open questions"),
			due.Format(time.RFC3339), fmt.Sprint(due.Before(day(300))), "true"))
	}
	return rows
}
