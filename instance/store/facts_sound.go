package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// values are what an edit says of its fact, over what was true before.
func (e Edit) values(was map[string]any) (map[string]any, error) {
	switch e.Do {
	case EditAssign:
		return was, nil
	case EditRelate:
		if len(e.Actions) == 0 {
			return nil, crm.FieldErrorf("actions", "say what the department may do on the other's records, as read")
		}
		for _, a := range e.Actions {
			if !slices.Contains([]crm.Action{crm.ActionRead, crm.ActionUpdate}, crm.Action(a)) {
				return nil, crm.FieldErrorf("actions", "a relationship opens read or update, not %q", a)
			}
		}
		was["actions"] = e.Actions
		return was, nil
	}
	if e.Kind == "subject" {
		return e.subject(was)
	}
	return e.node(was)
}

// node is what an edit says of a node.
func (e Edit) node(was map[string]any) (map[string]any, error) {
	switch {
	case e.Do == EditChange:
		return nil, crm.FieldErrorf("do", "a %s is moved or renamed", e.Kind)
	case e.Do != EditRename && e.Under == "" && e.Kind != "department":
		return nil, crm.FieldErrorf("under", "name the %s it lies under; a tree has one root", e.Kind)
	case e.Do == EditMove && was["parent"] == "" && e.Kind != "department":
		return nil, crm.FieldErrorf("id", "%s is the root of its tree and stays there", e.ID)
	case e.Do != EditMove && e.Name == "":
		return nil, crm.FieldErrorf("name", "give %s a name that people know it by", e.What())
	}
	if e.Do != EditRename {
		was["parent"] = e.Under
	}
	if e.Do != EditMove {
		was["name"] = e.Name
	}
	if e.Do == EditAdd && e.Kind != "department" {
		was["level"] = e.Level
	}
	return was, nil
}

// subject is what an edit says of a subject.
func (e Edit) subject(was map[string]any) (map[string]any, error) {
	switch {
	case e.Do != EditAdd && e.Do != EditChange:
		return nil, crm.FieldErrorf("do", "a subject is added, changed or ended")
	case e.Type != "" && e.Type != crm.KindPerson && e.Type != crm.KindService:
		return nil, crm.FieldErrorf("type", "a subject is a person or a service")
	case e.Clearance != nil && (*e.Clearance < 0 || *e.Clearance > 9):
		return nil, crm.FieldErrorf("clearance", "a clearance is 0 to 9")
	case e.Do == EditChange && e.Type == "" && e.Roles == nil && e.Clearance == nil:
		return nil, crm.FieldErrorf("roles", "say what changes: roles or clearance")
	}
	if e.Do == EditAdd {
		was["kind"], was["roles"], was["clearance"] = crm.KindPerson, []string{}, 0
	}
	if e.Type != "" {
		was["kind"] = e.Type
	}
	if e.Roles != nil {
		was["roles"] = e.Roles
	}
	if e.Clearance != nil {
		was["clearance"] = *e.Clearance
	}
	return was, nil
}

// over is the content of a span after an edit.
func (e Edit) over(content string) (string, error) {
	was := map[string]any{}
	if err := json.Unmarshal([]byte(content), &was); err != nil {
		return "", fmt.Errorf("content of %s: %w", e.What(), err)
	}
	now, err := e.values(was)
	return word(now), err
}

