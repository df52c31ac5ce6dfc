package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	schemav1 "meridian/proto/gen/meridian/schema/v1"
)

type recordCmd struct {
	List    recordListCmd    `cmd:"" help:"List the records you may see." `
	Get     recordGetCmd     `cmd:"" help:"Show records in full."`
	Count   recordCountCmd   `cmd:"" help:"Count the records you may see."`
	Create  recordCreateCmd  `cmd:"" help:"Create a record."`
	Update  recordUpdateCmd  `cmd:"" help:"Change fields of a record at a version."`
	Delete  recordDeleteCmd  `cmd:"" help:"Delete a record at a version."`
	History recordHistoryCmd `cmd:"" help:"Show how a record came to be, newest first."`
}

// Help shows the verbs at work.
func (recordCmd) Help() string {
	return `Examples:
  meridian record list account --as rep.west@amer --filter "annual_revenue >= 1000000" --sort=-annual_revenue
  meridian record get account source_id:AAPL --as rep.west@amer
  meridian record create account --as rep.west@amer name="Acme Labs" country=US state=CA source_id=ACME
  meridian record update account source_id:ACME --version 1 --as rep.west@amer phone= website=https://acme.example
  meridian record history account source_id:ACME --as rep.west@amer

A record is named by its id, or by a unique field as source_id:AAPL.
` + exitCodeHelp
}

type recordListCmd struct {
	remote
	Entity string   `arg:"" help:"account, contact, lead, opportunity, engagement, activity, product or case."`
	Filter string   `short:"f" help:"What you want: country = 'US' and name contains \"bank\"."`
	Sort   string   `short:"s" help:"Fields, - first for descending: --sort=-annual_revenue,name"`
	Limit  int32    `short:"n" default:"50" help:"Records of one page, at most 1000."`
	Cursor string   `help:"Where the page before ended."`
	All    bool     `help:"Every page."`
	Fields []string `help:"Columns to show; the first ones of the entity if absent."`
}

// Run lists a page, or all.
func (l recordListCmd) Run(ctx context.Context, out output) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	req := &recordv1.ListRequest{Entity: l.Entity, Filter: l.Filter, Sort: l.Sort, Limit: l.Limit, Cursor: l.Cursor}
	if l.All {
		req.Limit = 1000
	}
	var found []*recordv1.Record
	for {
		page, err := c.records.List(ctx, req)
		if err != nil {
			return err
		}
		found = append(found, page.GetRecords()...)
		req.Cursor = page.GetNextCursor()
		if !l.All || req.Cursor == "" {
			break
		}
	}
	if l.JSON {
		views, err := viewsOf(found)
		if err != nil {
			return err
		}
		return printJSON(out.Stdout, map[string]any{"records": views, "next_cursor": req.Cursor})
	}
	if err := printRecords(ctx, c, out, l.Entity, l.Fields, found); err != nil {
		return err
	}
	if req.Cursor != "" {
		fmt.Fprintf(out.Stderr, "more: --cursor %s, or --all\n", req.Cursor)
	}
	return nil
}

// printRecords prints a line for each record: the columns asked for, or the
// first of the entity that fit a line.
func printRecords(ctx context.Context, c *clients, out output, entity string, columns []string, found []*recordv1.Record) error {
	groups, first, err := c.fields(ctx, entity)
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		columns = first
	}
	t := table{headings: append(append([]string{"ID", "VERSION"}, upper(columns)...), "WITHHELD")}
	for _, r := range found {
		cells := []string{r.GetId(), strconv.FormatInt(r.GetVersion(), 10)}
		for _, name := range columns {
			cells = append(cells, clipped(shown(r, name, groups), 40))
		}
		t.add(append(cells, hidden(r))...)
	}
	t.print(out.Stdout, "nothing that you may see")
	return nil
}

// fields are the groups of an entity's fields, and the first fields.
func (c *clients) fields(ctx context.Context, entity string) (groups map[string]string, first []string, err error) {
	e, err := c.schema.GetEntity(ctx, &schemav1.GetEntityRequest{Entity: entity})
	if err != nil {
		return nil, nil, err
	}
	const most = 6
	groups = map[string]string{}
	for _, f := range e.GetEntity().GetFields() {
		groups[f.GetName()] = f.GetGroup()
		if len(first) < most {
			first = append(first, f.GetName())
		}
	}
	return groups, first, nil
}

// shown is a field for people; what is masked has a ~ before it, as in
// ~10000000.
func shown(r *recordv1.Record, field string, groups map[string]string) string {
	v := text(r.GetFields()[field])
	if v != "" && slices.Contains(r.GetMasked(), groups[field]) && r.GetFields()[field].GetString_() == "" {
		return "~" + v
	}
	return v
}

// hidden names the groups that are withheld, and those that are masked.
func hidden(r *recordv1.Record) string {
	out := slices.Clone(r.GetWithheld())
	for _, g := range r.GetMasked() {
		out = append(out, "~"+g)
	}
	return strings.Join(out, ",")
}

func upper(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToUpper(n)
	}
	return out
}

type recordGetCmd struct {
	remote
	Entity string   `arg:""`
	IDs    []string `arg:"" name:"id" help:"Ids, or unique fields as source_id:AAPL."`
}

