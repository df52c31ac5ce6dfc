package access

import (
	"context"
	"errors"
	"slices"
	"strings"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// ListAgreements lists agreements in force or to come; with all, also those
// ended or expired.
func (d *Door) ListAgreements(ctx context.Context, c crm.Caller, all bool) ([]crm.Agreement, error) {
	a, err := d.permit(ctx, c, "agreement.read")
	if err != nil {
		return nil, err
	}
	as, err := d.store.Agreements(ctx, all)
	if err != nil {
		return nil, err
	}
	decision := a.decision("agreement.read", accountEntity)
	for _, x := range as {
		decision.Facts = append(decision.Facts, x.ID)
	}
	return as, d.journal.add(ctx, decision)
}

// CreateAgreement records an agreement about an account or an area. The account
// is an id, or "source_id:AAPL" by the key of the account entity.
func (d *Door) CreateAgreement(ctx context.Context, c crm.Caller, g crm.Agreement) (crm.Agreement, error) {
	var created crm.Agreement
	err := d.permitted(ctx, c, "agreement.write", func(ctx context.Context, a asking) error {
		g, err := d.complete(ctx, c, g)
		if err != nil {
			return err
		}
		return d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (store.Decision, error) {
			if err := a.mayAgree(ctx, tx, g, crm.EffectOpen); err != nil {
				return store.Decision{}, err
			}
			created, err = tx.AddAgreement(ctx, g)
			return store.Decision{Action: "agreement.create", Entity: accountEntity, Records: agreedOn(g), Facts: []string{created.ID}}, err
		})
	})
	return created, err
}

// mayAgree refuses to open by g what policy does not let the officer open to
// themself: with an effect of open as it begins, of a wall as it ends. Of which
// departments they are to be counts as well.
func (a asking) mayAgree(ctx context.Context, tx *store.Tx, g crm.Agreement, opens crm.Effect) error {
	if g.Effect != opens {
		return nil
	}
	if own, err := a.belongs(ctx, tx, g.Department); err != nil || !own {
		return err
	}
	err := a.engine.MayEdit(ctx, a.subject, "subject", a.subject.ID)
	if e, ok := errors.AsType[*crm.Error](err); ok {
		e.Msg, e.Field = "you are of department "+g.Department+", or will be: "+e.Msg, "department"
	}
	return err
}

// belongs says whether the asking subject is of a department, now or at a time
// to come.
func (a asking) belongs(ctx context.Context, tx *store.Tx, department string) (bool, error) {
	moments, err := a.moments(ctx, tx, nil)
	if err != nil {
		return false, err
	}
	for _, at := range moments {
		s, _, err := tx.SubjectAt(ctx, a.subject.ID, at)
		if err != nil || slices.Contains(s.Departments, department) {
			return err == nil, err
		}
	}
	return false, nil
}

// EndAgreement ends an agreement now. What it said until now stays recorded.
func (d *Door) EndAgreement(ctx context.Context, c crm.Caller, id, reason string) (crm.Agreement, error) {
	var ended crm.Agreement
	err := d.permitted(ctx, c, "agreement.write", func(ctx context.Context, a asking) error {
		if _, err := crm.ParseRecordID(id); err != nil {
			return absent()
		}
		return d.recordFact(ctx, a, func(ctx context.Context, tx *store.Tx) (_ store.Decision, err error) {
			if ended, err = tx.EndAgreement(ctx, id, c.Subject, reason); err == nil {
				err = a.mayAgree(ctx, tx, ended, crm.EffectWall)
			}
			return store.Decision{Action: "agreement.end", Entity: accountEntity, Records: agreedOn(ended), Facts: []string{id}}, err
		})
	})
	return ended, err
}

// agreedOn are the records an agreement names: its account, or none for an area.
func agreedOn(g crm.Agreement) []crm.RecordID {
	if g.OfArea() {
		return nil
	}
	return []crm.RecordID{g.Account}
}

// permitted runs f, which ends in recordFact, for a caller who holds a
// permission at that moment.
func (d *Door) permitted(ctx context.Context, c crm.Caller, permission string, f func(context.Context, asking) error) error {
	if err := d.Permit(ctx, c, permission); err != nil {
		return err
	}
	ask := d.under
	if slices.Contains(ofOffice, permission) {
		ask = d.inOffice
	}
	_, err := ask(ctx, c, func(ctx context.Context, a asking) (int64, error) {
		ok, err := a.engine.Permit(ctx, a.subject, permission)
		switch {
		case err != nil:
			return 0, err
		case !ok: // not any more
			return 0, lacks(permission)
		}
		return a.subject.Stamp, f(ctx, a)
	})
	return err
}

