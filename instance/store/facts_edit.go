package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
)

// What an edit does.
const (
	EditAdd      = "add"      // a node, a subject
	EditMove     = "move"     // a node
	EditRename   = "rename"   // a node
	EditChange   = "change"   // a subject's roles, clearance
	EditEnd      = "end"      // a node; a subject, with its assignments
	EditAssign   = "assign"   // a subject to a node
	EditUnassign = "unassign" //
	EditRelate   = "relate"   // a department to another's records
	EditUnrelate = "unrelate" //
	EditUndo     = "undo"     // take officers' words about a fact back: what is declared holds again
)

// Edit is one change of facts that an officer asks for.
type Edit struct {
	Do      string
	Kind    string        // territory, segment, department or subject; for assign the tree
	ID      string        // node or subject; for relate the department that works
	Subject crm.SubjectID // assign: who; undo: of an assignment
	On      string        // relate: whose records; undo: of a relationship

	Under, Name, Level string          // of nodes
	Type               crm.SubjectKind // of subjects
	Roles              []string        // nil leaves them
	Clearance          *int            // nil leaves it
	Actions            []string        // of relationships

	From, To time.Time // when it holds in the business; now and for ever if zero
}

// about is the fact an edit is about.
func (e Edit) about() (factTable, string, error) {
	trees := map[string]factTable{"territory": territoryFacts, "segment": segmentFacts, "department": departmentFacts}
	table, isTree := trees[e.Kind]
	switch {
	case e.ID == "" || e.ID == crm.Unassigned:
		return table, "", crm.FieldErrorf("id", "name the %s", word(e.Kind))
	case e.Do == EditRelate, e.Do == EditUnrelate, e.Do == EditUndo && e.On != "":
		if e.On == "" {
			return table, "", crm.FieldErrorf("on", "name the department whose records these are")
		}
		return relationshipFacts, word([]string{e.ID, e.On}), nil
	case !isTree && e.Kind != "subject":
		return table, "", crm.FieldErrorf("kind", "say territory, segment, department or subject, not %q", e.Kind)
	case e.Do == EditAssign, e.Do == EditUnassign, e.Do == EditUndo && e.Subject != "":
		if !isTree || e.Subject == "" {
			return table, "", crm.FieldErrorf("subject", "name who is assigned, and to which territory, segment or department")
		}
		return assignmentFacts, word([]string{string(e.Subject), e.Kind, e.ID}), nil
	case isTree && strings.Contains(e.ID, "/") && e.Kind == "department":
		return table, "", crm.FieldErrorf("id", "a name with / is another instance's department; name it without")
	case isTree:
		return table, word([]string{e.ID}), nil
	}
	return subjectFacts, word([]string{e.ID}), nil
}

// What names the fact for people.
func (e Edit) What() string {
	switch {
	case e.On != "":
		return fmt.Sprintf("relationship of %s on %s", e.ID, e.On)
	case e.Subject != "":
		return fmt.Sprintf("assignment of %s to %s %s", e.Subject, e.Kind, e.ID)
	}
	return e.Kind + " " + e.ID
}

// Edit records what an officer says, all of it or nothing. Trees stay trees and
// nothing is left that hangs on what is gone, at any time from the first edit's
// begin on. It answers what was recorded.
func (t *Tx) Edit(ctx context.Context, edits []Edit, by crm.SubjectID, reason string) ([]Fact, error) {
	if len(edits) == 0 {
		return nil, crm.FieldErrorf("edits", "name at least one change")
	}
	now, err := t.lockFacts(ctx)
	if err != nil {
		return nil, err
	}
	horizon := now
	for i, e := range edits {
		if e.From.IsZero() {
			e.From = now
		}
		if e.To.IsZero() {
			e.To = crm.Forever
		}
		e.From, e.To = e.From.UTC().Truncate(time.Microsecond), e.To.UTC().Truncate(time.Microsecond)
		if !e.From.Before(e.To) {
			return nil, InEdit(edits, i, crm.FieldErrorf("to", "%s: the change ends before it begins; give a later end", e.What()))
		}
		if e.From.Before(horizon) {
			horizon = e.From
		}
		edits = slices.Clone(edits)
		edits[i] = e
	}
	ids := named(edits)
	dangling, err := t.dangling(ctx, horizon, ids)
	if err != nil {
		return nil, err
	}
	if edits, err = t.withAssignments(ctx, edits); err != nil {
		return nil, err
	}
	s := &sheet{tx: t, now: now, act: act{string(by), reason}, before: map[string]facts{}, after: map[string]facts{}}
	for i, e := range edits {
		if err := s.apply(ctx, e); err != nil {
			return nil, InEdit(edits, i, err)
		}
	}
	for _, table := range factTables {
		if err := t.record(ctx, table, s.before[table.name], s.after[table.name], now); err != nil {
			return nil, err
		}
	}
	if err := t.sound(ctx, edits, ids, horizon, dangling); err != nil {
		return nil, err
	}
	return s.told(ctx)
}

