package policy

import (
	"strings"

	"meridian/instance/crm"
)

// Flips are judgements supposed to be the other way round: one that holds to be
// suspended, a suspended one to hold. A statement that supposes them answers
// what would be if the keeper had reviewed them, and changes nothing.
type Flips struct {
	grants, records *param
	ids             map[string]bool
}

// Flip supposes judgements the other way round; nil without any.
func Flip(grants []crm.Grant) *Flips {
	if len(grants) == 0 {
		return nil
	}
	f := &Flips{ids: map[string]bool{}}
	var ids, records []string
	for _, g := range grants {
		if !f.ids[g.ID] {
			f.ids[g.ID] = true
			ids, records = append(ids, g.ID), append(records, string(g.Record))
		}
	}
	f.grants, f.records = &param{ids, kindText.listCast()}, &param{records, kindUUID.listCast()}
	return f
}

// Of are the facts as they are supposed to be.
func (f *Flips) Of(facts Facts) Facts {
	if f == nil {
		return facts
	}
	flipped := make([]crm.Grant, len(facts.Grants))
	for i, g := range facts.Grants {
		g.Suspended = g.Suspended != f.ids[g.ID]
		flipped[i] = g
	}
	facts.Grants = flipped
	return facts
}

// IDs are the judgements that are supposed the other way round.
func (f *Flips) IDs() []string {
	if f == nil {
		return []string{}
	}
	return f.grants.value.([]string)
}

// from is the table of judgements as it is supposed to be.
func (f *Flips) from(t *facts, a *Args) string {
	var b strings.Builder
	b.WriteString("(select ")
	for _, c := range []string{"record", "kind", "key", "groups", "valid_from", "valid_to", "recorded_from", "recorded_to"} {
		b.WriteString("f." + c + ", ")
	}
	b.WriteString("f.suspended <> (f.id::text = any(" + a.param(f.grants) + ")) as suspended from " + t.from + ") f")
	return b.String()
}

// about are the rows that the judgements are about, as SQL: on others the two
// sides of a comparison say the same of facts.
func (f *Flips) about(a *Args) []string {
	records := a.param(f.records)
	return []string{"r.id = any(" + records + ")", "r.account = any(" + records + ")"}
}
