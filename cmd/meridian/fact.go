package main

import (
	"context"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type factCmd struct {
	List     factListCmd     `cmd:"" help:"Show a tree, or list subjects, assignments or relationships."`
	History  factHistoryCmd  `cmd:"" help:"Show everything that was ever recorded of a fact."`
	Add      factAddCmd      `cmd:"" help:"Add a territory, segment, department or subject."`
	Move     factMoveCmd     `cmd:"" help:"Move a node, with all below it, under another."`
	Rename   factRenameCmd   `cmd:"" help:"Rename a node."`
	Change   factChangeCmd   `cmd:"" help:"Change a subject's roles or clearance."`
	End      factEndCmd      `cmd:"" help:"End a node, or a subject with its assignments."`
	Assign   factAssignCmd   `cmd:"" help:"Assign a subject to a territory, segment or department."`
	Unassign factUnassignCmd `cmd:"" help:"End an assignment."`
	Relate   factRelateCmd   `cmd:"" help:"Let a department work on another's records."`
	Unrelate factUnrelateCmd `cmd:"" help:"End a relationship between departments."`
	Undo     factUndoCmd     `cmd:"" help:"Take officers' words about a fact back: what is declared holds again."`

	Reorganise factReorganiseCmd `cmd:"" help:"Preview or apply a plan of many changes: who gains and loses what."`
	Forecast   factForecastCmd   `cmd:"" help:"Say what begins and ends, when, and whose sight that changes."`
}

// Help shows the verbs at work.
func (factCmd) Help() string {
	return `Facts are what policy reads beside records: who is assigned where, the trees of territories, segments and
departments, and which department works on whose records. The configuration declares them; officers change them here,
and their word stands over a restart until it is undone or the configuration says something new about the same fact.

  meridian fact list territory --under US --as officer.a@amer
  meridian fact assign rep.west@amer territory US-NV --from 2026-12-01 --reason "covers Nevada" --as officer.a@amer
  meridian fact move territory US-CA --under US-S --reason "new regions" --as officer.a@amer
  meridian fact history territory US-CA --as officer.a@amer
  meridian fact undo territory US-CA --reason "as it was" --as officer.a@amer
  meridian fact reorganise plan.yaml --preview --as officer.a@amer
  meridian fact forecast --days 90 --as officer.a@amer

--from and --to say when a change holds in the business; they may lie in the past. When it was recorded is always now.`
}

type factListCmd struct {
	remote
	Kind     string `arg:"" enum:"territory,segment,department,subject,assignment,relationship" help:"territory, segment, department, subject, assignment or relationship."`
	Under    string `placeholder:"ID" help:"Of a tree: only what lies under this node."`
	At       moment `help:"As it holds at this time, as 2027-01-01; now if absent."`
	Recorded past   `help:"As it was recorded at this time; as it is known now if absent."`
}

// Run draws a tree or prints a table.
func (l factListCmd) Run(ctx context.Context, out output) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	resp, err := c.facts.ListFacts(ctx, &policyv1.ListFactsRequest{Kind: l.Kind, At: l.At.proto(), Recorded: l.Recorded.proto()})
	if err != nil {
		return err
	}
	if l.JSON {
		return printProto(out.Stdout, resp)
	}
	switch l.Kind {
	case "territory", "segment", "department":
		return drawTree(out.Stdout, resp.GetFacts(), l.Under)
	}
	factTable(out, l.Kind, resp.GetFacts())
	return nil
}

type factHistoryCmd struct {
	remote
	Kind string `arg:"" enum:"territory,segment,department,subject,assignment,relationship" help:"territory, segment, department, subject, assignment or relationship."`
	ID   string `arg:"" help:"Node, subject or department."`
}

// Run prints every row that was ever recorded.
func (h factHistoryCmd) Run(ctx context.Context, out output) error {
	c, err := h.dial()
	if err != nil {
		return err
	}
	resp, err := c.facts.GetFactHistory(ctx, &policyv1.GetFactHistoryRequest{Kind: h.Kind, Id: h.ID})
	if err != nil {
		return err
	}
	if h.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"RECORDED", "UNTIL", "HOLDS FROM", "TO", "FACT", "SAYS", "BY", "REASON"}}
	for _, f := range resp.GetFacts() {
		t.add(day(f.GetRecordedFrom()), day(f.GetRecordedTo()), day(f.GetFrom()), day(f.GetTo()), f.GetKind()+" "+f.GetId(), says(f), f.GetRecordedBy(), clipped(f.GetReason(), 40))
	}
	t.print(out.Stdout, "nothing")
	return nil
}

// editing is what every change has in common.
type editing struct {
	remote
	From   moment `help:"When it begins, as 2026-12-01; now if absent. It may lie in the past."`
	To     moment `help:"When it ends, as 2027-01-01 or 90m; never if absent."`
	Reason string `required:"" help:"Why; kept with the facts."`
}

func (e editing) edit(ctx context.Context, out output, edit *policyv1.FactEdit) error {
	c, err := e.dial()
	if err != nil {
		return err
	}
	edit.From, edit.To = e.From.proto(), e.To.proto()
	resp, err := c.facts.EditFacts(ctx, &policyv1.EditFactsRequest{Edits: []*policyv1.FactEdit{edit}, Reason: e.Reason})
	if err != nil {
		return err
	}
	if e.JSON {
		return printProto(out.Stdout, resp)
	}
	printFacts(out, resp.GetFacts())
	return nil
}