// withAssignments ends, with a subject, what it is assigned to: who comes back
// comes back with nothing.
func (t *Tx) withAssignments(ctx context.Context, edits []Edit) ([]Edit, error) {
	for _, e := range slices.Clone(edits) {
		if e.Do != EditEnd || e.Kind != "subject" {
			continue
		}
		rows, err := t.tx.Query(ctx, `select distinct tree, node from fact.assignment
			where recorded_to = 'infinity' and subject = $1 and valid_from < $3 and $2 < valid_to and valid_from < valid_to order by tree, node`, e.ID, e.From, e.To)
		if err != nil {
			return nil, pgErr(err, "read assignments")
		}
		end := Edit{Do: EditUnassign, Subject: crm.SubjectID(e.ID), From: e.From, To: e.To}
		_, err = pgx.ForEachRow(rows, []any{&end.Kind, &end.ID}, func() error {
			again := func(o Edit) bool {
				return o.Do == EditUnassign && o.Subject == end.Subject && o.Kind == end.Kind && o.ID == end.ID
			}
			if !slices.ContainsFunc(edits, again) {
				edits = append(edits, end)
			}
			return nil
		})
		if err != nil {
			return nil, pgErr(err, "read assignments")
		}
	}
	return edits, nil
}

// reference is a fact that names a node or a subject which is not there for all
// of its time.
type reference struct {
	what     string // "territory US-CA", "assignment of rep.west@amer"
	kind, id string // what is missing
}

// danglingSQL lists what hangs on nothing at some time from $1 on, of what names
// one of the ids $2 or is one of them.
var danglingSQL = func() string {
	var selects []string
	refers := func(from, what, kind, id, where string, own ...string) {
		named := "(" + strings.Join(append(own, id), " = any($2) or ") + " = any($2))"
		selects = append(selects, fmt.Sprintf(`
		select %[2]s, '%[3]s', %[4]s from %[1]s where f.recorded_to = 'infinity' and f.valid_from < f.valid_to and f.valid_to > $1 and %[5]s and %[6]s
		  and not tstzrange(greatest(f.valid_from, $1), f.valid_to) <@ coalesce((
		    select range_agg(tstzrange(n.valid_from, n.valid_to)) from fact.%[3]s n
		    where n.recorded_to = 'infinity' and n.valid_from < n.valid_to and n.id = %[4]s), '{}'::tstzmultirange)`, from, what, kind, id, where, named))
	}
	for _, tree := range []string{"territory", "segment", "department"} {
		refers("fact."+tree+" f", "'"+tree+" ' || f.id", tree, "f.parent", "f.parent <> ''", "f.id")
		refers("fact.assignment f", "'the assignment of ' || f.subject", tree, "f.node", "f.tree = '"+tree+"'", "f.subject")
	}
	refers("fact.assignment f", "'the assignment to ' || f.tree || ' ' || f.node", "subject", "f.subject", "true", "f.node")
	refers("fact.relationship f", "'the relationship on ' || f.on_department", "department", "f.department", "true", "f.on_department")
	refers("fact.relationship f", "'the relationship of ' || f.department", "department", "f.on_department", "true", "f.department")
	refers("fact.agreement f", "'the agreement ' || f.id", "territory", "f.territory", "f.territory <> ''")
	refers("fact.agreement f", "'the agreement ' || f.id", "segment", "f.segment", "f.segment <> ''")
	refers("fact.agreement f", "'the agreement ' || f.id", "department", "f.on_department", "f.on_department <> ''")
	refers("fact.agreement f", "'the agreement ' || f.id", "department", "f.department", "position('/' in f.department) = 0")
	refers("fact.contract f cross join unnest(f.territories) p", "'the contract ' || f.id", "territory", "p", "true")
	refers("fact.contract f cross join unnest(f.segments) p", "'the contract ' || f.id", "segment", "p", "true")
	return strings.Join(selects, " union all") + " order by 1, 2, 3"
}()

// named are the ids in edits: nothing else begins to hang on nothing by them.
func named(edits []Edit) (ids []string) {
	for _, e := range edits {
		ids = append(ids, e.ID, e.Under, string(e.Subject), e.On)
	}
	return ids
}

func (t *Tx) dangling(ctx context.Context, from time.Time, ids []string) ([]reference, error) {
	rows, err := t.tx.Query(ctx, danglingSQL, from, ids)
	if err != nil {
		return nil, pgErr(err, "look for what hangs on nothing")
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r reference, err error) {
		return r, row.Scan(&r.what, &r.kind, &r.id)
	})
	return out, pgErr(err, "look for what hangs on nothing")
}

