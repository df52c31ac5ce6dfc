package access

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/policy"
)

// Powers is what changes of what somebody may do beside reading and writing
// records.
type Powers struct {
	Gained, Lost []crm.Permission
	Limits       []LimitShift // looser ones first
}

// LimitShift is a limit that would be another one.
type LimitShift struct {
	Limit, Before, After string
	Looser               bool // something is allowed that was refused
}

// Empty reports whether nothing changes.
func (p Powers) Empty() bool { return len(p.Gained)+len(p.Lost)+len(p.Limits) == 0 }

// powers compares what a subject is permitted, permission by permission, and the
// limits of what it may say about access.
func (x *comparison) powers(ctx context.Context, subject crm.Subject) (p Powers, err error) {
	if policy.Alike(x.before.Bundle(), x.after.Bundle()) {
		return p, nil
	}
	holds := map[string]bool{} // under either bundle
	for _, permission := range crm.Permissions() {
		was, err := x.before.Permit(ctx, subject, permission.Name)
		if err != nil {
			return p, err
		}
		is, err := x.after.Permit(ctx, subject, permission.Name)
		if err != nil { // as it would be in force: no answer, no permission
			if ctx.Err() != nil {
				return p, context.Cause(ctx)
			}
			is = false
		}
		switch {
		case is && !was:
			p.Gained = append(p.Gained, permission)
		case was && !is:
			p.Lost = append(p.Lost, permission)
		}
		holds[permission.Name] = was || is
	}
	if subject.Kind != crm.KindInstance { // which says nothing about access here
		p.Limits, err = x.limits(ctx, subject, holds)
	}
	return p, err
}

func (x *comparison) limits(ctx context.Context, subject crm.Subject, holds map[string]bool) (out []LimitShift, err error) {
	if x.cases == nil {
		if x.cases, err = x.limitCases(ctx); err != nil {
			return nil, err
		}
	}
	judges := map[crm.Action]bool{"": true}
	for _, action := range []crm.Action{crm.ActionShare, crm.ActionWithhold} {
		if judges[action], err = x.reaches(ctx, subject, action); err != nil {
			return nil, err
		}
	}
	was, err := x.before.MayWithin(ctx, subject, x.cases)
	if err != nil {
		return nil, err
	}
	is, err := x.after.MayWithin(ctx, subject, x.cases)
	if err != nil {
		return nil, err
	}
	said := make([]LimitShift, len(x.cases))
	for i, c := range x.cases {
		if c.Permissions != nil && !slices.ContainsFunc(c.Permissions, func(name string) bool { return holds[name] }) || !judges[c.Action] || slices.Equal(was[i], is[i]) {
			continue
		}
		said[i] = LimitShift{Limit: c.Name, Before: c.Say(was[i]), After: c.Say(is[i])}
		for j := range is[i] {
			said[i].Looser = said[i].Looser || is[i][j] && !was[i][j]
		}
		if general := said[c.Of]; c.Of == i || general.Before != said[i].Before || general.After != said[i].After {
			out = append(out, said[i])
		}
	}
	out = append(out, x.unended(ctx, map[string]bool{"judgement": judges[crm.ActionShare] || judges[crm.ActionWithhold], "broken glass": holds[breakGlass]})...)
	slices.SortStableFunc(out, func(a, b LimitShift) int {
		return map[bool]int{true: -1}[a.Looser] - map[bool]int{true: -1}[b.Looser]
	})
	return out, nil
}

// unended compares how long what is said without an end holds.
func (x *comparison) unended(ctx context.Context, concerned map[string]bool) (out []LimitShift) {
	was, is := x.before.Unended(ctx), x.after.Unended(ctx)
	say := func(d time.Duration) string {
		switch {
		case d == 0:
			return "refused"
		case d%(24*time.Hour) == 0:
			return strconv.Itoa(int(d/(24*time.Hour))) + " days"
		}
		return strconv.FormatFloat(d.Minutes(), 'f', -1, 64) + " minutes"
	}
	for _, what := range slices.Sorted(maps.Keys(concerned)) {
		if concerned[what] && was[what] != is[what] {
			out = append(out, LimitShift{Limit: what + " without an end", Before: say(was[what]), After: say(is[what]), Looser: is[what] > was[what]})
		}
	}
	return out
}

