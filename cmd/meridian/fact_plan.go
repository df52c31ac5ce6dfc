package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type factReorganiseCmd struct {
	remote
	Plan    string `arg:"" type:"existingfile" help:"The plan, a YAML file."`
	Preview bool   `xor:"what" required:"" help:"Say what it would do, and change nothing."`
	Apply   bool   `xor:"what" required:"" help:"Do it, all or nothing."`
	Stamp   int64  `placeholder:"N" help:"Apply only if nothing moved since the preview that printed this stamp."`
}

// Help shows a plan.
func (factReorganiseCmd) Help() string {
	return `A plan is a reason and a list of edits, each what one of the other verbs does:

  reason: new regions
  from: 2027-01-01          # for edits that say no other; now if absent
  edits:
    - {do: add, kind: territory, id: US-SW, under: US, name: "United States, Southwest"}
    - {do: move, kind: territory, id: US-CA, under: US-SW}
    - {do: unassign, kind: territory, id: US-W, subject: rep.west@amer}
    - {do: assign, kind: territory, id: US-SW, subject: rep.west@amer}

The preview says, for everybody and every contract, how many records of each entity they gain and lose and where, which
shares would be suspended, and who would see nothing any more. Apply answers the same figures and takes effect at once.

  meridian fact reorganise plan.yaml --preview --as officer.a@amer
  meridian fact reorganise plan.yaml --apply --stamp 4711 --as officer.a@amer`
}

// factPlan is the file of a reorganisation.
type factPlan struct {
	Reason string     `yaml:"reason"`
	From   moment     `yaml:"from"`
	Edits  []planEdit `yaml:"edits"`
}

type planEdit struct {
	Do        string   `yaml:"do"`
	Kind      string   `yaml:"kind"`
	ID        string   `yaml:"id"`
	Subject   string   `yaml:"subject"`
	On        string   `yaml:"on"`
	Under     string   `yaml:"under"`
	Name      string   `yaml:"name"`
	Level     string   `yaml:"level"`
	Type      string   `yaml:"type"`
	Roles     []string `yaml:"roles"`
	Clearance *int32   `yaml:"clearance"`
	Actions   []string `yaml:"actions"`
	From      moment   `yaml:"from"`
	To        moment   `yaml:"to"`
}

func readPlan(path string) (*policyv1.ReorganiseRequest, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var plan factPlan
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&plan); err != nil {
		return nil, crm.Errorf(crm.Invalid, "%s: %v; `meridian fact reorganise --help` shows a plan", path, err)
	}
	req := &policyv1.ReorganiseRequest{Reason: plan.Reason}
	for _, e := range plan.Edits {
		if e.From.IsZero() {
			e.From = plan.From
		}
		if e.Do == "relate" || e.Do == "unrelate" {
			e.Kind = "department"
		}
		req.Edits = append(req.Edits, &policyv1.FactEdit{
			Do: e.Do, Kind: e.Kind, Id: e.ID, Subject: e.Subject, On: e.On, Under: e.Under, Name: e.Name, Level: e.Level,
			Type: e.Type, Roles: e.Roles, Clearance: e.Clearance, Actions: e.Actions, From: e.From.proto(), To: e.To.proto(),
		})
	}
	return req, nil
}

// Run previews or applies a plan.
func (r factReorganiseCmd) Run(ctx context.Context, out output) error {
	req, err := readPlan(r.Plan)
	if err != nil {
		return err
	}
	c, err := r.dial()
	if err != nil {
		return err
	}
	req.Apply, req.Stamp = r.Apply, r.Stamp
	resp, err := c.facts.Reorganise(ctx, req)
	if err != nil {
		return err
	}
	if r.JSON {
		return printProto(out.Stdout, resp)
	}
	verb := "would see"
	if resp.GetApplied() {
		verb = "see"
	}
	fmt.Fprintf(out.Stdout, "%d of %d subjects and contracts %s something else, as of %s\n", len(resp.GetImpacts()), resp.GetCompared(), verb, day(resp.GetAt()))
	impactTable(out, resp.GetImpacts())
	for _, id := range resp.GetLoseEverything() {
		fmt.Fprintf(out.Stdout, "  loses everything: %s\n", printable(id))
	}
	for _, id := range resp.GetSuspended() {
		fmt.Fprintf(out.Stdout, "  share to be suspended: %s\n", id)
	}
	if !resp.GetApplied() {
		fmt.Fprintf(out.Stdout, "Nothing is changed. To do exactly this: meridian fact reorganise %s --apply --stamp %d\n", r.Plan, resp.GetStamp())
	}
	return nil
}

// impactTable prints what changes for whom.
func impactTable(out output, impacts []*policyv1.PersonaImpact) {
	if len(impacts) == 0 {
		return
	}
	t := table{headings: []string{"WHO", "ENTITY", "GAINS", "LOSES", "CHANGES", "BY TERRITORY", "BY SECTOR"}}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, p := range impacts {
		for _, e := range p.GetEntities() {
			t.add(p.GetSubject(), e.GetEntity(), number(e.GetGained()), number(e.GetLost()), number(e.GetChanged()), places(e.GetTerritories()), places(e.GetSegments()))
		}
	}
	t.print(out.Stdout, "")
}

// places are the few largest shifts, for a column, those of segments by sector;
// --json has all of them.
func places(list []*policyv1.PlaceImpact) string {
	counts := map[string]int64{}
	for _, p := range list {
		place, _, _ := strings.Cut(p.GetId(), "/")
		counts[place] += p.GetGained() + p.GetLost() + p.GetChanged()
	}
	return largest(counts)
}

type factForecastCmd struct {
	remote
	Days int32 `default:"90" help:"How far to look."`
}

// Help shows the verb at work.
func (factForecastCmd) Help() string {
	return `Everything that begins or ends by time alone (agreements, judgements, assignments, relationships, contracts, nodes,
subjects), and what each moment changes for whom, counted on the records of today.

  meridian fact forecast --days 90 --as officer.a@amer`
}

// Run prints the forecast.
func (f factForecastCmd) Run(ctx context.Context, out output) error {
	c, err := f.dial()
	if err != nil {
		return err
	}
	resp, err := c.facts.Forecast(ctx, &policyv1.ForecastRequest{Days: f.Days})
	if err != nil {
		return err
	}
	if f.JSON {
		return printProto(out.Stdout, resp)
	}
	if len(resp.GetTurns()) == 0 {
		fmt.Fprintf(out.Stdout, "nothing begins or ends until %s\n", day(resp.GetUntil()))
	}
	for _, turn := range resp.GetTurns() {
		fmt.Fprintln(out.Stdout, day(turn.GetAt()))
		for _, e := range turn.GetEvents() {
			verb := "ends"
			if e.GetBegins() {
				verb = "begins"
			}
			fmt.Fprintf(out.Stdout, "  %s %s %s: %s\n", e.GetKind(), e.GetId(), verb, printable(e.GetText()))
		}
		for _, p := range turn.GetImpacts() {
			for _, e := range p.GetEntities() {
				var says []string
				for _, n := range []struct {
					count int64
					verb  string
				}{{e.GetLost(), "loses"}, {e.GetGained(), "gains"}, {e.GetChanged(), "sees otherwise"}} {
					if n.count > 0 {
						says = append(says, fmt.Sprintf("%s %d", n.verb, n.count))
					}
				}
				fmt.Fprintf(out.Stdout, "    %s %s of %s\n", printable(p.GetSubject()), strings.Join(says, ", "), e.GetEntity())
			}
		}
	}
	return nil
}
