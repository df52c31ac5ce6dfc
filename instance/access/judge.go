package access

import (
	"context"
	"strings"

	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// Judge records the caller's judgement about a record they can read. It opens
// no more than its giver can see.
func (d *Door) Judge(ctx context.Context, c crm.Caller, g crm.Grant) (crm.Grant, error) {
	def, err := d.definition(g.Entity)
	if err != nil {
		return crm.Grant{}, err
	}
	if _, err := crm.ParseRecordID(string(g.Record)); err != nil {
		return crm.Grant{}, crm.FieldErrorf("record", "%s", err.Error())
	}
	var given crm.Grant
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		p := &plan{Door: d, asking: a, def: def}
		rec, err := p.judgeable(ctx, g)
		if err != nil {
			return 0, err
		}
		g, err := d.judgement(ctx, a, g, rec)
		if err != nil {
			return 0, err
		}
		return a.subject.Stamp, d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (_ store.Decision, err error) {
			given, err = tx.AddGrant(ctx, g)
			return store.Decision{Action: string(g.Kind), Entity: g.Entity, Records: []crm.RecordID{g.Record}, Facts: []string{given.ID}}, err
		})
	})
	if kind := crm.KindOf(err); kind == crm.NotFound || kind == crm.Denied {
		if err := d.refused(ctx, c, string(g.Kind), g.Entity, g.Record); err != nil {
			return given, err
		}
		d.shade.wrote(a, def, store.Decision{Action: string(g.Kind), Refused: []crm.RecordID{g.Record}})
	}
	if err == nil {
		d.shade.wrote(a, def, store.Decision{Action: string(g.Kind), Allowed: true, Records: []crm.RecordID{g.Record}, Facts: []string{given.ID}})
	}
	return given, err
}

// judgeable is the record as the giver sees it, if they may judge it.
func (p *plan) judgeable(ctx context.Context, g crm.Grant) (crm.Record, error) {
	ids := []crm.RecordID{g.Record}
	seen, err := p.reach(ctx, p.def, crm.ActionRead, ids)
	if err != nil {
		return crm.Record{}, err
	}
	may := map[crm.RecordID]crm.Record{}
	if g.Kind == crm.GrantShare || g.Kind == crm.GrantWithhold {
		if may, err = p.reach(ctx, p.def, crm.Action(g.Kind), ids); err != nil {
			return crm.Record{}, err
		}
	}
	rec, ok := seen[g.Record]
	if !ok {
		return rec, absent()
	}
	if g.Kind != crm.GrantShare && g.Kind != crm.GrantWithhold {
		return rec, nil
	}
	// Groups count as far as they may be shared: what a broken glass shows
	// beyond is not passed on.
	if rec, ok = may[g.Record]; !ok {
		return seen[g.Record], crm.Errorf(crm.Denied, "you may read this record but not %s it", g.Kind)
	}
	return rec, nil
}

// judgement fills in what a grant leaves open and checks what it says.
func (d *Door) judgement(ctx context.Context, a asking, g crm.Grant, rec crm.Record) (crm.Grant, error) {
	_, now, err := d.store.Stamp(ctx)
	if err != nil {
		return g, err
	}
	usual, _, err := a.engine.Judgements(ctx)
	if err != nil {
		return g, err
	}
	g.By, g.Ended = a.subject.ID, false
	if g.From.IsZero() {
		g.From = now
	}
	if g.To.IsZero() {
		g.To = g.From.Add(usual)
	}
	g.Reason = strings.TrimSpace(g.Reason)
	if err := g.Validate(); err != nil {
		return g, err
	}
	if g.Kind == crm.GrantWithhold {
		g.Groups = nil // the whole record is withheld
	} else if len(g.Groups) == 0 {
		g.Groups = []string{"core"}
	}
	if err := d.knowsGroups(g.Groups); err != nil {
		return g, err
	}
	for _, group := range g.Groups {
		if !rec.Shows(group) {
			err := crm.Errorf(crm.Denied, "group %s is withheld from you on this record; nobody shares what they cannot see", group)
			err.Field = "groups"
			return g, err
		}
	}
	return g, d.mayJudge(ctx, a, g)
}

// mayJudge refuses a judgement about nobody, and one that the limits in policy
// refuse.
func (d *Door) mayJudge(ctx context.Context, a asking, g crm.Grant) error {
	j := policy.Judgement{Kind: g.Kind, Lasts: g.To.Sub(g.From), Groups: g.Groups, Own: g.Key == "s:"+string(g.By)}
	var err error
	if department, ok := strings.CutPrefix(g.Key, "d:"); ok {
		if err = d.knowsDepartment(ctx, "with", department); err == nil {
			j.Roles, err = d.store.DepartmentRoles(ctx, department)
		}
	} else {
		subject, known := strings.TrimPrefix(g.Key, "s:"), false
		if j.Roles, known, err = d.store.SubjectRoles(ctx, crm.SubjectID(subject)); err == nil && !known &&
			(!strings.Contains(subject, "@") || strings.HasSuffix(subject, "@"+d.instance)) {
			err = crm.FieldErrorf("with", "this instance knows no subject %q", subject)
		}
	}
	if err != nil {
		return err
	}
	return a.engine.MayJudge(ctx, a.subject, j)
}