type factAddCmd struct {
	editing
	Kind      string   `arg:"" enum:"territory,segment,department,subject" help:"territory, segment, department or subject."`
	ID        string   `arg:"" help:"Id of the node, or rep.north@amer."`
	Under     string   `placeholder:"ID" help:"Node it lies under; a department may have none."`
	Name      string   `help:"What people know a node by."`
	Level     string   `help:"Of a territory or segment, as region."`
	Roles     []string `help:"Of a subject, as rep."`
	Clearance *int32   `help:"Of a subject: 0 to 9."`
	Service   bool     `help:"The subject is a program."`
}

// Run adds a node or a subject.
func (a factAddCmd) Run(ctx context.Context, out output) error {
	kind := crm.KindPerson
	if a.Service {
		kind = crm.KindService
	}
	e := &policyv1.FactEdit{Do: "add", Kind: a.Kind, Id: a.ID, Under: a.Under, Name: a.Name, Level: a.Level, Roles: a.Roles, Clearance: a.Clearance}
	if a.Kind == "subject" {
		e.Type = string(kind)
	}
	return a.edit(ctx, out, e)
}

type factMoveCmd struct {
	editing
	Kind  string `arg:"" enum:"territory,segment,department" help:"territory, segment or department."`
	ID    string `arg:"" help:"The node."`
	Under string `required:"" placeholder:"ID" help:"Node it comes under."`
}

// Help shows the verb at work.
func (factMoveCmd) Help() string {
	return `  meridian fact move territory US-CA --under US-S --reason "new regions" --as officer.a@amer

Whoever covers the new parent sees the records of the moved territory from then on; whoever covers only the old one does not.`
}

// Run moves a node.
func (m factMoveCmd) Run(ctx context.Context, out output) error {
	return m.edit(ctx, out, &policyv1.FactEdit{Do: "move", Kind: m.Kind, Id: m.ID, Under: m.Under})
}

type factRenameCmd struct {
	editing
	Kind string `arg:"" enum:"territory,segment,department" help:"territory, segment or department."`
	ID   string `arg:"" help:"The node."`
	Name string `arg:"" help:"Its new name."`
}

// Run renames a node.
func (r factRenameCmd) Run(ctx context.Context, out output) error {
	return r.edit(ctx, out, &policyv1.FactEdit{Do: "rename", Kind: r.Kind, Id: r.ID, Name: r.Name})
}

type factChangeCmd struct {
	editing
	ID        string   `arg:"" help:"The subject, as rep.west@amer."`
	Roles     []string `help:"All the roles it has from then on; one empty text for none."`
	Clearance *int32   `help:"0 to 9."`
}

// Run changes a subject.
func (c factChangeCmd) Run(ctx context.Context, out output) error {
	return c.edit(ctx, out, &policyv1.FactEdit{Do: "change", Kind: "subject", Id: c.ID, Roles: c.Roles, Clearance: c.Clearance})
}

type factEndCmd struct {
	editing
	Kind string `arg:"" enum:"territory,segment,department,subject" help:"territory, segment, department or subject."`
	ID   string `arg:"" help:"Node or subject."`
}

// Run ends a node or a subject.
func (e factEndCmd) Run(ctx context.Context, out output) error {
	return e.edit(ctx, out, &policyv1.FactEdit{Do: "end", Kind: e.Kind, Id: e.ID})
}

// assigning names an assignment.
type assigning struct {
	editing
	Subject string `arg:"" help:"Who, as rep.west@amer."`
	Tree    string `arg:"" enum:"territory,segment,department" help:"territory, segment or department."`
	Node    string `arg:"" help:"Root of what is covered, as US-NV."`
}

type factAssignCmd struct{ assigning }

// Help shows the verb at work.
func (factAssignCmd) Help() string {
	return `  meridian fact assign rep.west@amer territory US-NV --from 2026-12-01 --reason "covers Nevada" --as officer.a@amer`
}

// Run assigns.
func (a factAssignCmd) Run(ctx context.Context, out output) error {
	return a.edit(ctx, out, &policyv1.FactEdit{Do: "assign", Kind: a.Tree, Id: a.Node, Subject: a.Subject})
}

type factUnassignCmd struct{ assigning }

// Run ends an assignment.
func (a factUnassignCmd) Run(ctx context.Context, out output) error {
	return a.edit(ctx, out, &policyv1.FactEdit{Do: "unassign", Kind: a.Tree, Id: a.Node, Subject: a.Subject})
}

type factRelateCmd struct {
	editing
	Department string   `arg:"" help:"The department that works."`
	On         string   `required:"" placeholder:"ID" help:"The department whose records it works on."`
	Actions    []string `default:"read" help:"read, update."`
}

// Run relates departments.
func (r factRelateCmd) Run(ctx context.Context, out output) error {
	return r.edit(ctx, out, &policyv1.FactEdit{Do: "relate", Kind: "department", Id: r.Department, On: r.On, Actions: r.Actions})
}

type factUnrelateCmd struct {
	editing
	Department string `arg:"" help:"The department that works."`
	On         string `required:"" placeholder:"ID" help:"The department whose records it works on."`
}

// Run ends a relationship.
func (r factUnrelateCmd) Run(ctx context.Context, out output) error {
	return r.edit(ctx, out, &policyv1.FactEdit{Do: "unrelate", Kind: "department", Id: r.Department, On: r.On})
}

type factUndoCmd struct {
	editing
	Kind    string `arg:"" enum:"territory,segment,department,subject" help:"territory, segment, department or subject."`
	ID      string `arg:"" help:"Node, subject, or the department that works."`
	Subject string `placeholder:"WHO" help:"Undo this subject's assignment to the node."`
	On      string `placeholder:"ID" help:"Undo the department's relationship on this one."`
}

// Run undoes.
func (u factUndoCmd) Run(ctx context.Context, out output) error {
	return u.edit(ctx, out, &policyv1.FactEdit{Do: "undo", Kind: u.Kind, Id: u.ID, Subject: u.Subject, On: u.On})
}