// InEdit says which of several edits an error about a field is about.
func InEdit(edits []Edit, i int, err error) error {
	if e, ok := errors.AsType[*crm.Error](err); ok && e.Field != "" && len(edits) > 1 {
		e.Field = fmt.Sprintf("edits[%d].%s", i, e.Field)
	}
	return err
}

// sheet is a batch of edits in the making.
type sheet struct {
	tx            *Tx
	now           time.Time
	act           act
	before, after map[string]facts // by table
}

// line is a fact's timeline as the batch leaves it so far.
func (s *sheet) line(ctx context.Context, table factTable, key string) (timeline, error) {
	if s.before[table.name] == nil {
		s.before[table.name], s.after[table.name] = facts{}, facts{}
	}
	if l, ok := s.after[table.name][key]; ok {
		return l, nil
	}
	there, err := s.tx.facts(ctx, table, []string{key})
	s.before[table.name][key], s.after[table.name][key] = there[key], there[key]
	return there[key], err
}

// apply does one edit.
func (s *sheet) apply(ctx context.Context, e Edit) error {
	table, key, err := e.about()
	if err != nil {
		return err
	}
	line, err := s.line(ctx, table, key)
	if err != nil {
		return err
	}
	there := line.overlapping(e.From, e.To)
	switch e.Do {
	case EditUndo:
		is, err := s.tx.declaration(ctx, table)
		if err != nil {
			return err
		}
		var content *string
		if c, ok := is[key]; ok {
			content = &c
		}
		s.after[table.name][key] = line.undo(content, s.now, s.act)
		return nil
	case EditEnd, EditUnassign, EditUnrelate:
		if len(there) == 0 {
			return crm.FieldErrorf("id", "there is no %s then; `meridian fact list` shows what is there", e.What())
		}
		s.after[table.name][key] = line.cut(e.From, e.To, s.act, all)
		return nil
	case EditAdd, EditAssign, EditRelate:
		values, err := e.values(map[string]any{})
		if err != nil {
			return err
		}
		content := word(values)
		if len(there) > 0 && (e.Do == EditAdd || len(there) == 1 && there[0].content == content && !e.From.Before(there[0].from) && !there[0].to.Before(e.To)) {
			err := crm.Errorf(crm.Conflict, "%s is there already; change or move it, or begin later", e.What())
			err.Field = "id"
			return err
		}
		s.after[table.name][key] = line.say(span{from: e.From, to: e.To, content: content, origin: s.act.by, act: s.act})
		return nil
	case EditMove, EditRename, EditChange:
		if len(there) == 0 || e.From.Before(there[0].from) {
			return crm.FieldErrorf("id", "there is no %s then; `meridian fact list` shows what is there", e.What())
		}
		for _, was := range there {
			content, err := e.over(was.content)
			if err != nil {
				return err
			}
			from, to := latest(was.from, e.From), was.to
			if e.To.Before(to) {
				to = e.To
			}
			line = line.say(span{from: from, to: to, content: content, origin: s.act.by, act: s.act})
		}
		s.after[table.name][key] = line
		return nil
	}
	return crm.FieldErrorf("do", "say add, move, rename, change, end, assign, unassign, relate, unrelate or undo, not %q", e.Do)
}

// told are the facts as the batch leaves them.
func (s *sheet) told(ctx context.Context) ([]Fact, error) {
	var out []Fact
	for _, table := range factTables {
		for _, key := range slices.Sorted(maps.Keys(s.after[table.name])) {
			named, err := table.rows([]string{key})
			if err != nil {
				return nil, err
			}
			list, err := listFacts(ctx, s.tx.tx, table, `recorded_to = 'infinity' and valid_to > $1 and `+table.among("$2"), s.now, named)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
		}
	}
	return out, nil
}

// among is the condition that a row of f has one of the keys in a parameter.
func (f factTable) among(parameter string) string {
	return fmt.Sprintf("(%s) in (select %s from jsonb_populate_recordset(null::fact.%s, %s::jsonb) d)", of("f", f.key), of("d", f.key), f.name, parameter)
}