// Run shows each record; one that is missing makes it fail after the others.
func (g recordGetCmd) Run(ctx context.Context, out output) error {
	c, err := g.dial()
	if err != nil {
		return err
	}
	ids := make([]string, len(g.IDs))
	for i, name := range g.IDs {
		if ids[i], err = c.resolve(ctx, g.Entity, name); err != nil {
			return err
		}
	}
	resp, err := c.records.Get(ctx, &recordv1.GetRequest{Entity: g.Entity, Ids: ids})
	if err != nil {
		return err
	}
	var missing error
	for _, r := range resp.GetResults() {
		if d := r.GetError(); d != nil {
			missing = &rowError{d}
			continue
		}
		if err := g.show(ctx, c, out, r.GetRecord()); err != nil {
			return err
		}
	}
	return missing
}

// resolve finds the id behind field:value.
func (c *clients) resolve(ctx context.Context, entity, name string) (string, error) {
	field, value, byField := strings.Cut(name, ":")
	if !byField {
		return name, nil
	}
	filter := field + " = '" + strings.ReplaceAll(value, "'", "''") + "'"
	page, err := c.records.List(ctx, &recordv1.ListRequest{Entity: entity, Filter: filter, Limit: 2})
	if err != nil {
		return "", err
	}
	switch len(page.GetRecords()) {
	case 0:
		return "", crm.Errorf(crm.NotFound, "no such %s", entity)
	case 1:
		return page.GetRecords()[0].GetId(), nil
	}
	return "", crm.Errorf(crm.Invalid, "%s names more than one %s; use the id", name, entity)
}

// about names a record that is asked about and not read: what somebody may not
// resolve for themselves the instance may resolve for their office.
func (c *clients) about(ctx context.Context, entity, name string) (string, error) {
	id, err := c.resolve(ctx, entity, name)
	if e, _ := errorOf(err); e != nil && e.Kind == crm.Denied {
		return name, nil
	}
	return id, err
}

// show prints one record, for people one field a line.
func (r remote) show(ctx context.Context, c *clients, out output, rec *recordv1.Record) error {
	if r.JSON {
		v, err := viewOf(rec)
		if err != nil {
			return err
		}
		return printJSON(out.Stdout, v)
	}
	groups := map[string]string{}
	if len(rec.GetMasked()) > 0 {
		var err error
		if groups, _, err = c.fields(ctx, rec.GetEntity()); err != nil {
			return err
		}
	}
	g := rec.GetGovernance()
	t := table{headings: []string{strings.ToUpper(rec.GetEntity()), rec.GetId()}}
	t.add("version", strconv.FormatInt(rec.GetVersion(), 10))
	for _, row := range [][2]string{
		{"home", g.GetHome()}, {"territory", g.GetTerritory()}, {"segment", g.GetSegment()}, {"department", g.GetDepartment()}, {"owner", g.GetOwner()},
		{"updated", day(g.GetUpdated())},
	} {
		t.add(row[0], row[1])
	}
	names := make([]string, 0, len(rec.GetFields()))
	for n := range rec.GetFields() {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if v := shown(rec, n, groups); v != "" {
			t.add(n, v)
		}
	}
	if len(rec.GetWithheld()) > 0 {
		t.add("withheld", strings.Join(rec.GetWithheld(), ", "))
	}
	if len(rec.GetMasked()) > 0 {
		t.add("masked", strings.Join(rec.GetMasked(), ", "))
	}
	t.print(out.Stdout, "")
	return nil
}

type recordCountCmd struct {
	remote
	Entity string `arg:""`
	Filter string `short:"f"`
}

// Run prints the number and nothing else.
func (n recordCountCmd) Run(ctx context.Context, out output) error {
	c, err := n.dial()
	if err != nil {
		return err
	}
	resp, err := c.records.Count(ctx, &recordv1.CountRequest{Entity: n.Entity, Filter: n.Filter})
	if err != nil {
		return err
	}
	if n.JSON {
		return printJSON(out.Stdout, map[string]any{"count": resp.GetCount(), "exact": resp.GetExact()})
	}
	fmt.Fprintln(out.Stdout, resp.GetCount())
	return nil
}

type recordHistoryCmd struct {
	remote
	Entity string `arg:""`
	ID     string `arg:"" help:"Id, or a unique field as source_id:AAPL."`
	Limit  int32  `short:"n" default:"50"`
	Before int64  `help:"Versions before this one."`
}

// Run lists versions with who wrote them and which plugins had a say.
func (h recordHistoryCmd) Run(ctx context.Context, out output) error {
	c, err := h.dial()
	if err != nil {
		return err
	}
	id, err := c.resolve(ctx, h.Entity, h.ID)
	if err != nil {
		return err
	}
	resp, err := c.records.History(ctx, &recordv1.HistoryRequest{Entity: h.Entity, Id: id, Limit: h.Limit, BeforeVersion: h.Before})
	if err != nil {
		return err
	}
	if h.JSON {
		return printVersions(out, resp.GetVersions())
	}
	t := table{headings: []string{"VERSION", "OP", "AT", "ACTOR", "TERRITORY", "STEPS", "EXECUTION"}}
	for _, v := range resp.GetVersions() {
		var steps []string
		for _, s := range v.GetSteps() {
			steps = append(steps, s.GetStep()+"@"+s.GetVersion()+" "+s.GetVerdict())
		}
		t.add(strconv.FormatInt(v.GetRecord().GetVersion(), 10), v.GetOp(), day(v.GetAt()), v.GetActor(),
			v.GetRecord().GetGovernance().GetTerritory(), strings.Join(steps, ", "), v.GetExecutionId())
	}
	t.print(out.Stdout, "no versions")
	return nil
}
