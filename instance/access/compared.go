package access

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"meridian/instance/crm"
	"meridian/policy"
)

// compare is a subject, a contract if that is set, or a subject that nobody is.
type compare struct {
	id       crm.SubjectID
	contract *crm.Contract
	standIn  *crm.Subject
}

const contractPrefix = "contract:"

// here lists the subjects of this instance and the contracts out of it, by id.
func (d *Door) here(ctx context.Context) ([]compare, error) {
	ids, err := d.store.SubjectIDs(ctx)
	if err != nil {
		return nil, err
	}
	contracts, err := d.store.Contracts(ctx)
	if err != nil {
		return nil, err
	}
	var out []compare
	for _, id := range ids {
		out = append(out, compare{id: id})
	}
	for _, k := range contracts {
		if k.Source == d.instance {
			out = append(out, compare{id: crm.SubjectID(contractPrefix + k.ID), contract: &k})
		}
	}
	slices.SortFunc(out, func(a, b compare) int { return cmp.Compare(a.id, b.id) })
	return out, nil
}

// compared lists who is looked at when two policies are compared: who is here,
// then those that stand in for people of tomorrow; or those named. It warns of
// what is left out.
func (d *Door) compared(ctx context.Context, before, after *policy.Engine, only []crm.SubjectID) (all []compare, warnings []string, err error) {
	if all, err = d.here(ctx); err != nil {
		return nil, nil, err
	}
	standIns, untried := policy.StandIns(before.Bundle(), after.Bundle())
	for _, s := range standIns {
		all = append(all, compare{id: s.Name, standIn: &s.Subject})
	}
	if len(untried) > 0 {
		warnings = append(warnings, "the rules that change speak of more words than are tried one by one; not tried alone: "+strings.Join(untried, ", "))
	}
	if len(only) == 0 {
		return all, warnings, nil
	}
	named := make([]compare, len(only))
	for i, id := range only {
		at := slices.IndexFunc(all, func(s compare) bool { return s.id == id })
		if at < 0 {
			return nil, nil, crm.FieldErrorf("subjects", "this instance knows no subject or contract out %q, and the bundles no persona or word of that name", id)
		}
		named[i] = all[at]
	}
	return named, warnings, nil
}
