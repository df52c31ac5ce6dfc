// Package dataquality is the common plugin that normalises and checks e-mail,
// phones, country, state and website of accounts, contacts and leads.
//
// It judges what a write changes and nothing else, so that an old flaw in one
// field never blocks the correction of another. It never uses the network, and
// its messages never repeat a value.
package dataquality

import (
	"context"

	"meridian/instance/crm"
	"meridian/plugins"
)

// Steps of the plugin, for others to order themselves by: "normalise-account"
// and so on.
const (
	Name      = "data-quality"
	normalise = "normalise-"
	check     = "check-"
)

// fields lists which fields of which entity have rules.
var fields = []struct {
	entity string
	names  []string
}{
	{"account", []string{"country", "state", "email", "phone", "website"}},
	{"contact", []string{"country", "email", "phone", "mobile"}},
	{"lead", []string{"country", "state", "email", "phone", "website"}},
}

// New makes the plugin.
func New() plugins.Plugin {
	m := plugins.Manifest{
		Name:        Name,
		Version:     "1.0.0",
		Description: "Normalises and checks e-mail, phone, country, state and website.",
	}
	steps := map[string]plugins.Func{}
	ops := []crm.Op{crm.OpCreate, crm.OpUpdate}
	for _, f := range fields {
		m.Hooks = append(m.Hooks,
			plugins.Hook{Step: normalise + f.entity, Entity: f.entity, Operations: ops, Stage: plugins.Transform, Reads: f.names, Sets: f.names},
			plugins.Hook{Step: check + f.entity, Entity: f.entity, Operations: ops, Stage: plugins.Validate, Reads: f.names})
		steps[normalise+f.entity] = normaliseRecord
		steps[check+f.entity] = checkRecord
	}
	return plugins.New(m, steps)
}

// rules maps a field to the form it is stored in. A rule that does not
// recognise a value gives it back as it is: refusing is the validator's part.
var rules = map[string]func(r plugins.Record, s string) string{
	"country": func(_ plugins.Record, s string) string { return country(s) },
	"state":   func(r plugins.Record, s string) string { return state(country(r.Text("country")), s) },
	"email":   func(_ plugins.Record, s string) string { return email(s) },
	"phone":   normalisePhone,
	"mobile":  normalisePhone,
	"website": func(_ plugins.Record, s string) string { return website(s) },
}

func normalisePhone(r plugins.Record, s string) string { return phone(country(r.Text("country")), s) }

// faults says what is wrong with a stored form, "" for nothing.
var faults = map[string]func(s string) (code, message string){
	"country": countryFault, "email": emailFault, "phone": phoneFault, "mobile": phoneFault, "website": websiteFault,
}

// judged reports whether the write is about the field: what it changes, and
// the state of an address whose country it changes.
func judged(r plugins.Record, op crm.Op, field string) bool {
	return op == crm.OpCreate || r.Changes(field) || (field == "state" && r.Changes("country"))
}

func normaliseRecord(_ context.Context, r plugins.Record, op crm.Op) plugins.Opinion {
	o := plugins.Opinion{Verdict: plugins.NoOpinion}
	for field, v := range r.Fields {
		rule := rules[field]
		if rule == nil || v.Type() != crm.TypeString || !judged(r, op, field) {
			continue
		}
		o.Verdict = plugins.Allow
		want := rule(r, v.Text())
		if want == v.Text() {
			continue
		}
		if o.Set == nil {
			o.Set = map[string]crm.Value{}
		}
		if want == "" {
			o.Set[field] = crm.Value{}
		} else {
			o.Set[field] = crm.String(want)
		}
	}
	return o
}

func checkRecord(_ context.Context, r plugins.Record, op crm.Op) plugins.Opinion {
	o := plugins.Opinion{Verdict: plugins.NoOpinion}
	for _, field := range []string{"country", "email", "phone", "mobile", "website"} { // the order people read findings in
		s := r.Text(field)
		if s == "" || !judged(r, op, field) {
			continue
		}
		if o.Verdict == plugins.NoOpinion {
			o.Verdict = plugins.Allow
		}
		if code, message := faults[field](s); code != "" {
			o.Verdict = plugins.Veto
			o.Findings = append(o.Findings, plugins.Finding{Field: field, Code: code, Message: message})
		}
	}
	return o
}