// ListGrants lists the judgements in force or to come about a record the
// caller can read, or about any for who reads facts.
func (d *Door) ListGrants(ctx context.Context, c crm.Caller, entity string, record crm.RecordID) ([]crm.Grant, error) {
	def, err := d.definition(entity)
	if err != nil {
		return nil, err
	}
	if _, err := crm.ParseRecordID(string(record)); err != nil {
		return nil, absent()
	}
	var grants []crm.Grant
	a, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		if _, err := d.about(ctx, a, def, record, "agreement.read"); err != nil {
			return 0, err
		}
		var err error
		if grants, err = d.store.Grants(ctx, def.Entity, record); err != nil {
			return 0, err
		}
		stamp, _, err := d.store.Stamp(ctx)
		return stamp, err
	})
	if crm.KindOf(err) == crm.NotFound {
		if err := d.refused(ctx, c, "grant.read", entity, record); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	decision := a.decision("grant.read", def.Entity)
	decision.Records = []crm.RecordID{record}
	for _, g := range grants {
		decision.Facts = append(decision.Facts, g.ID)
	}
	return grants, d.journal.add(ctx, decision)
}

// about is a record that the caller may ask about: one they can read, or any
// that is there for who holds permission.
func (d *Door) about(ctx context.Context, a asking, def crm.Definition, id crm.RecordID, permission string) (crm.Record, error) {
	ids := []crm.RecordID{id}
	permitted, err := a.engine.Permit(ctx, a.subject, permission)
	if err != nil {
		return crm.Record{}, err
	}
	if !permitted {
		seen, err := (&plan{Door: d, asking: a, def: def}).reach(ctx, def, crm.ActionRead, ids)
		if err != nil {
			return crm.Record{}, err
		}
		if _, ok := seen[id]; !ok {
			return crm.Record{}, absent()
		}
	}
	found, err := d.store.Load(ctx, def.Entity, ids)
	if err != nil {
		return crm.Record{}, err
	}
	rec, ok := found[id]
	if !ok {
		return rec, absent()
	}
	return rec, nil
}

// EndGrant ends a judgement now: its giver's own, or anybody's for who may
// write facts.
func (d *Door) EndGrant(ctx context.Context, c crm.Caller, id, reason string) (crm.Grant, error) {
	if _, err := crm.ParseRecordID(id); err != nil {
		return crm.Grant{}, absent()
	}
	var ended crm.Grant
	_, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		g, err := d.store.Grant(ctx, id)
		if err != nil && crm.KindOf(err) != crm.NotFound {
			return 0, err
		}
		if err := d.mayEnd(ctx, a, g, err == nil); err != nil {
			return 0, err
		}
		return a.subject.Stamp, d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (_ store.Decision, err error) {
			ended, err = tx.EndGrant(ctx, id, c.Subject, reason)
			return store.Decision{Action: "grant.end", Entity: g.Entity, Records: []crm.RecordID{g.Record}, Facts: []string{id}}, err
		})
	})
	return ended, err
}

// mayEnd says whether the caller may end a grant. Who cannot read its record
// does not hear that it exists: a grant that is not there takes the statements
// of one about a hidden record, of whichever entity (I4).
func (d *Door) mayEnd(ctx context.Context, a asking, g crm.Grant, exists bool) error {
	if exists && g.By == a.caller.Subject {
		return nil
	}
	permitted, err := a.engine.Permit(ctx, a.subject, "agreement.write")
	switch {
	case err != nil:
		return err
	case permitted && exists:
		return nil
	case permitted:
		return absent()
	case !exists:
		g.Record = crm.NewRecordID()
	}
	sees := false
	for _, def := range d.store.Definitions() {
		_, err := d.about(ctx, a, def, g.Record, "agreement.read")
		if err != nil && crm.KindOf(err) != crm.NotFound {
			return err
		}
		sees = sees || err == nil && def.Entity == g.Entity
	}
	if !sees {
		return absent()
	}
	return crm.Errorf(crm.Denied, "the judgement is a colleague's; they or an officer can end it")
}

// refused logs that somebody asked for a record and was not given it.
func (d *Door) refused(ctx context.Context, c crm.Caller, action, entity string, id crm.RecordID) error {
	digest, err := d.digest(ctx)
	if err != nil {
		return err
	}
	return d.journal.add(ctx, store.Decision{
		Subject: c.Subject, Action: action, Entity: entity, Refused: []crm.RecordID{id}, Bundle: digest, Execution: c.Execution,
	})
}
