package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"meridian/cmd/meridian/fleet"
	"meridian/instance/crm"
	fleetv1 "meridian/proto/gen/meridian/fleet/v1"
	schemav1 "meridian/proto/gen/meridian/schema/v1"
)

type doctorCmd struct {
	remote
	Timeout time.Duration `default:"5s" help:"How long one check may take."`
}

// Help shows the verb at work.
func (doctorCmd) Help() string {
	return `Looks at every instance of the fleet on this machine, or at one. With --as it also tries the token,
and what operators may see tells why a part is not well.

  meridian doctor
  meridian doctor --as ops@amer`
}

// finding is what one check of one instance found.
type finding struct {
	Instance string `json:"instance"`
	Check    string `json:"check"`
	OK       bool   `json:"ok"`
	Detail   string `json:"detail"`
}

// maxSkew is how far two clocks may differ before tokens are refused.
const maxSkew = 30 * time.Second

// Run prints a line per check and fails if one did.
func (d doctorCmd) Run(ctx context.Context, out output) error {
	patients, err := d.patients()
	if err != nil {
		return err
	}
	var found []finding
	for _, name := range slices.Sorted(maps.Keys(patients)) {
		found = append(found, d.examine(ctx, name, patients[name])...)
	}
	if d.JSON {
		if err := printJSON(out.Stdout, found); err != nil {
			return err
		}
	} else {
		t := table{headings: []string{"INSTANCE", "CHECK", "WELL", "DETAIL"}}
		for _, f := range found {
			t.add(f.Instance, f.Check, yes(f.OK), f.Detail)
		}
		t.print(out.Stdout, "no instances")
	}
	if i := slices.IndexFunc(found, func(f finding) bool { return !f.OK }); i >= 0 {
		return crm.Errorf(crm.Unavailable, "%s: %s is not well", found[i].Instance, found[i].Check)
	}
	return nil
}

// patients are the instances to look at: the one that was named, or all.
func (d doctorCmd) patients() (map[string]string, error) {
	name := d.Instance
	if d.As != "" && name == "" {
		_, home, err := fleet.SplitSubject(d.As)
		if err != nil {
			return nil, err
		}
		name = home
	}
	switch {
	case d.URL != "" && name == "":
		return map[string]string{d.URL: d.URL}, nil
	case d.URL != "":
		return map[string]string{name: d.URL}, nil
	case name == "":
		return fleet.Endpoints(d.Data)
	}
	at, err := endpoint(d.Data, name)
	return map[string]string{name: at}, err
}

// examine makes every check of one instance that its answers allow.
func (d doctorCmd) examine(ctx context.Context, name, base string) []finding {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	found := d.readiness(ctx, name, strings.TrimRight(base, "/"))
	if d.As == "" && d.Token == "" {
		return found
	}
	add := func(check string, ok bool, detail string) { found = append(found, finding{name, check, ok, detail}) }
	r := d.remote
	r.URL = base
	c, err := r.dial()
	if err != nil {
		add("token", false, err.Error())
		return found
	}
	entities, err := c.schema.ListEntities(ctx, &schemav1.ListEntitiesRequest{})
	if err != nil {
		text, _ := explainError(err)
		add("token", false, oneLine(text))
		return found
	}
	add("token", true, fmt.Sprintf("accepted; %d entities", len(entities.GetEntities())))
	about, err := c.instance.Describe(ctx, &fleetv1.DescribeRequest{})
	if err != nil {
		if e, _ := errorOf(err); e == nil || e.Kind != crm.Denied { // who is no operator does not see parts
			text, _ := explainError(err)
			add("parts", false, oneLine(text))
		}
		return found
	}
	add("build", true, about.GetVersion())
	add("policy", about.GetBundle() != "", "bundle "+about.GetBundle())
	for _, p := range about.GetParts() {
		add(p.GetName(), p.GetOk(), p.GetDetail())
	}
	return found
}

// readiness is what anybody may ask.
func (d doctorCmd) readiness(ctx context.Context, name, base string) []finding {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return []finding{{name, "address", false, err.Error()}}
	}
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return []finding{{name, "reachable", false, err.Error()}}
	}
	defer resp.Body.Close()
	found := []finding{{name, "reachable", true, fmt.Sprintf("%s in %s", base, time.Since(began).Round(time.Millisecond))}}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		skew := time.Since(at).Round(time.Second)
		found = append(found, finding{name, "clock", skew.Abs() <= maxSkew, fmt.Sprintf("%s apart", skew)})
	}
	var ready struct {
		OK    bool            `json:"ok"`
		Parts map[string]bool `json:"parts"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&ready); err != nil {
		return append(found, finding{name, "ready", false, "this does not answer like a Meridian instance"})
	}
	var ill []string
	for _, part := range slices.Sorted(maps.Keys(ready.Parts)) {
		if !ready.Parts[part] {
			ill = append(ill, part)
		}
	}
	detail := "all parts"
	if len(ill) > 0 {
		detail = "not ready: " + strings.Join(ill, ", ")
	}
	return append(found, finding{name, "ready", ready.OK, detail})
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
