package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/values"
)

type aggregateCmd struct {
	remote
	Entity   string   `arg:"" help:"account, opportunity, ..."`
	By       []string `help:"Up to three fields to group by; dates also as created:month (year, quarter, month, day)."`
	Count    bool     `help:"How many records. The default without another measure."`
	Sum      []string `help:"Sum of a field."`
	Avg      []string `help:"Average of a field."`
	Min      []string `help:"Least value of a field."`
	Max      []string `help:"Greatest value of a field."`
	Distinct []string `help:"How many different values a field has."`
	Filter   string   `short:"f" help:"Only of these, as in record list."`
	Order    string   `help:"A measure or a field of --by, - first for descending: --order=-count. The first measure, descending, if absent."`
	Limit    int32    `short:"n" default:"25" help:"Groups, at most 1000."`
}

// Help shows the verb at work.
func (aggregateCmd) Help() string {
	return `Works numbers out of the records you may see, as you may see them: a withheld value counts as
absent, a masked one as its mask.

  meridian aggregate account --by country --sum annual_revenue --as manager.us@amer
  meridian aggregate account --by sector,size_band --count --avg annual_revenue --filter "country = 'US'" --as manager.us@amer
  meridian aggregate opportunity --by created:month --sum amount --order created:month --as rep.west@amer
` + exitCodeHelp
}

// measures are what the flags ask for, in a fixed order.
func (a aggregateCmd) measures() (out []string) {
	for _, m := range []struct {
		op     string
		fields []string
	}{{"sum", a.Sum}, {"avg", a.Avg}, {"min", a.Min}, {"max", a.Max}, {"distinct", a.Distinct}} {
		for _, f := range m.fields {
			out = append(out, m.op+"("+f+")")
		}
	}
	if a.Count || len(out) == 0 {
		out = append(out, "count")
	}
	return out
}

// Run prints a row per group, with a bar of the measure they are ordered by.
func (a aggregateCmd) Run(ctx context.Context, out output) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	measures := a.measures()
	resp, err := c.records.Aggregate(ctx, &recordv1.AggregateRequest{
		Entity: a.Entity, By: a.By, Measures: measures, Filter: a.Filter, Order: a.Order, Limit: a.Limit,
	})
	if err != nil {
		return err
	}
	if a.JSON {
		return a.printJSON(out, measures, resp)
	}
	drawn := max(0, slices.Index(measures, strings.TrimPrefix(a.Order, "-")))
	most := 0.0
	for _, g := range resp.GetGroups() {
		most = max(most, size(g.GetValues()[drawn]))
	}
	t := table{headings: append(upper(a.By), upper(measures)...)}
	for _, g := range resp.GetGroups() {
		var cells []string
		for _, k := range g.GetKeys() {
			name := text(k)
			if name == "" {
				name = "(none)"
			}
			cells = append(cells, name)
		}
		for _, v := range g.GetValues() {
			cells = append(cells, text(v))
		}
		if len(a.By) > 0 && most > 0 {
			cells = append(cells, bar(size(g.GetValues()[drawn])/most))
		}
		t.add(cells...)
	}
	t.print(out.Stdout, "nothing that you may see")
	if resp.GetMore() {
		fmt.Fprintf(out.Stderr, "more groups: --limit above %d\n", a.Limit)
	}
	return nil
}

// size is a number to draw, 0 for what is none or below 0.
func size(v *recordv1.Value) float64 {
	n, err := strconv.ParseFloat(text(v), 64)
	if err != nil {
		return 0
	}
	return max(0, n)
}

// bar draws a part of 1 with eighths of a block, so that small ones show.
func bar(part float64) string {
	const width = 30
	eighths := int(part*width*8 + 0.5)
	if eighths == 0 && part > 0 {
		eighths = 1
	}
	out := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		out += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return out
}

func (a aggregateCmd) printJSON(out output, measures []string, resp *recordv1.AggregateResponse) error {
	named := func(names []string, vs []*recordv1.Value) (map[string]crm.Value, error) {
		m := map[string]crm.Value{}
		for i, v := range vs {
			plain, err := values.FromProto(v)
			if err != nil {
				return nil, err
			}
			m[names[i]] = plain
		}
		return m, nil
	}
	groups := []map[string]any{}
	for _, g := range resp.GetGroups() {
		keys, err := named(a.By, g.GetKeys())
		if err != nil {
			return err
		}
		vs, err := named(measures, g.GetValues())
		if err != nil {
			return err
		}
		groups = append(groups, map[string]any{"keys": keys, "values": vs})
	}
	return printJSON(out.Stdout, map[string]any{"groups": groups, "more": resp.GetMore()})
}