// sound refuses a batch that would leave a tree no tree, or something hanging
// on nothing that did not before.
func (t *Tx) sound(ctx context.Context, edits []Edit, ids []string, horizon time.Time, before []reference) error {
	after, err := t.dangling(ctx, horizon, ids)
	if err != nil {
		return err
	}
	var lost []reference
	for _, r := range after {
		if !slices.Contains(before, r) {
			lost = append(lost, r)
		}
	}
	if len(lost) > 0 {
		return missing(edits, lost)
	}
	for i, e := range edits {
		if e.Do != EditMove && e.Do != EditAdd && e.Do != EditUndo || e.Kind == "subject" || e.Subject != "" || e.On != "" {
			continue
		}
		var circle bool
		err := t.tx.QueryRow(ctx, fmt.Sprintf(`
			with recursive moments(at) as (
			  select greatest(valid_from, $2) from fact.%[1]s where recorded_to = 'infinity' and valid_to > $2 and valid_from < valid_to
			), up(at, id) as (
			  select m.at, f.parent from (select distinct at from moments) m
			    join fact.%[1]s f on f.id = $1 and f.recorded_to = 'infinity' and f.valid_from <= m.at and m.at < f.valid_to
			  union
			  select up.at, f.parent from up join fact.%[1]s f on f.id = up.id and f.recorded_to = 'infinity' and f.valid_from <= up.at and up.at < f.valid_to)
			select exists (select from up where id = $1)`, e.Kind), e.ID, horizon).Scan(&circle)
		if err != nil {
			return pgErr(err, "look for circles")
		}
		if circle {
			return InEdit(edits, i, crm.FieldErrorf("under", "%s lies below %s %s itself; move that first, or choose another parent", e.Under, e.Kind, e.ID))
		}
	}
	return nil
}

// missing says which edit leaves something hanging on nothing, and what to do.
func missing(edits []Edit, lost []reference) error {
	for i, e := range edits {
		table, _, err := e.about()
		if err != nil {
			return err
		}
		for _, r := range lost {
			switch {
			case r.kind == e.Kind && r.id == e.Under && r.what == e.Kind+" "+e.ID:
				return InEdit(edits, i, crm.FieldErrorf("under", "there is no %s %q all that time; `meridian fact list %s` shows them", r.kind, r.id, r.kind))
			case table.name == "assignment" && r.kind == e.Kind && r.id == e.ID && r.what == "the assignment of "+string(e.Subject),
				table.name == "relationship" && r.id == e.ID:
				return InEdit(edits, i, crm.FieldErrorf("id", "there is no %s %q all that time; `meridian fact list %s` shows them", r.kind, r.id, r.kind))
			case table.name == "assignment" && r.kind == "subject" && r.id == string(e.Subject) && r.what == "the assignment to "+e.Kind+" "+e.ID:
				return InEdit(edits, i, crm.FieldErrorf("subject", "this instance knows no subject %q all that time", r.id))
			case table.name == "relationship" && r.id == e.On:
				return InEdit(edits, i, crm.FieldErrorf("on", "there is no department %q all that time", r.id))
			}
		}
	}
	r := lost[0]
	var by []string
	for _, o := range lost {
		if o.kind == r.kind && o.id == r.id && len(by) < 5 {
			by = append(by, o.what)
		}
	}
	at := 0
	for i, e := range edits {
		if e.Kind == r.kind && e.ID == r.id {
			at = i
		}
	}
	more := ""
	if n := len(lost) - len(by); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return InEdit(edits, at, crm.FieldErrorf("id", "%s %s is still needed by %s%s; move or end these in the same batch",
		r.kind, r.id, strings.Join(by, ", "), more))
}
