package access

import (
	"context"
	"slices"
	"strings"

	"meridian/instance/crm"
	"meridian/policy"
)

// enquiry is about a subject, or the receiver for "contract:<id>", that an officer
// asks about: what it may do with which entities, and whose home its records
// are of; "" is any.
type enquiry struct {
	crm.Subject
	action crm.Action
	defs   []crm.Definition
	home   string
}

// enquire loads whom a question is about: now, or at a moment. All entities are
// asked about, or one.
func (d *Door) enquire(ctx context.Context, id crm.SubjectID, action crm.Action, entity string, at *policy.Moment) (enquiry, error) {
	q := enquiry{action: action, defs: d.store.Definitions()}
	if entity != "" {
		def, err := d.definition(entity)
		if err != nil {
			return q, err
		}
		q.defs = []crm.Definition{def}
	}
	when := map[bool]string{true: "knows", false: "knew"}[at == nil]
	then := map[bool]string{false: " then"}[at == nil]
	known := false
	var err error
	name, isContract := strings.CutPrefix(string(id), contractPrefix)
	if !isContract {
		if q.Subject, known, err = d.store.SubjectAt(ctx, id, at); err == nil && !known {
			err = crm.FieldErrorf("subject", "this instance %s no subject %q%s", when, id, then)
		}
		return q, err
	}
	contracts, err := d.contracts(ctx, at)
	if err != nil {
		return q, err
	}
	i := slices.IndexFunc(contracts, func(k crm.Contract) bool { return k.ID == name && k.Source == d.instance })
	if i >= 0 {
		q.Subject, known, err = d.store.ReceiverAt(ctx, name, at)
	}
	switch {
	case err != nil:
		return q, err
	case !known:
		return q, crm.FieldErrorf("subject", "this instance %s no contract out of it %q%s; meridian exchange contracts lists them", when, name, then)
	case action != crm.ActionRead && action != crm.ActionPublish:
		return q, crm.FieldErrorf("action", "to the receiver of a contract records are published, and nothing else; leave the action out")
	case entity != "" && entity != contracts[i].Entity:
		return q, crm.FieldErrorf("entity", "contract %s is about %s", name, contracts[i].Entity)
	}
	q.action, q.home = crm.ActionPublish, d.instance
	q.defs = slices.DeleteFunc(q.defs, func(def crm.Definition) bool { return def.Entity != contracts[i].Entity })
	return q, nil
}

// RecordNamed is the record that a name means, its id or its key as
// source_id:AAPL, for who may ask about any record without reading it. An id is
// answered as it is, to everybody.
func (d *Door) RecordNamed(ctx context.Context, c crm.Caller, entity, name, permission string) (crm.RecordID, error) {
	def, err := d.definition(entity)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(name, def.Key+":") && def.Key != "" {
		if _, err := d.permit(ctx, c, permission); err != nil { // before anything is looked up: a key that is there is answered as one that is not
			return "", err
		}
	}
	return d.named(ctx, def, name, d.store.FindByKey)
}
