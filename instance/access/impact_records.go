package access

import (
	"context"
	"slices"
	"strings"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// ImpactRecordsRequest asks for every record that one subject, or the
// destination of "contract:<id>", would see otherwise.
type ImpactRecordsRequest struct {
	Candidate Candidate
	Subject   crm.SubjectID
	Entity    string
	Action    crm.Action // of people and services; read if empty
}

const toldTogether = 500 // records

// ImpactRecords tells of every record that a candidate would show otherwise, by
// id and field groups, without values. It ends with conflict when facts moved
// meanwhile: what was told then is of no moment. It is logged before it begins.
func (d *Door) ImpactRecords(ctx context.Context, c crm.Caller, r ImpactRecordsRequest, tell func([]store.Differing) error) error {
	a, err := d.permit(ctx, c, policyImpact)
	if err != nil {
		return err
	}
	if r.Subject == "" {
		return crm.FieldErrorf("subject", "name a subject, or a contract as %s<id>", contractPrefix)
	}
	if r.Action == "" {
		r.Action = crm.ActionRead
	}
	if !slices.Contains(recordActions, r.Action) {
		return crm.FieldErrorf("action", "compare read, create, update, delete, share or withhold")
	}
	def, err := d.definition(r.Entity)
	if err != nil {
		return err
	}
	candidate, err := d.candidate(ctx, r.Candidate)
	if err != nil {
		return err
	}
	compared, _, err := d.compared(ctx, a.engine, candidate, []crm.SubjectID{r.Subject})
	if err != nil {
		return err
	}
	decision := a.decision(policyImpact, def.Entity)
	decision.Reasons = []string{candidate.Digest(), string(r.Subject)}
	if err := d.store.LogDecisions(ctx, []store.Decision{decision}); err != nil {
		return err
	}
	x := &comparison{d: d, before: a.engine, after: candidate, action: r.Action, few: true}
	return x.records(ctx, compared[0], def, tell)
}

func (x *comparison) records(ctx context.Context, s compare, def crm.Definition, tell func([]store.Differing) error) error {
	subject, known, err := x.load(ctx, s)
	if err != nil || !known {
		return err
	}
	action, contract := x.action, ""
	if s.contract != nil {
		if action, contract = crm.ActionPublish, s.contract.ID; s.contract.Entity != def.Entity {
			return crm.FieldErrorf("entity", "%s is about %s", s.id, s.contract.Entity)
		}
	} else if subject.Kind == crm.KindInstance { // a persona
		action = crm.ActionPublish
	}
	before, after, _, err := x.views(ctx, s, subject, action, def)
	if err != nil {
		return err
	}
	var together []store.Differing
	flush := func() error {
		defer func() { together = together[:0] }()
		if len(together) == 0 {
			return nil
		}
		return tell(slices.Clone(together))
	}
	one := func(r store.Differing) error {
		if together = append(together, r); len(together) < toldTogether {
			return nil
		}
		return flush()
	}
	if err := x.d.store.EachBehind(ctx, def.Entity, before, after, one); err != nil {
		return err
	}
	stamp, err := x.d.store.EachDiffering(ctx, def.Entity, contract, before, after, one)
	if err != nil {
		return err
	}
	if stamp != subject.Stamp {
		return crm.Errorf(crm.Conflict, "access facts moved while the records of %s were listed; list them again", strings.TrimPrefix(string(s.id), contractPrefix))
	}
	return flush()
}