// reaches says whether there could be a record that the subject may do
// something to, under either bundle.
func (x *comparison) reaches(ctx context.Context, subject crm.Subject, action crm.Action) (bool, error) {
	for _, def := range x.d.store.Definitions() {
		before, after, err := x.filters(ctx, subject, action, def.Entity, nil)
		if err != nil {
			return false, err
		}
		for _, f := range []policy.Filter{before, after.Filter} {
			if include, _ := f.Branches(&policy.Args{}); len(include) > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// limitCases are the questions about limits, for the groups and the roles that
// there are.
func (x *comparison) limitCases(ctx context.Context) ([]policy.LimitCase, error) {
	var groups, roles []string
	for _, def := range x.d.store.Definitions() {
		groups = append(groups, def.Groups()...)
	}
	ids, err := x.d.store.SubjectIDs(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		of, _, err := x.d.store.SubjectRoles(ctx, id)
		if err != nil {
			return nil, err
		}
		roles = append(roles, of...)
	}
	return policy.LimitCases(x.before, x.after, groups, roles), nil
}

// maxReworded is how many rules are named that nobody is known to feel.
const maxReworded = 12

// warnings say what changes in the bundle itself, whoever it is about.
func (x *comparison) warnings(ctx context.Context, differing int64) ([]string, error) {
	locked, err := x.locked(ctx)
	return slices.Concat(locked, promises(x.before.Bundle(), x.after.Bundle()), x.unfelt(differing)), err
}

// locked says which permission to change the policy nobody here would hold any
// more: nothing but the database would bring another one.
func (x *comparison) locked(ctx context.Context) (out []string, err error) {
	if policy.Alike(x.before.Bundle(), x.after.Bundle()) {
		return nil, nil
	}
	ids, err := x.d.store.SubjectIDs(ctx)
	if err != nil {
		return nil, err
	}
	was, is := map[string]bool{}, map[string]bool{}
	changing := []string{"policy.propose", "policy.approve", "policy.activate"}
	for _, id := range ids {
		subject, known, err := x.d.store.Subject(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, permission := range changing {
			if !known || was[permission] && is[permission] {
				continue
			}
			held, err := x.before.Permit(ctx, subject, permission)
			if err != nil {
				return nil, err
			}
			holds, err := x.after.Permit(ctx, subject, permission)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			was[permission], is[permission] = was[permission] || held, is[permission] || holds && err == nil
		}
	}
	for _, permission := range changing {
		if was[permission] && !is[permission] {
			out = append(out, "nobody would hold "+permission+" any more: no officer could change or roll back the policy after this one")
		}
	}
	return out, nil
}

// unfelt names rules that read otherwise where no difference was found: there
// is none for those compared, as they and the records are now.
func (x *comparison) unfelt(differing int64) []string {
	rules := policy.Reworded(x.before.Bundle(), x.after.Bundle())
	if len(rules) == 0 {
		return nil
	}
	more := ""
	if len(rules) > maxReworded {
		rules, more = rules[:maxReworded], fmt.Sprintf(" and %d more", len(rules)-maxReworded)
	}
	said := "rules are worded otherwise (" + strings.Join(rules, ", ") + more + ")"
	if differing > 0 {
		return []string{said + ": what they say to others than those named here, policy diff shows"}
	}
	return []string{said + ", and no difference was found for those compared, as they, the records and the date are now"}
}

const gainsPermissions = "!! GAINS THE PERMISSIONS"

// line puts powers in words for a line, what is gained first.
func (p Powers) line() (parts []string) {
	named := func(list []crm.Permission) string {
		names := make([]string, len(list))
		for i, permission := range list {
			names[i] = permission.Name
		}
		return strings.Join(names, ", ")
	}
	if len(p.Gained) > 0 {
		parts = append(parts, gainsPermissions+" "+named(p.Gained))
	}
	for _, l := range p.Limits {
		loud := map[bool]string{true: "!! looser limit: "}[l.Looser]
		parts = append(parts, fmt.Sprintf("%s%s: %s -> %s", loud, l.Limit, l.Before, l.After))
	}
	if len(p.Lost) > 0 {
		parts = append(parts, "loses the permissions "+named(p.Lost))
	}
	return parts
}

// namedAlike is how many subjects are named of those for whom the same changes.
const namedAlike = 8

// powersLines says once what changes alike for many, what they gain first: none
// is left out.
func powersLines(powers map[string][]crm.SubjectID) (lines []string) {
	for said, subjects := range powers {
		slices.Sort(subjects)
		names := make([]string, 0, namedAlike+1)
		for _, id := range subjects[:min(len(subjects), namedAlike)] {
			names = append(names, string(id))
		}
		if more := len(subjects) - namedAlike; more > 0 {
			names = append(names, fmt.Sprintf("and %d more", more))
		}
		lines = append(lines, strings.Join(names, ", ")+": "+said)
	}
	rank := func(line string) int {
		switch {
		case strings.Contains(line, gainsPermissions):
			return 0
		case strings.Contains(line, "!!"):
			return 1
		}
		return 2
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	return lines
}