// recordFact changes a fact and logs the decision in one transaction, if the
// asking it was decided under still holds.
func (d *Door) recordFact(ctx context.Context, a asking, change func(context.Context, *store.Tx) (store.Decision, error)) error {
	return d.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.AwaitStamp(ctx); err != nil {
			return err
		}
		if err := a.unmoved(ctx, tx); err != nil {
			return err
		}
		if err := tx.Attribute(ctx, a.caller); err != nil {
			return err
		}
		made, err := change(ctx, tx)
		if err != nil {
			return err
		}
		decision := a.decision(made.Action, made.Entity)
		decision.Records, decision.Facts = made.Records, made.Facts
		return tx.LogDecisions(ctx, []store.Decision{decision})
	})
}

// agreedActions are what an agreement can open.
var agreedActions = []string{string(crm.ActionRead), string(crm.ActionUpdate), string(crm.ActionPublish)}

// complete fills in what an agreement leaves open and checks what it says.
func (d *Door) complete(ctx context.Context, c crm.Caller, g crm.Agreement) (crm.Agreement, error) {
	_, now, err := d.store.Stamp(ctx)
	if err != nil {
		return g, err
	}
	g.By, g.Ended = c.Subject, false
	if g.From.IsZero() {
		g.From = now
	}
	if g.To.IsZero() {
		g.To = crm.Forever
	}
	if g.Effect == "" {
		g.Effect = crm.EffectOpen
	}
	// "amer/sales" at amer is its own department sales.
	g.Department = strings.TrimPrefix(g.Department, d.instance+"/")
	if err := g.Validate(); err != nil {
		return g, err
	}
	if len(g.Actions) == 0 {
		g.Actions = []string{string(crm.ActionRead), string(crm.ActionPublish)}
	}
	if len(g.Groups) == 0 {
		g.Groups = []string{"core"}
	}
	for _, action := range g.Actions {
		if !slices.Contains(agreedActions, action) {
			return g, crm.FieldErrorf("actions", "an agreement opens %s, not %q", strings.Join(agreedActions, ", "), action)
		}
	}
	if err := d.knowsGroups(g.Groups); err != nil {
		return g, err
	}
	if err := d.knowsDepartment(ctx, "department", g.Department); err != nil {
		return g, err
	}
	if g.OfArea() {
		return g, d.knowsArea(ctx, g)
	}
	g.Account, err = d.account(ctx, string(g.Account))
	return g, err
}

// knowsArea refuses an agreement about a place that is not there.
func (d *Door) knowsArea(ctx context.Context, g crm.Agreement) error {
	territory, segment, err := d.store.Placed(ctx, g.Territory, g.Segment)
	switch {
	case err != nil:
		return err
	case g.Territory != "" && !territory:
		return crm.FieldErrorf("territory", "there is no territory %q; `meridian fact list territory` shows them", g.Territory)
	case g.Segment != "" && !segment:
		return crm.FieldErrorf("segment", "there is no segment %q; `meridian fact list segment` shows them", g.Segment)
	case g.OnDepartment == "":
		return nil
	}
	has, err := d.store.HasDepartment(ctx, g.OnDepartment)
	if err == nil && !has {
		err = crm.FieldErrorf("on_department", "this instance has no department %q; records belong to departments of this instance", g.OnDepartment)
	}
	return err
}

// account resolves an account given by id or by key, for who may write
// agreements about any.
func (d *Door) account(ctx context.Context, name string) (crm.RecordID, error) {
	def, err := d.definition(accountEntity)
	if err != nil {
		return "", err
	}
	none := crm.FieldErrorf("account", "there is no such account; give its id, or %s:<value>", def.Key)
	if key, ok := strings.CutPrefix(name, def.Key+":"); ok && def.Key != "" {
		found, err := d.store.FindByKey(ctx, accountEntity, []string{key})
		if err != nil {
			return "", err
		}
		if id, ok := found[key]; ok {
			return id, nil
		}
		return "", none
	}
	id, err := crm.ParseRecordID(name)
	if err != nil {
		return "", none
	}
	found, err := d.store.Load(ctx, accountEntity, []crm.RecordID{id})
	if err != nil {
		return "", err
	}
	if _, ok := found[id]; !ok {
		return "", none
	}
	return id, nil
}

// knowsGroups refuses field groups that no entity has.
func (d *Door) knowsGroups(groups []string) error {
	var known []string
	for _, def := range d.store.Definitions() {
		known = append(known, def.Groups()...)
	}
	for _, g := range groups {
		if !slices.Contains(known, g) {
			return crm.FieldErrorf("groups", "no entity has a field group %q", g)
		}
	}
	return nil
}

// knowsDepartment refuses a department of this instance that is not there.
// Those of other instances, "emea/dach-sales", are theirs to know.
func (d *Door) knowsDepartment(ctx context.Context, field, department string) error {
	if instance, rest, foreign := strings.Cut(department, "/"); foreign && instance != "" && rest != "" {
		return nil
	}
	has, err := d.store.HasDepartment(ctx, department)
	if err == nil && !has {
		err = crm.FieldErrorf(field, "this instance has no department %q; one of another instance is named <instance>/<department>", department)
	}
	return err
}
